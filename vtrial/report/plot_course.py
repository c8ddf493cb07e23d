"""Figure of the course of sedation: onset and recovery over time."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from vtrial.report import style
from vtrial.report.course import Curve, curves_of, mean_and_error
from vtrial.report.facts import Facts
from vtrial.report.plot_risks import arm_names, log_limits, percent_axis

type Array = NDArray[np.float64]

RARE = 0.05
"""A curve that stays below it in some stratum is drawn on a logarithmic axis."""
DASHES = ("-", "--", ":", "-.")


def course(facts: Facts) -> Figure | None:
    """Draw every curve over time, a row for each telling stratum, a line for each arm.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if no endpoint asks for onset or recovery.
    """
    curves, strata, names = curves_of(facts), facts.telling, arm_names(facts)
    if not curves:
        return None
    figure = style.new_figure(0.8 + 1.7 * len(strata) + 0.17 * -(-len(names) // 3))
    panels = figure.subplots(len(strata), len(curves), squeeze=False, sharex="col", sharey="col")
    for row, stratum in zip(panels, strata, strict=True):
        for axes, curve in zip(row, curves, strict=True):
            for a, arm in enumerate(facts.arms):
                mean, error = mean_and_error(facts, curve, arm, stratum)
                look = {"color": style.SERIES[a % len(style.SERIES)], "linestyle": DASHES[a // len(style.SERIES) % 4]}
                axes.errorbar(
                    curve.hours, mean, error, marker="o", markersize=2, elinewidth=0.6, label=names[arm], **look
                )
            _finish(axes, curve)
        row[0].set_ylabel(textwrap.fill(facts.name_of(stratum), 24))
    for column, curve in zip(panels.T, curves, strict=True):
        means = _means(facts, curve, strata)
        if means.max(1).min() < RARE:
            _rare(column[0], means)
    for axes, curve in zip(panels[0], curves, strict=True):
        axes.set_title(textwrap.fill(curve.title, 78 // len(curves)))
    for axes, curve in zip(panels[-1], curves, strict=True):
        axes.set_xlabel(curve.axis)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _means(facts: Facts, curve: Curve, strata: list[str]) -> Array:
    """Means of a curve, shape (stratum, arm and time); NaN counts as 0."""
    every = [[mean_and_error(facts, curve, arm, stratum)[0] for arm in facts.arms] for stratum in strata]
    return np.nan_to_num(np.reshape(every, (len(strata), -1)))


def _rare(axes: Axes, means: Array) -> None:
    """A logarithmic axis of probability, for all panels of a column."""
    axes.set_yscale("log")
    axes.set_ylim(*log_limits(means))
    percent_axis(axes.yaxis, ticks=5)


def _finish(axes: Axes, curve: Curve) -> None:
    axes.set_xscale("log")
    few = curve.hours[:: -(-len(curve.hours) // 6)]
    axes.set_xticks(few, [f"{hours:g}" for hours in few])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}%"))
    axes.grid(axis="y")
    axes.set_xlim(float(np.min(curve.hours)) * 0.85, float(np.max(curve.hours)) * 1.15)
