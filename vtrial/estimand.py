"""From outcomes of patients to population quantities: estimate, interval, Monte Carlo error, inner share.

Monte Carlo is nested: outer draws of the parameters, and for each draw fresh patients, the same for all arms.
Let R_d be the mean outcome of draw d. Then

* the estimate is the mean of R_d over draws, its interval the equal-tailed quantiles of R_d;
* MCSE = SD(R_d) / sqrt(draws): it covers both draws and patients, because patients are fresh in each draw;
* inner share = mean(V_d) / Var(R_d), V_d the variance of R_d due to its finite number of patients: the part of
  the interval's width that is patient noise and would vanish with more patients. V_d is the variance between
  independent patients over their number or, where only groups of patients are independent (`vtrial.scheme`),
  between the groups' means over theirs: (m_1 - m_2)^2 / 4 for two halves.

Contrasts are computed draw by draw on the same patients. References: Morris et al. 2019, Stat Med 38:2074-2102
(ADEMP; MCSE); O'Hagan et al. 2007, Health Econ 16:1009-23 (nested simulation).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vtrial.frontier import efficient
from vtrial.moments import Moments
from vtrial.spec import Spec

if TYPE_CHECKING:
    import xarray as xr

type Array = NDArray[np.float64]

STATS = ("mean", "median", "lo", "hi", "mcse", "inner_share")
POPULATION = "population"
"""Name of the population-standardised row beside the strata."""


@dataclass(frozen=True)
class Outcome:
    """One number per patient: its name, unit, meaning, and whether its mean is the risk of a level."""

    name: str
    unit: str
    label: str
    risk: bool = False


@dataclass(frozen=True)
class Derived:
    """A number of many patients together, such as a median: a function of the means of outcomes, draw by draw.

    Parameters
    ----------
    outcome : Outcome
        Its name, unit and meaning.
    of : tuple of str
        Names of the outcomes.
    value : callable
        From their means, arrays of one shape, to the number in that shape.
    noise : callable, optional
        From their means, and the variances of these due to the number of patients, to its own; not known by default.
    """

    outcome: Outcome
    of: tuple[str, ...]
    value: Callable[..., Array]
    noise: Callable[[tuple[Array, ...], tuple[Array, ...]], Array] | None = None


class Limit(Spec):
    """A risk that should not be exceeded; reported as the probability, over draws, that it is not."""

    outcome: str
    """Name of the outcome, e.g. `level3_7d`."""
    below: Annotated[float, Field(gt=0, strict=True)]
    """The limit, in the outcome's unit."""


class Estimands(Spec):
    """What is estimated from the outcomes."""

    reference: str
    """Arm that the others are compared with, on the same patients."""
    primary: str
    """Outcome by which arms are ranked, e.g. `level3_7d`."""
    interval: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.95
    """Probability of the equal-tailed intervals."""
    limits: tuple[Limit, ...] = ()
    """Limits of risk."""
    benefit: str | None = None
    """Outcome of which more is better, e.g. `in_window_all_7d`: arms are compared on it and the primary."""
    utility: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)
    """What a unit of an outcome is worth, negative for what is unwanted: the outcome `utility` is their sum."""


class Accept(Spec):
    """A condition on the result of a run: if it fails, the run ends with exit code 3, its result written."""

    arm: str
    outcome: str
    stratum: str = POPULATION
    stat: Literal["mean", "median", "lo", "hi", "mcse", "inner_share"] = "mean"
    below: Annotated[float, Field(gt=0, strict=True)]
    """The statistic must be below this."""


