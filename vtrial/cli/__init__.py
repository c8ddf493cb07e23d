"""The command line: each command calls one public function, prints, and says how it ended.

Exit codes: 0 done; 2 the input cannot be used (every reason is printed, nothing is written); 3 the run was
written but misses a condition of its scenario's `accept`, or the posterior was but is in doubt; 130 interrupted,
nothing written.

| module | holds |
|---|---|
| `console` | the consoles, what every command can be asked, and how one ends that cannot go on |
| `work` | long work: bars, and files that are written whole or not at all |
| `calibration` | the commands calibrate and criticise |
| `comparison`, `figure` | the commands compare and figure |
| `posterior` | posteriors as tables, parameters that are held |
| `said` | what the commands read off a line or say in one: a patient, his first day, where parameters come from |
"""

from __future__ import annotations

import shutil
import sys
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from vtrial.cli import calibration, comparison, figure
from vtrial.cli.console import err, fail, guarded, out, plain, tell
from vtrial.cli.said import first_day, read_clock, read_patient, source, uncalibrated
from vtrial.cli.work import DOSES, compiling, progress_bar, refuse_foreign, whole
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
    epilog="Exit codes: 0 done; 2 unusable input, nothing written; 3 written, but a condition of the scenario's accept "
    "failed or the posterior is in doubt; 130 interrupted, nothing written.",
)


class Size(StrEnum):
    """Size of the Monte Carlo."""

    full = "full"
    small = "small"


ScenarioFile = Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)]


def _trajectories(scenario: Scenario) -> int:
    """Patient-trajectories of a run: every patient under every arm."""
    return len(scenario.arms) * len(scenario.population.strata) * scenario.draws * scenario.patients


@app.command()
@guarded
def check(scenarios: Annotated[list[Path], typer.Argument(help="Scenario files (YAML).", show_default=False)]) -> None:
    """Check scenarios without running them: every problem at once, with file, line and nearest match."""
    from vtrial.scenario import load_scenario

    problems, found = [], []
    for path in scenarios:
        try:
            scenario = load_scenario(path)
            parameters = source(scenario)
        except InputError as error:
            problems += error.problems
            continue
        out.print(
            f"[green]ok[/] {plain(str(path))}: {len(scenario.arms)} arms x {len(scenario.population.strata)} strata x "
            f"{scenario.draws} draws x {scenario.patients} patients = {_trajectories(scenario):,} patient-trajectories"
            f", parameters from {parameters}",
            soft_wrap=True,
        )
        found.append(
            {"scenario": path, "arms": [arm.id for arm in scenario.arms], "draws": scenario.draws,
             "strata": [stratum.name for stratum in scenario.population.strata], "patients": scenario.patients,
             "trajectories": _trajectories(scenario), "parameters": parameters}
        )  # fmt: skip
        if warning := uncalibrated(scenario):
            err.print(warning, soft_wrap=True)
    if problems:
        raise InputError(problems)
    tell(lambda: found)


@app.command()
@guarded
def run(
    scenario: ScenarioFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write; default reports/NAME.")
    ] = None,
    posterior: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|prior",
            help="Draws of the parameters: a netCDF file (ArviZ), or the word prior for the model's priors. Default: "
            "as the scenario says (model.draws_from), or else the model's own posterior, or if it has none its priors.",
        ),
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
        if posterior is None and (warning := uncalibrated(checked)):
            err.print(warning, soft_wrap=True)
        folder = output or Path("reports") / scenario.stem
        refuse_foreign(folder)
        with stage("start-up"):
            from vtrial import trial
            from vtrial.compiled import watched
            from vtrial.estimand import failed
            from vtrial.report import print_risks, risk_table, write_report
            from vtrial.result import save_result

            announcing = watched(compiling())
        with announcing, progress_bar() as progress:
            result = trial.run(checked, posterior=posterior, threads=threads, memory=memory, progress=progress)
        with whole(folder) as part:
            with stage("save"):
                save_result(result, part / "result.nc")
            with stage("report"):
                write_report(result, part)
        with stage("report"):
            print_risks(result, out)
        out.print(f"\nreport: {plain(str(folder / 'report.html'))}", soft_wrap=True)
    unmet = failed(checked.spec.accept, result["estimates"].to_dataset())
    tell(lambda: {"report": folder / "report.html", "risks": risk_table(result), "unmet": unmet})
    if costs:
        out.print()
        print_profile(costs, _trajectories(checked), out)
    fail("accept", unmet)


