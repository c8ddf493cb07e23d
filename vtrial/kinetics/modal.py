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
from vtrial.kinetics.clock import BETWEEN, EARLY, EIGHTH, END, LONGEST_LAG, MIDDLE, POWERS, SPANS, Clocks
from vtrial.kinetics.dwell import LEAST, chance
from vtrial.kinetics.functions import exponential, log2
from vtrial.kinetics.modes import advance, copy, curvature, give, sight, walk
from vtrial.kinetics.system import System
from vtrial.lanes import (
    LANES,
    larger,
    load,
    load_from,
    numbers_at,
    pointer,
    prefetch,
    replace,
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

HEAVIEST = 2.0**20
"""Largest weight, over that of a bolus into the plasma, that is trusted: near ties of rates make weights that cancel,
and the digits that are lost, 2e-10 at most, are the logarithm of it."""
SLOWEST, FASTEST = 1e-5, 200.0
"""Rates in 1/h that are followed."""
BRISK, TOO_BRISK = 8 / 3, 10.0
"""Where two of ka, the fastest rate of disposition and ke0 are above the first, in 1/h, the effect site may peak before
the first node after a dose, at 3/8 h: each such step is combed. Above the second it may peak between the teeth."""
LONGEST_WAIT = 0.75
"""Longest time in h to the first arrival of a leg, and between two."""
NEAR = 2e-4
"""Newton's method has arrived when its step in h is so small: what is left is of its third power."""
HUMP = 1.25
"""By how much a drive that falls, soon after a dose and at the next node, can at most have risen in between."""
TEETH = 6
"""Parts into which such a step is divided."""
LITTLE = 1 / 64
"""Rate times hours up to which five terms give the exponential to 2e-14."""
KNOWN = len(SPANS)
PARAMETERS = ("CL", "V", "ka", "tlag", "F", "ke0", "C50", "Q", "V2")
"""Individual parameters of a drug, in the order of `People.address`."""
CL, V, KA, TLAG, F, KE0, C50, Q, V2 = range(len(PARAMETERS))


class Desk(NamedTuple):
    """First row of each part of what the loop holds of eight patients (see `vtrial.kinetics.desk`).

    `rate`, `weight`, `fall`, `bow`, `area`: of each mode its rate (and that of tolerance), weights of what is seen, of
    its slope and curvature, and of the area under the concentration. `brisk`: infinite for who needs combing. `own`:
    parameters of a drug. `rank`, `last`: of each set of doses the place of each drug among the arrivals, and the time of
    the last. `ahead`: growth of the modes over a lag. `powers`: their factors over 1/8, 1/4, 1/2, ... h. `steps`: of each
    step the factors of the modes and its span in h; `legs`: of each kind of leg the factors of the modes, and of doses from their
    arrival on; `move`, `comb`: factors of one more step, of the search and between two nodes. `here`,
    `walker`: states at a stop, and at a node; `tooth`, `earlier`: between two.
    `given`, `now`: amounts at a stop, and of one arrival. `slot`, `span`, `back`, `at_time`, `noted`: states
    behind a maximum, length of its bracket, guess of how far back it is, time, and whether there is one. `best`, `when`,
    `bar`: highest value, its time, and what a maximum of this leg must exceed.
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
    A: int
    alpha: int
    fold: int
    brisk: int
    own: int
    rank: int
    last: int
    ahead: int
    powers: int
    steps: int
    legs: int
    move: int
    comb: int
    given: int
    now: int
    here: int
    walker: int
    tooth: int
    earlier: int
    slot: int
    span: int
    back: int
    at_time: int
    noted: int
    best: int
    when: int
    bar: int
    threshold: int
    steepness: int
    chance: int
    middle: int
    spent: int
    rows: int


def lay_out(n_drug: int, n_mode: int, n_level: int, clocks: Clocks) -> Desk:
    """Give every part its rows: for the clock with most kinds of leg, sets of doses, and rests."""
    firsts = (clocks.first_kind, clocks.first_set, clocks.first_rest)
    n_kind, n_set, n_rest = (int(np.diff(first).max()) for first in firsts)
    sizes = (
        n_mode + 1, n_mode, n_mode, n_mode, n_mode, n_drug, 1, 1, 1, 1, len(PARAMETERS),
        n_set * n_drug, n_set, n_mode, POWERS * (n_mode + 1), (KNOWN + n_set * n_drug + n_rest) * (n_mode + 2), n_kind * (2 * n_mode + 1),
        n_mode + 1, n_mode + 1, n_drug, n_drug, *[n_mode + 1] * 4,
        n_mode + 1, 1, 1, 1, 1, 1, 1, 1, *[n_level] * 5,
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
            pointer(clocks.first_kind), pointer(clocks.first_set), pointer(clocks.first_rest), pointer(clocks.time),
            pointer(clocks.kind), pointer(clocks.window), pointer(clocks.quiet), pointer(clocks.gap),
            pointer(clocks.eighths), pointer(clocks.group), pointer(clocks.rest),
            pointer(clocks.first_node), pointer(clocks.step), pointer(clocks.role), pointer(clocks.dosed),
            pointer(clocks.whose), pointer(clocks.left), pointer(clocks.parts), pointer(clocks.first_amount),
            pointer(clocks.amount), pointer(clocks.so_far), pointer(clocks.rises), pointer(clocks.ordered),
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
        hard = _lay_steps(desk, at, table, clocks, clocks.clock[v], hard)
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
        prefetch(numbers, clocks.order[p] + 2 * LANES)
    else:
        for i in range(LANES):
            desk[LANES * row + i] = numbers[clocks.order[p + i] * stride]


@inlined
def _sit_down(desk, at, table, people, clocks, neighbours, p):
    """Work out rates and weights; return who is hard, as rows 0 or 1."""
    hard = splat(0.0)
    store(desk, at.brisk, splat(0.0))
    for d in range(at.n_drug):
        first, compartments, effect = table[3 * d], table[3 * d + 1], table[3 * d + 2] == 1
        for parameter in range(C50 + 1 if compartments == 1 else V2 + 1):
            where = len(PARAMETERS) * d + parameter
            _gather(desk, at.own + parameter, people.address[where], people.stride[where], clocks, neighbours, p)
        store(desk, at.lag + d, load(desk, at.own + TLAG))
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
    k10, scale = load(desk, at.own + CL) * per_V, load(desk, at.own + F) * per_V
    store(desk, at.rate + first, ka)
    if compartments == 1:
        store(desk, at.rate + first + 1, k10)
        weight = ka / (ka - k10) * scale
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
    fast = select(ahead, wide, narrow) / apart * ka / (ka - alpha) * scale
    slow = select(ahead, narrow, wide) / apart * ka / (ka - beta) * scale
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
    past, bolus = last, load(desk, at.own + F) / load(desk, at.own + V)
    if effect:
        ka, fastest, ke0 = load(desk, at.rate + first), load(desk, at.rate + first + 1), load(desk, at.own + KE0)
        second = larger(larger(smaller(ka, fastest), smaller(ka, ke0)), smaller(fastest, ke0))
        hard = select(second > TOO_BRISK, 1.0, hard)
        replace(desk, at.brisk, second > BRISK, splat(np.inf))
        per_C50, rest = 1.0 / load(desk, at.own + C50), splat(0.0)
        bolus = bolus * per_C50
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
        trusted = larger(seen, 0.0 - seen) <= HEAVIEST * bolus
        # what is not a number is none of these
        hard = select((rate >= SLOWEST) & (rate <= FASTEST) & trusted, hard, 1.0)
    return hard


@inlined
def _lay_steps(desk, at, table, clocks, clock, hard):
    """Factors of all steps and legs of a clock; return who is hard, those with lags too long included."""
    size, row = at.n_mode + 2, at.n_mode + 1
    for m in range(row):
        factor = exponential((0.0 - EIGHTH) * load(desk, at.rate + m))
        for power in range(POWERS):
            store(desk, at.powers + power * row + m, factor)
            factor = factor * factor
        eighth, quarter = load(desk, at.powers + m), load(desk, at.powers + row + m)
        early = eighth * quarter
        store(desk, at.steps + m, early)
        store(desk, at.steps + size + m, early * early)
        store(desk, at.steps + 2 * size + m, load(desk, at.powers + 3 * row + m))
        store(desk, at.steps + 3 * size + m, load(desk, at.powers + 4 * row + m))
    for step in range(KNOWN):
        store(desk, at.steps + step * size + size - 1, splat(SPANS[step]))
    first_set, step = clocks.first_set[clock], KNOWN
    for group in range(first_set, clocks.first_set[clock + 1]):
        hard = _lay_waits(desk, at, clocks, group, group - first_set, step, hard)
        step += at.n_drug
    for rest in range(clocks.first_rest[clock], clocks.first_rest[clock + 1]):
        last = load(desk, at.last + clocks.whose[rest] - first_set)
        hard = select(last <= clocks.left[rest], hard, 1.0)
        if clocks.parts[rest] > 0:
            _lay_step(desk, at, step, (clocks.left[rest] - last) * (1.0 / clocks.parts[rest]))
        else:
            store(desk, at.steps + step * size + size - 1, clocks.left[rest] - last)
        step += 1
    _lay_legs(desk, at, table, clocks, clock)
    return hard


@inlined
def _lay_waits(desk, at, clocks, group, mine, step, hard):
    """Steps to the first arrival of a set of doses, and between its arrivals; return who is hard."""
    _rank(desk, at, clocks, group, mine)
    reached, n_arrival = splat(0.0), 0
    for d in range(at.n_drug):
        n_arrival += clocks.dosed[group * at.n_drug + d]
    for j in range(n_arrival):
        arrives = splat(0.0)
        for d in range(at.n_drug):
            rank = load(desk, at.rank + mine * at.n_drug + d)
            arrives = select(rank == float(j), load(desk, at.lag + d), arrives)
        hard = select(arrives - reached <= LONGEST_WAIT, hard, 1.0)
        _lay_step(desk, at, step + j, arrives - reached)
        reached = arrives
    store(desk, at.last + mine, reached)
    return select((reached <= LONGEST_LAG) & (reached >= 0.0), hard, 1.0)


@inlined
def _lay_legs(desk, at, table, clocks, clock):
    """Factors over whole legs, of the modes, and of the doses from their arrival on."""
    first_kind = clocks.first_kind[clock]
    for d in range(at.n_drug):
        lag = load(desk, at.lag + d)
        for m in range(table[3 * d], _past(table, d)):
            if some(lag > 0.0):  # rates and lags are bounded: who exceeds them is hard
                store(desk, at.ahead + m, exponential(smaller(load(desk, at.rate + m) * lag, 700.0)))
            else:
                store(desk, at.ahead + m, splat(1.0))
    for kind in range(first_kind, clocks.first_kind[clock + 1]):
        row, eighths = at.legs + (kind - first_kind) * (2 * at.n_mode + 1), clocks.eighths[kind]
        for m in range(at.n_mode + 1):
            if eighths == 0:
                store(desk, row + m, exponential((0.0 - clocks.gap[kind]) * load(desk, at.rate + m)))
            else:
                store(desk, row + m, splat(1.0))
        for power in range(POWERS):
            if (eighths >> power) & 1:
                for m in range(at.n_mode + 1):
                    factor = load(desk, at.powers + power * (at.n_mode + 1) + m)
                    store(desk, row + m, load(desk, row + m) * factor)
        for m in range(at.n_mode):
            store(desk, row + at.n_mode + 1 + m, load(desk, row + m) * load(desk, at.ahead + m))


@inlined
def _past(table, d):
    """One past the last mode of a drug."""
    return table[3 * d] + table[3 * d + 1] + 1 + table[3 * d + 2]


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
def _rank(desk, at, clocks, group, mine):
    """Place of each drug among the arrivals of a set, -1 for those not given."""
    for d in range(at.n_drug):
        place = splat(-1.0)
        if clocks.dosed[group * at.n_drug + d] == 1:
            place, lag = splat(0.0), load(desk, at.lag + d)
            for other in range(at.n_drug):
                if other != d and clocks.dosed[group * at.n_drug + other] == 1:
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
    for row in range(at.here, at.threshold):
        store(desk, row, splat(0.0))
    store(desk, at.here + at.n_mode, splat(1.0))
    for row in range(at.chance, at.rows):
        store(desk, row, splat(0.0))


@inlined
def _run(shape, desk, at, table, clocks, kept, size, v, alike):
    """The patients of a vector, from the first dose to the end of the last window."""
    clock, p = clocks.clock[v], LANES * v
    first, last = clocks.first_stop[clock], clocks.first_stop[clock + 1] - 1
    first_kind, steady, stop = clocks.first_kind[clock], _steady(desk, at, clocks, p), first
    while True:
        if clocks.window[stop] >= 0:
            _take(desk, at, clocks, clocks.so_far, stop - first, p, alike)
            _close(shape, desk, at, table, clocks, kept, size, clocks.window[stop], clocks.time[stop], p)
        if stop == last:
            break
        kind = clocks.kind[stop]
        wanted = splat(1.0) if clocks.quiet[stop] == 0 else 1.0 - steady
        look = at.n_level > 0 or some(wanted > 0.0)
        if look:
            copy(shape, desk, at.here, at.walker, wanted >= 0.0)
        _take(desk, at, clocks, clocks.amount, stop - first, p, alike)
        leg = at.legs + (kind - first_kind) * (2 * at.n_mode + 1)
        advance(shape, desk, at.here, leg, at.given, leg + at.n_mode + 1)
        if look:
            _look(shape, desk, at, clocks, clock, kind, splat(clocks.time[stop]), wanted)
        stop += 1


@inlined
def _look(shape, desk, at, clocks, clock, kind, now, wanted):
    """Go through the nodes of a leg, and search the maxima between them; the walker starts from its first state."""
    size, group, rest = at.n_mode + 2, clocks.group[kind], clocks.rest[kind]
    mine, n_set = group - clocks.first_set[clock], clocks.first_set[clock + 1] - clocks.first_set[clock]
    n_arrival = 0
    for d in range(at.n_drug):
        n_arrival += clocks.dosed[group * at.n_drug + d]
    before = _see(desk, at, at.walker, sight(shape, desk, at.walker, at.weight, at.fall))
    for j in range(n_arrival):
        rung = at.steps + (KNOWN + mine * at.n_drug + j) * size
        span = load(desk, rung + size - 1)
        if some(span > 0.0):
            now = now + span
            seen = _see(desk, at, at.walker, walk(shape, desk, at.walker, rung, at.weight, at.fall))
            _visit(shape, desk, at, at.walker, before, seen, span, now, wanted, BETWEEN, True)
        _arriving(desk, at, mine, j)
        give(shape, desk, at.walker, at.now)
        before = _see(desk, at, at.walker, sight(shape, desk, at.walker, at.weight, at.fall))
    own = at.steps + (KNOWN + n_set * at.n_drug + rest - clocks.first_rest[clock]) * size
    node, past = clocks.first_node[kind], clocks.first_node[kind + 1]
    end = past + max(1, clocks.parts[rest]) - 1
    while node < end:
        rung, role = own, END if (end - node) % 2 == 0 else MIDDLE
        if node < past:
            rung, role = at.steps + clocks.step[node] * size, clocks.role[node]
        span = load(desk, rung + size - 1)
        now = now + span
        seen = _see(desk, at, at.walker, walk(shape, desk, at.walker, rung, at.weight, at.fall))
        early = node < clocks.first_node[kind] + EARLY or past == clocks.first_node[kind]
        _visit(shape, desk, at, at.walker, before, seen, span, now, wanted, role, early)
        before = seen
        node += 1
    span = load(desk, own + size - 1)
    seen = _see(desk, at, at.here, sight(shape, desk, at.here, at.weight, at.fall))
    _visit(shape, desk, at, at.here, before, seen, span, now + span, wanted, END, False)
    if some(load(desk, at.noted) > 0.0):
        _climb(shape, desk, at)
    store(desk, at.bar, load(desk, at.best))


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
def _take(desk, at, clocks, numbers, stop, p, alike):
    """Put amounts of a stop, or those so far, on the desk."""
    for d in range(at.n_drug):
        if alike:
            place = clocks.first_amount[clocks.code[p]] + stop * at.n_drug + d
            store(desk, at.given + d, splat(numbers[place]))
        else:
            for i in range(LANES):
                place = clocks.first_amount[clocks.code[p + i]] + stop * at.n_drug + d
                desk[LANES * (at.given + d) + i] = numbers[place]


@inlined
def _arriving(desk, at, group, j):
    """Put on the desk what arrives as number `j`."""
    for d in range(at.n_drug):
        mine = load(desk, at.rank + group * at.n_drug + d) == float(j)
        store(desk, at.now + d, select(mine, load(desk, at.given + d), 0.0))


@inlined
def _see(desk, at, z, sums):
    """U, Tol, and a number of the sign of the slope of U / Tol: U' Tol - U Tol'."""
    (total, product, slope, bend), alpha, fold = sums, load(desk, at.alpha), load(desk, at.fold)
    left = load(desk, z + at.n_mode)
    U, tol = greco(total, product, alpha), tolerance(left, fold)
    fading = tolerance_slope(left, fold, load(desk, at.rate + at.n_mode))
    return U, tol, greco(slope, bend, alpha) * tol - U * fading


@inlined
def _visit(shape, desk, at, z, before, here, span, now, wanted, role, early):
    """Note a maximum since the last node, add to the time at each level. `early`: soon after an arrival."""
    falls = here[2] <= 0.0
    top = (before[2] > 0.0) & falls
    if some(top):
        _note(shape, desk, at, z, before, here, span, now, top & (wanted > 0.0))
    if early:
        brisk = load(desk, at.brisk)
        high = HUMP * before[0] + brisk > load(desk, at.bar) * before[1]
        hump = (before[2] <= 0.0) & falls & high & (wanted > 0.0)
        if some(hump):
            # a slope that has passed its own maximum falls
            hump = hump & (_bend(shape, desk, at, z, here[0], here[1]) < brisk)
            if some(hump):
                _comb(shape, desk, at, z, here, span, now, hump)
    if at.n_level > 0 and role > 0:
        _spend(desk, at, load(desk, at.A) * here[0] / here[1], span, role)


@inlined
def _note(shape, desk, at, z, before, here, span, now, top):
    """Keep a bracket for the search, unless tangents show that what it holds is below the bar."""
    (U, tol, rise), (next_U, next_tol, next_rise) = before, here
    per, next_per = 1.0 / tol, 1.0 / next_tol
    value, slope = U * per, rise * per * per
    next_value, next_slope = next_U * next_per, next_rise * next_per * next_per
    most = larger(value + slope * span, next_value - next_slope * span)
    hot = top & (most > load(desk, at.bar))
    if some(hot):
        if some(hot & (load(desk, at.noted) > 0.0)):
            _climb(shape, desk, at)
        # the top of the cubic through values and slopes, as hours back from the node
        both = slope + next_slope - 3.0 * (next_value - value) / span
        lean = root(larger(both * both - slope * next_slope, 0.0))
        guess = span * (next_slope - lean - both) / (next_slope - slope - 2.0 * lean)
        copy(shape, desk, z, at.slot, hot)
        replace(desk, at.span, hot, span)
        replace(desk, at.back, hot, smaller(larger(guess, 0.0), span))
        replace(desk, at.at_time, hot, now)
        replace(desk, at.noted, hot, 1.0)


@compiled
def _comb(shape, desk, at, z, here, span, now, where):
    """Look for a maximum between two nodes at both of which the drive falls, tooth by tooth, from the later one back.

    A dose may lift a drive that falls, and it may fall again before the next node.
    """
    copy(shape, desk, z, at.tooth, where)
    span = span * (1 / TEETH)
    for m in range(at.n_mode + 1):
        store(desk, at.comb + m, exponential(load(desk, at.rate + m) * span))
    for _ in range(TEETH - 1):
        copy(shape, desk, at.tooth, at.earlier, where)
        before = _see(desk, at, at.earlier, walk(shape, desk, at.earlier, at.comb, at.weight, at.fall))
        top = where & (before[2] > 0.0) & (here[2] <= 0.0)
        if some(top):
            _note(shape, desk, at, at.tooth, before, here, span, now, top)
        copy(shape, desk, at.earlier, at.tooth, where)
        here, now = before, now - span


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
    open_, step = load(desk, at.noted), load(desk, at.back)
    back, low, high = splat(0.0), splat(0.0), load(desk, at.span)
    for _ in range(60):
        back = back + step
        _lay_move(desk, at, step)
        sums = walk(shape, desk, at.slot, at.move, at.weight, at.fall)
        U, tol, rise = _see(desk, at, at.slot, sums)
        bend, per = _bend(shape, desk, at, at.slot, U, tol), 1.0 / tol
        # hours to the top of the parabola; very many where the curve is hollow, so that the bracket is halved
        onward = select(bend < 0.0, rise / (0.0 - bend), 1e9)
        low, high = select(rise <= 0.0, back, low), select(rise <= 0.0, high, back)
        near = larger(onward, 0.0 - onward) <= NEAR
        done = (open_ > 0.0) & (near | (high - low <= NEAR * NEAR))
        value, best = per * (U + select(near, 0.5 * rise * per * onward, 0.0)), load(desk, at.best)
        higher = done & (value > best)
        replace(desk, at.best, higher, value)
        replace(desk, at.when, higher, load(desk, at.at_time) - back + onward)
        open_ = select(done, 0.0, open_)
        if not some(open_ > 0.0):
            break
        further = back - onward
        inside = (further >= low) & (further <= high)
        step = select(open_ > 0.0, select(inside, 0.0 - onward, 0.5 * (low + high) - back), 0.0)
    store(desk, at.noted, splat(0.0))


@inlined
def _bend(shape, desk, at, z, U, tol):
    """Slope of the number that has the sign of the slope, U'' Tol - U Tol''."""
    bends, fading = curvature(shape, desk, z, at.weight, at.fall, at.bow), load(desk, at.rate + at.n_mode)
    slope = tolerance_slope(load(desk, z + at.n_mode), load(desk, at.fold), fading)
    return greco(*bends, load(desk, at.alpha)) * tol + U * fading * slope


@inlined
def _lay_move(desk, at, back):
    """Factors of the modes some hours earlier; by a short series for who moves a little."""
    far = splat(0.0)
    for m in range(at.n_mode + 1):
        x = load(desk, at.rate + m) * back
        far = select((x > LITTLE) | (x < -LITTLE), 1.0, far)
        store(desk, at.move + m, 1.0 + x * (1.0 + x * (1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120))))))
    if some(far > 0.0):
        for m in range(at.n_mode + 1):
            replace(desk, at.move + m, far > 0.0, exponential(load(desk, at.rate + m) * back))


@compiled
def _close(shape, desk, at, table, clocks, kept, size, w, time, p):
    """Take the last point of a window, and write what the window has come to."""
    U, tol, _ = _see(desk, at, at.here, sight(shape, desk, at.here, at.weight, at.fall))
    best = load(desk, at.best)
    higher = U / tol > best
    best = select(higher, U / tol, best)
    store(desk, at.best, best)
    replace(desk, at.when, higher, time)
    store(desk, at.bar, best)
    _scatter(desk, at, clocks, kept.peak, w * size.n, load(desk, at.A) * best, p)
    _scatter(desk, at, clocks, kept.peak_time, w * size.n, load(desk, at.when), p)
    for d in range(at.n_drug):
        area = splat(0.0)
        for m in range(table[3 * d], table[3 * d] + table[3 * d + 1] + 1):
            area = area + load(desk, at.area + m) * (load(desk, at.given + d) - load(desk, at.here + m))
        _scatter(desk, at, clocks, kept.auc, (d * size.n_window + w) * size.n, area, p)
    for level in range(at.n_level):
        spent = load(desk, at.spent + level)
        _scatter(desk, at, clocks, kept.time_at, (level * size.n_window + w) * size.n, spent, p)


@inlined
def _scatter(desk, at, clocks, numbers, first, values, p):
    """Write a number of each patient."""
    store(desk, at.now, values)
    for i in range(LANES):
        numbers[first + clocks.order[p + i]] = desk[LANES * at.now + i]
