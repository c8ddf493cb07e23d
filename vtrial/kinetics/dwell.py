"""Expected time at each sedation level: the probability of the level, P = Phi((log drive - log r) / omega), summed."""

from __future__ import annotations

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.functions import log2, normal_probability
from vtrial.lanes import brief_of, larger, load, load_brief, select, store, vec_of

LEAST = 1e-30
"""Drives below it are none: no drug, no chance."""


@inlined
def loudness(desk, at, drive):
    """Binary logarithm of a drive in single precision; far below any threshold where there is none."""
    return select(drive > LEAST, log2(desk, at.series, larger(drive, LEAST)), -1e30)


@inlined
def chance(desk, at, loud, level):
    """Probability of a level, from the logarithm of the drive; on the desk are log2 r and log 2 / omega."""
    away = (loud - load_brief(desk, at.threshold + level)) * load_brief(desk, at.steepness + level)
    return normal_probability(desk, at.series, away)


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
