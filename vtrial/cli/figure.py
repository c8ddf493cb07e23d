"""The command that draws one figure of a result, at paper size, with the numbers it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtrial.cli.console import guarded, out, plain, tell
from vtrial.problem import InputError

FORMATS = (".svg", ".pdf", ".png")


@guarded
def figure(
    result: Annotated[Path, typer.Argument(help="A result.nc, or the folder of a run.", show_default=False)],
    name: Annotated[str | None, typer.Argument(help="Figure; none to list those that the result has.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write, .svg, .pdf or .png; default NAME.svg.")
    ] = None,
    arm: Annotated[list[str] | None, typer.Option(help="Show this arm, beside the reference. May be repeated.")] = None,
    stratum: Annotated[list[str] | None, typer.Option(help="Show this stratum. May be repeated.")] = None,
) -> None:
    """Draw one figure of a result, and write what it shows beside it as CSV; print its caption."""
    from vtrial.report.captions import caption_of
    from vtrial.report.facts import Facts
    from vtrial.report.figures import PLOTS, draw_figure, figure_file
    from vtrial.report.shown import of_some, shown
    from vtrial.result import load_result
    from vtrial.spec import nearest

    if name is not None and name not in PLOTS:
        raise InputError([f"no figure '{name}'; {nearest(name, PLOTS)}"])
    target = output or Path(f"{name}.svg")
    if name is not None and target.suffix not in FORMATS:
        raise InputError([f"{target}: given '{target.suffix}', allowed are {', '.join(FORMATS)}"])
    chosen = of_some(load_result(result), arm or (), stratum or ())
    if name is None:
        facts = Facts(chosen)
        titles = {each: caption_of(facts, each)[0] for each in PLOTS if draw_figure(chosen, each) is not None}
        for each, title in titles.items():
            out.print(f"[bold]{each}[/]  {plain(title)}", soft_wrap=True)
        tell(lambda: [{"figure": each, "title": title} for each, title in titles.items()])
        return
    drawn = figure_file(chosen, name, target.suffix[1:])
    if drawn is None:
        raise InputError([f"{result}: has no data for the figure '{name}'; without a name, those it has are listed"])
    if not target.absolute().parent.is_dir():
        raise InputError([f"{target}: there is no folder {target.absolute().parent}"])
    facts, numbers = Facts(chosen), target.with_suffix(".csv")
    title, caption = caption_of(facts, name)
    table = shown(facts, name)
    target.write_bytes(drawn)
    table.to_csv(numbers, index=False, lineterminator="\n")
    out.print(f"[bold]{plain(title)}.[/] {plain(caption)}")
    out.print(f"figure: {plain(str(target))}\nnumbers: {plain(str(numbers))}", soft_wrap=True)
    tell(lambda: {"figure": target, "numbers": numbers, "title": title, "caption": caption})
