"""Risk and benefit of the arms side by side: the table, and the figure of the efficient frontier."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from vtrial.endpoint import UTILITY
from vtrial.report import digits, style
from vtrial.report.facts import Facts, is_probability
from vtrial.report.plot_risks import arm_names

WIDTH, HEIGHT = 62.0, 7.0
"""Of a name in the figure, points."""


def worth_blocks(facts: Facts) -> list[dict[str, Any]]:
    """By stratum and arm: risk, benefit, utility, and how likely the arm is efficient and best, as text.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    list of dict
        Empty where the scenario names neither a benefit nor weights of utility.
    """
    asked = [facts.primary, *([facts.benefit] if facts.benefit else [])]
    if not facts.benefit and UTILITY not in facts.outcomes:
        return []
    blocks = []
    for stratum in facts.telling:
        rows = []
        for arm in facts.arms:
            cell = facts.estimates.sel(arm=arm, stratum=stratum)
            row: dict[str, Any] = {"arm": arm, "cells": [_estimate(facts, "value", arm, stratum, o) for o in asked]}
            if facts.benefit:
                mark = "on it" if bool(cell["efficient"]) else "–"
                row["cells"] += [mark, _chance(cell, "p_efficient")]
            if UTILITY in facts.outcomes:
                row["cells"] += [
                    _estimate(facts, "value", arm, stratum, UTILITY),
                    "–" if arm == facts.reference else _estimate(facts, "difference", arm, stratum, UTILITY),
                    _chance(cell, "p_best"),
                ]
            rows.append(row)
        blocks.append({"name": facts.name_of(stratum), "rows": rows})
    return blocks


def worth_columns(facts: Facts) -> list[str]:
    """Headings of the columns of `worth_blocks` after the arm's."""
    interval = f"mean (MCSE) [{facts.interval:.0%} interval]"
    found = [f"{facts.primary}, {interval}"]
    if facts.benefit:
        found += [f"{facts.benefit}, {interval}", "efficient frontier of the means", "P(on the frontier) (MCSE)"]
    if UTILITY in facts.outcomes:
        found += [f"utility, {interval}", f"utility over {facts.reference}'s", "P(highest utility) (MCSE)"]
    return found


def _estimate(facts: Facts, estimand: str, arm: str, stratum: str, outcome: str) -> str:
    stats = facts.stats(estimand, arm, stratum, outcome)
    if not np.isfinite(stats["mean"]):
        return "–"
    if is_probability(outcome):
        mean, lo, hi = (digits.probability(stats[name], stats["mcse"]) for name in ("mean", "lo", "hi"))
        return f"{mean} ({digits.error(stats['mcse'], percent=True)}) [{lo} to {hi}]"
    mean, lo, hi = (digits.number(stats[name], stats["mcse"]) for name in ("mean", "lo", "hi"))
    return f"{mean} ({digits.number(stats['mcse'])}) [{lo} to {hi}]"


def _chance(cell: Any, name: str) -> str:
    p, mcse = float(cell[name]), float(cell[f"{name}_mcse"])
    return f"{digits.probability(p, mcse)} ({digits.error(mcse, percent=True)})"


def frontier(facts: Facts) -> Figure | None:
    """Draw risk against benefit of the arms, and the frontier of those that no other arm beats on both.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if the scenario names no benefit.
    """
    if not facts.benefit:
        return None
    strata = facts.telling
    figure = style.new_figure(0.6 + 2.4 * -(-len(strata) // 2))
    panels = figure.subplots(-(-len(strata) // 2), min(2, len(strata)), squeeze=False)
    for axes in panels.flat[len(strata) :]:
        axes.set_axis_off()
    for axes, stratum in zip(panels.flat, strata, strict=False):
        _panel(facts, axes, stratum)
        axes.set_title(facts.name_of(stratum), loc="left")
    figure.supxlabel(facts.label(facts.primary), size=8)
    figure.supylabel(facts.label(facts.benefit), size=8)
    return figure


def _label(axes: Axes, points: list[tuple[float, float, str, bool]]) -> None:
    """Name the points, from the top down, each name below those that it would lie on."""
    scale, placed = 72 / axes.figure.dpi, list[tuple[float, float]]()
    for x, y, name, on in sorted(points, key=lambda point: -point[1]):
        left, bottom = scale * axes.transData.transform((x, y))
        at = bottom + 3.0
        for other_left, other in sorted(placed, key=lambda place: -place[1]):
            if abs(other_left - left) < WIDTH and abs(other - at) < HEIGHT:
                at = other - HEIGHT
        placed.append((left, at))
        axes.annotate(name, (x, y), (5, at - bottom), textcoords="offset points", size=6,
                      color=style.BLUE if on else style.GREY)  # fmt: skip


def _panel(facts: Facts, axes: Axes, stratum: str) -> None:
    found = facts.estimates.sel(stratum=stratum)
    points: list[tuple[float, float, str, bool]] = []
    for arm, name in arm_names(facts).items():
        x, y = (facts.stats("value", arm, stratum, outcome) for outcome in (facts.primary, facts.benefit))
        if not (x["mean"] > 0 and np.isfinite(y["mean"])):
            continue
        on = bool(found["efficient"].sel(arm=arm))
        colour = style.BLUE if on else style.GREY
        axes.errorbar(x["mean"], y["mean"], xerr=min(x["mcse"], 0.99 * x["mean"]), yerr=y["mcse"], fmt="o",
                      ms=4, color=colour, elinewidth=0.6)  # fmt: skip
        points.append((x["mean"], y["mean"], name, on))
    if on_it := sorted((x, y) for x, y, _, on in points if on):
        axes.step(*zip(*on_it, strict=True), where="post", color=style.BLUE, lw=0.9, zorder=1)
    axes.set_xscale("log")
    axes.margins(x=0.3, y=0.15)
    _label(axes, points)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}%"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}%"))
