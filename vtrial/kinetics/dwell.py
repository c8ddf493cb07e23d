"""Expected time at each sedation level: the probability of the level, P = Phi((log drive - log r) / omega), summed."""

from __future__ import annotations

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.clock import END, MIDDLE, WIDE
from vtrial.kinetics.functions import log2, normal_probability
from vtrial.lanes import brief_of, larger, load, load_brief, select, smaller, splat_brief, store, store_brief, vec_of

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
    store_brief(desk, at.beyond, brief_of(begin))
    store_brief(desk, at.width, brief_of(end - begin))


@compiled
def dwell(desk, at, values, first, count, stride, length):
    """Add the time that drives spend at each level.

    `values` holds pairs of rows, A U and Tol, of `count` steps that end at steps `first` + 1 and later; every
    `stride`-th step counts, for `length` hours. `before` keeps the part of the last point, of which the trapezoid
    rule takes back a half at a window's end.
    """
    n_level = at.series - at.steepness
    for j in range(stride - 1 - first % stride, count, stride):
        loud = loudness(desk, at, brief_of(load(values, 2 * j)) / brief_of(load(values, 2 * j + 1)))
        for level in range(n_level):
            part = length * vec_of(chance(desk, at, loud, level))
            store(desk, at.spent + level, load(desk, at.spent + level) + part)
            store(desk, at.before + level, part)


@inlined
def spend(desk, at, before, here, span, role):
    """Add to the expected time at each level: Simpson's rule, and a trapezoid up to the last arrival."""
    A = brief_of(load(desk, at.A))
    now, middle = loudness(desk, at, A * _drive(here)), splat_brief(0.0)
    if role == WIDE:
        middle = loudness(desk, at, A * _midway(before, here, span))
    for level in range(at.n_level):
        ending = chance(desk, at, now, level)
        if role == MIDDLE:
            store_brief(desk, at.middle + level, ending)
        else:
            begun, lately = load_brief(desk, at.chance + level), load_brief(desk, at.lately + level)
            if role == WIDE:
                lately = lately + span * (1 / 6) * (begun + 4.0 * chance(desk, at, middle, level) + ending)
            elif role == END:
                lately = lately + span * (1 / 3) * (begun + 4.0 * load_brief(desk, at.middle + level) + ending)
            else:
                lately = lately + 0.5 * span * (begun + ending)
            store_brief(desk, at.lately + level, lately)
            store_brief(desk, at.chance + level, ending)


@inlined
def _drive(node):
    """U / Tol at a node, in single precision."""
    return brief_of(node[0]) * (1.0 / brief_of(node[1]))


@inlined
def _midway(before, here, span):
    """U / Tol in the middle of a step, by the cubic through values and slopes at its ends."""
    per, next_per = 1.0 / brief_of(before[1]), 1.0 / brief_of(here[1])
    slope, next_slope = brief_of(before[2]) * (per * per), brief_of(here[2]) * (next_per * next_per)
    ends = brief_of(before[0]) * per + brief_of(here[0]) * next_per
    return 0.5 * ends + 0.125 * span * (slope - next_slope)
