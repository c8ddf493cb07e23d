"""The command line: each command calls one public function, prints, and says how it ended.

Exit codes: 0 done; 2 the input cannot be used (every reason is printed, nothing is written); 3 the run was
written but misses a condition of its scenario's `accept`; 130 interrupted, nothing written.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from vtrial.problem import InputError
from vtrial.stage import print_profile, profiled, stage

if TYPE_CHECKING:
    from vtrial.scenario import Scenario

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Virtual trials of starting doses: how likely is coma-level sedation under this starting dose, in this
    kind of patient?

    Bayesian population PK/PD models with between-subject variability simulate virtual patients across renal
    function and age under dosing policies, the same patients for each, and estimate risks with their credible
    interval and Monte Carlo error.

    A scenario is one YAML file; [bold]vtrial init DIR[/] lays out a folder with examples to start from.

    [bold]Research software: not for dosing decisions in patients.[/]""",
    epilog="Exit codes: 0 done; 2 unusable input, nothing written; 3 a condition of the scenario's accept failed; "
    "130 interrupted, nothing written.",
)
out, err = Console(), Console(stderr=True)


class Size(StrEnum):
    """Size of the Monte Carlo."""

    full = "full"
    small = "small"


ScenarioFile = Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)]


def guarded[**P](command: Callable[P, None]) -> Callable[P, None]:
    """Turn unusable input into messages and exit code 2, an interruption into exit code 130."""

    @wraps(command)
    def inner(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except InputError as error:
            for problem in error.problems:
                err.print(f"[red]error:[/] {_plain(str(problem))}", soft_wrap=True)
            count = len(error.problems)
            err.print(f"{count} problem{'s' if count != 1 else ''}; nothing was written.")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            err.print("interrupted; nothing was written.")
            raise typer.Exit(130) from None

    return inner


def _plain(text: str) -> str:
    """Text from a file, safe from being read as markup."""
    from rich.markup import escape

    return escape(text)


def _trajectories(scenario: Scenario) -> int:
    """Patient-trajectories of a run: every patient under every arm."""
    return len(scenario.arms) * len(scenario.population.strata) * scenario.draws * scenario.patients


@app.command()
@guarded
def check(scenarios: Annotated[list[Path], typer.Argument(help="Scenario files (YAML).", show_default=False)]) -> None:
    """Check scenarios without running them: every problem at once, with file, line and nearest match."""
    from vtrial.scenario import load_scenario

    problems = []
    for path in scenarios:
        try:
            scenario = load_scenario(path)
        except InputError as error:
            problems += error.problems
            continue
        out.print(
            f"[green]ok[/] {_plain(str(path))}: {len(scenario.arms)} arms x {len(scenario.population.strata)} strata x "
            f"{scenario.draws} draws x {scenario.patients} patients = {_trajectories(scenario):,} patient-trajectories",
            soft_wrap=True,
        )
    if problems:
        raise InputError(problems)


@app.command()
@guarded
def run(
    scenario: ScenarioFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write; default reports/NAME.")
    ] = None,
    posterior: Annotated[
        Path | None, typer.Option(help="Draws of the parameters (netCDF, ArviZ); default: the model's priors.")
    ] = None,
    size: Annotated[Size, typer.Option(help="Size of the Monte Carlo, from the scenario.")] = Size.full,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; default: all processors.")] = None,
    memory: Annotated[str, typer.Option(help="Memory for the patients at work, in all threads.")] = "512 MiB",
    profile: Annotated[bool, typer.Option("--profile", help="Print time and memory by stage.")] = False,
) -> None:
    """Run a scenario: write estimates, figures, report and result; print the risks."""
    with profiled() if profile else nullcontext() as costs:
        with stage("start-up"):
            from vtrial.scenario import load_scenario
        with stage("read the scenario"):
            checked = load_scenario(scenario, size=size.value)
        folder = output or Path("reports") / scenario.stem
        _refuse_foreign(folder)
        with stage("start-up"):
            from vtrial import trial
            from vtrial.compiled import watched
            from vtrial.estimand import failed
            from vtrial.report import print_risks, write_report
            from vtrial.result import save_result

            announcing = watched(_compiling())
        with announcing, _progress() as progress:
            result = trial.run(checked, posterior=posterior, threads=threads, memory=memory, progress=progress)
        with _whole(folder) as part:
            with stage("save"):
                save_result(result, part / "result.nc")
            with stage("report"):
                write_report(result, part)
        with stage("report"):
            print_risks(result, out)
        out.print(f"\nreport: {_plain(str(folder / 'report.html'))}", soft_wrap=True)
    if costs:
        out.print()
        print_profile(costs, _trajectories(checked), out)
    missed = failed(checked.spec.accept, result["estimates"].to_dataset())
    for line in missed:
        err.print(f"[red]accept:[/] {_plain(line)}", soft_wrap=True)
    if missed:
        raise typer.Exit(3)


