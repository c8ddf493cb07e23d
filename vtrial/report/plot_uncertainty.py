"""Figures of what the answer rests on: named assumptions, and where the variance of a risk comes from."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from vtrial.report import digits, style
from vtrial.report.facts import Facts, is_probability, short_outcome
from vtrial.report.plot_ranks import sensitivity_arms
from vtrial.report.plot_risks import arm_names, log_limits, percent_axis

type Array = NDArray[np.float64]

SOURCES = {
    "patients": ("between patients", style.SKY),
    "parameters": ("parameters", style.ORANGE),
    "structure": ("surface, food", style.VERMILLION),
}
"""Sources of variance: what they are called, and their colour."""
GROUPS = 10
"""Groups of draws that are left out in turn, for the Monte Carlo error of a variance."""


def tornado(facts: Facts) -> Figure | None:
    """Draw what named assumptions do to the primary risk, the strongest on top.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if no assumption was varied, or the outcome is no probability.
    """
    if "sensitivity" not in facts.result.children:
        return None
    found = facts.result["sensitivity"].to_dataset()
    if not is_probability(str(found.attrs["outcome"])):
        return None
    arms, strata, cases = (
        [str(name) for name in found[dim].values if dim != "arm" or name in facts.arms]
        for dim in ("arm", "stratum", "case")
    )
    arms = [arm for arm in arms if arm in sensitivity_arms(facts)] or arms[:2]
    value = found["value"].transpose("case", "arm", "stratum", "stat")
    mean = value.sel(arm=arms, stat="mean").values
    draws = found["mean"].transpose("case", "arm", "stratum", "draw").sel(arm=arms).values
    mcse = (draws - draws[0]).std(-1, ddof=1) / np.sqrt(draws.shape[-1])
    if not arms or not np.all(mean[0] > 0):
        return None
    with np.errstate(divide="ignore"):
        order = np.argsort(-np.abs(np.log(mean[1:] / mean[0])).max((1, 2)), kind="stable") + 1
    figure = style.new_figure(0.9 + len(arms) * (0.35 + 0.17 * max(len(order), 3)))
    panels = figure.subplots(len(arms), len(strata), sharex="col", sharey=True, squeeze=False)
    for s, stratum in enumerate(strata):
        limits = log_limits(mean[:, :, s])
        for a, arm in enumerate(arms):
            axes = panels[a, s]
            _bars(axes, mean[0, a, s], mean[order, a, s], mcse[order, a, s])
            axes.set_xlim(*limits)
            style.name_rows(axes, [cases[k] for k in order])
            axes.set_title(f"{arm_names(facts)[arm]}: {facts.name_of(stratum)}", loc="left")
    figure.supxlabel(f"mean risk of {short_outcome(facts, str(found.attrs['outcome']))}", size=8)
    handles = [Patch(color=style.VERMILLION, lw=0, label="higher than as in the scenario (black line)"),
               Patch(color=style.BLUE, lw=0, label="lower")]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _bars(axes: Axes, base: float, mean: Array, mcse: Array) -> None:
    """Bars from the risk as in the scenario to that of each case."""
    ink = [style.VERMILLION if x > base else style.BLUE for x in mean]
    axes.barh(range(len(mean)), mean - base, left=base, color=ink, height=0.6)
    axes.errorbar(mean, range(len(mean)), xerr=mcse, fmt="none", ecolor=style.BLACK, elinewidth=0.8)
    axes.axvline(base, color=style.BLACK, lw=0.8)
    axes.set_xscale("log")
    percent_axis(axes.xaxis)


def variances(facts: Facts) -> pd.DataFrame:
    """Variance of the risk of a patient by source: between patients, between draws, between choices.

    Choices are the cases that hold no parameter at a value: what the draws vary is not counted twice. The first two are
    of the scenario as it is.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    DataFrame
        arm, stratum, source, sd (square root of the variance), mcse (of the SD, by a jackknife of draws in `GROUPS`),
        share (of the sum of the variances).
    """
    found = facts.result["sensitivity"].to_dataset()
    rows = []
    for arm in [str(arm) for arm in found["arm"].values if arm in facts.arms]:
        for stratum in [str(stratum) for stratum in found["stratum"].values]:
            cell = found.sel(arm=arm, stratum=stratum).isel(case=np.flatnonzero(found["structural"].values))
            mean, noise, spread = (cell[name].values for name in ("mean", "noise", "spread"))
            variance = _by_source(mean, noise, spread)
            number = np.arange(len(noise)) % GROUPS
            left = [number != group for group in range(GROUPS)]
            sds = np.sqrt([_by_source(mean[:, some], noise[some], spread[some]) for some in left])
            mcse = np.sqrt((GROUPS - 1) * sds.var(0))
            rows += [
                {"arm": arm, "stratum": stratum, "source": source, "sd": sd, "mcse": error, "share": share}
                for source, sd, error, share in zip(
                    SOURCES, np.sqrt(variance), mcse, variance / variance.sum(), strict=True
                )
            ]
    return pd.DataFrame(rows)


def _by_source(mean: Array, noise: Array, spread: Array) -> Array:
    """Variance between patients, between draws without the noise of finitely many patients, and between choices."""
    parameters = max(float(mean[0].var(ddof=1) - noise.mean()), 0.0)
    return np.array([float(spread.mean()), parameters, float(mean.mean(-1).var())])


def uncertainty(facts: Facts) -> Figure | None:
    """Draw how much of the variance of a patient's risk is between patients, of parameters, between assumptions.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if no assumption was varied, the outcome is no probability, or nothing varies.
    """
    if "sensitivity" not in facts.result.children:
        return None
    found = facts.result["sensitivity"].to_dataset()
    if "spread" not in found or "structural" not in found.coords or not is_probability(str(found.attrs["outcome"])):
        return None
    table = variances(facts)
    if not np.isfinite(table["share"]).all():
        return None
    names = list(dict.fromkeys(zip(table["arm"], table["stratum"], strict=True)))
    figure = style.new_figure(0.9 + 0.3 * max(len(names), 2))
    axes = figure.subplots()
    for row, (arm, stratum) in enumerate(names):
        left = 0.0
        own = table[(table["arm"] == arm) & (table["stratum"] == stratum)].set_index("source")
        for source, (_, ink) in SOURCES.items():
            share, sd, mcse = (float(own.loc[source, name]) for name in ("share", "sd", "mcse"))  # type: ignore[arg-type]
            axes.barh(row, share, left=left, color=ink, height=0.7)
            text = digits.probability(sd, mcse)
            if share > 0.08:
                axes.text(left + share / 2, row, text, ha="center", va="center", size=6.5)
            else:
                axes.text(1.01, row, text, ha="left", va="center", size=6.5, color=ink)
            left += share
    style.name_rows(axes, [f"{arm_names(facts)[arm]}, {facts.name_of(stratum)}" for arm, stratum in names])
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f}%")
    axes.set_xlabel("share of the variance of a patient's risk; numbers: SD")
    handles = [Patch(color=ink, lw=0, label=words) for words, ink in SOURCES.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure
