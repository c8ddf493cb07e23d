"""Expected time at each sedation level: the probability of the level, P = Phi((log drive - log r) / omega), summed."""

from __future__ import annotations

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.functions import log2, normal_probability
from vtrial.lanes import larger, load, select, store

LEAST = 1e-300
"""Drives below it are none: no drug, no chance."""


@inlined
def chance(logarithm, dosed, threshold, steepness):
    """Probability of a level from the binary logarithm of the drive; threshold log2 r, steepness log 2 / omega."""
    return select(dosed, normal_probability((logarithm - threshold) * steepness), 0.0)


@compiled
def dwell(desk, at, values, first, count, stride, length):
    """Add the time that drives spend at each level.

    `values` holds pairs of rows, A U and Tol, of `count` steps that end at steps `first` + 1 and later; every
    `stride`-th step counts, for `length` hours. `before` keeps the part of the last point, of which the trapezoid
    rule takes back a half at a window's end.
    """
    n_level = at.inflow - at.steepness
    for j in range(stride - 1 - first % stride, count, stride):
        drive = load(values, 2 * j) / load(values, 2 * j + 1)
        logarithm, dosed = log2(larger(drive, LEAST)), drive > LEAST
        for level in range(n_level):
            part = length * chance(logarithm, dosed, load(desk, at.threshold + level), load(desk, at.steepness + level))
            store(desk, at.spent + level, load(desk, at.spent + level) + part)
            store(desk, at.before + level, part)
