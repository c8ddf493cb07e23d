"""The dose-risk surface of two drugs with its isoboles."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from vtrial.report import style
from vtrial.report.facts import Facts, is_probability, short_outcome
from vtrial.report.plot_risks import FLOOR, percent_axis

type Array = NDArray[np.float64]

LINES = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 0.5)
"""Risks whose isoboles are drawn."""


def dose_surface(facts: Facts) -> Figure | None:
    """Draw the mean primary risk over the daily doses of two drugs, a panel for each stratum.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if the scenario asks for none, or the primary outcome is no risk.
    """
    if "dose_surface" not in facts.result.children or not is_probability(facts.primary):
        return None
    found = facts.result["dose_surface"].to_dataset()
    if facts.primary not in found["outcome"].values:
        return None
    value = found["value"].sel(outcome=facts.primary, stat="mean").transpose("stratum", "second", "first")
    x, y, strata = found["first"].values, found["second"].values, [str(s) for s in found["stratum"].values]
    least, most = 1e-5, max(1e-4, float(value.max()))
    figure = style.new_figure(3.4, width=style.WIDTH if len(strata) > 1 else 4.2)
    panels = figure.subplots(1, len(strata), sharex=True, sharey=True, squeeze=False)[0]
    (first, second), (often, also) = found.attrs["drugs"], found.attrs["freq"]
    for axes, stratum in zip(panels, strata, strict=True):
        _panel(axes, x, y, np.maximum(value.sel(stratum=stratum).values, FLOOR), least, most)
        axes.set_title(stratum, loc="left")
        axes.set_xlabel(f"{first}, mg a day, {often}")
    panels[0].set_ylabel(f"{second}, mg a day, {also}")
    scale = ScalarMappable(LogNorm(least, most), style.colours("cividis"))
    bar = figure.colorbar(scale, ax=panels, location="right", aspect=30, pad=0.02)
    percent_axis(bar.ax.yaxis)
    bar.set_label(f"risk of {short_outcome(facts, facts.primary)}, mean")
    handles = [
        Line2D([], [], color="white", lw=1.4, label="isobole"),
        Line2D([], [], color="white", lw=1, ls=":", label="straight line between its ends"),
    ]
    legend = figure.legend(handles=handles, loc="outside upper center", ncols=2, facecolor=style.GREY, frameon=True)
    legend.get_frame().set_linewidth(0)
    for text in legend.get_texts():
        text.set_color("white")
    return figure


def _panel(axes: Axes, x: Array, y: Array, risk: Array, least: float, most: float) -> None:
    """Colours and isoboles, linear between the points in the logarithm of the risk; lines between ends of isoboles."""
    steps = np.geomspace(least, most, 30)
    first = max(risk[0, 1], risk[1, 0])  # below it an isobole would lie beside a risk that is a floor, not a number
    log, inside = np.log(risk), [level for level in LINES if first < level < risk.max()]
    axes.contourf(x, y, log, levels=np.log(steps), cmap="cividis", extend="both")
    lines = axes.contour(x, y, log, levels=np.log(inside), colors="white", linewidths=1.2, linestyles="solid")
    axes.clabel(lines, fmt=lambda level: f"{100 * np.exp(level):g}%", fontsize=6.5)
    for level in inside:
        if log[0, -1] > np.log(level) < log[-1, 0]:
            ends = np.interp(np.log(level), log[0], x), np.interp(np.log(level), log[:, 0], y)
            axes.plot([ends[0], 0], [0, ends[1]], color="white", ls=":", lw=1)
    axes.plot(*(grid.ravel() for grid in np.meshgrid(x, y)), ".", ms=1.5, color="white", alpha=0.6)
