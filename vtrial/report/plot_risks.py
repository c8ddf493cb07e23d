"""Figures of risk: by stratum and arm, by arm, against the reference, against dose."""

from __future__ import annotations

import math
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from vtrial.report import digits, style
from vtrial.report.facts import Facts, is_probability, short_arms, short_outcome
from vtrial.report.tables import STATS

FLOOR = 1e-6
"""Smallest risk that a log axis shows; intervals beyond it end in an arrow."""
KDIGO = "eGFR category (KDIGO; mL/min/1.73 m²: G1 ≥ 90 … G5 < 15)"
type Array = NDArray[np.float64]


def arm_names(facts: Facts, *, reference: bool = True) -> dict[str, str]:
    """Short names of the arms, the reference marked."""
    names = short_arms(facts.arms)
    return {arm: f"{name} (ref.)" if reference and arm == facts.reference else name for arm, name in names.items()}


def percent_axis(axis: Axis, ticks: int = 6) -> None:
    """Label a log axis of probability in percent, with so many ticks at most."""
    axis.set_major_locator(LogLocator(10, numticks=ticks))
    axis.set_major_formatter(FuncFormatter(lambda x, _: _percent(x)))
    axis.set_minor_formatter(NullFormatter())


def _percent(x: float) -> str:
    return f"{100 * x:.{max(0, -round(math.log10(100 * x)))}f}%" if x > 0 else ""


