"""From a result to tables, figures and a page: a pure function of the result, which explains itself.

Public: `write_report`, `estimates_csv`, `risk_table`, `print_risks`. matplotlib and jinja2 are imported only when a
report is written.
"""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from vtrial.report.console import print_risks
from vtrial.report.tables import Risk, estimates_csv, risk_table

__all__ = ["Risk", "estimates_csv", "print_risks", "risk_table", "write_report"]


def write_report(result: xr.DataTree, folder: Path | str, *, pdf: bool = False) -> None:
    """Write a report into a folder that exists.

    Parameters
    ----------
    result : xarray.DataTree
        From `vtrial.run` or `vtrial.load_result`; nothing else is looked at.
    folder : path
        Gets `report.html` (all in one file), `report.md`, `estimates.csv` and `figures/NAME.svg`, `.png` and, of what
        it shows, `.csv`. The same result gives the same bytes.
    pdf : bool
        Whether to write `report.pdf` too, which needs WeasyPrint (``pip install 'vtrial[pdf]'``).

    Raises
    ------
    InputError
        If a PDF is asked for and WeasyPrint cannot be used.
    """
    from vtrial.report.facts import Facts
    from vtrial.report.figures import draw_figures
    from vtrial.report.page import render_html, render_markdown
    from vtrial.report.pdf import to_pdf
    from vtrial.report.shown import shown

    folder = Path(folder)
    facts, figures = Facts(result), draw_figures(result)
    (folder / "figures").mkdir(exist_ok=True)
    for figure in figures:
        (folder / "figures" / f"{figure.name}.svg").write_bytes(figure.svg)
        (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
        table = shown(facts, figure.name).to_csv(index=False, lineterminator="\n")
        (folder / "figures" / f"{figure.name}.csv").write_text(table, encoding="utf-8", newline="\n")
    texts = {
        "estimates.csv": estimates_csv(result),
        "report.md": render_markdown(result, figures),
        "report.html": render_html(result, figures),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    if pdf:
        (folder / "report.pdf").write_bytes(to_pdf(render_html(result, figures, paper=True)))
