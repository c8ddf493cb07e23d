"""The fast way: drugs by mouth, in one or two compartments, as sums of modes.

Each rate of a drug (ka, the rates of disposition, ke0) has a mode, z' = -lambda z, into which all doses enter; plasma
and effect site are weighted sums of the same modes (Gibaldi and Perrier 1982, Pharmacokinetics, 2nd ed., chapters 1
and 2; Sheiner et al. 1979, Clin Pharmacol Ther 25:358-71). A step of any length costs one product per mode, so the
loop goes from node to node: close together after a dose, further apart later. Slope and curvature are weighted sums
too: a slope that turns from rise to fall between two nodes brackets a maximum, which Newton's method finds on the
exact trajectory.

Weights have the differences of rates below a fraction bar: patients with rates too close together, too slow or too fast
are named as hard, and go the way of `vtrial.kinetics.scan`. Who is hard depends on the patient alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.clock import END, LONGEST_LAG, MIDDLE, SPANS, Clocks
from vtrial.kinetics.dwell import LEAST, chance
from vtrial.kinetics.functions import exponential, log2
from vtrial.kinetics.modes import curvature, dosed, faded, read, sight, start, weighed, write
from vtrial.kinetics.system import System
from vtrial.lanes import (
    LANES,
    larger,
    load,
    load_from,
    numbers_at,
    pointer,
    root,
    select,
    smaller,
    some,
    splat,
    store,
)
from vtrial.pharmacodynamics import greco, tolerance, tolerance_slope

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]

CLOSE = 2.0**-12
"""Rates whose relative difference is smaller are too close."""
SLOWEST, FASTEST = 1e-5, 200.0
"""Rates in 1/h that are followed."""
TOO_BRISK = 6.0
"""A drug whose ka and ke0 are both above it, in 1/h, may peak before the first node after its dose."""
LONGEST_WAIT = 0.75
"""Longest time in h to the first arrival of a leg, and between two."""
NEAR = 2e-4
"""Newton's method has arrived when its step in h is so small: what is left is of its third power."""
KNOWN = len(SPANS)
PARAMETERS = ("CL", "V", "ka", "tlag", "F", "ke0", "C50", "Q", "V2")
"""Individual parameters of a drug, in the order of `People.address`."""
CL, V, KA, TLAG, F, KE0, C50, Q, V2 = range(len(PARAMETERS))


class Desk(NamedTuple):
    """First row of each part of what the loop holds of eight patients (see `vtrial.kinetics.desk`).

    `rate`, `weight`, `fall`, `bow`, `area`: of each mode its rate (and that of tolerance), weights of what is seen, of
    its slope and curvature, and of the area under the concentration. `steps`: of each step the factors of the modes and
    its span in h; `back_step`, factors of one more. `rank`: of each kind of leg and drug, its place among the arrivals. `own`: parameters of a drug.
    `given`, `now`: amounts times F at a stop, and of one arrival. `slot`, `span`, `back`, `at_time`, `noted`: states
    behind a maximum, length of its bracket, guess of how far back it is, time, and whether there is one. `best`, `when`,
    `bar`: highest value, its time, and what a maximum of this leg must exceed. `came` (drug): amount so far.
    """

    n_drug: int
    n_mode: int
    n_level: int
    rate: int
    weight: int
    fall: int
    bow: int
    area: int
    lag: int
    factor: int
    A: int
    alpha: int
    fold: int
    own: int
    rank: int
    steps: int
    back_step: int
    given: int
    now: int
    slot: int
    span: int
    back: int
    at_time: int
    noted: int
    best: int
    when: int
    bar: int
    came: int
    threshold: int
    steepness: int
    chance: int
    middle: int
    spent: int
    rows: int


