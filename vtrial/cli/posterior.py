"""Posteriors as tables: of a calibration, and beside the priors of a model; parameters held on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from vtrial.cli.console import err, plain
from vtrial.model.posterior import ESS_LIMIT, RHAT_LIMIT, SIMULATES, Marginal, marginals, shipped_posterior
from vtrial.model.prior import Fixed
from vtrial.problem import InputError, nearest

if TYPE_CHECKING:
    from vtrial.calibration.evidence import Evidence
    from vtrial.model import Model

INTERVAL = 0.95


def parameter_table(model: Model) -> Table:
    """The parameters of a model: priors, posteriors where the library holds them, units, evidence, grades."""
    found = _marginals(model)
    of_posterior = [f"posterior: median ({INTERVAL:.0%} interval)"] if found else []
    table = Table(title=plain(model.title))
    for column in ("parameter", "prior", *of_posterior, "unit", "grade", "evidence", "what it is"):
        table.add_column(column, no_wrap=column == "parameter", overflow="fold")
    for param in model.params:
        told = ["{} ({})".format(*_write(found[param.name])) if param.name in found else "–"] if found else []
        cells = (param.name, str(param.prior), *told, param.unit, param.grade, " ".join(param.rows), param.label)
        table.add_row(*map(plain, cells))
    return table


def _marginals(model: Model) -> dict[str, Marginal]:
    """Posterior of each parameter; none, with the reason on the second console, if the file does not belong."""
    try:
        path = shipped_posterior(model)
    except InputError as error:
        for problem in error.problems:
            err.print(f"[yellow]no posterior:[/] {plain(str(problem))}", soft_wrap=True)
        return {}
    return {} if path is None else marginals(path, interval=INTERVAL)


def posterior_rows(path: Path) -> list[dict[str, Any]]:
    """The same numbers, plain."""
    return [{"parameter": name} | asdict(found) for name, found in marginals(path, interval=INTERVAL).items()]


def parameter_rows(model: Model) -> list[dict[str, Any]]:
    """The parameters of `parameter_table`, plain."""
    found = _marginals(model)
    return [
        {"parameter": param.name, "prior": str(param.prior), "unit": param.unit, "grade": param.grade,
         "evidence": list(param.rows), "label": param.label,
         "posterior": asdict(found[param.name]) if param.name in found else None}
        for param in model.params
    ]  # fmt: skip


def posterior_table(model: Model, path: Path) -> Table:
    """The posterior of every parameter, those of the calibration alone after the model's, with its diagnostics."""
    units = {param.name: param.unit for param in model.params}
    table = Table(title=f"Posterior of {plain(model.name)}")
    table.add_column("parameter", no_wrap=True)
    for column in ("median", f"{INTERVAL:.0%} interval"):
        table.add_column(column, justify="right", overflow="fold")
    table.add_column("unit", overflow="fold")
    for column in ("R-hat", "ESS"):  # of a narrow terminal these are kept
        table.add_column(column, justify="right", min_width=5)
    for name, found in marginals(path, interval=INTERVAL).items():
        rhat = _marked(f"{found.rhat:.3f}", found.rhat < RHAT_LIMIT)
        ess = _marked(f"{found.ess:,.0f}", found.ess > ESS_LIMIT)
        table.add_row(plain(name), *_write(found), plain(units.get(name, "1")), rhat, ess)
    return table


def read_fixed(model: Model, given: Sequence[str]) -> dict[str, float]:
    """Values of parameters written NAME=VALUE; an `InputError` with all that is wrong with them."""
    from pydantic_core import PydanticCustomError

    from vtrial.model import check_fixed
    from vtrial.scenario.check import fixed

    names, found, problems = [param.name for param in model.params], dict[str, float](), []
    for name, equals, value in (text.partition("=") for text in given):
        if name not in names or not equals:
            problems.append(f"--fix {name}{equals}{value}: not NAME=VALUE of a parameter; {nearest(name, names)}")
            continue
        unit = model.param(name).unit
        try:
            found[name] = fixed(float(value) if unit == "1" else value, unit)
        except (ValueError, PydanticCustomError) as error:
            problems.append(f"--fix {name}={value}: {error} (its unit is {unit})")
    problems += [f"--fix {name}: {text}" for name, text in check_fixed(model, found)]
    problems += [f"--fix {name}: the model fixes it" for name in found if isinstance(model.param(name).prior, Fixed)]
    if problems:
        raise InputError(problems)
    return found


def check_targets(evidence: Evidence, given: Sequence[str]) -> None:
    """Refuse to leave out what is no target of the evidence."""
    known = evidence.targets
    problems = [f"--without {one}: unknown target; {nearest(one, known)}" for one in given if one not in known]
    if problems:
        raise InputError(problems)


def read_sensitivity(given: str) -> bool:
    """Whether a calibration tries another sensitivity than simulates; an `InputError` if it is none."""
    from vtrial.calibration.sensitivity import SENSITIVITIES

    if given not in SENSITIVITIES:
        raise InputError([f"--sensitivity {given}: unknown; {nearest(given, [*SENSITIVITIES])}"])
    return given != SIMULATES


def _marked(text: str, good: bool) -> str:
    return text if good else f"[red]{text}[/]"


def _write(found: Marginal) -> tuple[str, str]:
    """Median and interval."""
    return f"{found.median:.3g}", f"{found.lo:.3g} to {found.hi:.3g}"
