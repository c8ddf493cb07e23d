"""Expected time at each sedation level: the probability of the level, P = Phi((log drive - log r) / omega), summed."""

from __future__ import annotations

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.clock import END, MIDDLE, WIDE
from vtrial.kinetics.functions import log2, normal_probability
from vtrial.lanes import (
    brief_of,
    first_of,
    larger,
    load,
    load_brief,
    second_of,
    select,
    smaller,
    splat,
    splat_brief,
    store,
    store_brief,
    store_half,
)

POINTS = 64
"""Most points of a leg whose drives wait to be summed up: the levels' probabilities are worked out two at a time."""
LEAST = 1e-30
"""Drives below it are none: no drug, no chance."""


@inlined
def loudness(desk, at, drive):
    """Binary logarithm of a drive in single precision; far below any threshold where there is none."""
    return select(drive > LEAST, log2(desk, at.series, larger(drive, LEAST)), -1e30)


@inlined
def chance(desk, at, loud, level):
    """Probability of a level and of a sensitivity in the patient's share, from the logarithm of the drive.

    On the desk are log2 r and log 2 / omega. The most sensitive reach a level first: of the probability to be so
    sensitive, what lies beyond the share is taken off, and no more counts than the share is wide.
    """
    away = (loud - load_brief(desk, at.threshold + level)) * load_brief(desk, at.steepness + level)
    reached = normal_probability(desk, at.series, away) - load_brief(desk, at.beyond)
    return smaller(larger(reached, 0.0), load_brief(desk, at.width))


@inlined
def lay_share(desk, at, begin, end):
    """Put on the desk which part of the distribution of sensitivity patients stand for."""
    store_brief(desk, at.beyond, brief_of(begin, begin))
    store_brief(desk, at.width, brief_of(end - begin, end - begin))


@inlined
def lay_level(desk, at, level):
    """Put a level's threshold and steepness, which stand in their rows, there in single precision."""
    for row in (at.threshold + level, at.steepness + level):
        store_brief(desk, row, brief_of(load(desk, row), load(desk, row)))


@compiled
def dwell(desk, at, values, first, count, stride, length):
    """Add the time that drives spend at each level.

    `values` holds pairs of rows, A U and Tol, of `count` steps that end at steps `first` + 1 and later; every
    `stride`-th step counts, for `length` hours. `before` keeps the part of the last point, of which the trapezoid
    rule takes back a half at a window's end.
    """
    n_level = at.series - at.steepness
    begin = stride - 1 - first % stride
    for j in range(begin, count, 2 * stride):
        k = min(j + stride, begin + (count - 1 - begin) // stride * stride)  # twice the last one, if it is alone
        over = brief_of(load(values, 2 * j), load(values, 2 * k))
        under = brief_of(load(values, 2 * j + 1), load(values, 2 * k + 1))
        loud = loudness(desk, at, over / under)
        for level in range(n_level):
            # one after the other: who makes a pair depends on the neighbours, and no bit of a sum may
            both = chance(desk, at, loud, level)
            part = length * first_of(both)
            spent = load(desk, at.spent + level) + part
            if k > j:
                part = length * second_of(both)
                spent = spent + part
            store(desk, at.spent + level, spent)
            store(desk, at.before + level, part)


@inlined
def begin_points(desk, at):
    """Start with a point at which there is no drive."""
    for row in (at.value, at.slope, at.open, at.drives):
        store(desk, row, splat(0.0))


@inlined
def spend(desk, at, n, node, span, role):
    """Add points to the time at each level, of which there are `n`; return how many there are.

    By Simpson's rule, and by a trapezoid up to the last arrival. `open` is what a point weighs as the end of what lies
    before it: what follows comes on top.
    """
    before, slope = load(desk, at.value), load(desk, at.slope)
    A, per = load(desk, at.A), 1.0 / node[1]
    value, next_slope = A * node[0] * per, A * node[2] * per * per
    store(desk, at.value, value)
    store(desk, at.slope, next_slope)
    if role == MIDDLE:  # of two equal steps: it is weighed at their end
        store_half(desk, 2 * at.drives + n, value)
        return n + 1
    end, part = n, span * 0.5
    if role == WIDE:  # the middle is that of the cubic through values and slopes at the ends
        end, part = n + 1, span * (1 / 6)
        _weigh(desk, at, n - 1, load(desk, at.open) + part)
        store_half(desk, 2 * at.drives + n, 0.5 * (before + value) + 0.125 * span * (slope - next_slope))
        _weigh(desk, at, n, 4.0 * part)
    elif role == END:
        part = span * (1 / 3)
        _weigh(desk, at, n - 2, load(desk, at.open) + part)
        _weigh(desk, at, n - 1, 4.0 * part)
    else:
        _weigh(desk, at, n - 1, load(desk, at.open) + part)
    store_half(desk, 2 * at.drives + end, value)
    store(desk, at.open, part)
    return sum_up(desk, at, end + 1) if end + 4 > POINTS else end + 1


@inlined
def _weigh(desk, at, point, weight):
    """Give a point its weight, in h."""
    store_half(desk, 2 * at.weights + point, weight)


@compiled
def sum_up(desk, at, n):
    """Sum the `n` points of a leg up, and start anew with the last one; return how many there are."""
    _weigh(desk, at, n - 1, load(desk, at.open))
    store_half(desk, 2 * at.drives + n, splat(0.0))  # beside the last one, if it is alone
    _weigh(desk, at, n, splat(0.0))
    rows = (n + 1) // 2
    for j in range(rows):
        store_brief(desk, at.drives + j, loudness(desk, at, load_brief(desk, at.drives + j)))
    for level in range(at.n_level):
        spent = splat_brief(0.0)
        for j in range(rows):
            spent = spent + load_brief(desk, at.weights + j) * chance(desk, at, load_brief(desk, at.drives + j), level)
        store(desk, at.spent + level, load(desk, at.spent + level) + (first_of(spent) + second_of(spent)))
    store_half(desk, 2 * at.drives, load(desk, at.value))
    store(desk, at.open, splat(0.0))
    return 1