def lay_out(n_drug: int, n_mode: int, n_level: int, n_kind: int) -> Desk:
    """Give every part its rows, for so many kinds of leg of one clock."""
    sizes = (
        n_mode + 1, n_mode, n_mode, n_mode, n_mode, n_drug, n_drug, 1, 1, 1, len(PARAMETERS),
        n_kind * n_drug, (KNOWN + n_kind * (n_drug + 2)) * (n_mode + 2), n_mode + 1, n_drug, n_drug,
        n_mode + 1, 1, 1, 1, 1, 1, 1, 1, n_drug, *[n_level] * 5,
    )  # fmt: skip
    return Desk(n_drug, n_mode, n_level, *np.cumsum([0, *sizes]).tolist())


class People(NamedTuple):
    """Addresses of arrays (n,), or of single numbers, of which `stride` is 0.

    `address` (drug, parameter) and `stride`; `sedation` (A, alpha, tolerance_fold, tolerance_t_half in h) and
    `sedation_stride`. `draw` (n,); `thresholds` (draw, level), log2 r; `steepness` (draw,), log 2 / omega.
    """

    address: Index
    stride: Index
    sedation: Index
    sedation_stride: Index
    draw: Index
    thresholds: Array
    steepness: Array


class Kept(NamedTuple):
    """Peak and its time (window, n), AUC (drug window, n), time at level (level window, n), and who is hard (n,)."""

    peak: Array
    peak_time: Array
    auc: Array
    time_at: Array
    hard: Index


class Size(NamedTuple):
    """Patients, and windows."""

    n: int
    n_window: int


def table(system: System) -> Index:
    """Per drug its first mode, its compartments, and whether it has an effect site."""
    first = np.cumsum([0, *map(len, system.modes)])
    rows = [(at, drug.compartments, system.seen == "Ce") for at, drug in zip(first, system.drugs, strict=False)]
    return np.array(rows, np.int64).ravel()


@compiled
def run(shape, at, table, people, clocks, kept):
    """Run all patients and fill `kept`."""
    desk = np.zeros((at.rows, LANES))
    _all_vectors(
        shape, pointer(desk), at, pointer(table),
        People(
            pointer(people.address), pointer(people.stride), pointer(people.sedation),
            pointer(people.sedation_stride), pointer(people.draw), pointer(people.thresholds),
            pointer(people.steepness),
        ),
        Clocks(
            pointer(clocks.order), pointer(clocks.code), pointer(clocks.clock), pointer(clocks.first_stop),
            pointer(clocks.first_kind), pointer(clocks.time), pointer(clocks.kind), pointer(clocks.window),
            pointer(clocks.quiet), pointer(clocks.dosed), pointer(clocks.gap), pointer(clocks.covered),
            pointer(clocks.parts), pointer(clocks.first_node), pointer(clocks.step), pointer(clocks.role),
            pointer(clocks.first_amount), pointer(clocks.amount), pointer(clocks.rises), pointer(clocks.ordered),
        ),
        Kept(
            pointer(kept.peak), pointer(kept.peak_time), pointer(kept.auc), pointer(kept.time_at), pointer(kept.hard)
        ),
        Size(kept.peak.shape[1], kept.peak.shape[0]), len(clocks.clock),
    )  # fmt: skip


@compiled
def _all_vectors(shape, desk, at, table, people, clocks, kept, size, n_vector):
    """Run the patients, vector by vector. All arrays are pointers."""
    for v in range(n_vector):
        p, alike, neighbours, easy = LANES * v, True, True, False
        for i in range(1, LANES):
            alike = alike and clocks.code[p + i] == clocks.code[p]
            neighbours = neighbours and clocks.order[p + i] == clocks.order[p] + i
        hard = _sit_down(desk, at, table, people, clocks, neighbours, p)
        hard = _lay_steps(desk, at, clocks, clocks.clock[v], hard)
        _settle(desk, at, people, clocks, p)
        store(desk, at.now, hard)
        for i in range(LANES):
            unfit = desk[LANES * at.now + i] > 0.0 or clocks.ordered[clocks.code[p + i]] == 0
            kept.hard[clocks.order[p + i]] = 1 if unfit else 0
            easy = easy or not unfit
        if easy:
            _run(shape, desk, at, table, clocks, kept, size, v, alike)


