"""The whole path on one page: from a scenario to a result that explains itself."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from vtrial.estimand import STATS, Sums, describe, estimate, reduce_patients
from vtrial.kinetics import Exposure
from vtrial.library import POLICIES
from vtrial.model import evidence_rows
from vtrial.patients import covariates_of, draw_patients, expose_reference, part_of, simulate, trace_example
from vtrial.policy import Arm, arm_regimens, unavailable_doses
from vtrial.scenario import Scenario
from vtrial.spec import InputError, Problem
from vtrial.stage import stage

BLOCK = 10_000
"""Patients of one block: what a thread holds at a time. The result does not depend on it."""

type Progress = Callable[[int, int], None]
"""Called with the patient-trajectories done and those to do."""


def run(
    scenario: Scenario,
    *,
    posterior: Path | str | None = None,
    threads: int | None = None,
    block: int = BLOCK,
    progress: Progress = lambda done, total: None,
) -> xr.DataTree:
    """Run a scenario.

    Parameters
    ----------
    scenario : Scenario
        From `load_scenario`.
    posterior : path, optional
        Draws of the population parameters; the priors of the model by default.
    threads : int, optional
        Threads over blocks; all processors by default. The result is the same, to the bit.
    block : int
        Patients in a block. The result is the same, to the bit.
    progress : callable
        Called with patient-trajectories done and to do.

    Returns
    -------
    xarray.DataTree
        ``Result``: groups ``estimates`` (see `vtrial.estimand.estimate`), ``risk`` (the risk of each level by
        arm, stratum and draw), ``theta`` (the draws), ``examples``, ``dose_risk``; attributes hold the provenance.

    Examples
    --------
    >>> from vtrial import load_scenario
    >>> from vtrial.library import SCENARIOS
    >>> result = run(load_scenario(SCENARIOS / "index_patient.yaml", size="small"))
    >>> float(result["estimates"]["value"].sel(arm="ARM0_INDEX", outcome="level1_7d", stat="mean")[0]) > 0.1
    True
    """
    spec = scenario.spec
    with stage("draw parameters"):
        draws = scenario.parameters(posterior)
    with stage("reference patient"):
        reference = expose_reference(scenario, draws)
    strata = [stratum.name for stratum in scenario.population.strata]
    weight = np.array([stratum.weight for stratum in scenario.population.strata])
    sums = Sums.empty(len(scenario.arms), len(strata), len(scenario.outcomes), len(scenario.drugs), scenario.draws)
    total, done = len(strata) * scenario.draws * scenario.patients * len(scenario.arms), 0
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        waiting = [pool.submit(_treat, b, scenario, draws, reference, sums) for b in _blocks(scenario, block)]
        try:
            for finished in as_completed(waiting):
                done += finished.result()
                progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    with stage("estimate"):
        estimates = estimate(
            sums, spec.estimands, weight=weight, outcomes=scenario.outcomes, strata=strata,
            arms=[arm.id for arm in scenario.arms], drugs=scenario.drugs,
        )  # fmt: skip
    result = _result(scenario, draws, estimates, sums, strata)
    if spec.sensitivities:
        result["sensitivity"] = xr.DataTree(_sensitivity(scenario, posterior))
    return result


@dataclass(frozen=True)
class Block:
    """Some draws of one stratum."""

    stratum: int
    draws: slice


def _blocks(scenario: Scenario, patients: int) -> Iterator[Block]:
    if scenario.model.dynamics is not None:  # each patient takes long: progress is to show, and a failure to end it
        patients = min(patients, 16)
    several = max(1, patients // scenario.patients)
    for stratum in range(len(scenario.population.strata)):
        for first in range(0, scenario.draws, several):
            yield Block(stratum, slice(first, min(first + several, scenario.draws)))


def _treat(block: Block, scenario: Scenario, draws: xr.Dataset, reference: Exposure, sums: Sums) -> int:
    """Treat one block by every arm, the reference first, and reduce it into `sums`."""
    name = scenario.population.strata[block.stratum].name
    with stage("draw patients"):
        cohort = draw_patients(scenario, draws.isel(draw=block.draws), strata=[name])
    exposed = part_of(reference, block.draws)
    names, replicates = [outcome.name for outcome in scenario.outcomes], scenario.replicates
    order = sorted(range(len(scenario.arms)), key=lambda a: scenario.arms[a].id != scenario.spec.estimands.reference)
    compared: list[Any] = []
    for a in order:
        outcomes = simulate(scenario, cohort, scenario.arms[a], exposed).isel(stratum=0)
        values = [outcomes[n].values for n in names]
        compared = compared or values
        with stage("reduce"):
            for o, (value, base) in enumerate(zip(values, compared, strict=True)):
                where = a, block.stratum, o, block.draws
                sums.mean[where], sums.noise[where], sums.paired_noise[where] = reduce_patients(value, base, replicates)
            sums.treated[a, block.stratum, :, block.draws] = outcomes["treated"].mean("patient").values.T
    return len(scenario.arms) * cohort.sizes["draw"] * cohort.sizes["patient"]


def _result(scenario: Scenario, draws: xr.Dataset, estimates: xr.Dataset, sums: Sums, strata: list[str]) -> xr.DataTree:
    found = scenario.population.strata
    risks = [o for o, outcome in enumerate(scenario.outcomes) if outcome.risk]
    risk = xr.Dataset(
        {"mean": (("arm", "stratum", "outcome", "draw"), sums.mean[:, :, risks])},
        {
            "arm": [arm.id for arm in scenario.arms],
            "stratum": strata,
            "outcome": [scenario.outcomes[o].name for o in risks],
            "draw": draws["draw"],
            "row": ("stratum", [stratum.row or "" for stratum in found]),
            "column": ("stratum", [stratum.column or "" for stratum in found]),
            "dialysis": ("stratum", [stratum.dialysis for stratum in found]),
        },
    )
    groups = {"/estimates": estimates, "/risk": risk, "/theta": draws}
    if scenario.spec.examples:
        for arm in scenario.spec.examples.arms:
            with stage("examples"):
                groups[f"/examples/{arm}"] = trace_example(scenario, draws, arm)
    if scenario.spec.dose_risk:
        groups["/dose_risk"] = _dose_risk(scenario, draws)
    with stage("provenance"):
        groups["/"] = xr.Dataset(attrs=provenance(scenario, draws))
    return xr.DataTree.from_dict(groups)


def _dose_risk(scenario: Scenario, draws: xr.Dataset) -> xr.Dataset:
    """Risk by multiple of an arm's doses: value (stratum, multiple, outcome, stat)."""
    asked = scenario.spec.dose_risk
    assert asked is not None
    with stage("dose risk"):
        reference = expose_reference(scenario, draws)
    names = [outcome.name for outcome in scenario.outcomes if outcome.risk]

    @stage("dose risk")
    def treat(stratum: str) -> list[list[Any]]:
        cohort = draw_patients(scenario, draws, strata=[stratum])
        treated = (simulate(scenario, cohort, asked.arm, reference, multiple=m) for m in asked.multiples)
        outcomes = (outcome.isel(stratum=0) for outcome in treated)
        return [[reduce_patients(o[n].values, o[n].values, scenario.replicates)[:2] for n in names] for o in outcomes]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reduced = np.array(list(pool.map(treat, asked.strata)))  # stratum, multiple, outcome, mean or noise, draw
    stats = describe(reduced[:, :, :, 0], reduced[:, :, :, 1], scenario.spec.estimands.interval)
    return xr.Dataset(
        {"value": (("stratum", "multiple", "outcome", "stat"), stats)},
        {
            "stratum": list(asked.strata),
            "multiple": list(asked.multiples),
            "outcome": names,
            "stat": list(STATS),
        },
        {"arm": asked.arm, "interval": scenario.spec.estimands.interval},
    )


