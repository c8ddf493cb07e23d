"""Figures of a calibration: how it fits, what it learnt, what it owes to which target, what moves the risk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vtrial.calibration.criticise import KHAT_LIMIT
from vtrial.report import style


def fit_of_events(table: Any) -> Figure:
    """Draw observed shares with exact intervals against expected ones; `table` is that of `criticise.fit_table`."""
    some = table[(table["target"] != "kinetics") & ~table["what"].str.startswith("woke")].reset_index(drop=True)
    ratios = some["what"].str.startswith("risk ratio")
    parts = [(some[~ratios], "share with the event"), (some[ratios], "risk ratio against placebo")]
    parts = [(part, label) for part, label in parts if len(part)]
    heights = [len(part) for part, _ in parts]
    figure = style.new_figure(1.2 + 0.19 * sum(heights))
    panels = figure.subplots(len(parts), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (part, label) in zip(panels, parts, strict=True):
        _against(axes, part)
        style.name_rows(axes, [f"{r.target} {r.study}: {r.what}" for r in part.itertuples()])
        axes.tick_params(axis="y", labelsize=6.5)
        axes.set_xlabel(label)
        if label.startswith("risk"):
            axes.set_xscale("log")
            axes.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
            axes.minorticks_off()
    _legend(figure)
    return figure


def fit_of_kinetics(table: Any) -> Figure:
    """Draw printed statistics over what the model expects of them."""
    some = table[table["target"] == "kinetics"].reset_index(drop=True)
    scaled = some.copy()
    for name in ("observed", "lo", "hi", "expected_lo", "expected_hi", "predicted_lo", "predicted_hi", "expected"):
        scaled[name] = some[name] / some["expected"]
    figure = style.new_figure(1.0 + 0.17 * len(some))
    axes = figure.subplots()
    _against(axes, scaled)
    axes.set_xscale("log")
    ticks = (0.25, 0.5, 0.7, 1, 1.4, 2, 4)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1.0, color=style.BLACK, lw=0.6)
    style.name_rows(axes, [f"{r.study}: {r.what}" for r in some.itertuples()])
    axes.tick_params(axis="y", labelsize=6.5)
    axes.set_xlabel("printed over expected")
    _legend(figure)
    return figure


def _against(axes: Any, part: Any) -> None:
    rows = np.arange(len(part))
    axes.hlines(rows, part["predicted_lo"], part["predicted_hi"], color=style.LIGHT, lw=7)
    axes.hlines(rows, part["expected_lo"], part["expected_hi"], color=style.SKY, lw=4)
    axes.plot(part["expected"], rows, "|", color=style.BLUE, ms=7)
    axes.hlines(rows, part["lo"], part["hi"], color=style.BLACK, lw=0.8)
    axes.plot(part["observed"], rows, "o", color=style.VERMILLION, ms=3)


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    red = style.VERMILLION
    seen = {"color": style.BLACK, "mfc": red, "mec": red, "ms": 3, "lw": 0.8, "marker": "o"}
    handles = [
        Line2D([], [], label="observed, 95% interval", **seen),
        Line2D([], [], color=style.SKY, lw=4, label="expected, 95% interval over draws"),
        Line2D([], [], color=style.LIGHT, lw=7, label="95% of new data of that size"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)


def prior_and_posterior(table: pd.DataFrame) -> Figure:
    """Draw each parameter's interval before and after, in units of the prior's."""
    figure = style.new_figure(1.0 + 0.22 * len(table))
    axes = figure.subplots()
    half = (table["prior_hi"] - table["prior_lo"]).to_numpy(float) / 2
    middle = table["prior"].to_numpy(float)
    rows = np.arange(len(table))

    def at(name: str) -> np.ndarray:
        return (table[name].to_numpy(float) - middle) / half

    axes.hlines(rows, at("prior_lo"), at("prior_hi"), color=style.LIGHT, lw=7)
    for end in ("file_lo", "file_hi"):
        axes.vlines(at(end), rows - 0.35, rows + 0.35, color=style.BLACK, lw=0.8)
    axes.hlines(rows, at("lo"), at("hi"), color=style.BLUE, lw=2)
    axes.plot(at("median"), rows, "o", color=style.BLUE, ms=3.5)
    style.name_rows(axes, [f"{name}  {row.shrinkage:.0%}" for name, row in table.iterrows()])
    axes.set_xlabel("distance from the prior's median, in halves of its 95% interval (grey: prior, blue: posterior)")
    return figure


def power_scaling(table: pd.DataFrame) -> Figure:
    """Draw the sensitivity of parameters and risks to the prior and to each target."""
    figure = style.new_figure(1.0 + 0.2 * len(table))
    axes = figure.subplots()
    values = table.to_numpy(float)
    shown = axes.imshow(np.minimum(values, 0.5), aspect="auto", cmap=style.colours("cividis"), vmin=0, vmax=0.5)
    axes.set_xticks(range(table.shape[1]), list(table.columns), rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(table)), list(table.index))
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        if value >= 0.05:
            colour = "black" if value > 0.3 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", size=6, color=colour)
    figure.colorbar(shown, ax=axes, label="power-scaling sensitivity (numbers: 0.05 and above)")
    return figure


def tornado(table: pd.DataFrame) -> Figure:
    """Draw the primary risk of each case over that of the scenario, the first; one panel for arm and stratum.

    Cases that move it most in any panel come first. Diamonds: the draws reweighted, where the weights carry.
    """
    arms, strata = (table[name].unique().tolist() for name in ("arm", "stratum"))
    scenarios = table["case"].iloc[0]
    moved = {str(case): np.abs(np.log(some["fold"])).max() for case, some in table.groupby("case")}
    cases = sorted(moved.keys() - {scenarios}, key=lambda case: -moved[case])
    places = np.arange(len(cases))
    figure = style.new_figure((0.6 + 0.2 * len(cases)) * len(strata))
    panels = figure.subplots(len(strata), len(arms), sharey=True, squeeze=False)
    for row, stratum in zip(panels, strata, strict=True):
        for axes, arm in zip(row, arms, strict=True):
            of = table[(table["arm"] == arm) & (table["stratum"] == stratum)].set_index("case")
            base, of = float(of.loc[scenarios, "mean"]), of.loc[cases]
            fold, mcse, reweighted = (of[name].to_numpy(float) for name in ("fold", "mcse", "reweighted"))
            colour = [style.VERMILLION if one > 1 else style.BLUE for one in fold]
            axes.barh(places, fold - 1, left=1.0, color=colour, height=0.6)
            axes.errorbar(fold, places, xerr=mcse / base, fmt="none", ecolor=style.BLACK, lw=0.7)
            carried = of["khat"].to_numpy(float) <= KHAT_LIMIT
            axes.plot(reweighted[carried] / base, places[carried], "D", color=style.BLACK, mfc="white", ms=3.5)
            axes.axvline(1.0, color=style.BLACK, lw=0.8)
            axes.set_xscale("log")
            axes.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["¼", "½", "1", "2", "4", "8"])
            axes.minorticks_off()
            style.name_rows(axes, cases)
            axes.set_title(f"{arm}\n{stratum}: {base:.2%}", loc="left", size=7)
    figure.supxlabel(
        "risk of coma within 7 d over that of the scenario (lines: MCSE; diamonds: draws reweighted)", size=8
    )
    return figure
