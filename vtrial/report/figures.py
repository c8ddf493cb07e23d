"""The figures of a report, in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr
from matplotlib.figure import Figure

from vtrial.report import style
from vtrial.report.captions import caption_of
from vtrial.report.facts import Facts
from vtrial.report.plot_course import course
from vtrial.report.plot_exposure import exposure, fans, peak_clock
from vtrial.report.plot_population import discordance, population
from vtrial.report.plot_ranks import ranks, sensitivity
from vtrial.report.plot_risks import dose_risk, forest, heatmap, risk_by_arm
from vtrial.report.plot_surface import dose_surface
from vtrial.report.plot_uncertainty import tornado, uncertainty
from vtrial.report.worth import frontier


@dataclass(frozen=True)
class Drawn:
    """A figure as it lies in the report.

    Parameters
    ----------
    name : str
        Stable; the file's name.
    section : str
        Of the page, where it stands.
    number : int
        From 1, in the order of the page.
    title, caption : str
    svg, png : bytes
    """

    name: str
    section: str
    number: int
    title: str
    caption: str
    svg: bytes
    png: bytes


PLOTS: dict[str, Callable[[Facts], Figure | None]] = {
    "population": population,
    "discordance": discordance,
    "risk_by_arm": risk_by_arm,
    "course": course,
    "heatmap": heatmap,
    "forest": forest,
    "ranks": ranks,
    "frontier": frontier,
    "dose_risk": dose_risk,
    "dose_surface": dose_surface,
    "fans": fans,
    "exposure": exposure,
    "peak_clock": peak_clock,
    "tornado": tornado,
    "uncertainty": uncertainty,
    "sensitivity": sensitivity,
}
"""Every figure, in the order in which the page shows them."""
SECTIONS = {
    "population": "population", "discordance": "population",
    "tornado": "sensitivity", "uncertainty": "sensitivity", "sensitivity": "sensitivity",
}  # fmt: skip
"""Where on the page a figure stands that is not among those of the findings."""


def draw_figures(result: xr.DataTree) -> list[Drawn]:
    """Draw every figure that a result has the data for.

    Parameters
    ----------
    result : xarray.DataTree

    Returns
    -------
    list of Drawn
        The same bytes for the same result.
    """
    facts, drawn = Facts(result), []
    with style.styled():
        for name, plot in PLOTS.items():
            figure = plot(facts)
            if figure is not None:
                title, caption = caption_of(facts, name)
                svg = style.write_figure(figure, "svg")
                figure.set_layout_engine("none")  # laid out once is enough
                section, number = SECTIONS.get(name, "figures"), len(drawn) + 1
                drawn.append(Drawn(name, section, number, title, caption, svg, style.write_figure(figure, "png")))
    return drawn


def draw_figure(result: xr.DataTree, name: str) -> Figure | None:
    """Draw one figure by name (see `PLOTS`); None if the result has no data for it."""
    with style.styled():
        return PLOTS[name](Facts(result))


def figure_file(result: xr.DataTree, name: str, form: str) -> bytes | None:
    """Draw one figure as "svg", "pdf" or "png", the same bytes each time; None if the result has no data for it."""
    with style.styled():
        figure = PLOTS[name](Facts(result))
        return None if figure is None else style.write_figure(figure, form)
