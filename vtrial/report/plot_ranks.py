"""Figures of what decides: the parameters that move the risk, and the ranks of the arms."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from vtrial.estimand import POPULATION
from vtrial.report import style
from vtrial.report.facts import Facts
from vtrial.report.plot_risks import arm_names

type Array = NDArray[np.float64]

MOST = 12
"""Parameters shown in the sensitivity figure."""


def sensitivity_arms(facts: Facts) -> list[str]:
    """The reference arm, and the arm of the highest mean primary risk in the population if it is another."""
    mean = facts.means(facts.primary)[:, -1]
    return list(dict.fromkeys([facts.reference, facts.arms[int(np.nanargmax(mean))]]))


def correlations(facts: Facts, arm: str) -> dict[str, float]:
    """Spearman correlation of each parameter with the primary risk of an arm in the population, over draws.

    Parameters
    ----------
    facts : Facts
    arm : str

    Returns
    -------
    dict
        By parameter; parameters (or a risk) that do not vary are left out.
    """
    risk = facts.draws_of(arm, POPULATION, facts.primary)
    theta = facts.result["theta"].to_dataset()
    varying = {
        str(name): v.values
        for name, v in theta.data_vars.items()
        if v.dims == ("draw",) and v.dtype.kind == "f" and np.ptp(v.values) > 0
    }
    if risk.size < 3 or np.ptp(risk) == 0:
        return {}
    return {name: float(np.corrcoef(_ranks(v), _ranks(risk))[0, 1]) for name, v in varying.items()}


def _ranks(values: Array) -> Array:
    """Ranks, ties averaged."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def sensitivity(facts: Facts) -> Figure | None:
    """Draw which parameters move the primary risk most.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if no parameter varies, or no risk.
    """
    found = {arm: correlations(facts, arm) for arm in sensitivity_arms(facts)}
    found = {arm: c for arm, c in found.items() if c}
    if not found:
        return None
    largest = {name: max(abs(c[name]) for c in found.values()) for name in next(iter(found.values()))}
    names = sorted(largest, key=lambda name: (-largest[name], name))[:MOST]
    labels = {p["name"]: p["label"] for p in facts.json("params")}
    figure = style.new_figure(1.1 + 0.27 * max(len(names), 3))
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    noise = 1.96 / np.sqrt(facts.result.attrs["draws"] - 1)
    for axes, (arm, values) in zip(panels, found.items(), strict=True):
        rho = np.array([values[name] for name in names])
        axes.axvspan(-noise, noise, color=style.LIGHT, lw=0, zorder=0)
        colours = [style.GREY if abs(r) < noise else style.VERMILLION if r > 0 else style.BLUE for r in rho]
        axes.barh(range(len(names)), rho, color=colours, height=0.62)
        style.name_rows(axes, [_wrapped(name, labels.get(name, "")) for name in names])
        axes.axvline(0, color=style.BLACK, lw=0.8)
        axes.set_xlim(-1, 1)
        axes.set_xticks([-0.5, 0, 0.5], ["−0.5", "0", "0.5"])
        axes.tick_params(axis="y", labelsize=6.5)
        axes.set_title(arm_names(facts)[arm], loc="left")
    _name_sensitivity(figure, facts)
    return figure


def _name_sensitivity(figure: Figure, facts: Facts) -> None:
    figure.supxlabel(f"Spearman correlation with the risk in the {facts.whole}, over draws", size=8)
    handles = [
        Patch(color=style.VERMILLION, lw=0, label="higher value, higher risk"),
        Patch(color=style.BLUE, lw=0, label="higher value, lower risk"),
        Patch(color=style.LIGHT, lw=0, label="within ±1.96/√(draws − 1): noise (grey bars)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)


def _wrapped(name: str, label: str, width: int = 44) -> str:
    label = textwrap.shorten(label.split(",")[0], width, placeholder=" …")
    return f"{name}\n{label}" if label else name


def ranks(facts: Facts) -> Figure | None:
    """Draw the probability of each rank of each arm, with and without the arms that leave patients untreated.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if there is one arm only.
    """
    if len(facts.arms) < 2:
        return None
    strata, p = facts.telling, facts.estimates["p_rank"].transpose("contest", "stratum", "arm", "rank")
    n = p.sizes["rank"]  # more than arms, where only some of the result's are shown
    figure = style.new_figure(0.8 + len(strata) * (0.4 + 0.17 * len(facts.arms)))
    panels = figure.subplots(len(strata), 2, sharex=True, sharey=True, squeeze=False)
    palette = style.colours("cividis")(np.linspace(0, 1, n))
    for row, stratum in enumerate(strata):
        for axes, contest in zip(panels[row], ("all", "treating"), strict=True):
            _rank_panel(axes, p.sel(contest=contest, stratum=stratum).values, palette)
            style.name_rows(axes, list(arm_names(facts).values()))
            title = f"all {n} arms" if contest == "all" else "arms that treat everyone"
            axes.set_title(f"{facts.name_of(stratum)}: {title}", loc="left")
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
            axes.set_xlim(0, 1)
    figure.supxlabel("probability of the rank, over draws", size=8)
    every = [0, n - 1] if n < 4 else [0, 1, 2, n // 2, n - 1]
    note = {0: " (lowest risk)", n - 1: " (highest)"}
    handles = [Patch(color=palette[k], lw=0, label=f"rank {k + 1}{note.get(k, '')}") for k in sorted(set(every))]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _share(p: float) -> str:
    return ">99%" if 0.99 < p < 1 else f"{p:.0%}"


def _rank_panel(axes: Axes, p: Array, palette: Array) -> None:
    left = np.zeros(len(p))
    for k in range(p.shape[1]):
        some = np.flatnonzero(p[:, k] > 0)
        axes.barh(some, p[some, k], left=left[some], color=palette[k], height=0.8)
        left += p[:, k]
    for a in np.flatnonzero(left < 1e-9).tolist():
        axes.text(0.01, a, "not in this contest: leaves someone untreated", size=5.8, va="center", color=style.GREY)
    for a in np.flatnonzero(p[:, 0] >= 0.1).tolist():
        axes.text(p[a, 0] / 2, a, _share(p[a, 0]), size=6, va="center", ha="center", color="white")
