"""The commands that calibrate a model, and that hold its posterior against the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vtrial.cli.console import fail, guarded, notes, out, plain, tell
from vtrial.cli.work import CALIBRATION, progress_bar, refuse_foreign, refuse_unwritable, sampling_bar, whole
from vtrial.problem import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vtrial.calibration.evidence import Evidence
    from vtrial.model import Model


@guarded
def calibrate(
    model: Annotated[str, typer.Argument(help="Name of a model that has evidence.", show_default=False)],
    chains: Annotated[int, typer.Option(min=2, help="Chains, as many at a time as there are processors.")] = 4,
    draws: Annotated[int, typer.Option(min=4, help="Draws of each chain after the warm-up.")] = 1000,
    warm_up: Annotated[int, typer.Option(min=1, help="Draws of each chain that tune it, and are not kept.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampler.")] = 20260701,
    fix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help='Hold a parameter ("baclofen.ke0=0.3 1/h"), and give the posterior of the others (to -o FILE, for '
            "vtrial run --posterior FILE; without a report). May be repeated.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TARGET", help="Leave a target of the evidence out (C5), to -o FILE as --fix. May be repeated."
        ),
    ] = None,
    sensitivity: Annotated[
        str,
        typer.Option(
            help="How sensitivity is distributed: log-normal, or, to compare (to -o FILE, for vtrial criticise "
            "--refit FILE), one spread, Student-t or susceptible share."
        ),
    ] = "log-normal",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write; default models/posteriors/MODEL.nc, where runs find it."),
    ] = None,
    report: Annotated[Path, typer.Option(readable=False, help="Folder of the report (see criticise).")] = Path(
        "reports/calibration"
    ),
) -> None:
    """Calibrate a model on its evidence, models/calibration/MODEL.yaml: write its posterior, print it, doubt it."""
    from vtrial.calibration.evidence import load_evidence
    from vtrial.cli.posterior import check_targets, posterior_rows, posterior_table, read_fixed, read_sensitivity
    from vtrial.model import load_model
    from vtrial.model.posterior import describe_posterior, doubts, posterior_path

    chosen = load_model(model)
    evidence = load_evidence(chosen)  # its problems are told before the sampler is loaded, which takes seconds
    held, candidate = read_fixed(chosen, fix or []), read_sensitivity(sensitivity)
    check_targets(evidence, without or [])
    options = {"--fix": held, "--without": without, "--sensitivity": candidate}
    refit = [option for option, given in options.items() if given]
    if refit and output is None:
        raise InputError(
            [f"{refit[0]}: say where to write (-o FILE): runs would take it for the posterior of the model"]
        )
    path = output or posterior_path(chosen)
    refuse_unwritable(path)
    if not refit:
        refuse_foreign(report, CALIBRATION)
    notes.print("loading the sampler")
    from vtrial.calibration import fit

    with sampling_bar() as progress:
        found = fit.calibrate(
            chosen, fix=held, without=without or (), sensitivity=sensitivity, seed=seed, chains=chains, warm_up=warm_up,
            draws=draws, progress=progress, tell=lambda text: notes.print(plain(text), soft_wrap=True),
        )  # fmt: skip
        fit.save_posterior(found, chosen, path)
    out.print(posterior_table(chosen, path))
    described = describe_posterior(path)
    tell(lambda: {"posterior": path, **described, "parameters": posterior_rows(path)})
    out.print(f"divergences: {described['divergences']:,}\nposterior: {plain(str(path))}", soft_wrap=True)
    if not refit:
        _write_criticism(chosen, evidence, path, report)
    fail("doubtful", doubts(described))


@guarded
def criticise(
    model: Annotated[str, typer.Argument(help="Name of a model with a posterior in the library.", show_default=False)],
    refit: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Compare with this one of vtrial calibrate --fix, --without or --sensitivity. May be repeated.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = Path("reports/calibration"),
) -> None:
    """Hold a posterior against its evidence: fit, what was learnt, what the answer rests on; write a report."""
    from vtrial.calibration.evidence import load_evidence
    from vtrial.model import load_model, shipped_posterior

    chosen = load_model(model)
    evidence = load_evidence(chosen)
    path = shipped_posterior(chosen)
    if path is None:
        raise InputError([f"{model} has no posterior: run 'vtrial calibrate {model}' first"])
    from vtrial.report.refits import read_refits

    refits = read_refits(chosen, refit or [])
    refuse_foreign(output, CALIBRATION)
    _write_criticism(chosen, evidence, path, output, refits)
    tell(lambda: {"report": output / "report.html"})


def _write_criticism(
    model: Model, evidence: Evidence, path: Path, folder: Path, refits: Mapping[str, Path] | None = None
) -> None:
    from vtrial import trial
    from vtrial.library import SCENARIOS
    from vtrial.model.posterior import open_posterior
    from vtrial.report.calibration import write_calibration
    from vtrial.scenario import load_scenario

    scenario = load_scenario(SCENARIOS / "calibration.yaml")
    with progress_bar() as progress:
        result = trial.run(scenario, posterior=path, progress=progress)
    with whole(folder) as part:
        others = {name: open_posterior(file) for name, file in (refits or {}).items()}
        write_calibration(model, evidence, open_posterior(path), scenario, result, part, refits=others)
    out.print(f"report: {plain(str(folder / 'report.html'))}", soft_wrap=True)