@dataclass(frozen=True)
class Sums:
    """What is left of the outcomes: per draw the mean over patients, and its variance due to their number.

    Parameters
    ----------
    mean, noise : arrays, shape (arm, stratum, outcome, draw)
        Mean over patients, and variance of that mean.
    paired_noise : array, shape (arm, stratum, outcome, draw)
        Variance of the mean difference to the reference arm, patient by patient.
    treated : array, shape (arm, stratum, drug, draw)
        Share of patients given the drug.
    """

    mean: Array
    noise: Array
    paired_noise: Array
    treated: Array

    @classmethod
    def empty(cls, arms: int, strata: int, outcomes: int, drugs: int, draws: int) -> Sums:
        """Allocate for a run."""
        shape = (arms, strata, outcomes, draws)
        mean, noise, paired = (np.full(shape, np.nan) for _ in range(3))
        return cls(mean, noise, paired, np.full((arms, strata, drugs, draws), np.nan))

    def put(self, moments: Moments, *, arms: slice, stratum: int, draws: slice) -> None:
        """Enter some arms and draws of a stratum."""
        where = arms, stratum, slice(None), draws
        self.mean[where], self.noise[where] = moments.mean, moments.noise
        self.paired_noise[where], self.treated[where] = moments.paired_noise, moments.treated

    def __getitem__(self, strata: slice) -> Sums:
        """Those of some strata."""
        return Sums(*(getattr(self, name)[:, strata] for name in self.__dataclass_fields__))


def standardise(sums: Sums, weight: Array) -> Sums:
    """The population as the only stratum: strata weighted by their share."""

    def whole(values: Array, weights: Array) -> Array:
        return np.einsum("as...,s->a...", values, weights)[:, None]

    return Sums(
        whole(sums.mean, weight),
        whole(sums.noise, weight**2),
        whole(sums.paired_noise, weight**2),
        whole(sums.treated, weight),
    )


def derive(sums: Sums, derived: Sequence[Derived], names: Sequence[str]) -> Sums:
    """Append what is derived from the means of outcomes, as further ones; `names` are those of the outcomes.

    What the noise of a difference between arms is, is not known of them.
    """
    if not derived:
        return sums
    means, noises = [sums.mean], [sums.noise]
    for number in derived:
        at = [names.index(name) for name in number.of]
        mean, noise = (tuple(values[:, :, o] for o in at) for values in (sums.mean, sums.noise))
        found = number.value(*mean)
        means.append(found[:, :, None])
        noises.append((np.full_like(found, np.nan) if number.noise is None else number.noise(mean, noise))[:, :, None])
    unknown = np.full((*sums.mean.shape[:2], len(derived), sums.mean.shape[-1]), np.nan)
    paired = np.concatenate([sums.paired_noise, unknown], 2)
    return Sums(np.concatenate(means, 2), np.concatenate(noises, 2), paired, sums.treated)


def estimate(
    sums: Sums,
    spec: Estimands,
    *,
    arms: list[str],
    strata: list[str],
    outcomes: list[Outcome],
    drugs: list[str],
    weight: Array,
    derived: Sequence[Derived] = (),
) -> xr.Dataset:
    """Turn sums into estimates.

    Parameters
    ----------
    sums : Sums
    spec : Estimands
    arms, strata, outcomes, drugs : list
        Labels of the dims of `sums`.
    weight : array, shape (stratum,)
        Shares of the strata in the population, summing to 1.
    derived : sequence of Derived
        Numbers derived from the means of outcomes: further outcomes of the estimates.

    Returns
    -------
    xarray.Dataset
        ``Estimates``, dims arm, stratum (with ``population`` last), outcome, stat:

        - ``value``: the outcome's mean in the population of the stratum;
        - ``difference``: to the reference arm, paired;
        - ``ratio``: ratio of the two means (its interval: quantiles of the ratio within draws; its MCSE by the
          delta method);
        - ``top5_share`` (arm, stratum, outcome): share of the mean that the highest 5% of draws carry;
        - ``p_safest`` and ``p_rank`` (dims arm, stratum, rank, contest): probability over draws that the arm has
          that rank of risk in the primary outcome, ties split; contest ``all`` ranks all arms, ``treating`` those
          that give every patient the drugs they are about;
        - ``p_below`` (arm, stratum, limit): probability that the risk is below each limit, with its MCSE;
        - ``efficient`` and ``p_efficient`` (arm, stratum), with a benefit: whether the arm is on the frontier of mean
          risk and mean benefit, and in which share of the draws it is on that of the draw, with its MCSE;
        - ``p_best`` (arm, stratum), with a utility: probability over draws that it is the arm's that is highest, ties
          split, with its MCSE;
        - ``treated`` (arm, stratum, drug): share given the drug.
    """
    import xarray as xr  # half a second: not needed to check a scenario

    names = [outcome.name for outcome in outcomes]
    outcomes = [*outcomes, *(number.outcome for number in derived)]
    about = sums.treated.mean(-1).max(1, keepdims=True) > 0
    # stratum by stratum: what is made on the way then stays in the cache
    parts = [*(sums[s : s + 1] for s in range(len(strata))), standardise(sums, weight)]
    reference = arms.index(spec.reference)
    found = [_of_stratum(derive(part, derived, names), spec, reference, [one.name for one in outcomes], about)
             for part in parts]  # fmt: skip
    names = [outcome.name for outcome in outcomes]
    data = {name: (dims, np.concatenate([one[name][1] for one in found], 1)) for name, (dims, _) in found[0].items()}
    coords = {
        "arm": arms, "stratum": [*strata, POPULATION], "outcome": names, "stat": list(STATS), "drug": drugs,
        "rank": np.arange(1, len(arms) + 1), "contest": ["all", "treating"],
        "limit": [f"{limit.outcome} < {limit.below:g}" for limit in spec.limits],
        "unit": ("outcome", [outcome.unit for outcome in outcomes]),
        "label": ("outcome", [outcome.label for outcome in outcomes]),
        "weight": ("stratum", [*weight, 1.0]),
    }  # fmt: skip
    named = {"interval": spec.interval, "reference": spec.reference, "primary": spec.primary}
    return xr.Dataset(data, coords, named | ({"benefit": spec.benefit} if spec.benefit else {}))