def log_limits(values: Array, top: float = 1.0) -> tuple[float, float]:
    """Ends of a log axis of probabilities: a power of ten below the smallest, a little above the largest."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return 1e-3, top
    low, high = max(FLOOR, float(positive.min())), max(float(positive.max()), 10 * FLOOR)
    return 10 ** math.floor(math.log10(low)), min(top, 10 ** (math.log10(high) + 0.15))


# ------------------------------------------------------------------------------------------------ heatmap


def heatmap(facts: Facts) -> Figure | None:
    """Draw the primary risk by row and column of the strata, one panel for each arm.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if the strata have no rows and columns, or the primary outcome is no probability.
    """
    grid = facts.grid()
    if grid is None or not is_probability(facts.primary):
        return None
    rows, columns = grid
    found = facts.estimates["value"].sel(outcome=facts.primary).transpose("arm", "stratum", "stat").values[:, :-1]
    means = found[..., 0]
    norm = LogNorm(max(log_limits(means)[0], 1e-6), max(float(np.nanmax(means)), 1e-5))
    across = min(3, len(facts.arms)) if len(columns) <= 8 else 1
    down = math.ceil(len(facts.arms) / across)
    figure = style.new_figure(1.8 + down * (0.36 + 0.17 * max(len(rows), 3)))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    image: AxesImage | None = None
    for axes, arm in zip(panels.flat, facts.arms, strict=False):
        image = _heat_panel(facts, axes, arm, found[facts.arms.index(arm)], norm)
        axes.set_title(arm_names(facts)[arm], loc="left")
        axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), rows)
    for axes in panels.flat[len(facts.arms) :]:
        axes.set_visible(False)
    for empty in range(across * down - len(facts.arms)):
        panels[-2, across - 1 - empty].tick_params(labelbottom=True)
    _name_grid(figure, rows, columns)
    assert image is not None
    bar = figure.colorbar(image, ax=panels, location="top", aspect=60, shrink=0.6, pad=0.01, extend="min")
    percent_axis(bar.ax.xaxis)
    bar.set_label(f"risk of {short_outcome(facts, facts.primary)}, mean; numbers in %")
    _heat_legend(figure, facts)
    return figure


def _name_grid(figure: Figure, rows: list[str], columns: list[str]) -> None:
    ages = all(re.match(r"\d+(-\d+|\+)$", row) for row in rows)
    figure.supxlabel(KDIGO if set(columns) & {"G1", "G4", "G5"} else "column of the strata", size=8)
    figure.supylabel("age band, years" if ages else "row of the strata", size=8)


def _heat_panel(facts: Facts, axes: Axes, arm: str, cells: Array, norm: LogNorm) -> AxesImage:
    rows, columns = facts.grid() or ([], [])
    image, cmap = np.full((len(rows), len(columns)), np.nan), style.colours("cividis")
    size = 5.6 if len(columns) > 5 else 7
    for stratum, (mean, mcse) in zip(facts.strata, cells[:, [0, STATS.index("mcse")]], strict=False):
        row, column = facts.place(stratum)
        i, j = rows.index(row), columns.index(column)
        image[i, j] = max(mean, norm.vmin or FLOOR)
        ink = "white" if style.on_dark(cmap(norm(image[i, j]))) else "black"
        if facts.leaves_out(arm, stratum):
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="////", ec=ink, lw=0, alpha=0.55))
        elif not facts.treats_all(arm, stratum):
            corner = [(j + 0.5, i - 0.5), (j + 0.5, i - 0.1), (j + 0.1, i - 0.5)]
            axes.add_patch(Polygon(corner, color=style.ORANGE, lw=0))
        axes.text(j, i + 0.03, _cell_text(mean, mcse), ha="center", va="center", size=size, color=ink,
                  bbox={"boxstyle": "square,pad=0.1", "fc": cmap(norm(image[i, j])), "lw": 0})  # fmt: skip
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return axes.imshow(image, cmap=cmap, norm=norm, aspect="auto")


def _cell_text(mean: float, mcse: float) -> str:
    if mean < 5e-5:
        return "<.01"
    text = digits.number(100 * mean, 100 * mcse)
    return text[1:] if text.startswith("0.") else text


def _heat_legend(figure: Figure, facts: Facts) -> None:
    own = facts.strata[:-1]
    hatched = any(facts.leaves_out(arm, s) for arm in facts.arms for s in own)
    partly = any(not facts.treats_all(arm, s) and not facts.leaves_out(arm, s) for arm in facts.arms for s in own)
    handles = []
    if hatched:
        handles.append(Patch(fill=False, hatch="/////", ec=style.GREY, lw=0.5, label="a drug is given to no one"))
    if partly:
        handles.append(Patch(color=style.ORANGE, lw=0, label="corner: a drug is given to some only"))
    if handles:
        figure.legend(handles=handles, loc="outside upper right", ncols=2)


# ------------------------------------------------------------------------------------------------ by arm


def risk_by_arm(facts: Facts) -> Figure:
    """Draw the primary risk by arm: mean with MCSE, median and interval, in the population and telling strata.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure
    """
    strata, names = facts.telling, arm_names(facts)
    found = np.array([[_row(facts, "value", arm, s) for arm in facts.arms] for s in strata])
    log = is_probability(facts.primary)
    limits = log_limits(found[..., :4], 1.0)
    figure = style.new_figure(1.35 + 0.23 * max(len(facts.arms), 2))
    panels = figure.subplots(1, len(strata), sharex=True, sharey=True, squeeze=False)[0]
    for axes, stratum, stats in zip(panels, strata, found, strict=True):
        if log:
            axes.set_xscale("log")
            axes.set_xlim(*limits)
            percent_axis(axes.xaxis, 4)
        style.name_rows(axes, list(names.values()))
        for a, stats_of in enumerate(stats):
            _risk_row(axes, a, stats_of, limits[0] if log else None)
            for drug in facts.leaves_out(facts.arms[a], stratum)[:1]:
                axes.annotate(f"no {drug}", (1, a), (-1, 3.5), ("axes fraction", "data"), "offset points",
                              ha="right", va="bottom", size=5.5, color=style.GREY)  # fmt: skip
        axes.set_title(facts.name_of(stratum), loc="left")
    unit = "" if log else f", {facts.unit(facts.primary)}"
    figure.supxlabel(f"risk of {short_outcome(facts, facts.primary)}{unit}" if log else
                     f"{facts.label(facts.primary)}{unit}", size=8)  # fmt: skip
    handles = [
        Line2D([], [], color=style.BLUE, marker="o", ms=4, lw=4.5, alpha=0.6, label="mean ± MCSE"),
        Line2D([], [], ls="", marker="D", mfc="white", mec=style.VERMILLION, ms=4, label="median"),
        Line2D([], [], color=style.GREY, lw=1, label=f"{facts.interval:.0%} interval (◂ goes on)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _risk_row(axes: Axes, a: int, stats: Array, floor: float | None) -> None:
    mean, median, lo, hi, mcse, _ = (float(x) for x in stats)
    bottom = -math.inf if floor is None else floor
    if floor is not None and mean < floor:
        axes.text(floor, a, " 0" if mean == 0 else f" < {_percent(floor)}", size=6, va="center", color=style.GREY)
        return
    _whisker(axes, a, lo, hi, floor)
    axes.plot([max(mean - mcse, bottom), mean + mcse], [a, a], color=style.BLUE, lw=4.5, alpha=0.45,
              solid_capstyle="butt", zorder=3)  # fmt: skip
    axes.plot(mean, a, "o", color=style.BLUE, ms=3.8, zorder=4)
    if median >= bottom:
        axes.plot(median, a, "D", mfc="white", mec=style.VERMILLION, ms=3.8, mew=1, zorder=4)


def _row(facts: Facts, estimand: str, arm: str, stratum: str) -> list[float]:
    stats = facts.stats(estimand, arm, stratum, facts.primary)
    return [stats[name] for name in STATS]


def _whisker(axes: Axes, y: float, lo: float, hi: float, floor: float | None) -> None:
    start = lo if floor is None else max(lo, floor)
    if not math.isfinite(hi) or (floor is not None and hi <= floor):
        return
    axes.plot([start, hi], [y, y], color=style.GREY, lw=1, zorder=2, solid_capstyle="butt")
    axes.plot(hi, y, "|", color=style.GREY, ms=5, mew=1, zorder=2)
    if floor is not None and lo < floor:
        axes.plot(floor, y, "<", color=style.GREY, ms=3.5, zorder=2, clip_on=False)
    else:
        axes.plot(lo, y, "|", color=style.GREY, ms=5, mew=1, zorder=2)


# ------------------------------------------------------------------------------------------------ contrasts


def forest(facts: Facts) -> Figure | None:
    """Draw the difference in the primary risk to the reference arm.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if there is one arm only.
    """
    others = [arm for arm in facts.arms if arm != facts.reference]
    if not others:
        return None
    scale = 100.0 if is_probability(facts.primary) else 1.0
    strata, names = facts.telling, arm_names(facts)
    found = scale * np.array([[_row(facts, "difference", arm, s)[:5] for arm in others] for s in strata])
    figure = style.new_figure(1.3 + 0.23 * max(len(others), 2))
    panels = figure.subplots(1, len(strata), sharex=True, sharey=True, squeeze=False)[0]
    for axes, stratum, stats in zip(panels, strata, found, strict=True):
        _symlog(axes, found[..., :4])
        style.name_rows(axes, [names[arm] for arm in others])
        axes.axvline(0, color=style.BLACK, lw=0.8, zorder=1)
        for a, (mean, median, lo, hi, mcse) in enumerate(stats):
            clear = lo > 0 or hi < 0
            _whisker(axes, a, lo, hi, None)
            axes.plot([mean - mcse, mean + mcse], [a, a], color=style.BLUE, lw=4.5, alpha=0.45,
                      solid_capstyle="butt", zorder=3)  # fmt: skip
            axes.plot(mean, a, "o", color=style.BLUE, mfc=style.BLUE if clear else "white", ms=3.8, zorder=4)
            axes.plot(median, a, "D", mfc="white", mec=style.VERMILLION, ms=3.2, mew=1, zorder=3)
        axes.set_title(facts.name_of(stratum), loc="left")
    _name_forest(figure, facts, scale)
    return figure


def _name_forest(figure: Figure, facts: Facts, scale: float) -> None:
    unit = "percentage points" if scale == 100 else facts.unit(facts.primary)
    what = short_outcome(facts, facts.primary)
    figure.supxlabel(f"difference to {facts.reference} in risk of {what}, {unit}\n← lower than reference"
                     "            higher than reference →", size=8)  # fmt: skip
    handles = [
        Line2D([], [], color=style.BLUE, marker="o", ms=4, lw=4.5, alpha=0.6, label="mean ± MCSE"),
        Line2D([], [], ls="", marker="o", color=style.BLUE, mfc="white", ms=4, label="mean, interval includes 0"),
        Line2D([], [], ls="", marker="D", mfc="white", mec=style.VERMILLION, ms=3.5, label="median"),
        Line2D([], [], color=style.GREY, lw=1, label=f"{facts.interval:.0%} interval"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)


def _symlog(axes: Axes, values: Array) -> None:
    """Scale a difference axis: linear around 0, logarithmic beyond a hundredth of its largest value."""
    largest = float(np.nanmax(np.abs(values))) or 1.0
    linear = 10.0 ** (math.floor(math.log10(largest)) - 2)
    axes.set_xscale("symlog", linthresh=linear, linscale=0.5)
    powers = [linear * 10**k for k in range(4) if linear * 10**k <= largest * 1.3]
    ticks = [-p for p in reversed(powers)] + [0.0, *powers]
    low, high = min(float(np.nanmin(values)), -linear), max(float(np.nanmax(values)), linear)
    axes.set_xlim(low * 1.3, high * 1.3)
    shown = [t for t in ticks if low * 1.3 <= t <= high * 1.3]
    labels = {t: "" if abs(t) == linear else f"{t:+g}".replace("-", "−") for t in shown} | {0.0: "0"}
    axes.set_xticks(shown, [labels[t] for t in shown])
    axes.set_xticks([], minor=True)


# ------------------------------------------------------------------------------------------------ dose


def dose_risk(facts: Facts) -> Figure | None:
    """Draw risk against the multiple of an arm's doses, a panel for each stratum and a colour for each level.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if the scenario asked for none.
    """
    if "dose_risk" not in facts.result.children:
        return None
    data = facts.result["dose_risk"].to_dataset()
    outcomes = [o for o in facts.primary_levels() if o in data["outcome"].values]
    if not outcomes:
        return None
    strata = [str(s) for s in data["stratum"].values]
    size = (0.95 + 1.35 * len(outcomes), min(style.WIDTH, 1.1 + 1.75 * max(2, len(strata))))
    figure = style.new_figure(*size)
    panels = figure.subplots(len(outcomes), len(strata), sharex=True, sharey=True, squeeze=False)
    order = ("stratum", "multiple", "outcome", "stat")
    values = data["value"].transpose(*order).sel(outcome=outcomes).values
    floor = max(1e-6, log_limits(values[..., 0])[0])
    for column, stratum in enumerate(strata):
        panels[0, column].set_title(facts.name_of(stratum), loc="left")
        for k in range(len(outcomes)):
            _dose_panel(panels[k, column], data["multiple"].values, values[column, :, k], floor, style.LEVELS[k % 4])
    for axes, outcome in zip(panels[:, 0], outcomes, strict=True):
        axes.set_ylabel(f"risk of\n{short_outcome(facts, outcome).rsplit(' within', 1)[0]}".replace(" (", "\n("))
    within = short_outcome(facts, facts.primary).partition(" within ")[2]
    figure.supxlabel(f"multiple of all doses of {data.attrs['arm']}; risks within {within}", size=8)
    handles = [
        Line2D([], [], color=style.GREY, marker="o", ms=3.5, label="mean ± MCSE"),
        Line2D([], [], color=style.GREY, ls=":", label="median"),
        Patch(color=style.GREY, alpha=0.3, lw=0, label=f"{facts.interval:.0%} interval"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _dose_panel(axes: Axes, multiples: Array, block: Array, floor: float, colour: str) -> None:
    mean, median, lo, hi, mcse = (block[:, i] for i in range(5))
    axes.fill_between(multiples, np.maximum(lo, floor), np.maximum(hi, floor), color=colour, alpha=0.25, lw=0)
    axes.plot(multiples, np.maximum(median, floor / 10), color=style.BLACK, ls=":", lw=1.1)
    low = np.minimum(mcse, np.maximum(mean - floor, 0))
    axes.errorbar(multiples, np.maximum(mean, floor), [low, mcse], color=colour, marker="o", ms=3, elinewidth=1.2,
                  mec=style.BLACK, mew=0.4)  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(floor, 1.05)
    percent_axis(axes.yaxis)
    axes.set_xticks(multiples, [f"{m:g}" for m in multiples])
    axes.set_xticks([], minor=True)
    axes.grid()