@inlined
def _gather(desk, row, address, stride, clocks, neighbours, p):
    """Put a number of each patient on the desk."""
    numbers = numbers_at(address)
    if neighbours and stride == 1:
        store(desk, row, load_from(numbers, clocks.order[p]))
    else:
        for i in range(LANES):
            desk[LANES * row + i] = numbers[clocks.order[p + i] * stride]


@compiled
def _sit_down(desk, at, table, people, clocks, neighbours, p):
    """Work out rates and weights; return who is hard, as rows 0 or 1."""
    hard = splat(0.0)
    for d in range(at.n_drug):
        first, compartments, effect = table[3 * d], table[3 * d + 1], table[3 * d + 2] == 1
        for parameter in range(C50 + 1 if compartments == 1 else V2 + 1):
            where = len(PARAMETERS) * d + parameter
            _gather(desk, at.own + parameter, people.address[where], people.stride[where], clocks, neighbours, p)
        store(desk, at.lag + d, load(desk, at.own + TLAG))
        store(desk, at.factor + d, load(desk, at.own + F))
        last = _disposition(desk, at, first, compartments)
        hard = _weigh(desk, at, first, last, effect, hard)
    for part, row in enumerate((at.A, at.alpha, at.fold, at.rate + at.n_mode)):
        _gather(desk, row, people.sedation[part], people.sedation_stride[part], clocks, neighbours, p)
    store(desk, at.rate + at.n_mode, 0.6931471805599453 / load(desk, at.rate + at.n_mode))
    return hard


@inlined
def _disposition(desk, at, first, compartments):
    """Rates of ka and of disposition, from mode `first` on, and weights of the concentration; one past the last."""
    per_V, ka = 1.0 / load(desk, at.own + V), load(desk, at.own + KA)
    k10 = load(desk, at.own + CL) * per_V
    store(desk, at.rate + first, ka)
    if compartments == 1:
        store(desk, at.rate + first + 1, k10)
        weight = ka / (ka - k10) * per_V
        store(desk, at.weight + first + 1, weight)
        store(desk, at.weight + first, 0.0 - weight)
        return first + 2
    k12, k21 = load(desk, at.own + Q) * per_V, load(desk, at.own + Q) / load(desk, at.own + V2)
    # alpha + beta = k10 + k12 + k21, alpha beta = k10 k21; differences without cancellation
    lead, product = k10 + k12 - k21, k12 * k21
    apart = root(lead * lead + 4.0 * product)
    wide = 0.5 * (larger(lead, 0.0 - lead) + apart)
    narrow = product / wide
    alpha = 0.5 * (k10 + k12 + k21 + apart)
    beta = k10 * k21 / alpha
    ahead = lead >= 0.0
    fast = select(ahead, wide, narrow) / apart * ka / (ka - alpha) * per_V
    slow = select(ahead, narrow, wide) / apart * ka / (ka - beta) * per_V
    store(desk, at.rate + first + 1, alpha)
    store(desk, at.rate + first + 2, beta)
    store(desk, at.weight + first + 1, fast)
    store(desk, at.weight + first + 2, slow)
    store(desk, at.weight + first, 0.0 - (fast + slow))
    return first + 3