def _of_stratum(
    sums: Sums, spec: Estimands, reference: int, names: list[str], about: NDArray[np.bool_]
) -> dict[str, tuple[tuple[str, ...], Array]]:
    """The variables of `estimate` of one stratum, whose place is the second dim; `about` (arm, 1, drug) says which
    drugs an arm gives to anyone anywhere."""
    base, risk = sums.mean[reference][None], sums.mean[:, :, names.index(spec.primary)]
    dims, draws = ("arm", "stratum", "outcome", "stat"), risk.shape[-1]
    treating = np.all((sums.treated.mean(-1) > 1 - 1e-12) | ~about, axis=-1)
    contests = [_ranks(risk, np.ones_like(treating)), _ranks(risk, treating)]
    ranks, errors = (np.stack(part, axis=-1) for part in zip(*contests, strict=True))
    met = [(sums.mean[:, :, names.index(limit.outcome)] < limit.below).mean(-1) for limit in spec.limits]
    below = np.stack(met, -1) if met else np.zeros((*risk.shape[:2], 0))
    return {
        "value": (dims, describe(sums.mean, sums.noise, spec.interval)),
        "difference": (dims, describe(sums.mean - base, sums.paired_noise, spec.interval)),
        "ratio": (dims, _describe_ratio(sums.mean, base, spec.interval)),
        "top5_share": (dims[:3], carried(sums.mean)),
        "treated": (("arm", "stratum", "drug"), sums.treated.mean(-1)),
        "p_rank": (("arm", "stratum", "rank", "contest"), ranks),
        "p_safest": (("arm", "stratum", "contest"), ranks[:, :, 0]),
        "p_safest_mcse": (("arm", "stratum", "contest"), errors[:, :, 0]),
        "p_below": (("arm", "stratum", "limit"), below),
        "p_below_mcse": (("arm", "stratum", "limit"), np.sqrt(below * (1 - below) / draws)),
        **_worth(sums, spec, names),
    }


def _worth(sums: Sums, spec: Estimands, names: list[str]) -> dict[str, Any]:
    """Which arms are efficient, and which is best, of all arms."""
    data: dict[str, Any] = {}
    dims, draws = ("arm", "stratum"), sums.mean.shape[-1]
    if spec.benefit is not None:
        risk, benefit = (sums.mean[:, :, names.index(name)] for name in (spec.primary, spec.benefit))
        p = efficient(risk, benefit).mean(-1)
        data["efficient"] = (dims, efficient(risk.mean(-1), benefit.mean(-1)))
        data["p_efficient"], data["p_efficient_mcse"] = (dims, p), (dims, np.sqrt(p * (1 - p) / draws))
    if spec.utility:
        worth = sums.mean[:, :, names.index("utility")]
        ranks, errors = _ranks(-worth, np.ones(worth.shape[:2], bool))
        data["p_best"], data["p_best_mcse"] = (dims, ranks[:, :, 0]), (dims, errors[:, :, 0])
    return data


