"""Figures of exposure: trajectories of the example patient, exposure by renal function, time of day of the peak."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from vtrial.report import style
from vtrial.report.facts import Facts, short_arms, spaced
from vtrial.report.plot_risks import arm_names

type Array = NDArray[np.float64]

BANDS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the fans: bands of 90% and 50%, and the median."""
BAND_NAMES = tuple(f"q{100 * p:g}" for p in BANDS)


def bands_of(trace: xr.Dataset, drugs: Sequence[str]) -> dict[tuple[str, str], Array]:
    """Quantiles over the copies of an example patient, shape (quantile, time), by what and drug; "" of the drive."""
    curves = {(what, drug): trace[what].sel(drug=drug) for drug in drugs for what in ("conc", "Ce")}
    curves["drive", ""] = trace["drive"]
    return {at: np.quantile(one.transpose("draw", "time").values, BANDS, axis=0) for at, one in curves.items()}


# ------------------------------------------------------------------------------------------------ trajectories


def fans(facts: Facts) -> Figure | None:
    """Draw concentrations, effect-site concentrations and drive of the example patient, a column for each arm.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if the scenario asked for no examples.
    """
    if "examples" not in facts.result.children:
        return None
    traces = {arm: node.to_dataset() for arm, node in facts.result["examples"].children.items()}
    drugs = [d for d in facts.drugs if any((t["conc"].sel(drug=d) > 0).any() for t in traces.values())]
    rows = [(what, drug) for drug in drugs for what in ("conc", "Ce")] + [("drive", "")]
    figure = style.new_figure(0.9 + 1.25 * len(rows))
    panels = figure.subplots(len(rows), len(traces), sharex="col", sharey="row", squeeze=False)
    for column, (arm, trace) in enumerate(traces.items()):
        clock = float(trace.attrs["clock"])
        for row, (what, drug) in enumerate(rows):
            axes = panels[row, column]
            _night(axes, trace["time"].values, clock)
            if what == "drive":
                _drive_panel(axes, trace, facts, named=column == len(traces) - 1)
            else:
                colour = style.SERIES[(0, 2, 3, 4)[facts.drugs.index(drug) % 4]]
                values = trace[what].sel(drug=drug).transpose("draw", "time").values
                _fan(axes, trace["time"].values, values, colour)
                if what == "conc":
                    _dose_marks(axes, trace, drug)
            if not column:
                axes.set_ylabel(_fan_label(what, drug))
        panels[0, column].set_title(short_arms(facts.arms).get(arm, arm), loc="left", pad=8)
        _clock_axis(panels[-1, column], trace["time"].values, clock)
    figure.align_ylabels(list(panels[:, 0]))
    _fan_legend(figure)
    return figure


def _fan_legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=style.BLUE, lw=1.4, label="median"),
        Patch(color=style.BLUE, alpha=0.5, lw=0, label="50%"),
        Patch(color=style.BLUE, alpha=0.2, lw=0, label="90%"),
        Line2D([], [], ls="", marker="v", color=style.BLACK, ms=3.5, label="dose"),
        Patch(fc="#F0F0F0", ec="#CCCCCC", lw=0.5, label="night, 22:00 to 07:00"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5)


def _fan_label(what: str, drug: str) -> str:
    if what == "drive":
        return "sedation drive\n(coma at 1)"
    return f"{drug}\n" + ("conc, mg/L" if what == "conc" else "effect site\nCe, mg/L")


def _fan(axes: Axes, time: Array, values: Array, colour: str) -> None:
    low, lower, middle, upper, high = np.quantile(values, BANDS, axis=0)
    axes.fill_between(time, low, high, color=colour, alpha=0.2, lw=0)
    axes.fill_between(time, lower, upper, color=colour, alpha=0.35, lw=0)
    axes.plot(time, middle, color=colour, lw=1)
    axes.grid(axis="y")