def _sensitivity(scenario: Scenario, posterior: Path | str | None) -> xr.Dataset:
    """Primary outcome under named assumptions: value (case, arm, stratum, stat), on the same patients."""
    asked, estimands = scenario.spec.sensitivities, scenario.spec.estimands
    assert asked is not None
    cases = {"as in the scenario": scenario} | {name: scenario.varied(case) for name, case in asked.cases.items()}

    @stage("sensitivities")
    def treat(varied: Scenario) -> list[list[Any]]:
        draws = varied.parameters(posterior)
        reference = expose_reference(varied, draws)
        cohorts = [draw_patients(varied, draws, strata=[stratum]) for stratum in asked.strata]
        risks = [
            [simulate(varied, c, arm, reference)[estimands.primary].isel(stratum=0).values for c in cohorts]
            for arm in asked.arms
        ]
        return [[reduce_patients(risk, risk, varied.replicates)[:2] for risk in row] for row in risks]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reduced = np.array(list(pool.map(treat, cases.values())))  # case, arm, stratum, mean or noise, draw
    changes = [case.model_dump(exclude_defaults=True) for case in asked.cases.values()]
    texts = [", ".join(f"{key} {value}" for key, value in {**c.pop("fix", {}), **c}.items()) for c in changes]
    stats = describe(reduced[..., 0, :], reduced[..., 1, :], estimands.interval)
    return xr.Dataset(
        {"value": (("case", "arm", "stratum", "stat"), stats)},
        {
            "case": list(cases), "arm": list(asked.arms), "stratum": list(asked.strata), "stat": list(STATS),
            "change": ("case", ["", *texts]),
        },
        {"outcome": estimands.primary, "interval": estimands.interval},
    )  # fmt: skip