def describe(value: Array, noise: Array, interval: float) -> Array:
    """Describe the last dim (draws) of `value` by the statistics of `STATS`; `noise` as in `Sums`.

    Examples
    --------
    >>> stats = describe(np.array([0.1, 0.2, 0.3]), np.zeros(3), 0.95)
    >>> [round(float(x), 4) for x in stats]
    [0.2, 0.2, 0.105, 0.295, 0.0577, 0.0]
    """
    draws = value.shape[-1]
    tail = (1 - interval) / 2
    lo, median, hi = np.quantile(value, [tail, 0.5, 1 - tail], axis=-1)
    variance = _variance(value)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(variance > 0, noise.mean(-1) / variance, 0.0)
    return np.stack([value.mean(-1), median, lo, hi, np.sqrt(variance / draws), share], -1)


def carried(value: Array, part: float = 0.05) -> Array:
    """Share of a mean over draws that the highest draws carry.

    Parameters
    ----------
    value : array, shape (..., draw)
        Risk in each draw.
    part : float
        Which part of the draws counts as the highest, rounded up to whole draws.

    Returns
    -------
    array, shape (...)
        Between 0 and 1 if no value is negative; NaN if their sum is not positive.

    Examples
    --------
    >>> float(carried(np.ones(100))), float(carried(np.array([0.0] * 99 + [1.0])))
    (0.05, 1.0)
    """
    draws, total = value.shape[-1], value.sum(-1)
    top = np.sort(value, axis=-1)[..., draws - math.ceil(part * draws) :].sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, top / total, np.nan)


def _variance(value: Array) -> Array:
    """Variance along the last dim; not known of one draw."""
    return value.var(-1, ddof=1) if value.shape[-1] > 1 else np.full(value.shape[:-1], np.nan)


def _describe_ratio(value: Array, base: Array, interval: float) -> Array:
    draws = value.shape[-1]
    tail = (1 - interval) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = value.mean(-1) / base.mean(-1)
        each = value / base
        residual = (value - ratio[..., None] * base) / base.mean(-1)[..., None]
    known = np.isfinite(each).all(-1)
    lo, median, hi = np.quantile(np.where(known[..., None], each, 0.0), [tail, 0.5, 1 - tail], axis=-1)
    stats = np.stack([ratio, median, lo, hi, np.sqrt(_variance(residual) / draws), np.full_like(ratio, np.nan)], -1)
    return np.where(known[..., None], stats, np.nan)


def _ranks(risk: Array, eligible: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Probability (arm, stratum, rank) over draws that an arm has a rank, 1 the lowest risk, and its MCSE.

    Tied arms share the ranks they occupy, draw by draw: so the MCSE is that of a share, not of a count.
    """
    arms, strata, draws = risk.shape
    ranks, errors = np.zeros((arms, strata, arms)), np.zeros((arms, strata, arms))
    for s in range(strata):
        inside = np.flatnonzero(eligible[:, s])
        own, k = risk[inside, s], np.arange(len(inside))[:, None]
        for a, mine in zip(inside, own, strict=True):
            lower, tied = (own < mine).sum(0), (own == mine).sum(0)
            share = ((k >= lower) & (k < lower + tied)) / tied  # rank, draw
            ranks[a, s, : len(inside)] = share.mean(-1)
            errors[a, s, : len(inside)] = np.sqrt(_variance(share) / draws)
    return ranks, errors


def failed(accept: tuple[Accept, ...], estimates: xr.Dataset) -> list[str]:
    """Conditions that a result does not meet, in words."""
    lines = []
    for limit in accept:
        cell = estimates["value"].sel(arm=limit.arm, stratum=limit.stratum, outcome=limit.outcome, stat=limit.stat)
        if not float(cell) < limit.below:
            what = f"{limit.stat} of {limit.outcome}, {limit.arm}, {limit.stratum}"
            lines.append(f"{what}: {float(cell):.3g} is not below {limit.below:g}")
    return lines
