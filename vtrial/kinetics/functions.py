"""Elementary functions on vectors, as polynomials: the loops call no library.

Probabilities are in single precision, which is twice as fast: Simpson's rule errs by far more.

The logarithm of the normal distribution function is a polynomial in the deviation, interpolated at Chebyshev nodes;
beyond 8 SDs its value, 6e-16, counts as zero. There is no division: on vectors it takes as long as thirty products.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.polynomial import Polynomial, chebyshev

from vtrial.compiled import inlined
from vtrial.lanes import (
    floor,
    larger,
    load_brief,
    mantissa,
    octave,
    power_of_two,
    scaled,
    select,
    smaller,
    splat_brief,
    store_brief,
)

LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10  # the first has 32 bits: k times it is exact
FARTHEST = 8.0
"""SDs below the mean at which the normal distribution function counts as zero."""


def _interpolated(function: Callable, low: float, high: float, degree: int) -> tuple[float, ...]:
    """Coefficients, in u from -1 to 1, of the polynomial through a function at Chebyshev nodes."""
    series = chebyshev.chebinterpolate(lambda u: function(0.5 * (low + high) + 0.5 * (high - low) * u), degree)
    return tuple(chebyshev.cheb2poly(series).tolist())


def _natural(function: Callable, low: float, high: float, degree: int) -> tuple[float, ...]:
    """The same, in the variable of the function itself."""
    series = chebyshev.Chebyshev.interpolate(function, degree, domain=[low, high])
    return tuple(series.convert(kind=Polynomial).coef.tolist())


def _slope_of_log2(x):
    """Binary logarithm of 1 + x over x."""
    return np.log1p(x) / x * LOG2_E


def _log2_of_tail(t: float) -> float:
    """Binary logarithm of the probability to be more than t SDs below the mean."""
    return math.log2(0.5 * math.erfc(t * 0.5**0.5))


SERIES = (
    *_natural(_slope_of_log2, 0.5**0.5 - 1, 2**0.5 - 1, 7),
    *_interpolated(np.vectorize(_log2_of_tail), 0.0, FARTHEST, 11),
    *_natural(np.exp2, -0.5, 0.5, 5),
)
"""Coefficients of the functions in single precision."""
LOG2, TAIL, EXP2 = 0, 8, 20


@inlined
def lay_series(desk, row):
    """Put the coefficients on the desk, all lanes alike: from there a product takes them without an instruction."""
    for i in range(len(SERIES)):
        store_brief(desk, row + i, splat_brief(SERIES[i]))


@inlined
def _cubic(desk, row, u, u2):
    high = load_brief(desk, row + 3) * u + load_brief(desk, row + 2)
    return high * u2 + (load_brief(desk, row + 1) * u + load_brief(desk, row))


@inlined
def log2(desk, row, x):
    """Binary logarithm of positive, normal numbers in single precision; error below 2e-7 and its own rounding.

    Polynomials by Estrin's scheme: the terms do not wait for each other, as they do in Horner's.
    """
    m = mantissa(x) - 1.0
    m2 = m * m
    return octave(x) + m * (_cubic(desk, row + LOG2 + 4, m, m2) * (m2 * m2) + _cubic(desk, row + LOG2, m, m2))


@inlined
def exp2(desk, row, x):
    """Power of two in single precision, for exponents from -125 to 0; relative error below 2e-7."""
    whole = floor(x + 0.5)
    f = x - whole
    f2 = f * f
    high = load_brief(desk, row + EXP2 + 5) * f + load_brief(desk, row + EXP2 + 4)
    return scaled(high * (f2 * f2) + _cubic(desk, row + EXP2, f, f2), whole)


@inlined
def normal_probability(desk, row, x):
    """Standard normal distribution function in single precision; 0 below 8 SDs.

    Relative error below 5e-6: the polynomial's terms, of the logarithm, are as large as 50 and have 24 bits.
    """
    t = smaller(larger(x, 0.0 - x), FARTHEST)
    u, first = (2 / FARTHEST) * t - 1.0, row + TAIL
    u2 = u * u
    u4 = u2 * u2
    series = (_cubic(desk, first + 8, u, u2) * u4 + _cubic(desk, first + 4, u, u2)) * u4 + _cubic(desk, first, u, u2)
    tail = exp2(desk, row, series)
    return select(x < 0.0, select(x > -FARTHEST, tail, 0.0), 1.0 - tail)


EXPONENTIAL = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040, 1 / 40320, 1 / 362880, 1 / 3628800,
               1 / 39916800)  # fmt: skip


@inlined
def _quartet(first, u, u2):
    c = EXPONENTIAL
    return (c[first + 3] * u + c[first + 2]) * u2 + (c[first + 1] * u + c[first])


@inlined
def exponential(x):
    """Exponential function, from -700 (anything below is taken as that) to 700; relative error below 1e-14."""
    x = larger(x, -700.0)
    whole = floor(x * LOG2_E + 0.5)
    u = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    u2 = u * u
    u4 = u2 * u2
    return power_of_two(whole) * ((_quartet(8, u, u2) * u4 + _quartet(4, u, u2)) * u4 + _quartet(0, u, u2))
