"""Elementary functions on vectors, as polynomials: the loops call no library.

Probabilities are in single precision, which is twice as fast: Simpson's rule errs by far more.

The logarithm of the normal distribution function is a polynomial in the deviation, interpolated at Chebyshev nodes;
beyond 8 SDs its value, 6e-16, counts as zero. There is no division: on vectors it takes as long as thirty products.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import log_ndtr

from vtrial.compiled import inlined
from vtrial.lanes import floor, larger, mantissa, octave, power_of_two, select, smaller

LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10  # the first has 32 bits: k times it is exact
FARTHEST = 8.0
"""SDs below the mean at which the normal distribution function counts as zero."""


def _interpolated(function: Callable, low: float, high: float, degree: int) -> tuple[float, ...]:
    """Coefficients, in u from -1 to 1, of the polynomial through a function at Chebyshev nodes."""
    series = chebyshev.chebinterpolate(lambda u: function(0.5 * (low + high) + 0.5 * (high - low) * u), degree)
    return tuple(chebyshev.cheb2poly(series).tolist())


def _slope_of_log2(m):
    """Binary logarithm of m over m - 1."""
    return np.log1p(m - 1) / (m - 1) * LOG2_E


TAIL = _interpolated(lambda t: log_ndtr(-t) * LOG2_E, 0.0, FARTHEST, 11)
LOG2 = _interpolated(_slope_of_log2, 0.5**0.5, 2**0.5, 7)
EXP2 = tuple(polynomial / 0.5**power for power, polynomial in enumerate(_interpolated(np.exp2, -0.5, 0.5, 5)))
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
    """Binary logarithm of positive, normal numbers in single precision; error below 2e-7 and its own rounding."""
    m = mantissa(x)
    return octave(x) + (m - 1.0) * _degree_7(LOG2, _LOG2_SCALE * m + _LOG2_SHIFT)


@inlined
def exp2(x):
    """Power of two in single precision, for exponents from -126 to 0; relative error below 2e-7."""
    whole = floor(x + 0.5)
    f = x - whole
    f2 = f * f
    return power_of_two(whole) * (_cubic(EXP2, 0, f, f2) + (f2 * f2) * (EXP2[4] + EXP2[5] * f))


EXPONENTIAL = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040, 1 / 40320, 1 / 362880, 1 / 3628800,
               1 / 39916800)  # fmt: skip


@inlined
def exponential(x):
    """Exponential function, from -700 (anything below is taken as that) to 700; relative error below 1e-14."""
    x = larger(x, -700.0)
    whole = floor(x * LOG2_E + 0.5)
    return power_of_two(whole) * _degree_11(EXPONENTIAL, (x - whole * _LN2_HIGH) - whole * _LN2_LOW)


@inlined
def normal_probability(x):
    """Standard normal distribution function in single precision; 0 below 8 SDs.

    Relative error below 1e-6 (1 + x^2 / 4) for negative x: a rounded x^2 has lost so much; below 1e-6 for the others.
    """
    t = smaller(larger(x, 0.0 - x), FARTHEST)
    tail = exp2(_degree_11(TAIL, (2 / FARTHEST) * t - 1.0))
    return select(x < 0.0, select(x > -FARTHEST, tail, 0.0), 1.0 - tail)