@app.command()
@guarded
def report(
    result: Annotated[Path, typer.Argument(help="A result.nc, or the folder of a run.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write; default: the result's.")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write report.pdf too; needs the extra 'pdf' of vtrial.")] = False,
) -> None:
    """Write the report of a result again: a report is a function of its result and nothing else."""
    from vtrial.report import write_report
    from vtrial.report.pdf import converter
    from vtrial.result import load_result, save_result

    if pdf:
        converter()
    loaded = load_result(result)
    folder = output or (result if result.is_dir() else result.parent)
    refuse_foreign(folder)
    with whole(folder) as part:
        save_result(loaded, part / "result.nc")
        write_report(loaded, part, pdf=pdf)
    written = [folder / name for name in ("report.html", *(["report.pdf"] if pdf else []))]
    out.print(f"report: {plain(', '.join(map(str, written)))}", soft_wrap=True)
    tell(lambda: {"report": written[0]} | ({"pdf": written[1]} if pdf else {}))


@app.command()
@guarded
def optimise(
    scenario: ScenarioFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write; default reports/NAME.")
    ] = None,
    posterior: Annotated[
        str | None, typer.Option(metavar="FILE|prior", help="Draws of the parameters, as vtrial run takes them.")
    ] = None,
    size: Annotated[Size, typer.Option(help="Size of the Monte Carlo, from the scenario.")] = Size.full,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; default: all processors.")] = None,
) -> None:
    """Find the largest start whose risk stays below the scenario's limit, for each stratum: a dose table."""
    from vtrial.scenario import load_scenario

    checked = load_scenario(scenario, size=size.value)
    folder = output or Path("reports") / scenario.stem
    refuse_foreign(folder, DOSES)
    from vtrial import dose_table
    from vtrial.compiled import watched
    from vtrial.report.doses import dose_rows, print_doses, write_doses

    with watched(compiling()), progress_bar("strata") as progress:
        found = dose_table.optimise(checked, posterior=posterior, threads=threads, progress=progress)
    with whole(folder) as part:
        write_doses(found, part)
    print_doses(found, out)
    out.print(f"\nreport: {plain(str(folder / 'report.md'))}", soft_wrap=True)
    tell(lambda: {"report": folder / "report.md", "doses": dose_rows(found).to_dict(orient="records")})


@app.command()
@guarded
def models(name: Annotated[str | None, typer.Argument(help="Show the parameters of one model.")] = None) -> None:
    """List the models, or one model's parameters with their priors, posteriors, units, evidence and grade."""
    from vtrial.cli.posterior import parameter_rows, parameter_table
    from vtrial.model import load_model, model_names

    if name is None:
        for each in model_names():
            out.print(f"[bold]{each}[/]  {plain(load_model(each).title)}", soft_wrap=True)
        tell(lambda: [{"model": each, "title": load_model(each).title} for each in model_names()])
        return
    model = load_model(name)
    out.print(plain(model.description), soft_wrap=True)
    out.print(parameter_table(model))
    for limit in model.limits:
        out.print(f"- {plain(limit)}", soft_wrap=True)
    tell(lambda: {"model": model.name, "parameters": parameter_rows(model), "limits": model.limits})


app.command()(figure.figure)
app.command()(comparison.compare)
app.command()(calibration.calibrate)
app.command()(calibration.criticise)


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
    covariates = read_patient(patient) if patient else None
    table = Table("policy", "drug", "grade", "first day" if covariates else "title", title="Policies")
    for name, policy in house.policies.items():
        text = first_day(policy, covariates, read_clock(start)) if covariates else policy.title
        table.add_row(*map(plain, (name, policy.drug, policy.grade, text)))
    out.print(table)
    arms = Table("arm", "grade", "role", "policies", title="Arms")
    for name, arm in house.arms.items():
        given = {drug: arm.policy(drug, house.policies) for drug in arm.drugs}
        pairs = " + ".join(policy.id if policy else f"no {drug}" for drug, policy in given.items())
        pairs = pairs or ", ".join(f"{share:.0%} {part}" for part, share in arm.mix.items())
        arms.add_row(*map(plain, (name, arm.grade or "", arm.role, pairs)))
    out.print(arms)
    out.print("Research software: not for dosing decisions in patients.")
    tell(
        lambda: {
            "policies": [
                {"policy": name, "drug": policy.drug, "grade": policy.grade, "title": policy.title,
                 "first_day": first_day(policy, covariates, read_clock(start)) if covariates else None}
                for name, policy in house.policies.items()
            ],
            "arms": [{"arm": name, **arm.model_dump(exclude_defaults=True)} for name, arm in house.arms.items()],
        }
    )  # fmt: skip


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
    with whole(folder) as part:
        for name in ("models", "scenarios"):
            shutil.copytree(INSTALLED / name, part / name, ignore=skip)
    tell(lambda: {"folder": folder})
    first = "vtrial run scenarios/index_patient.yaml --size small"
    out.print(f"{plain(str(folder))}: cd there, and {first}", soft_wrap=True)


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
    table, held = compare.compare_to_csv(csv, model), compare.comparison_of(output)
    compare.write_comparison(table, held)
    out.print(table.to_string(), soft_wrap=True)
    out.print(f"covariate model: {plain(str(output))}\nheld against the rows: {plain(str(held))}", soft_wrap=True)
    told = {"covariate_model": output, "comparison": held}
    tell(lambda: told | {"compared": table.reset_index().to_dict(orient="records")})