def _drive_panel(axes: Axes, trace: xr.Dataset, facts: Facts, *, named: bool) -> None:
    time, values = trace["time"].values, trace["drive"].transpose("draw", "time").values
    positive = np.where(values > 0, values, np.nan)[:, 1:]
    started = np.isfinite(positive).all(0)
    _fan(axes, time[1:][started], positive[:, started], style.PURPLE)
    axes.set_yscale("log")
    bottom, top = np.nanquantile(positive[:, started], [0.02, 0.995]) if started.any() else (0.01, 1.0)
    axes.set_ylim(max(bottom / 2, 1e-3), max(top, 1.0) * 2.2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    theta = facts.result["theta"].to_dataset()
    for k in range(1, len(facts.levels)):
        last = k == len(facts.levels) - 1
        if not last and f"r_{k}" not in theta:
            continue
        r = 1.0 if last else float(np.median(theta[f"r_{k}"].values))
        axes.axhline(r, color=style.BLACK, lw=0.8, ls=(0, (4, 2)))
        if named:
            axes.annotate(facts.levels[k], (1, r), (3, 0), ("axes fraction", "data"), "offset points",
                          va="center", size=7)  # fmt: skip


def _dose_marks(axes: Axes, trace: xr.Dataset, drug: str) -> None:
    times = trace["dose_time"].values[trace["dose_drug"].values == drug]
    times = times[times <= trace["time"].values[-1]]
    axes.plot(times, np.full(times.size, 1.02), "v", color=style.BLACK, ms=2.6, clip_on=False,
              transform=axes.get_xaxis_transform())  # fmt: skip


def _night(axes: Axes, time: Array, clock: float) -> None:
    day = math.floor(clock / 24) - 1
    while 24 * day + 22 - clock < time[-1]:
        start, end = 24 * day + 22 - clock, 24 * day + 31 - clock
        if end > time[0]:
            axes.axvspan(max(start, time[0]), min(end, time[-1]), color="#F0F0F0", lw=0, zorder=0)
        day += 1


def _clock_axis(axes: Axes, time: Array, clock: float) -> None:
    """Label a time axis by clock time: hours for up to two days, days beyond."""
    axes.set_xlim(time[0], time[-1])
    span, first = time[-1] - time[0], -clock % 24
    if span <= 48:
        step = 6 if span > 12 else 2
        ticks = np.arange(-clock % step, time[-1] + 1e-9, step)
        axes.set_xticks(ticks, [f"{(t + clock) % 24:02.0f}:00" for t in ticks], rotation=45)
        axes.set_xlabel("clock time")
        return
    midnights = np.arange(first, time[-1] + 1e-9, 24)
    every = max(1, round(len(midnights) / 8))
    axes.set_xticks(midnights[::every], [f"{2 + i * every}" for i in range(len(midnights[::every]))])
    axes.set_xlabel(f"day (mark: 00:00; first dose day 1, {clock % 24:02.0f}:00)")


# ------------------------------------------------------------------------------------------------ exposure


def exposure(facts: Facts) -> Figure | None:
    """Draw mean Cmax and AUC over the reference patient's, by arm and eGFR category (or stratum).

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if no endpoint gives such ratios.
    """
    kinds = [("cmax_ratio_", "Cmax"), ("auc_ratio_", "AUC")]
    found = [
        (drug, label, outcome)
        for start, label in kinds for drug in facts.drugs for outcome in facts.outcomes
        if outcome.startswith(f"{start}{drug}_")
    ]  # fmt: skip
    found = [f for f in found if np.isfinite(facts.means(f[2])).any()]
    if not found:
        return None
    groups = _groups(facts)
    down = len({label for _, label, _ in found})
    across = math.ceil(len(found) / down)
    figure = style.new_figure(1.3 + down * (0.45 + 0.19 * max(len(facts.arms), 3)))
    panels = figure.subplots(down, across, sharey=True, sharex="col", squeeze=False)
    ordered = facts.grid() is not None
    palette = style.colours("cividis_r")(np.linspace(0.02, 0.98, len(groups))) if ordered else style.SERIES
    shown: dict[int, list[float]] = {}  # by column, whose panels share an axis
    for place, (axes, (drug, label, outcome)) in enumerate(zip(panels.flat, found, strict=False)):
        column = shown.setdefault(place % across, [1.0])
        column += _exposure_panel(facts, axes, outcome, groups, palette)
        axes.set_xlim(min(column) / 1.25, max(column) * 1.25)
        axes.set_title(f"{label} of {drug}, 0 to {spaced(outcome.rsplit('_', 1)[1])}", loc="left")
    for axes in panels[-1]:
        axes.set_xlabel("ratio to the reference patient's")
    handles = [
        Line2D([], [], ls="", marker="o", color=palette[g % len(palette)], mec=style.GREY, mew=0.3, ms=4.5, label=n)
        for g, n in enumerate(groups)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=7 if max(map(len, groups)) < 10 else 4)
    return figure


def _groups(facts: Facts) -> dict[str, Array]:
    """Weights of the strata by eGFR category; by stratum if there are no categories (7 at most)."""
    weight, own = facts.estimates["weight"].values[:-1], facts.strata[:-1]
    grid = facts.grid()
    if grid is None:
        return {name: np.array([float(s == name) for s in own]) for name in own[:7]}
    inside = {c: np.array([w * (facts.place(s)[1] == c) for s, w in zip(own, weight, strict=True)]) for c in grid[1]}
    return {name: w / w.sum() for name, w in inside.items() if w.sum() > 0}


def _exposure_panel(facts: Facts, axes: Axes, outcome: str, groups: dict[str, Array], palette: object) -> list[float]:
    """Draw the ratios of one drug and kind, and say which they are."""
    means = facts.means(outcome)[:, :-1]
    shown: list[float] = []
    for g, weight in enumerate(groups.values()):
        values = means @ weight
        off = 0.6 * ((g + 0.5) / len(groups) - 0.5)
        colour = palette[g % len(palette)]  # type: ignore[index, arg-type]
        for a, value in enumerate(values):
            if value > 0:
                axes.plot(value, a + off, "o", color=colour, mec=style.GREY, mew=0.3, ms=3.6)
                shown.append(float(value))
    style.name_rows(axes, list(arm_names(facts).values()))
    axes.axvline(1, color=style.BLACK, lw=0.8, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    return shown


# ------------------------------------------------------------------------------------------------ time of day


def peak_clock(facts: Facts) -> Figure | None:
    """Draw in which quarter of the day the sedation drive peaks, by arm.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if no endpoint gives it.
    """
    names = [o for o in facts.outcomes if o.startswith("peak_clock_")]
    if not names:
        return None
    window = names[0].rsplit("_", 1)[1]
    quarters = [f"peak_clock_{a:02}_{a + 6:02}_{window}" for a in (0, 6, 12, 18)]
    night = f"peak_clock_22_07_{window}"
    strata = facts.telling
    figure = style.new_figure(1.25 + 0.23 * max(len(facts.arms), 2))
    panels = figure.subplots(1, len(strata), sharex=True, sharey=True, squeeze=False)[0]
    palette = [style.BLUE, style.YELLOW, style.ORANGE, style.SKY]
    mean = facts.estimates["value"].sel(stat="mean").transpose("arm", "stratum", "outcome")
    for axes, stratum in zip(panels, strata, strict=True):
        left = np.zeros(len(facts.arms))
        for colour, quarter in zip(palette, quarters, strict=True):
            width = mean.sel(stratum=stratum, outcome=quarter).values
            axes.barh(range(len(facts.arms)), width, left=left, color=colour, height=0.72, ec="white", lw=0.4)
            left += width
        share = mean.sel(stratum=stratum, outcome=night).values
        axes.plot(share, range(len(facts.arms)), "D", mfc="white", mec=style.BLACK, ms=4, mew=0.9, clip_on=False)
        style.name_rows(axes, list(arm_names(facts).values()))
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
        axes.set_title(facts.name_of(stratum), loc="left")
    figure.supxlabel(f"share of patients by clock time of the highest drive, first {spaced(window)}", size=8)
    _clock_legend(figure, palette)
    return figure


def _clock_legend(figure: Figure, palette: list[str]) -> None:
    handles: list[Patch | Line2D] = [
        Patch(color=c, lw=0, label=f"{a:02}–{a + 6:02} h") for c, a in zip(palette, (0, 6, 12, 18), strict=True)
    ]
    handles.append(Line2D([], [], ls="", marker="D", mfc="white", mec=style.BLACK, ms=4, label="night, 22–07 h"))
    figure.legend(handles=handles, loc="outside upper center", ncols=5)