@inlined
def _weigh(desk, at, first, last, effect, hard):
    """Weights of what is seen, of slope, curvature and area; who of the patients is hard."""
    for m in range(first, last):
        store(desk, at.area + m, load(desk, at.weight + m) / load(desk, at.rate + m))
    past = last
    if effect:
        ke0, per_C50, rest = load(desk, at.own + KE0), 1.0 / load(desk, at.own + C50), splat(0.0)
        hard = select(smaller(ke0, load(desk, at.rate + first)) > TOO_BRISK, 1.0, hard)
        for m in range(first, last):
            seen = load(desk, at.weight + m) * (ke0 / (ke0 - load(desk, at.rate + m))) * per_C50
            store(desk, at.weight + m, seen)
            rest = rest + seen
        store(desk, at.rate + last, ke0)
        store(desk, at.weight + last, 0.0 - rest)
        store(desk, at.area + last, splat(0.0))
        past = last + 1
    for m in range(first, past):
        rate, seen = load(desk, at.rate + m), load(desk, at.weight + m)
        store(desk, at.fall + m, 0.0 - rate * seen)
        store(desk, at.bow + m, rate * rate * seen)
        fine = (rate >= SLOWEST) & (rate <= FASTEST) & (seen * seen < np.inf)  # not a number is none of these
        hard = select(fine, hard, 1.0)
        for other in range(first, m):
            if m != first + 2 or other != first + 1 or last != first + 3:  # alpha and beta may be close
                high, low = larger(rate, load(desk, at.rate + other)), smaller(rate, load(desk, at.rate + other))
                hard = select(high - low >= CLOSE * high, hard, 1.0)
    return hard


@compiled
def _lay_steps(desk, at, clocks, clock, hard):
    """Factors of all steps of a clock; return who is hard, those with lags too long included."""
    size, eighth = at.n_mode + 2, splat(SPANS[0])
    for m in range(at.n_mode + 1):
        e = exponential(0.0 - load(desk, at.rate + m) * eighth)
        e2 = e * e
        e3 = e2 * e
        e4 = e2 * e2
        e6, e8 = e3 * e3, e4 * e4
        for step, factor in enumerate((e, e2, e3, e6, e8, e8 * e8)):
            store(desk, at.steps + step * size + m, factor)
    for step in range(KNOWN):
        store(desk, at.steps + step * size + size - 1, splat(SPANS[step]))
    for kind in range(clocks.first_kind[clock], clocks.first_kind[clock + 1]):
        mine = kind - clocks.first_kind[clock]
        step = KNOWN + mine * (at.n_drug + 2)
        _rank(desk, at, clocks, kind, mine)
        reached, n_arrival = splat(0.0), 0
        for d in range(at.n_drug):
            n_arrival += clocks.dosed[kind * at.n_drug + d]
        for j in range(n_arrival):
            arrives = splat(0.0)
            for d in range(at.n_drug):
                rank = load(desk, at.rank + mine * at.n_drug + d)
                arrives = select(rank == float(j), load(desk, at.lag + d), arrives)
            hard = select(arrives - reached <= LONGEST_WAIT, hard, 1.0)
            _lay_step(desk, at, step + j, arrives - reached)
            reached = arrives
        hard = select((reached <= LONGEST_LAG) & (reached >= 0.0), hard, 1.0)
        length = clocks.gap[kind] - reached
        rest = length - clocks.covered[kind]
        hard = select(rest >= 0.0, hard, 1.0)
        _lay_step(desk, at, step + at.n_drug, rest * (1.0 / clocks.parts[kind]))
        _lay_step(desk, at, step + at.n_drug + 1, length)
    return hard


@inlined
def _lay_step(desk, at, step, span):
    """Factors over a span of each patient's own."""
    row = at.steps + step * (at.n_mode + 2)
    if some(span > 0.0):
        for m in range(at.n_mode + 1):
            store(desk, row + m, exponential(0.0 - load(desk, at.rate + m) * larger(span, 0.0)))
    else:
        for m in range(at.n_mode + 1):
            store(desk, row + m, splat(1.0))
    store(desk, row + at.n_mode + 1, span)


@inlined
def _rank(desk, at, clocks, kind, mine):
    """Place of each drug among the arrivals of a leg, -1 for those not given."""
    for d in range(at.n_drug):
        place = splat(-1.0)
        if clocks.dosed[kind * at.n_drug + d] == 1:
            place, lag = splat(0.0), load(desk, at.lag + d)
            for other in range(at.n_drug):
                if other != d and clocks.dosed[kind * at.n_drug + other] == 1:
                    theirs = load(desk, at.lag + other)
                    sooner = (theirs <= lag) if other < d else (theirs < lag)
                    place = select(sooner, place + 1.0, place)
        store(desk, at.rank + mine * at.n_drug + d, place)


