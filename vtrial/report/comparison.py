"""What a comparison of results, or of guidelines, says: on the console, and as a folder of tables and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vtrial.report import digits, style
from vtrial.report.facts import NOTICE, is_probability

MOST = 12
"""Rows of a table on the console, and of the figure: those of the largest differences."""

type Array = NDArray[np.float64]


def result_rows(table: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """A comparison of results as text, the largest differences over their error first.

    Parameters
    ----------
    table : pandas.DataFrame
        From `vtrial.compare.compare_results`.
    outcome : str
        Of which it is.
    """
    error = table["mcse"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.nan_to_num(np.abs(table["difference"].to_numpy(float)) / error, posinf=0.0)
    write = _risk if is_probability(outcome) else digits.number
    return pd.DataFrame([
        {
            "result": one["result"], "arm": one["arm"], "stratum": one["stratum"],
            "first": write(one["first"], one["mcse"]), "this": write(one["other"], one["mcse"]),
            "difference (MCSE)": f"{write(one['difference'], one['mcse'])} ({write(one['mcse'], one['mcse'])})",
            "95% interval": f"{write(one['lo'], one['mcse'])} to {write(one['hi'], one['mcse'])}",
            "ratio": digits.number(one["ratio"], 0.01) if np.isfinite(one["ratio"]) else "–",
            "P(lower)": f"{one['p_lower']:.0%}",
        }
        for one in _records(table, size)
    ])  # fmt: skip


def _records(table: pd.DataFrame, size: Array) -> list[dict[str, Any]]:
    """Rows, those of the greatest size first."""
    order = np.argsort(-size, kind="stable")
    return [dict(zip(table.columns, row, strict=True)) for row in table.iloc[order].itertuples(index=False)]


def _risk(value: float, mcse: float) -> str:
    text = digits.probability(abs(value), mcse)
    if value >= 0:
        return text
    return f">-{text[1:]}" if text.startswith("<") else f"-{text}"


def guideline_rows(table: pd.DataFrame) -> pd.DataFrame:
    """A comparison of guidelines as text: the population first, then the strata where most people's doses differ.

    Parameters
    ----------
    table : pandas.DataFrame
        From `vtrial.compare.compare_guidelines`.
    """
    whole = (table["stratum"] == "population").to_numpy()
    differ = 1 - table["same"].to_numpy(float)
    return pd.DataFrame([
        {
            "arm": one["arm"], "drug": one["drug"], "stratum": one["stratum"],
            "first, mg/day": f"{one['first']:.3g}", "this, mg/day": f"{one['other']:.3g}",
            "more": f"{one['more']:.0%}", "less": f"{one['less']:.0%}", "same": f"{one['same']:.0%}",
            "untreated, first": f"{one['untreated']:.0%}", "untreated, this": f"{one['other_untreated']:.0%}",
        }
        for one in _records(table, np.where(whole, 2.0, differ))
        if one["same"] < 1 or one["stratum"] == "population"
    ])  # fmt: skip


def print_comparison(
    title: str, rows: pd.DataFrame, said: Mapping[str, str], changed: pd.DataFrame, out: Console
) -> None:
    """Print what was changed, the largest differences, and who dominates."""
    if len(changed):
        table = Table("what was changed", *map(str, changed.columns))
        for what, values in changed.iterrows():
            table.add_row(str(what), *(_short(str(value)) for value in values))
        out.print(table)
    out.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    heads = ["arm", "drug"] if "drug" in rows else ["result"]
    for name, own in rows.groupby(heads, sort=False):
        columns = [str(column) for column in rows.columns if column not in heads]
        table = Table(*columns, title=escape(_joined(name)))
        for row in own.drop(columns=heads).head(MOST).itertuples(index=False):
            table.add_row(*(escape(str(cell)) for cell in row))
        out.print(table)
        if len(own) > MOST:
            out.print(f"{len(own) - MOST} more rows: -o FOLDER writes all.")
    for name, text in said.items():
        out.print(f"{escape(name)}: {escape(text)}", soft_wrap=True)
    out.print(NOTICE)


def _joined(name: Any) -> str:
    return ", ".join(map(str, name))


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def write_comparison(
    title: str, table: pd.DataFrame, rows: pd.DataFrame, said: Mapping[str, str], changed: pd.DataFrame, folder: Path
) -> None:
    """Write ``comparison.csv``, ``changed.csv``, ``report.md`` and the figure into a folder that exists."""
    table.to_csv(folder / "comparison.csv", index=False, lineterminator="\n")
    changed.to_csv(folder / "changed.csv", lineterminator="\n")
    (folder / "figures").mkdir()
    with style.styled():
        figure = plot_results(table) if "p_lower" in table else plot_guidelines(table)
        (folder / "figures" / "comparison.svg").write_bytes(style.write_figure(figure, "svg"))
        (folder / "figures" / "comparison.png").write_bytes(style.write_figure(figure, "png"))
    parts = [f"# {title}", NOTICE, *(f"- {name}: {text}" for name, text in said.items())]
    if len(changed):
        parts += ["## What was changed", _markdown(changed.reset_index(names="what"))]
    parts += ["## Where they differ", "![comparison](figures/comparison.svg)", _markdown(rows)]
    (folder / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8", newline="\n")


def _markdown(table: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    cells = ([str(value).replace("|", "\\|") for value in row] for row in table.itertuples(index=False))
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)])


def plot_results(table: pd.DataFrame) -> Figure:
    """Draw the mean of both for the arms and strata of the largest ratios; a line joins them."""
    means = table[["first", "other"]].to_numpy(float)
    size = np.abs(np.diff(np.log(np.maximum(means, 1e-12)))[:, 0])
    results = list(dict.fromkeys(table["result"]))
    each = max(2, MOST // len(results))
    of_each = {name: [one for one in _records(table, size) if one["result"] == name][:each] for name in results}
    shown = list(chain.from_iterable(of_each.values()))[::-1]
    several = len(results) > 1
    figure = style.new_figure(1.0 + 0.2 * len(shown))
    axes = figure.subplots()
    for y, one in enumerate(shown):
        axes.plot([one["first"], one["other"]], [y, y], color=style.GREY, lw=1.0, zorder=1)
        axes.plot(one["first"], y, "o", color=style.BLUE, ms=4)
        axes.plot(one["other"], y, "D", color=style.ORANGE, ms=4)
    labels = [f"{one['arm']}, {one['stratum']}" for one in shown]
    names = [f"{one['result']}: {label}" if several else label for one, label in zip(shown, labels, strict=True)]
    axes.set_yticks(range(len(shown)), names)
    if means.min() > 0:
        axes.set_xscale("log")
    axes.set_xlabel("mean outcome")
    handles = [Line2D([], [], ls="", marker=m, color=c, label=n)
               for m, c, n in (("o", style.BLUE, "first"), ("D", style.ORANGE, "other"))]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def plot_guidelines(table: pd.DataFrame) -> Figure:
    """Draw, by drug and stratum, the mean daily dose under each arm."""
    records = _records(table, np.zeros(len(table)))
    drugs, strata, arms = (list(dict.fromkeys(one[key] for one in records)) for key in ("drug", "stratum", "arm"))
    place = {stratum: -s for s, stratum in enumerate(strata)}
    figure = style.new_figure(0.9 + 0.16 * len(strata))
    panels = figure.subplots(1, len(drugs), sharey=True, squeeze=False)[0]
    for axes, drug in zip(panels, drugs, strict=True):
        for k, arm in enumerate(arms):
            own = [one for one in records if (one["drug"], one["arm"]) == (drug, arm)]
            where = [place[one["stratum"]] for one in own]
            if k == 0:
                axes.plot([one["first"] for one in own], where, "o", color=style.BLUE, ms=4, label="first")
            colour = style.SERIES[(k + 1) % len(style.SERIES)]
            axes.plot(
                [one["other"] for one in own], where, "D", mfc="none", color=colour, ms=4, clip_on=False, label=str(arm)
            )
        axes.set_xlabel(f"{drug}, mg/day")
        axes.set_xlim(left=0)
        axes.grid(axis="y", lw=0.3)
    panels[0].set_yticks(list(place.values()), list(place))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