@app.command()
@guarded
def report(
    result: Annotated[Path, typer.Argument(help="A result file, result.nc.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write; default: the result's.")
    ] = None,
) -> None:
    """Write the report of a result again: a report is a function of its result and nothing else."""
    from vtrial.report import write_report
    from vtrial.result import load_result, save_result

    loaded = load_result(result)
    folder = output or result.parent
    _refuse_foreign(folder)
    with _whole(folder) as part:
        save_result(loaded, part / "result.nc")
        write_report(loaded, part)
    out.print(f"report: {_plain(str(folder / 'report.html'))}", soft_wrap=True)


@app.command()
@guarded
def models(name: Annotated[str | None, typer.Argument(help="Show the parameters of one model.")] = None) -> None:
    """List the models, or one model's parameters with their priors, units, evidence and grade."""
    from vtrial.model import load_model, model_names

    if name is None:
        for each in model_names():
            out.print(f"[bold]{each}[/]  {_plain(load_model(each).title)}", soft_wrap=True)
        return
    model = load_model(name)
    out.print(_plain(model.description), soft_wrap=True)
    table = Table(title=_plain(model.title))
    for column in ("parameter", "prior", "unit", "grade", "evidence", "what it is"):
        table.add_column(column, no_wrap=column == "parameter", overflow="fold")
    for param in model.params:
        cells = (param.name, str(param.prior), param.unit, param.grade, " ".join(param.rows), param.label)
        table.add_row(*map(_plain, cells))
    out.print(table)
    for limit in model.limits:
        out.print(f"- {_plain(limit)}", soft_wrap=True)


@app.command()
@guarded
def policies(
    patient: Annotated[
        str | None, typer.Option(help='Print the regimens of a patient: "68 F 154 cm 65 kg SCR 0.713 mg/dL".')
    ] = None,
    start: Annotated[str, typer.Option(help="Clock time at which the trial starts.")] = "08:00",
) -> None:
    """List the policies and arms, with grades; with --patient, what each gives that patient on the first day."""
    from vtrial.policy import load_policies

    house = load_policies()
    covariates = _read_patient(patient) if patient else None
    table = Table("policy", "drug", "grade", "first day" if covariates else "title", title="Policies")
    for name, policy in house.policies.items():
        text = _first_day(policy, covariates, _read_clock(start)) if covariates else policy.title
        table.add_row(*map(_plain, (name, policy.drug, policy.grade, text)))
    out.print(table)
    arms = Table("arm", "grade", "role", "policies", title="Arms")
    for name, arm in house.arms.items():
        given = {drug: arm.policy(drug, house.policies) for drug in arm.drugs}
        pairs = " + ".join(policy.id if policy else f"no {drug}" for drug, policy in given.items())
        pairs = pairs or ", ".join(f"{share:.0%} {part}" for part, share in arm.mix.items())
        arms.add_row(*map(_plain, (name, arm.grade or "", arm.role, pairs)))
    out.print(arms)
    out.print("Research software: not for dosing decisions in patients.")


