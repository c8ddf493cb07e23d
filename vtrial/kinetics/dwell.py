"""Expected time at each sedation level: the probability of the level, summed over the steps.

P(level or deeper) = Phi((log drive - log r) / omega) is evaluated with polynomials on vectors: the logarithm, and
that of Mills' ratio at t as a function of log(1 + t / 3), interpolated at Chebyshev nodes. Relative error below 1e-5
to 8 SDs, below 4e-5 beyond. There is no division: on vectors it takes as long as thirty products.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import erfcx

from vtrial.compiled import compiled, inlined
from vtrial.lanes import floor, larger, load, mantissa, octave, power_of_two, select, smaller, store

LOG2_E = 1.4426950408889634
_FARTHEST = 37.0  # SDs: beyond, the normal distribution underflows
_BEND = 1 / 3


def _interpolated(function: Callable, low: float, high: float, degree: int) -> tuple[float, ...]:
    """Coefficients, in u from -1 to 1, of the polynomial through a function at Chebyshev nodes."""
    series = chebyshev.chebinterpolate(lambda u: function(0.5 * (low + high) + 0.5 * (high - low) * u), degree)
    return tuple(chebyshev.cheb2poly(series).tolist())


def _log2_mills(v):
    """Binary logarithm of Phi(-t) / exp(-t^2 / 2) at t = (2^v - 1) / bend."""
    return np.log2(0.5 * erfcx((np.exp2(v) - 1) / _BEND / np.sqrt(2)))


def _slope_of_log2(m):
    """Binary logarithm of m over m - 1."""
    return np.log1p(m - 1) / (m - 1) * LOG2_E


_HIGHEST = float(np.log2(1 + _BEND * _FARTHEST))
MILLS = _interpolated(_log2_mills, 0.0, _HIGHEST, 11)
LOG2 = _interpolated(_slope_of_log2, 0.5**0.5, 2**0.5, 7)
_LOG2_SCALE, _LOG2_SHIFT = 2 / (2**0.5 - 0.5**0.5), -(2**0.5 + 0.5**0.5) / (2**0.5 - 0.5**0.5)


@inlined
def _cubic(c, first, u, u2):
    return (c[first + 3] * u + c[first + 2]) * u2 + (c[first + 1] * u + c[first])


@inlined
def _degree_7(c, u):
    """Polynomial by Estrin's scheme: the terms do not wait for each other, as they do in Horner's."""
    u2 = u * u
    return _cubic(c, 4, u, u2) * (u2 * u2) + _cubic(c, 0, u, u2)


@inlined
def _degree_11(c, u):
    """The same, of degree 11."""
    u2 = u * u
    u4 = u2 * u2
    return (_cubic(c, 8, u, u2) * u4 + _cubic(c, 4, u, u2)) * u4 + _cubic(c, 0, u, u2)


@inlined
def log2(x):
    """Binary logarithm of positive, normal numbers; error below 1e-6."""
    e, m = octave(x), mantissa(x)
    above = m > 1.4142135623730951
    m, e = select(above, 0.5 * m, m), select(above, e + 1.0, e)
    return e + (m - 1.0) * _degree_7(LOG2, _LOG2_SCALE * m + _LOG2_SHIFT)


@inlined
def exp2(x):
    """Power of two, for exponents from -1022 to 0; relative error below 1e-7."""
    whole = floor(x + 0.5)
    f = (x - whole) * 0.6931471805599453
    f2 = f * f
    series = (f * (1 / 6) + 0.5) + f2 * ((f * (1 / 120) + 1 / 24) + f2 * (1 / 720))
    return power_of_two(whole) * (1.0 + (f + f2 * series))


@inlined
def normal_probability(x):
    """Standard normal distribution function."""
    t = smaller(larger(x, 0.0 - x), _FARTHEST)
    mills = _degree_11(MILLS, (2 / _HIGHEST) * log2(1.0 + _BEND * t) - 1.0)
    tail = exp2(mills - (0.5 * LOG2_E) * t * t)
    return select(x < 0.0, tail, 1.0 - tail)


@compiled
def dwell(desk, at, values, first, count, stride, length):
    """Add the time that drives spend at each level.

    `values` holds pairs of rows, A U and Tol, of `count` steps that end at steps `first` + 1 and later; every
    `stride`-th step counts, for `length` hours. `before` keeps the part of the last point, of which the trapezoid
    rule takes back a half at a window's end.
    """
    n_level = at.inflow - at.steepness
    for j in range(stride - 1 - first % stride, count, stride):
        drive = load(values, 2 * j)
        logarithm, dosed = log2(drive) - log2(load(values, 2 * j + 1)), drive > 0.0
        for level in range(n_level):
            x = (logarithm - load(desk, at.threshold + level)) * load(desk, at.steepness + level)
            part = select(dosed, length * normal_probability(x), 0.0)  # no drug, no chance
            store(desk, at.spent + level, load(desk, at.spent + level) + part)
            store(desk, at.before + level, part)
