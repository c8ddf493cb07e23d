"""Outcomes of patients reduced to what estimates need: per arm and draw a mean and its Monte Carlo error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vtrial.compiled import compiled

type Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Outcomes of n patients for each draw, or of n groups of patients (`between`), reduced over them.

    Parameters
    ----------
    n : int
        How many are independent of each other.
    mean, difference : arrays, shape (arm, outcome, draw)
        Means, and those of the difference to the reference arm.
    squares, paired : arrays, shape (arm, outcome, draw)
        Sums of squared deviations from these means.
    treated : array, shape (arm, drug, draw)
        Share of patients given the drug.
    within : array, shape (arm, outcome, draw), optional
        Of groups: mean squared deviation of patients from the mean of their group.
    """

    n: int
    mean: Array
    difference: Array
    squares: Array
    paired: Array
    treated: Array
    within: Array | None = None

    @property
    def noise(self) -> Array:
        """Variance of the mean."""
        return self.squares / max(self.n - 1, 1) / self.n

    @property
    def paired_noise(self) -> Array:
        """Variance of the mean difference."""
        return self.paired / max(self.n - 1, 1) / self.n

    @property
    def spread(self) -> Array:
        """Variance between patients. Of groups it is that within them and that of their means, of which `noise`, the
        variance of the mean of all, is the n-th part."""
        if self.within is None:
            return self.squares / max(self.n - 1, 1)
        return self.within + self.n * self.noise

    def with_further(self, other: Moments) -> Moments:
        """Add further patients of the same draws (Chan, Golub and LeVeque 1983, Am Stat 37:242-247)."""
        n = self.n + other.n
        share, cross = other.n / n, self.n * other.n / n
        rise, paired_rise = other.mean - self.mean, other.difference - self.difference
        return Moments(
            n,
            self.mean + share * rise,
            self.difference + share * paired_rise,
            self.squares + other.squares + cross * rise**2,
            self.paired + other.paired + cross * paired_rise**2,
            self.treated + share * (other.treated - self.treated),
        )

    @property
    def as_one(self) -> Moments:
        """All its patients as a single observation, their mean."""
        unknown = np.zeros_like(self.squares)
        return Moments(1, self.mean, self.difference, unknown, unknown, self.treated)


def between(groups: Sequence[Moments]) -> Moments:
    """Moments of equally large groups of patients that are independent of each other, while those within are not.

    Parameters
    ----------
    groups : sequence of Moments

    Returns
    -------
    Moments
        Noise is the variance between the groups' means, over their number: (m_1 - m_2)^2 / 4 for two halves.

    Examples
    --------
    >>> treated = np.ones((1, 1, 1, 2), bool)
    >>> halves = [reduce_patients(np.array([[x]]), np.zeros((1, 1, 2), int), treated, 0) for x in (1.0, 5.0)]
    >>> found = between(halves)
    >>> found.n, float(found.mean[0, 0, 0]), float(found.noise[0, 0, 0])
    (2, 3.0, 4.0)
    """
    whole, *others = (group.as_one for group in groups)
    for other in others:
        whole = whole.with_further(other)
    return replace(whole, within=np.mean([group.squares / group.n for group in groups], 0))


def reduce_patients(value: Array, item: NDArray[np.integer], treated: NDArray[np.bool_], reference: int) -> Moments:
    """Reduce outcomes over patients.

    Parameters
    ----------
    value : array, shape (item, outcome)
    item : array of int, shape (arm, draw, patient)
        Row of `value` that holds the outcomes of a patient under an arm.
    treated : array of bool, shape (arm, drug, draw, patient)
    reference : int
        Arm that differences are to.

    Returns
    -------
    Moments
        The numbers of an arm are sums over its outcomes and the reference's, in the order of the patients: to the
        bit the same beside any other arms and draws.

    Examples
    --------
    >>> found = reduce_patients(np.array([[0.0], [1.0]]), np.array([[[0, 1]]]), np.ones((1, 1, 1, 2), bool), 0)
    >>> float(found.mean[0, 0, 0]), float(found.noise[0, 0, 0]), float(found.paired_noise[0, 0, 0])
    (0.5, 0.25, 0.0)
    """
    arms, draws, n = item.shape
    out = np.zeros((4, arms, draws, value.shape[1]))
    _reduce(value, np.ascontiguousarray(item), reference, out)  # of some patients it is a view: one kind to compile
    mean, difference, squares, paired = np.swapaxes(out, 2, 3)
    return Moments(n, mean, difference, squares, paired, treated.mean(-1))


@compiled
def _reduce(value, item, reference, out):
    """Fill out (what, arm, draw, outcome), as in `Moments`."""
    _, arms, draws, outcomes = out.shape
    patients = item.shape[2]
    for d in range(draws):  # the outcomes of one draw stay in the cache for all arms and both passes
        for a in range(arms):
            mean, difference, squares, paired = out[0, a, d], out[1, a, d], out[2, a, d], out[3, a, d]
            for p in range(patients):
                own, base = value[item[a, d, p]], value[item[reference, d, p]]
                for o in range(outcomes):
                    mean[o] += own[o]
                    difference[o] += own[o] - base[o]
            for o in range(outcomes):
                mean[o] /= patients
                difference[o] /= patients
            for p in range(patients):
                own, base = value[item[a, d, p]], value[item[reference, d, p]]
                for o in range(outcomes):
                    squares[o] += (own[o] - mean[o]) ** 2
                    paired[o] += (own[o] - base[o] - difference[o]) ** 2