@inlined
def _settle(desk, at, people, clocks, p):
    """Thresholds of the levels, and what begins at zero."""
    for level in range(at.n_level):
        for i in range(LANES):
            draw = people.draw[clocks.order[p + i]]
            desk[LANES * (at.threshold + level) + i] = people.thresholds[draw * at.n_level + level]
            desk[LANES * (at.steepness + level) + i] = people.steepness[draw]
    for row in range(at.slot, at.threshold):
        store(desk, row, splat(0.0))
    for row in range(at.chance, at.rows):
        store(desk, row, splat(0.0))


@compiled
def _run(shape, desk, at, table, clocks, kept, size, v, alike):
    """The patients of a vector, from the first dose to the end of the last window."""
    clock, p = clocks.clock[v], LANES * v
    stop, last = clocks.first_stop[clock], clocks.first_stop[clock + 1] - 1
    first_kind, size_step = clocks.first_kind[clock], at.n_mode + 2
    alpha, fold, fading = load(desk, at.alpha), load(desk, at.fold), load(desk, at.rate + at.n_mode)
    steady = _steady(desk, at, clocks, p)
    z = start(shape, splat(1.0), splat(0.0))
    U, tol, rise, first = splat(0.0), splat(1.0), splat(0.0), stop
    while True:
        now = splat(clocks.time[stop])
        if clocks.window[stop] >= 0:
            _close(shape, desk, at, table, clocks, kept, size, clocks.window[stop], z, now, p)
        if stop == last:
            break
        kind = clocks.kind[stop]
        step = KNOWN + (kind - first_kind) * (at.n_drug + 2)
        n_arrival = _take(desk, at, clocks, stop - first, kind, p, alike)
        wanted = splat(1.0) if clocks.quiet[stop] == 0 else 1.0 - steady
        look = at.n_level > 0 or some(wanted > 0.0)
        U, tol, rise = _see(shape, desk, at, z, alpha, fold, fading)
        for j in range(n_arrival):
            row = at.steps + (step + j) * size_step
            span = load(desk, row + size_step - 1)
            waits = some(span > 0.0)
            if waits:
                z, now = faded(shape, desk, row, z), now + span
                if look:
                    U, tol, rise = _visit(
                        shape, desk, at, z, alpha, fold, fading, U, tol, rise, span, now, wanted, END + 1
                    )
            z = dosed(shape, desk, at.now if _arriving(desk, at, kind - first_kind, j) else at.given, z)
            if look:
                U, tol, rise = _see(shape, desk, at, z, alpha, fold, fading)
        row = at.steps + (step + at.n_drug + 1) * size_step
        if look:
            y = z
            node, end = clocks.first_node[kind], clocks.first_node[kind + 1]
            past = end + clocks.parts[kind]
            while node < past:
                if node < end:
                    rung, role = at.steps + clocks.step[node] * size_step, clocks.role[node]
                else:
                    rung, role = at.steps + (step + at.n_drug) * size_step, (node - end) % 2 + MIDDLE
                span = load(desk, rung + size_step - 1)
                y, now = faded(shape, desk, rung, y), now + span
                U, tol, rise = _visit(shape, desk, at, y, alpha, fold, fading, U, tol, rise, span, now, wanted, role)
                node += 1
            if some(load(desk, at.noted) > 0.0):
                _climb(shape, desk, at)
            store(desk, at.bar, load(desk, at.best))
        z = faded(shape, desk, row, z)
        stop += 1


@inlined
def _steady(desk, at, clocks, p):
    """Whose highest point of a window lies in its last 24 h: doses come again daily, and nothing wears off.

    Then the states a day later are nowhere lower: the system is linear and positive, and so is what enters it.
    """
    for i in range(LANES):
        desk[LANES * at.now + i] = clocks.rises[clocks.code[p + i]]
    plain = (load(desk, at.fold) == 1.0) & (load(desk, at.alpha) >= 0.0)
    return select(plain, load(desk, at.now), 0.0)


