"""Expected time at each sedation level: the probability of the level, summed over the steps.

P(level or deeper) = Phi((log drive - log r) / omega) is evaluated with polynomials on vectors: the logarithm by its
series in (m - 1) / (m + 1), the normal distribution by Mills' ratio as a polynomial in 1 / (1 + t / 3), interpolated
at Chebyshev nodes. Relative error below 1e-7, in the tail as well.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import erfcx

from vtrial.compiled import compiled, inlined
from vtrial.lanes import floor, larger, load, mantissa, octave, power_of_two, select, smaller, splat, store

LOG2_E = 1.4426950408889634
_FARTHEST = 37.0  # SDs: beyond, the normal distribution underflows
_BEND = 1 / 3


def _mills(s):
    """Phi(-t) / exp(-t^2 / 2) at t = (1 / s - 1) / bend."""
    return 0.5 * erfcx((1 / s - 1) / _BEND / np.sqrt(2))


def _interpolated(degree: int) -> tuple[float, ...]:
    """Coefficients, highest first, in u from -1 to 1, of `_mills` between its smallest s and 1."""
    low = 1 / (1 + _BEND * _FARTHEST)
    series = chebyshev.chebinterpolate(lambda u: _mills(0.5 * (1 + low) + 0.5 * (1 - low) * u), degree)
    return tuple(chebyshev.cheb2poly(series)[::-1].tolist())


MILLS = _interpolated(11)
_LOW = 1 / (1 + _BEND * _FARTHEST)
_SCALE, _SHIFT = 2 / (1 - _LOW), -(1 + _LOW) / (1 - _LOW)


@inlined
def log2(x):
    """Binary logarithm of positive, normal numbers; error below 2e-9."""
    e, m = octave(x), mantissa(x)
    above = m > 1.4142135623730951
    m, e = select(above, 0.5 * m, m), select(above, e + 1.0, e)
    z = (m - 1.0) / (m + 1.0)
    y = z * z
    series = ((y * (1 / 9) + 1 / 7) * y + 1 / 5) * y + 1 / 3
    return e + (2 * LOG2_E) * (z + z * (y * series))


@inlined
def exp2(x):
    """Power of two, for exponents from -1022 to 0; relative error below 2e-9."""
    whole = floor(x + 0.5)
    f = (x - whole) * 0.6931471805599453
    series = ((((f * (1 / 5040) + 1 / 720) * f + 1 / 120) * f + 1 / 24) * f + 1 / 6) * f + 0.5
    return power_of_two(whole) * (1.0 + f + f * f * series)


@inlined
def normal_probability(x):
    """Standard normal distribution function."""
    t = smaller(larger(x, 0.0 - x), _FARTHEST)
    u = _SCALE / (1.0 + _BEND * t) + _SHIFT
    ratio = splat(MILLS[0])
    for coefficient in MILLS[1:]:
        ratio = ratio * u + coefficient
    tail = ratio * exp2(t * t * (-0.5 * LOG2_E))
    return select(x < 0.0, tail, 1.0 - tail)


@compiled
def dwell(desk, at, values, count, h):
    """Add the time that the first `count` drives, pairs of rows A U and Tol, spend at each level.

    `before` holds the part of the last point, of which the trapezoid rule takes back a half at a window's end.
    """
    for level in range(at.inflow - at.steepness):
        threshold, steepness = load(desk, at.threshold + level), load(desk, at.steepness + level)
        spent, part = load(desk, at.spent + level), splat(0.0)
        for j in range(count):
            drive = load(values, 2 * j) / load(values, 2 * j + 1)
            part = h * normal_probability((log2(drive) - threshold) * steepness)
            part = select(drive > 0.0, part, 0.0)  # no drug, no chance
            spent = spent + part
        store(desk, at.spent + level, spent)
        store(desk, at.before + level, part)