def _read_clock(given: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from vtrial.spec import Clock

    try:
        return TypeAdapter(Clock).validate_python(given)
    except ValidationError as error:
        raise InputError([f"--start: {detail['msg']}" for detail in error.errors()]) from None


def _read_patient(text: str) -> dict[str, Any]:
    """Covariates of a patient written on one line."""
    import numpy as np
    from pydantic import ValidationError

    from vtrial.patients import covariates_of
    from vtrial.population.strata import Patient

    form = r"\s*([\d.]+)\s*(?:y|year|years)?\s+([FM])\s+([\d.]+\s*\w+)\s+([\d.]+\s*\w+)\s+SCR\s+([\d.]+\s*\S+)\s*"
    match = re.fullmatch(form, text, re.IGNORECASE)
    if not match:
        raise InputError([f"--patient: '{text}' is not of the form '68 F 154 cm 65 kg SCR 0.713 mg/dL'"])
    age, sex, height, weight, scr = match.groups()
    given = {"age": f"{age} year", "sex": sex.upper(), "height": height, "weight": weight, "scr": scr}
    try:
        patient = Patient.model_validate(given)
    except ValidationError as error:
        raise InputError([f"--patient: {detail['loc'][0]}: {detail['msg']}" for detail in error.errors()]) from None
    return {name: np.atleast_1d(value) for name, value in covariates_of(patient).items()}


def _first_day(policy: Any, covariates: dict[str, Any], start: float) -> str:
    if policy.renal is None:
        return "on dialysis only"
    given = policy.regimens(covariates, start=start, horizon=24.0)
    remark = f" (for ages from {policy.applies.age_min:g} y)" if policy.applies else ""
    return given.first_day(start) + remark


@app.command()
@guarded
def schema() -> None:
    """Print the JSON schema of scenario files, for completion and checks in an editor."""
    import json

    from vtrial.scenario import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=1) + "\n")


@app.command()
@guarded
def init(folder: Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)]) -> None:
    """Lay out a working folder: models, policies and example scenarios to change and run from there."""
    from vtrial.library import INSTALLED

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError([f"{folder}: exists and is not an empty folder"])
    skip = shutil.ignore_patterns("__pycache__", ".*")
    with _whole(folder) as part:
        for name in ("models", "scenarios"):
            shutil.copytree(INSTALLED / name, part / name, ignore=skip)
    first = "vtrial run scenarios/index_patient.yaml --size small"
    out.print(f"{_plain(str(folder))}: cd there, and {first}", soft_wrap=True)


@app.command("fit-population")
@guarded
def fit_population(
    csv: Annotated[
        Path, typer.Argument(help="Adults with survey weights, as in models/population.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Covariate model to write.")],
) -> None:
    """Fit the covariate model of a virtual population to survey rows, and hold it against them."""
    from vtrial.population import compare, fit

    model = fit.fit_population(csv, name=output.stem)
    fit.write(model, output)
    table = compare.compare_to_csv(csv, model)
    out.print(table.to_string(), soft_wrap=True)
    out.print(f"covariate model: {_plain(str(output))}", soft_wrap=True)


# ------------------------------------------------------------------------------------------- long work


def _compiling() -> Callable[[], AbstractContextManager[None]]:
    """Mark compilations, and announce the first: a run that no cache helps looks as if it hung."""
    said = False

    def around() -> AbstractContextManager[None]:
        nonlocal said
        if not said:
            err.print(
                "Compiling the kernels for this machine (once, about a minute; longer if it is busy) ...",
                soft_wrap=True,
            )
        said = True
        return stage("compile", alone=True)

    return around


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar with rate and time left on a terminal; silence elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("patient-trajectories", total=None, rate="")

        def update(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "")

        yield update


OURS = {"result.nc", "report.html", "report.md", "estimates.csv", "figures"}


def _refuse_foreign(folder: Path) -> None:
    """Refuse to replace a folder that holds anything but a result of ours."""
    if folder.exists() and not folder.is_dir():
        raise InputError([f"{folder}: is not a folder"])
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in OURS) if folder.exists() else []
    if foreign:
        raise InputError([f"{folder}: holds other files ({', '.join(foreign[:3])}); choose another folder with -o"])


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of `folder` when all is written, and vanishes if anything fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    part.chmod(0o755)  # mkdtemp keeps it to its owner; a report is to be read
    try:
        yield part
        if folder.exists():
            old = part.with_name(f"{part.name}-old")
            folder.rename(old)
            part.rename(folder)
            shutil.rmtree(old)
        else:
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
