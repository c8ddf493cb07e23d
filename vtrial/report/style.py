"""One look for all figures: colours that the colour-blind tell apart, paper size, the same bytes each time."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

WIDTH = 7.2
"""Width of a figure, inches: two columns of a paper."""

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
"""Okabe and Ito's colours."""
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
LEVELS = (SKY, ORANGE, VERMILLION, PURPLE)
"""Colours of level 1, 2, 3 and beyond."""
GREY, LIGHT = "#666666", "#E6E6E6"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "grid.color": LIGHT,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "vtrial",
    "svg.fonttype": "path",
}


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Make an empty figure, to be called inside `styled`."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", wspace=0.05)
    return figure


def styled() -> Any:
    """Context in which figures are drawn and written, whatever the user's own style is."""
    every: Any = {k: v for k, v in matplotlib.rcParamsDefault.items() if "backend" not in k}
    every.update(STYLE)
    return matplotlib.rc_context(every)


def colours(name: str) -> Colormap:
    """A colour map of matplotlib by name."""
    return matplotlib.colormaps[name]


_WRITTEN: dict[str, dict[str, Any]] = {
    "svg": {"dpi": 72, "metadata": {"Date": None, "Creator": "vtrial"}},
    "pdf": {"dpi": 72, "metadata": {"CreationDate": None, "Creator": "vtrial"}},
    "png": {"dpi": 200, "metadata": {"Software": "vtrial"}},
}


def write_figure(figure: Figure, form: str) -> bytes:
    """Write a figure as "svg", "pdf" or "png", the same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, **_WRITTEN[form])
    return buffer.getvalue()


def name_rows(axes: Axes, names: list[str]) -> None:
    """Put names on the y axis, the first on top, with faint lines between the rows."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    for between in range(1, len(names)):
        axes.axhline(between - 0.5, color=LIGHT, linewidth=0.4, zorder=0)


def on_dark(rgba: tuple[float, float, float, float]) -> bool:
    """Whether white text is the more legible on a colour."""
    red, green, blue, _ = rgba
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
