"""Priors of population parameters, and the operators that model functions may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

type Values = Mapping[str, Any]
"""Named numbers or arrays that broadcast against each other."""


def lesser(a: Any, b: Any) -> Any:
    """Smaller of two numbers, by operators that NumPy, xarray and PyTensor share (`np.minimum` is not one).

    Examples
    --------
    >>> lesser(3.0, 5.0), greater(3.0, 5.0)
    (3.0, 5.0)
    """
    return 0.5 * (a + b - abs(a - b))


def greater(a: Any, b: Any) -> Any:
    """Larger of two numbers; see `lesser`."""
    return 0.5 * (a + b + abs(a - b))


@dataclass(frozen=True)
class LogNormal:
    """Log-normal prior, optionally truncated above; `sdlog` is the SD of the logarithm."""

    median: float
    sdlog: float
    upper: float = float("inf")

    def quantile(self, p: Any) -> Any:
        inside = scipy.special.ndtr(np.log(self.upper / self.median) / self.sdlog)
        return self.median * np.exp(self.sdlog * scipy.special.ndtri(p * inside))

    def __str__(self) -> str:
        bound = f", below {self.upper:g}" if np.isfinite(self.upper) else ""
        return f"log-normal(median {self.median:g}, SD of log {self.sdlog:g}{bound})"


@dataclass(frozen=True)
class Normal:
    """Normal prior."""

    mean: float
    sd: float

    def quantile(self, p: Any) -> Any:
        return self.mean + self.sd * scipy.special.ndtri(p)

    def __str__(self) -> str:
        return f"normal({self.mean:g}, SD {self.sd:g})"


@dataclass(frozen=True)
class HalfNormal:
    """Absolute value of a normal variable of mean zero and SD `scale`."""

    scale: float

    def quantile(self, p: Any) -> Any:
        return self.scale * scipy.special.ndtri(0.5 + 0.5 * p)

    def __str__(self) -> str:
        return f"half-normal(scale {self.scale:g})"


@dataclass(frozen=True)
class Beta:
    """Beta prior."""

    a: float
    b: float

    def quantile(self, p: Any) -> Any:
        return scipy.special.betaincinv(self.a, self.b, p)

    def __str__(self) -> str:
        return f"beta({self.a:g}, {self.b:g})"


@dataclass(frozen=True)
class Uniform:
    """Uniform prior."""

    low: float
    high: float

    def quantile(self, p: Any) -> Any:
        return self.low + (self.high - self.low) * p

    def __str__(self) -> str:
        return f"uniform({self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class Fixed:
    """A number taken as known; what it hides belongs in the model's limits."""

    value: float

    def quantile(self, p: Any) -> Any:
        return np.full_like(p, self.value)

    def __str__(self) -> str:
        return f"fixed {self.value:g}"


type Prior = LogNormal | Normal | HalfNormal | Beta | Uniform | Fixed
