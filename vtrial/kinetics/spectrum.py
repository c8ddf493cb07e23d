"""Modes of eight patients: rates, weights, and what is lost over the steps and legs of a clock.

The desk and its preparation for the loop of `vtrial.kinetics.modal`, where the sources are given.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.compiled import inlined
from vtrial.kinetics.clock import EIGHTH, LONGEST_LAG, POWERS, SPANS, Clocks
from vtrial.kinetics.dwell import POINTS, lay_level, lay_share
from vtrial.kinetics.functions import SERIES, exponential, lay_series
from vtrial.lanes import (
    LANES,
    larger,
    load,
    load_from,
    numbers_at,
    prefetch,
    replace,
    root,
    select,
    smaller,
    some,
    splat,
    store,
)

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]

HEAVIEST = 2.0**15
"""Largest weight, over that of a bolus into the plasma, that is trusted: near ties of rates make weights that cancel,
and as many digits are lost."""
SLOWEST, FASTEST = 1e-5, 600.0
"""Rates in 1/h that are followed: over the longest lag even the fastest grows to less than the largest number."""
BRISK, TOO_BRISK = 8 / 3, 10.0
"""Where two of ka, the fastest rate of disposition and ke0 are above the first, in 1/h, the effect site may peak before
the first node after a dose, at 3/8 h: each such step is combed. Above the second it may peak between the teeth."""
LONGEST_WAIT = 0.75, 3 / 8
"""Longest time in h to the first arrival of a leg, and from there to the next: as long as the first step."""
KNOWN = len(SPANS)
PARAMETERS = ("CL", "V", "ka", "tlag", "F", "ke0", "C50", "Q", "V2")
"""Individual parameters of a drug, in the order of `People.address`."""
CL, V, KA, TLAG, F, KE0, C50, Q, V2 = range(len(PARAMETERS))


class Desk(NamedTuple):
    """First row of each part of what the loop holds of eight patients (see `vtrial.kinetics.desk`).

    `rate`, `weight`, `fall`, `bow`, `area`: of each mode its rate (and that of tolerance), weights of what is seen, of
    its slope and curvature, and of the area under the concentration. `brisk`: infinite for who needs combing. `own`:
    parameters of a drug. `rank`, `last`: of each set of doses the place of each drug among the arrivals, and the time
    of the last. `ahead`: growth of the modes over a lag. `powers`: their factors over 1/8, 1/4, 1/2, ... h. `steps`: of
    each step the factors of the modes and its span in h; `legs`: of each kind of leg the factors of the modes, and of
    doses from their arrival on; `move`, `comb`: factors of one more step, of the search and between two nodes.

    `given`, `now`: amounts at a stop, and of one arrival. `here`, `walker`: states at a stop, and at a node; `tooth`,
    `earlier`: between two. `slot`, `span`, `back`, `at_time`, `roof`, `noted`: states behind a maximum, length of its
    bracket, guess of how far back it is, time, what it can at most be, and whether there is one. `best`, `when`, `bar`:
    highest value found, its time, and what a maximum must exceed. `threshold`, `steepness`, `beyond`, `width`, `spent`:
    time at each level. `series`: coefficients of `vtrial.kinetics.functions`. `seen`: U, Tol and the slope at a stop.
    `drives`, `weights`, `value`, `slope`, `open`: points in time that are to be summed up, and the last of them (see
    `vtrial.kinetics.dwell`).
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
    roof: int
    noted: int
    best: int
    when: int
    bar: int
    threshold: int
    steepness: int
    beyond: int
    width: int
    series: int
    seen: int
    spent: int
    value: int
    slope: int
    open: int
    drives: int
    weights: int
    rows: int


def lay_out(n_drug: int, n_mode: int, n_level: int, clocks: Clocks) -> Desk:
    """Give every part its rows: for the clock with most kinds of leg, sets of doses, and rests."""
    firsts = (clocks.first_kind, clocks.first_set, clocks.first_rest)
    n_kind, n_set, n_rest = (int(np.diff(first).max()) for first in firsts)
    sizes = (
        n_mode + 1, n_mode, n_mode, n_mode, n_mode, n_drug, 1, 1, 1, 1, len(PARAMETERS),
        n_set * n_drug, n_set, n_mode, POWERS * (n_mode + 1), (KNOWN + n_set * n_drug + n_rest) * (n_mode + 2),
        n_kind * (2 * n_mode + 1),
        n_mode + 1, n_mode + 1, n_drug, n_drug, *[n_mode + 1] * 4,
        n_mode + 1, 1, 1, 1, 1, 1, 1, 1, 1, n_level, n_level, 1, 1, len(SERIES), 3, n_level, 1, 1, 1,
        POINTS // 2, POINTS // 2,
    )  # fmt: skip
    return Desk(n_drug, n_mode, n_level, *np.cumsum([0, *sizes]).tolist())


class People(NamedTuple):
    """Addresses of arrays (n,), or of single numbers, of which `stride` is 0.

    `address` (drug, parameter) and `stride`; `sedation` (A, alpha, tolerance_fold, tolerance_t_half in h, and from and
    to which share of the distribution of sensitivity) and `sedation_stride`. `draw` (n,); `thresholds` (draw, level),
    log2 r; `steepness` (draw,), log 2 / omega.
    """

    address: Index
    stride: Index
    sedation: Index
    sedation_stride: Index
    draw: Index
    thresholds: Array
    steepness: Array


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
def sit_down(desk, at, table, people, clocks, neighbours, p):
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
    for part, row in enumerate((at.A, at.alpha, at.fold, at.rate + at.n_mode, at.beyond, at.width)):
        _gather(desk, row, people.sedation[part], people.sedation_stride[part], clocks, neighbours, p)
    lay_share(desk, at, load(desk, at.beyond), load(desk, at.width))
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
def lay_steps(desk, at, table, clocks, clock, hard):
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
        if clocks.parts[rest] > 1:  # the end of a single one is the state at the next stop
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
        hard = select(arrives - reached <= LONGEST_WAIT[min(j, 1)], hard, 1.0)
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
def settle(desk, at, people, clocks, p):
    """Thresholds of the levels, and what begins at zero."""
    lay_series(desk, at.series)
    for level in range(at.n_level):
        for i in range(LANES):
            draw = people.draw[clocks.order[p + i]]
            desk[LANES * (at.threshold + level) + i] = people.thresholds[draw * at.n_level + level]
            desk[LANES * (at.steepness + level) + i] = people.steepness[draw]
        lay_level(desk, at, level)
    for row in range(at.here, at.threshold):
        store(desk, row, splat(0.0))
    store(desk, at.here + at.n_mode, splat(1.0))
    for row in range(at.seen, at.value):
        store(desk, row, splat(0.0))
    store(desk, at.seen + 1, splat(1.0))
