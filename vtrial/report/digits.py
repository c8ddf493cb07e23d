"""Numbers as text: a value shows only the digits that its Monte Carlo error supports."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MOST = 3
"""Significant digits at most, however small the error."""
NEGLIGIBLE = 1e-6
"""Probabilities below this are all written alike."""


def last_place(value: float, mcse: float) -> int:
    """Power of ten of the last digit that a Monte Carlo error supports.

    It is that of the first significant digit of the error, so that rounding moves the value by half its error at
    most; at most `MOST` digits are significant, and one is always kept.

    Parameters
    ----------
    value, mcse : float

    Returns
    -------
    int

    Examples
    --------
    >>> last_place(0.0046, 0.0014), last_place(0.4327, 1e-9), last_place(3e-6, 1e-4)
    (-3, -3, -6)
    """
    if value == 0 or not math.isfinite(value):
        return 0
    first = math.floor(math.log10(abs(value)))
    place = first - MOST + 1
    if math.isfinite(mcse) and mcse > 0:
        place = max(place, math.floor(math.log10(mcse) + 1e-9))
    place = min(place, first)
    # 0.096 at two decimals is 0.10: the first digit moved up
    return min(place, math.floor(math.log10(abs(round(value, -place)))))


def _plain(value: float, place: int) -> str:
    return f"{round(value, -place):.{max(0, -place)}f}"


def _power(value: float, place: int) -> str:
    first = math.floor(math.log10(abs(round(value, -place))))
    mantissa, exponent = f"{value:.{max(0, first - place)}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def number(value: float, mcse: float = 0.0) -> str:
    """Write a plain number with the digits that its error supports.

    Parameters
    ----------
    value : float
    mcse : float
        Its Monte Carlo error; 0 or NaN if unknown.

    Returns
    -------
    str

    Examples
    --------
    >>> number(4.312, 0.3), number(4.312, 1e-6), number(3.1e-6, 9e-7), number(float("nan"), 1.0)
    ('4.3', '4.31', '3.1e-6', '–')
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    place = last_place(value, mcse)
    return _power(value, place) if abs(value) < 1e-4 or abs(value) >= 1e6 else _plain(value, place)


def probability(value: float, mcse: float = 0.0) -> str:
    """Write a probability in percent, however small: a column has one unit.

    Parameters
    ----------
    value : float
        Between 0 and 1.
    mcse : float
        Its Monte Carlo error; 0 or NaN if unknown.

    Returns
    -------
    str

    Examples
    --------
    >>> probability(0.0046, 0.0014), probability(3.2e-6, 9e-7), probability(0.5, 0.01), probability(1e-20)
    ('0.5%', '0.00032%', '50%', '<0.0001%')
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if value < NEGLIGIBLE:
        return f"<{_plain(100 * NEGLIGIBLE, -4)}%"
    return f"{_plain(100 * value, last_place(value, mcse) + 2)}%"


def points(value: float, mcse: float = 0.0) -> str:
    """Write a difference of two probabilities in percentage points, with its sign.

    Parameters
    ----------
    value : float
        Between -1 and 1.
    mcse : float
        Its Monte Carlo error; 0 or NaN if unknown.

    Returns
    -------
    str

    Examples
    --------
    >>> points(0.0173, 0.003), points(-0.0020, 0.0003), points(-3e-7, 1e-7)
    ('+1.7 pp', '−0.20 pp', '−<0.0001 pp')
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0 pp"
    if abs(value) < NEGLIGIBLE:
        return f"{'+' if value > 0 else '−'}<{_plain(100 * NEGLIGIBLE, -4)} pp"
    return f"{'+' if value > 0 else '−'}{number(abs(100 * value), 100 * mcse)} pp"


def error(mcse: float, *, percent: bool) -> str:
    """Write a Monte Carlo error itself: two digits if the first is 1, else one.

    Parameters
    ----------
    mcse : float
    percent : bool
        Whether it is the error of a probability.

    Returns
    -------
    str

    Examples
    --------
    >>> error(0.00136, percent=True), error(0.0042, percent=False), error(0.0, percent=True)
    ('0.14%', '0.004', '0')
    """
    if not math.isfinite(mcse):
        return "–"
    if mcse == 0:
        return "0"
    first = math.floor(math.log10(mcse))
    unit = 10.0 ** (first - 1 if mcse / 10.0**first < 2 else first)
    return probability(mcse, unit) if percent else number(mcse, unit)


def quantile_error(draws: NDArray[np.float64], p: float) -> float:
    """Monte Carlo error of a quantile of draws: half the distance of the order statistics one SD either side.

    Parameters
    ----------
    draws : array, shape (draw,)
    p : float
        Probability of the quantile.

    Returns
    -------
    float

    Examples
    --------
    >>> round(quantile_error(np.arange(101.0), 0.5), 2)
    4.98
    """
    spread = math.sqrt(p * (1 - p) / draws.size)
    lower, upper = np.quantile(draws, [max(0.0, p - spread), min(1.0, p + spread)])
    return float(upper - lower) / 2
