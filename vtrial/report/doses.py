"""The table of the largest allowed starts: on a terminal, as CSV, netCDF and Markdown."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from vtrial.report import digits

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

NOTICE = "Research software: not for dosing decisions in patients."


def dose_rows(found: xr.Dataset) -> pd.DataFrame:
    """The table in full: a row for each stratum and arm, the arm "start" first.

    Parameters
    ----------
    found : xarray.Dataset
        From `vtrial.optimise`.

    Returns
    -------
    pandas.DataFrame
        Columns stratum, row, column, arm; for each drug, what the arm "start" gives of it; mean, median, lo, hi, mcse,
        inner_share, allowed (probability that the risk is below the limit) and its mcse, tried.
    """
    import pandas as pd

    draws = found.attrs["draws"]
    rows = []
    for s, stratum in enumerate(found["stratum"].values):
        for arm in found["arm"].values:
            own = found.sel(arm=arm, stratum=stratum)
            p = float(own["allowed"])
            start = arm == "start"
            rows.append(
                {"stratum": str(stratum), "row": str(found["row"].values[s]), "column": str(found["column"].values[s]),
                 "arm": str(arm), **{drug: given if start else "" for drug, given in doses_of(found, s).items()},
                 **{str(stat): float(own["risk"].sel(stat=stat)) for stat in found["stat"].values},
                 "allowed": p, "allowed_mcse": float(np.sqrt(p * (1 - p) / draws)),
                 "tried": int(found["tried"].values[s]) if start else ""}
            )  # fmt: skip
    return pd.DataFrame(rows)


def doses_of(found: xr.Dataset, stratum: int) -> dict[str, str]:
    """Drug -> what the start of a stratum gives of it, e.g. "10 mg TID"."""
    doses = zip(found["drug"].values, found["amt"].values[stratum], found["freq"].values[stratum], strict=True)
    return {str(drug): f"{amt:g} mg {freq}" if freq else "none" for drug, amt, freq in doses}


def write_doses(found: xr.Dataset, folder: Path) -> None:
    """Write doses.csv, doses.nc, report.md and figures into a folder that exists.

    Parameters
    ----------
    found : xarray.Dataset
        From `vtrial.optimise`.
    folder : path
    """
    from vtrial.report import style
    from vtrial.report.plot_doses import doses_figure, guidelines_figure

    table = dose_rows(found)
    table.to_csv(folder / "doses.csv", index=False)
    found.to_netcdf(folder / "doses.nc", engine="h5netcdf")
    (folder / "figures").mkdir()
    drawn = []
    with style.styled():
        for name, plot in {"doses": doses_figure, "guidelines": guidelines_figure}.items():
            if (figure := plot(found)) is not None:
                (folder / "figures" / f"{name}.svg").write_bytes(style.write_figure(figure, "svg"))
                (folder / "figures" / f"{name}.png").write_bytes(style.write_figure(figure, "png"))
                drawn.append(name)
    (folder / "report.md").write_text(_markdown(found, table, drawn), encoding="utf-8")


def _markdown(found: xr.Dataset, table: pd.DataFrame, drawn: list[str]) -> str:
    from vtrial.report.markup import escape_markdown

    page = io.StringIO()
    attrs = found.attrs
    page.write(f"# {escape_markdown(attrs['title'])}\n\n**{NOTICE}**\n\n{escape_markdown(attrs['question'])}\n\n")
    page.write(f"{limit_text(found)} {escape_markdown(order_text(found))}\n\n")
    captions = {
        "doses": "The largest allowed start, by age band and eGFR category, and its mean risk.",
        "guidelines": "Mean risk of each arm, in %; red where too few draws keep it below the limit.",
    }
    for name in drawn:
        page.write(f"![{captions[name]}](figures/{name}.png)\n\n")
    _write_table(page, [_head(found), *_cells(found, table)])
    others = [arm for arm in found["arm"].values if arm != "start"]
    page.write("\nMean risk of the arms, and the probability that it is below the limit:\n\n")
    risks: dict[str, list[str]] = {}
    for r in _rows(table, start=False):
        risk = digits.probability(r["mean"], r["mcse"])
        risks.setdefault(r["stratum"], []).append(f"{risk} ({r['allowed']:.0%})")
    _write_table(page, [["stratum", *others], *([stratum, *own] for stratum, own in risks.items())])
    page.write(f"\nParameters: {escape_markdown(attrs['parameters'])}; seed {attrs['seed']}, {attrs['draws']} draws x ")
    page.write(f"{attrs['patients']} patients in each stratum; scenario {attrs['scenario_sha256'][:12]}.\n\n{NOTICE}\n")
    return page.getvalue()


def _write_table(page: io.StringIO, rows: Sequence[Sequence[str]]) -> None:
    """The first row is the head."""
    from vtrial.report.markup import escape_markdown

    for number, cells in enumerate(rows):
        page.write(f"|{'|'.join(escape_markdown(cell) for cell in cells)}|\n")
        if not number:
            page.write(f"|{'---|' * len(cells)}\n")


def _rows(table: pd.DataFrame, start: bool) -> list[dict[Any, Any]]:
    """Of the starts found, or of the other arms."""
    return [row for row in table.to_dict("records") if (row["arm"] == "start") == start]


def _head(found: xr.Dataset) -> tuple[str, ...]:
    interval = f"{found.attrs['interval']:.0%} interval"
    return ("stratum", *map(str, found["drug"].values), "mean risk", "MCSE", "median", interval, "P(below limit)")


def _cells(found: xr.Dataset, table: pd.DataFrame) -> list[list[str]]:
    """Of the starts, under `_head`."""
    return [
        [r["stratum"], *(r[drug] for drug in found["drug"].values), digits.probability(r["mean"], r["mcse"]),
         digits.error(r["mcse"], percent=True), digits.probability(r["median"], r["mcse"]),
         f"{digits.probability(r['lo'])} to {digits.probability(r['hi'])}",
         f"{r['allowed']:.0%} ± {r['allowed_mcse']:.0%}"]
        for r in _rows(table, start=True)
    ]  # fmt: skip


def limit_text(found: xr.Dataset) -> str:
    """What is allowed, in a sentence or two."""
    attrs = found.attrs
    usual = ", ".join(
        f"{amt:g} mg/day of {drug}" for drug, amt in zip(found["drug"].values, attrs["usual"], strict=True)
    )
    return (
        f"Allowed: {attrs['outcome']} below {digits.probability(attrs['below'])} in {attrs['probability']:.0%} of the "
        f"draws of the parameters. Best of {attrs['candidates']:,} starts that exist: the one that gives most of the "
        f"drug of which it gives least, relative to {usual}; then most of both, then the fewest doses. Risks and "
        f"P(below limit) are those of other patients than the start was chosen by."
    )


def grid_of(found: xr.Dataset) -> tuple[list[str], list[str]] | None:
    """Rows and columns of the strata; None if they have none."""
    rows, columns = (list(dict.fromkeys(map(str, found[name].values))) for name in ("row", "column"))
    return None if "" in rows or "" in columns else (rows, columns)


def order_text(found: xr.Dataset) -> str:
    """Where the start is larger than in the column or the row before it: in the usual strata, nowhere if the table is
    monotone."""
    if (grid := grid_of(found)) is None:
        return ""
    places = zip(found["row"].values, found["column"].values, found["value"].values, strict=True)
    value = {(grid[0].index(row), grid[1].index(column)): float(given) for row, column, given in places}
    name = dict(zip(value, found["stratum"].values, strict=True))
    grown = [
        f"{name[i, j]} after {name[before]}"
        for i, j in value
        for before in ((i, j - 1), (i - 1, j))
        if before in value and value[i, j] > value[before]
    ]
    where = "; ".join(grown) or "nowhere"
    return f"Larger (by that least drug) than in the column or row of strata before: {where}."


def print_doses(found: xr.Dataset, console: Console) -> None:
    """Print the table of starts.

    Parameters
    ----------
    found : xarray.Dataset
    console : rich.console.Console
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(_head(found)):
        table.add_column(name, justify="left" if number <= found.sizes["drug"] else "right")
    for cells in _cells(found, dose_rows(found)):
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    console.print(Text(f"{limit_text(found)} {order_text(found)}".rstrip(), style="dim"))
    console.print(Text(NOTICE, style="dim"))
