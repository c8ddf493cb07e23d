"""The risks of a result on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from vtrial.report.facts import HELD, NOTICE, Facts, heading
from vtrial.report.tables import Risk, risk_table

if TYPE_CHECKING:
    from rich.console import Console


def print_risks(result: xr.DataTree, console: Console) -> None:
    """Print the primary outcome by arm: for the population and for two or three telling strata.

    Parameters
    ----------
    result : xarray.DataTree
    console : rich.console.Console
    """
    from rich.table import Table
    from rich.text import Text

    facts = Facts(result)
    risks = risk_table(result)
    console.print(Text(f"\n{heading(facts, facts.primary)}", style="bold"))
    if facts.population_text:
        console.print(Text(facts.population_text))
    for stratum in facts.telling:
        name = Text(facts.name_of(stratum))
        table = Table(title=name, title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.add_column("arm")
        for head in ("mean", "MCSE", "median", f"{facts.interval:.0%} interval", ""):
            table.add_column(head, justify="left" if not head else "right")
        for risk in (risk for risk in risks if risk.stratum == stratum):
            reference = " (reference)" if risk.arm == facts.reference else ""
            cells = [f"{risk.arm}{reference}", *(risk.text[name] for name in ("mean", "mcse", "median"))]
            cells += [f"{risk.text['lo']} to {risk.text['hi']}", _note(risk)]
            table.add_row(*(Text(cell) for cell in cells))
        console.print(table)
    for line in _legend(facts, risks):
        console.print(Text(line, style="dim"))


def _note(risk: Risk) -> str:
    return " ".join(filter(None, [risk.marks, f"without {', '.join(risk.without)}" if risk.without else ""]))


def _legend(facts: Facts, risks: list[Risk]) -> list[str]:
    attrs = facts.result.attrs
    lines = [
        f"Interval: equal-tailed, {facts.interval:.0%}, over {attrs['draws']} draws of the parameters, "
        f"{attrs['patients']} patients each; MCSE: simulation error of the mean."
    ]
    if facts.held:
        lines.append(HELD)
    if any(risk.noisy for risk in risks):
        lines.append("† more than a tenth of the interval's variance is patient noise: take more patients.")
    if any(risk.skewed for risk in risks):
        lines.append(
            "‡ the top 5% of draws carry more than half of the mean: its MCSE tends to be too small, "
            "read the median beside it."
        )
    if facts.prior:
        lines.append("Parameters: PRIOR, not calibrated to data.")
    else:
        lines += [facts.drawn_from, *(f"Doubtful posterior: {doubt}." for doubt in facts.doubts)]
    return [*lines, NOTICE]