# --------------------------------------------------------------------------------- provenance and files


def provenance(scenario: Scenario, draws: xr.Dataset) -> dict[str, Any]:
    """What a result needs to explain itself; structured parts are JSON."""
    spec, model = scenario.spec, scenario.model
    policies = sorted(POLICIES.glob("*.yaml"))
    return {
        "title": spec.title,
        "question": " ".join(spec.question.split()),
        "scenario": scenario.text,
        "scenario_name": scenario.file.stem,
        "scenario_sha256": scenario.sha256,
        "model": model.name,
        "model_title": model.title,
        "model_description": model.description,
        "model_sha256": model.sha256,
        "limits": json.dumps([*model.limits, *_limits(scenario)]),
        "levels": json.dumps(model.levels),
        "params": json.dumps(_params(scenario)),
        "evidence": json.dumps(evidence_rows(model)),
        "policies_sha256": hashlib.sha256(b"".join(path.read_bytes() for path in policies)).hexdigest(),
        "arms": json.dumps([_describe_arm(scenario, arm) for arm in scenario.arms]),
        "population": json.dumps(dict(scenario.population.provenance)),
        "population_text": _who(scenario),
        "parameters": draws.attrs["source"],
        "surface": spec.model.surface,
        "food": spec.model.food,
        "fixed": json.dumps(scenario.fix),
        "seed": spec.simulation.seed,
        "sampling": spec.simulation.sampling,
        "size": scenario.size,
        "draws": scenario.draws,
        "patients": scenario.patients,
        "step": spec.simulation.step,
        "interval": spec.estimands.interval,
        "versions": json.dumps(_versions()),
    }


def _params(scenario: Scenario) -> list[dict[str, Any]]:
    return [
        {
            "name": p.name,
            "prior": str(p.prior),
            "unit": p.unit,
            "label": p.label,
            "rows": p.rows,
            "grade": p.grade,
        }
        for p in scenario.model.params
    ]


def _describe_arm(scenario: Scenario, arm: Arm) -> dict[str, Any]:
    """What a report says of an arm: its policies, their grades and sources, and doses that no product gives."""
    drugs = {}
    for drug, name in arm.drugs.items():
        if name is None:
            continue
        policy = scenario.policies.policies[name]
        strengths = scenario.policies.strengths.get(drug)
        odd = unavailable_doses(policy, strengths, titrate=scenario.spec.treatment.titrate) if strengths else []
        drugs[drug] = {
            "id": name,
            "title": policy.title,
            "grade": policy.grade,
            "sources": list(policy.sources),
            "unavailable": odd,
            "dialysis": policy.dialysis_basis,
        }
    return {
        "id": arm.id,
        "role": arm.role,
        "grade": arm.grade,
        "otherwise": arm.otherwise,
        "note": arm.note,
        "doses": _first_day(scenario, arm),
        "drugs": drugs,
    }


