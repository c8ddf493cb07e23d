"""The command that puts results, or guidelines, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vtrial.cli.console import guarded, out, plain, tell
from vtrial.cli.work import refuse_foreign, whole
from vtrial.problem import InputError, Problem

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from vtrial.policy import Arm, Policies

FILES = {"comparison.csv", "changed.csv", "report.md", "figures"}
"""What the folder of a comparison holds."""


@guarded
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="A B ...",
            help="Results (result.nc, or the folder of a run), or arms and policies of the library by name.",
            show_default=False,
        ),
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder to write; default: none.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Outcome of results; default: the primary of the first.")] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Of two results: run the first again with each change, and with all of them.")
    ] = False,
) -> None:
    """Put results or guidelines side by side: what was changed, where they differ, and which one dominates."""
    if len(names) < 2:
        raise InputError([f"given one name, '{names[0]}': name two or more to compare"])
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError([f"given twice: {', '.join(twice)}"])
    if output is not None:
        refuse_foreign(output, FILES)
    files = [_file(name) for name in names]
    if any(files) and not all(files):
        rest = [name for name, file in zip(names, files, strict=True) if not file]
        text = "no such result; results are compared with results alone"
        raise InputError([Problem(text, file=Path(name)) for name in rest])
    if why and not any(files):
        raise InputError(["--why is of results: guidelines are compared by the doses that they give"])
    made = _results(names, files, outcome, why=why) if any(files) else _guidelines(names, outcome)
    title, table, rows, said, changed = made
    from vtrial.report.comparison import print_comparison, write_comparison

    tell(lambda: table.to_dict(orient="records"))
    print_comparison(title, rows, said, changed, out)
    if output is not None:
        with whole(output) as part:
            write_comparison(title, table, rows, said, changed, part)
        out.print(f"report: {plain(str(output / 'report.md'))}", soft_wrap=True)


type _Said = tuple[str, pd.DataFrame, pd.DataFrame, dict[str, str], pd.DataFrame]


def _file(name: str) -> Path | None:
    path = Path(name)
    path = path / "result.nc" if path.is_dir() else path
    return path if path.is_file() or path.suffix == ".nc" else None


def _results(names: list[str], files: list[Path | None], outcome: str | None, *, why: bool) -> _Said:
    from vtrial.compare import changed, compare_results
    from vtrial.compare.results import dominance
    from vtrial.report.comparison import result_rows
    from vtrial.result import load_result

    loaded, problems = {}, []
    for name, file in zip(names, files, strict=True):
        assert file is not None
        try:
            loaded[name] = load_result(file)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    chosen = outcome or str(loaded[names[0]]["estimates"].attrs["primary"])
    table = _changes_by_themselves(loaded, chosen) if why else compare_results(loaded, chosen)
    how = "the same patients and draws" if table["paired"].to_numpy().all() else "independent draws"
    title = f"{chosen} against {names[0]}, {how}"
    return title, table, result_rows(table, chosen), dominance(table), changed(loaded)


def _changes_by_themselves(loaded: dict[str, xr.DataTree], outcome: str) -> pd.DataFrame:
    from vtrial import trial
    from vtrial.cli.work import compiling, progress_bar
    from vtrial.compare.why import why
    from vtrial.compiled import watched

    first = next(iter(loaded.values()))
    posterior = "prior" if str(first.attrs["parameters"]).startswith("prior") else None
    with watched(compiling()), progress_bar() as progress:
        return why(loaded, outcome, lambda scenario: trial.run(scenario, posterior=posterior, progress=progress))


def _guidelines(names: list[str], outcome: str | None) -> _Said:
    import pandas as pd

    from vtrial.compare import compare_guidelines
    from vtrial.compare.guidelines import dominance
    from vtrial.policy import load_policies
    from vtrial.population import PopulationSpec, resolve
    from vtrial.report.comparison import guideline_rows

    if outcome is not None:
        raise InputError(["--outcome is of results; guidelines are compared by the doses that they give"])
    house = load_policies()
    arms = _arms(names, house)
    table = compare_guidelines(arms, house, resolve(PopulationSpec(model="us_adults")))
    title = f"Daily starting doses against {names[0]}, adults of the US by age and eGFR"
    return title, table, guideline_rows(table), dominance(table), pd.DataFrame()


def _arms(names: list[str], house: Policies) -> list[Arm]:
    """Arms of the library, and single policies as arms of one drug."""
    from vtrial.policy import Arm
    from vtrial.spec import nearest

    known, problems, found = [*house.arms, *house.policies], [], []
    for name in names:
        if name in house.arms:
            found.append(house.arms[name])
        elif name in house.policies:
            found.append(Arm(drugs={house.policies[name].drug: name}).named(name))
        else:
            problems.append(Problem(f"'{name}' is no result, arm or policy; {nearest(name, known)}"))
    if problems:
        raise InputError(problems)
    return found