@inlined
def _take(desk, at, clocks, stop, kind, p, alike):
    """Put the doses of a stop on the desk; return how many drugs have one."""
    n_arrival, first = 0, clocks.first_amount[clocks.code[p]] + stop * at.n_drug
    for d in range(at.n_drug):
        if clocks.dosed[kind * at.n_drug + d] == 1:
            n_arrival += 1
            amount = splat(clocks.amount[first + d])
            if not alike:
                for i in range(LANES):
                    place = clocks.first_amount[clocks.code[p + i]] + stop * at.n_drug + d
                    desk[LANES * (at.given + d) + i] = clocks.amount[place]
                amount = load(desk, at.given + d)
            amount = amount * load(desk, at.factor + d)
            store(desk, at.given + d, amount)
            store(desk, at.came + d, load(desk, at.came + d) + amount)
        else:
            store(desk, at.given + d, splat(0.0))
    return n_arrival


@inlined
def _arriving(desk, at, kind, j):
    """Put on the desk what arrives as number `j`."""
    for d in range(at.n_drug):
        mine = load(desk, at.rank + kind * at.n_drug + d) == float(j)
        store(desk, at.now + d, select(mine, load(desk, at.given + d), 0.0))
    return True


@inlined
def _see(shape, desk, at, z, alpha, fold, fading):
    """U, Tol, and a number of the sign of the slope of U / Tol: U' Tol - U Tol'."""
    total, product, slope, bend = sight(shape, desk, at.weight, at.fall, z)
    left = z[at.n_mode]
    U, tol = greco(total, product, alpha), tolerance(left, fold)
    return U, tol, greco(slope, bend, alpha) * tol - U * tolerance_slope(left, fold, fading)


@inlined
def _visit(shape, desk, at, z, alpha, fold, fading, U, tol, rise, span, now, wanted, role):
    """See what is at a node, note a maximum since the last one, add to the time at each level."""
    next_U, next_tol, next_rise = _see(shape, desk, at, z, alpha, fold, fading)
    top = (rise > 0.0) & (next_rise <= 0.0) & (wanted > 0.0) & (span > 0.0)
    if some(top):
        _note(shape, desk, at, z, U, tol, rise, next_U, next_tol, next_rise, span, now, top)
    if at.n_level > 0 and role > 0:
        _spend(desk, at, load(desk, at.A) * next_U / next_tol, span, role)
    return next_U, next_tol, next_rise


@inlined
def _note(shape, desk, at, z, U, tol, rise, next_U, next_tol, next_rise, span, now, top):
    """Keep a bracket for the search, unless tangents show that what it holds is below the bar."""
    per, next_per = 1.0 / tol, 1.0 / next_tol
    value, slope = U * per, rise * per * per
    next_value, next_slope = next_U * next_per, next_rise * next_per * next_per
    most = larger(value + slope * span, next_value - next_slope * span)
    hot = top & (most > load(desk, at.bar))
    if some(hot):
        if some(hot & (load(desk, at.noted) > 0.0)):
            _climb(shape, desk, at)
        write(shape, desk, at.slot, hot, z)
        store(desk, at.span, select(hot, span, load(desk, at.span)))
        guess = span * (next_slope / (next_slope - slope))
        store(desk, at.back, select(hot, guess, load(desk, at.back)))
        store(desk, at.at_time, select(hot, now, load(desk, at.at_time)))
        store(desk, at.noted, select(hot, 1.0, load(desk, at.noted)))


@inlined
def _spend(desk, at, drive, span, role):
    """Add to the expected time at each level: Simpson's rule over pairs of steps, trapezoids between arrivals."""
    logarithm, has = log2(larger(drive, LEAST)), drive > LEAST
    for level in range(at.n_level):
        here = chance(logarithm, has, load(desk, at.threshold + level), load(desk, at.steepness + level))
        if role == MIDDLE:
            store(desk, at.middle + level, here)
        else:
            before, spent = load(desk, at.chance + level), load(desk, at.spent + level)
            if role == END:
                spent = spent + span * (1 / 3) * (before + 4.0 * load(desk, at.middle + level) + here)
            else:
                spent = spent + 0.5 * span * (before + here)
            store(desk, at.spent + level, spent)
            store(desk, at.chance + level, here)