def _first_day(scenario: Scenario, arm: Arm) -> dict[str, dict[str, str]]:
    """What an arm gives the named patients in the first 24 h from the start of the trial."""
    start, examples = scenario.spec.treatment.start, scenario.spec.examples
    texts: dict[str, dict[str, str]] = {}
    for patient in (scenario.spec.reference_patient, *([examples.patient] if examples else [])):
        people = covariates_of(patient)
        given = arm_regimens(arm, scenario.policies, people, start=start, horizon=24.0)
        texts[patient.name] = {
            drug: given[drug].first_day(start) if arm.drugs.get(drug) else "not given" for drug in given
        }
    return texts


def _limits(scenario: Scenario) -> list[str]:
    """What this scenario leaves out, in sentences for the report."""
    treatment, strata = scenario.spec.treatment, scenario.population.strata
    doses = "Doses rise by the clock alone" if treatment.titrate else "Starting doses are held for the whole horizon"
    limits = [
        f"{doses}: nobody is held, stopped or rescued for being sedated.",
        "Risk alone is estimated: the lowest risk is often the lowest dose, and ranks of arms ignore benefit.",
        "Windows start at the first dose of any drug: an arm that gives a drug in the evening has had less of it "
        "within the first 24 h.",
        "Acute kidney injury, other depressants, missed or wrong doses are not simulated.",
    ]
    if any(stratum.dialysis for stratum in strata):
        limits.append("Dialysis patients are simulated between sessions: no clearance by dialysis.")
    if scenario.population.provenance["kind"] == "patient":
        limits.append("Arms follow their rules from the scenario's start; a described patient's own doses may differ.")
    return limits


def _who(scenario: Scenario) -> str:
    """Who the population is, in one sentence."""
    kind, name = scenario.population.provenance["kind"], scenario.population.provenance["name"]
    if kind == "model":
        return (
            f"Population: the covariate model {name} (models/population/{name}.yaml names its source and its grade), "
            "not people prescribed these drugs; the rarest strata rest on few people."
        )
    return f"Population: rows of {name}, drawn by weight." if kind == "bootstrap" else f"Named patients: {name}."


def _versions() -> dict[str, str]:
    packages = ("vtrial", "numpy", "scipy", "numba", "xarray", "pandas")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def save_result(result: xr.DataTree, path: Path | str) -> None:
    """Write a result as one netCDF file, whole or not at all."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        encoding = {f"/{name}": _compressed(group) for name, group in result.children.items()}
        result.to_netcdf(part, engine="h5netcdf", encoding=encoding)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _compressed(group: xr.DataTree) -> dict[str, Any]:
    return {
        str(name): {"zlib": True, "complevel": 4}
        for name, v in group.data_vars.items()
        if v.dtype.kind == "f" and v.ndim
    }


def load_result(path: Path | str) -> xr.DataTree:
    """Read a result.

    Raises
    ------
    InputError
        If the file is missing, truncated, or not a result of vtrial.
    """
    path = Path(path)
    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            result = tree.load()
    except Exception as error:  # h5py and xarray raise many kinds for what is not a netCDF file
        reason = (
            "no such file"
            if isinstance(error, FileNotFoundError)
            else f"not a readable netCDF file ({type(error).__name__})"
        )
        raise InputError([Problem(reason, file=path)]) from None
    missing = [name for name in ("estimates", "risk", "theta") if name not in result.children]
    if missing or "scenario_sha256" not in result.attrs:
        raise InputError([Problem(f"not a result of vtrial: no {', '.join(missing) or 'provenance'}", file=path)])
    return result
