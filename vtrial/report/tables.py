"""Tables of a result: the long CSV of every estimate, the risks that are printed, contrasts, shares."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import xarray as xr

from vtrial.estimand import carried
from vtrial.report import digits
from vtrial.report.facts import CARRIED_LIMIT, INNER_LIMIT, Facts, is_probability

COLUMNS = (
    "arm", "stratum", "outcome", "unit", "estimand", "interval",
    "mean", "median", "lo", "hi", "mcse", "inner_share", "top5_share",
)  # fmt: skip
"""Columns of estimates.csv; `top5_share` is the share of the mean that the top 5% of draws carry."""
LARGE = 1e5
"""No number needed to harm is given if the far limit of its interval is above this."""
STATS = ("mean", "median", "lo", "hi", "mcse", "inner_share")


@dataclass(frozen=True)
class Risk:
    """The primary outcome under one arm in one stratum.

    Parameters
    ----------
    arm, stratum : str
    mean, median, lo, hi, mcse, inner_share : float
        As in ``Estimates``.
    top5_share : float
        Share of the mean that the top 5% of draws carry.
    text : dict
        Mean, median, lo, hi, mcse as text, with the digits that the Monte Carlo error of each supports.
    without : tuple of str
        Drugs of the arm that nobody in the stratum is given.
    """

    arm: str
    stratum: str
    mean: float
    median: float
    lo: float
    hi: float
    mcse: float
    inner_share: float
    top5_share: float
    text: dict[str, str]
    without: tuple[str, ...]

    @property
    def noisy(self) -> bool:
        """Whether patient noise widens the interval noticeably."""
        return self.inner_share > INNER_LIMIT

    @property
    def skewed(self) -> bool:
        """Whether a few draws carry the mean."""
        return self.top5_share > CARRIED_LIMIT

    @property
    def marks(self) -> str:
        """Marks of the two, for a table: † noisy, ‡ skewed."""
        return "†" * self.noisy + "‡" * self.skewed


@dataclass(frozen=True)
class Contrast:
    """The primary outcome under one arm against the reference, as text.

    Parameters
    ----------
    arm, stratum : str
    difference, difference_interval, difference_mcse : str
        Risk difference in percentage points, or in the outcome's unit.
    ratio, ratio_mcse : str
        Ratio of the two means.
    ratio_within : str
        Median of the ratio within draws, and its interval in brackets.
    nnh : str
        Patients treated with this arm instead of the reference for one more (or fewer) to have the outcome; a
        dash unless the interval of the difference excludes 0 and its far limit is at most `LARGE`.
    """

    arm: str
    stratum: str
    difference: str
    difference_interval: str
    difference_mcse: str
    ratio: str
    ratio_mcse: str
    ratio_within: str
    nnh: str


def estimates_csv(result: xr.DataTree) -> str:
    """Write every estimate as one long table.

    Parameters
    ----------
    result : xarray.DataTree

    Returns
    -------
    str
        CSV with the columns of `COLUMNS`; numbers read back exactly; the same result gives the same text.
        Estimands: value, difference, ratio, nnh (only where the interval of the difference excludes 0 and the far
        limit is at most `LARGE`), treated (outcome: the drug), p_safest_all and p_safest_treating (outcome: the
        primary), p_below (outcome: the limit), p_efficient (outcome: the benefit) and p_best (outcome: utility).
    """
    facts, text = Facts(result), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in (*_outcome_rows(facts), *_share_rows(facts)):
        writer.writerow([_cell(x) for x in row])
    return text.getvalue()


def _cell(x: object) -> str:
    if isinstance(x, str):
        return x
    return repr(float(x)) if isinstance(x, float) and math.isfinite(x) else ""


def _outcome_rows(facts: Facts) -> Iterator[tuple[object, ...]]:
    order = ("arm", "stratum", "outcome", "stat")
    values = {name: facts.estimates[name].transpose(*order).values for name in ("value", "difference", "ratio")}
    nothing = math.nan
    for a, arm in enumerate(facts.arms):
        for s, stratum in enumerate(facts.strata):
            for o, outcome in enumerate(facts.outcomes):
                unit, start = facts.unit(outcome), (arm, stratum, outcome)
                rows = {name: [float(x) for x in array[a, s, o]] for name, array in values.items()}
                top = float(carried(facts.draws_of(*start)))
                yield (*start, unit, "value", facts.interval, *rows["value"], top)
                yield (*start, unit, "difference", facts.interval, *rows["difference"], nothing)
                if math.isfinite(rows["ratio"][0]):
                    yield (*start, "1", "ratio", facts.interval, *rows["ratio"], nothing)
                harm = nnh(*rows["difference"][:4]) if is_probability(outcome) else None
                if harm:
                    yield (*start, "patients", "nnh", facts.interval, *harm, nothing, nothing, nothing)


def _share_rows(facts: Facts) -> Iterator[tuple[object, ...]]:
    found, n = facts.estimates, math.nan
    for arm in facts.arms:
        for stratum in facts.strata:
            cell = found.sel(arm=arm, stratum=stratum)
            shares = facts.treated[facts.arms.index(arm), facts.strata.index(stratum)]
            for drug, share in zip(facts.drugs, shares, strict=True):
                yield arm, stratum, drug, "1", "treated", n, float(share), n, n, n, n, n, n
            for contest in found["contest"].values:
                p, mcse = (float(cell[v].sel(contest=contest)) for v in ("p_safest", "p_safest_mcse"))
                name = f"p_safest_{contest}"
                yield arm, stratum, facts.primary, "1", name, n, p, n, n, n, mcse, n, n
            for limit in found["limit"].values:
                p, mcse = (float(cell[v].sel(limit=limit)) for v in ("p_below", "p_below_mcse"))
                yield arm, stratum, str(limit), "1", "p_below", n, p, n, n, n, mcse, n, n
            for name, outcome in (("p_efficient", facts.benefit), ("p_best", "utility")):
                if name in cell:
                    p, mcse = float(cell[name]), float(cell[f"{name}_mcse"])
                    yield arm, stratum, outcome, "1", name, n, p, n, n, n, mcse, n, n


def nnh(mean: float, median: float, lo: float, hi: float) -> tuple[float, float, float, float] | None:
    """Number needed to harm from a risk difference: mean, median, lo, hi; negative where one is spared.

    Returns
    -------
    tuple or None
        None if the interval of the difference does not exclude 0, its mean lies on the other side, or the far
        limit is above `LARGE`.

    Examples
    --------
    >>> nnh(0.02, 0.02, 0.01, 0.04)
    (50.0, 50.0, 25.0, 100.0)
    >>> nnh(0.02, 0.02, -0.01, 0.04), nnh(0.02, 0.02, 1e-6, 0.04)
    (None, None)
    """
    if not (lo > 0 or hi < 0) or mean * lo <= 0 or median * lo <= 0:
        return None
    if min(abs(lo), abs(hi)) < 1 / LARGE:
        return None
    return 1 / mean, 1 / median, 1 / hi, 1 / lo


def risk_table(result: xr.DataTree, strata: list[str] | None = None) -> list[Risk]:
    """Risks of the primary outcome by stratum and arm.

    Parameters
    ----------
    result : xarray.DataTree
    strata : list of str, optional
        Names of strata, `population` among them; by default the population and two or three telling strata.

    Returns
    -------
    list of Risk
        By stratum, then arm in the order of the scenario.
    """
    facts = Facts(result)
    return [risk_of(facts, arm, stratum) for stratum in strata or facts.telling for arm in facts.arms]


def risk_of(facts: Facts, arm: str, stratum: str, outcome: str | None = None) -> Risk:
    """The risk of one outcome (the primary by default) under one arm in one stratum."""
    outcome = outcome or facts.primary
    stats = facts.stats("value", arm, stratum, outcome)
    errors = facts.errors("value", arm, stratum, outcome) | {"mean": stats["mcse"]}
    percent = is_probability(outcome)
    write = digits.probability if percent else digits.number
    text = {name: write(stats[name], errors[name]) for name in ("mean", "median", "lo", "hi")}
    text["mcse"] = digits.error(stats["mcse"], percent=percent)
    return Risk(
        arm, stratum, *(stats[name] for name in STATS),
        top5_share=float(carried(facts.draws_of(arm, stratum, outcome))), text=text,
        without=tuple(facts.leaves_out(arm, stratum)),
    )  # fmt: skip


def contrast_of(facts: Facts, arm: str, stratum: str) -> Contrast:
    """Difference, ratio and number needed to harm of one arm against the reference."""
    outcome = facts.primary
    percent = is_probability(outcome)
    where = arm, stratum, outcome
    difference, ratio = facts.stats("difference", *where), facts.stats("ratio", *where)
    errors = {name: facts.errors(name, *where) for name in ("difference", "ratio")}
    write = digits.points if percent else digits.number
    mcse = digits.error((100 if percent else 1) * difference["mcse"], percent=False) + " pp" * percent
    harm = nnh(*(difference[name] for name in ("mean", "median", "lo", "hi"))) if percent else None
    return Contrast(
        arm, stratum,
        write(difference["mean"], difference["mcse"]),
        " to ".join(write(difference[name], errors["difference"][name]) for name in ("lo", "hi")),
        mcse,
        digits.number(ratio["mean"], ratio["mcse"]),
        digits.error(ratio["mcse"], percent=False),
        _write_within(ratio, errors["ratio"]),
        _write_nnh(harm, difference),
    )  # fmt: skip


def _write_within(ratio: dict[str, float], errors: dict[str, float]) -> str:
    if not math.isfinite(ratio["mean"]):
        return "–"
    median, lo, hi = (digits.number(ratio[name], errors[name]) for name in ("median", "lo", "hi"))
    return f"{median} [{lo} to {hi}]"


def _write_nnh(harm: tuple[float, float, float, float] | None, difference: dict[str, float]) -> str:
    if harm is None:
        return "–"
    mean = abs(harm[0])
    error = difference["mcse"] / difference["mean"] ** 2  # delta method
    low, high = (digits.number(end, end / 10) for end in sorted(abs(end) for end in harm[2:]))
    return f"{digits.number(mean, error)} {'harmed' if harm[0] > 0 else 'spared'} ({low} to {high})"