@compiled
def _climb(shape, desk, at):
    """Search the brackets that have been noted: Newton's method on the slope, halving where it leaves the bracket."""
    alpha, fold, fading = load(desk, at.alpha), load(desk, at.fold), load(desk, at.rate + at.n_mode)
    open_ = load(desk, at.noted)
    z, back, low, high = read(shape, desk, at.slot), load(desk, at.back), splat(0.0), load(desk, at.span)
    for _ in range(40):
        for m in range(at.n_mode + 1):
            store(desk, at.back_step + m, exponential(load(desk, at.rate + m) * back))
        y = faded(shape, desk, at.back_step, z)
        U, tol, rise = _see(shape, desk, at, y, alpha, fold, fading)
        bend = greco(*curvature(shape, desk, at.weight, at.fall, at.bow, y), alpha) * tol
        bend = bend + U * fading * tolerance_slope(y[at.n_mode], fold, fading)
        low, high = select(rise <= 0.0, back, low), select(rise <= 0.0, high, back)
        onward = select(bend < 0.0, rise / (0.0 - bend), 2.0 * (high - low) + 1.0)
        per = 1.0 / tol
        there = (larger(onward, 0.0 - onward) <= NEAR) | (high - low <= 1e-9)
        done = there & (open_ > 0.0)
        value = per * (U + select(bend < 0.0, 0.5 * rise * per * onward, 0.0))
        best = load(desk, at.best)
        higher = done & (value > best)
        store(desk, at.best, select(higher, value, best))
        store(desk, at.when, select(higher, load(desk, at.at_time) - back + onward, load(desk, at.when)))
        open_ = select(done, 0.0, open_)
        if not some(open_ > 0.0):
            break
        further = back - onward
        inside = (further >= low) & (further <= high)
        back = select(open_ > 0.0, select(inside, further, 0.5 * (low + high)), back)
    store(desk, at.noted, splat(0.0))


@compiled
def _close(shape, desk, at, table, clocks, kept, size, w, z, now, p):
    """Take the last point of a window, and write what the window has come to."""
    U, tol, _ = _see(shape, desk, at, z, load(desk, at.alpha), load(desk, at.fold), load(desk, at.rate + at.n_mode))
    best = load(desk, at.best)
    higher = U / tol > best
    best = select(higher, U / tol, best)
    store(desk, at.best, best)
    store(desk, at.when, select(higher, now, load(desk, at.when)))
    store(desk, at.bar, best)
    _scatter(desk, at, clocks, kept.peak, w * size.n, load(desk, at.A) * best, p)
    _scatter(desk, at, clocks, kept.peak_time, w * size.n, load(desk, at.when), p)
    for d in range(at.n_drug):
        cleared = load(desk, at.came + d)
        area = cleared * weighed_all(shape, desk, at, table, d) - weighed(shape, desk, at.area, d, z)
        _scatter(desk, at, clocks, kept.auc, (d * size.n_window + w) * size.n, area, p)
    for level in range(at.n_level):
        spent = load(desk, at.spent + level)
        _scatter(desk, at, clocks, kept.time_at, (level * size.n_window + w) * size.n, spent, p)


@inlined
def weighed_all(shape, desk, at, table, d):
    """Area under the concentration of a unit dose: the sum of the weights."""
    total = splat(0.0)
    for m in range(table[3 * d], table[3 * d] + table[3 * d + 1] + 1):
        total = total + load(desk, at.area + m)
    return total


@inlined
def _scatter(desk, at, clocks, numbers, first, values, p):
    """Write a number of each patient."""
    store(desk, at.now, values)
    for i in range(LANES):
        numbers[first + clocks.order[p + i]] = desk[LANES * at.now + i]
