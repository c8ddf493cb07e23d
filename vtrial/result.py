"""A result explains itself: its provenance, and one file that holds all of it."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

from vtrial.decision import decide
from vtrial.library import POLICIES
from vtrial.model import evidence_rows
from vtrial.patients import covariates_of
from vtrial.policy import Arm, unavailable_doses
from vtrial.problem import InputError, Problem
from vtrial.scenario import Scenario

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
"""Probabilities of the quantiles of a prior that a result holds."""


def provenance(scenario: Scenario, draws: xr.Dataset) -> dict[str, Any]:
    """What a result needs to explain itself; structured parts are JSON."""
    from vtrial.equations import equations  # with SymPy, which takes a third of a second: not to read a result

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
        **({} if model.extends is None else {"calibrated_sha256": model.calibrated.sha256}),
        "limits": json.dumps([*model.limits, *_limits(scenario)]),
        "levels": json.dumps(model.levels),
        "params": json.dumps(_params(scenario)),
        "equations": json.dumps([asdict(one) for one in equations(model, spec.model.surface)]),
        "evidence": json.dumps(evidence_rows(model)),
        "policies_sha256": hashlib.sha256(b"".join(path.read_bytes() for path in policies)).hexdigest(),
        "arms": json.dumps([_describe_arm(scenario, arm) for arm in scenario.arms]),
        "population": json.dumps(dict(scenario.population.provenance)),
        "population_text": _who(scenario),
        "parameters": draws.attrs["source"],
        "posterior": draws.attrs.get("posterior", "{}"),
        "surface": spec.model.surface,
        "food": spec.model.food,
        "fixed": json.dumps(scenario.fix),
        "seed": spec.simulation.seed,
        "sampling": spec.simulation.sampling,
        "size": scenario.size,
        "draws": scenario.draws,
        "patients": scenario.patients,
        "step": spec.simulation.step,
        "assessment": "" if spec.assessment is None else spec.assessment.model_dump_json(),
        "accept": json.dumps([one.model_dump() for one in spec.accept]),
        "interval": spec.estimands.interval,
        "versions": json.dumps(_versions()),
    }


def _params(scenario: Scenario) -> list[dict[str, Any]]:
    return [
        {
            "name": p.name,
            "prior": str(p.prior),
            "quantiles": [float(p.prior.quantile(at)) for at in QUANTILES],
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
    if arm.mix:
        text = "mixture: " + ", ".join(f"{share:.3g} {name}" for name, share in arm.mix.items())
        parts = [_describe_arm(scenario, one) for one, _ in scenario.components(arm)]
        several = {f"{drug} ({part['id']})": told for part in parts for drug, told in part["drugs"].items()}
        note = "; ".join(filter(None, [text, arm.note]))
        own = {"id": arm.id, "role": arm.role, "grade": arm.grade, "otherwise": None, "note": note}
        own["acts"] = [f"{part['id']}: {act}" for part in parts for act in part["acts"]]
        return {**own, "doses": _mixed_doses(scenario, arm), "drugs": several}
    for drug in arm.drugs:
        policy = arm.policy(drug, scenario.policies.policies)
        if policy is None:
            continue
        strengths = scenario.policies.strengths.get(drug)
        odd = unavailable_doses(policy, strengths, titrate=scenario.spec.treatment.titrate) if strengths else []
        drugs[drug] = {
            "id": policy.id,
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
        "acts": arm.acts,
        "doses": _first_day(scenario, arm),
        "drugs": drugs,
    }


def _mixed_doses(scenario: Scenario, arm: Arm) -> dict[str, dict[str, str]]:
    """The same for each component of a mixture."""
    texts: dict[str, dict[str, str]] = {}
    for one, share in scenario.components(arm):
        for patient, doses in _first_day(scenario, one).items():
            told = {f"{drug} ({share:.0%} {one.id})": text for drug, text in doses.items()}
            texts[patient] = texts.get(patient, {}) | told
    return texts


def _first_day(scenario: Scenario, arm: Arm) -> dict[str, dict[str, str]]:
    """What an arm gives the named patients in the first 24 h from the start of the trial."""
    start, examples = scenario.spec.treatment.start, scenario.spec.examples
    texts: dict[str, dict[str, str]] = {}
    named = scenario.spec.population.patient or ()
    for patient in (scenario.spec.reference_patient, *([examples.patient] if examples else []), *named):
        people = covariates_of(patient)
        after = None if patient.sessions is None else ()
        typical = {"GFR": people["CRCL"], **people}
        given = decide(
            arm, scenario.policies, typical, patient.injury, 0.0,
            start=start, horizon=24.0, titrate=False, after=after,
        )  # fmt: skip
        texts[patient.name] = {
            drug: given[drug].first_day(start) if arm.drugs.get(drug) else "not given" for drug in given
        }
    return texts


def _held_steps(scenario: Scenario) -> str:
    """Arms and drugs whose policies raise doses within the horizon of a scenario that does not."""
    treatment, found = scenario.spec.treatment, []
    if treatment.titrate:
        return ""
    single = [one for arm in scenario.arms for one, _ in scenario.components(arm)]
    for arm in single:
        for drug in arm.drugs:
            policy = arm.policy(drug, scenario.policies.policies)
            steps = policy.titration.increments if policy is not None and policy.titration is not None else ()
            days = [step.day for step in steps if 24.0 * (step.day - 1) < treatment.horizon]
            if days:
                found.append(f"{arm.id}, {drug} from day {min(days)}")
    return "; ".join(dict.fromkeys(found))


def _limits(scenario: Scenario) -> list[str]:
    """What this scenario leaves out, in sentences for the report."""
    treatment, strata = scenario.spec.treatment, scenario.population.strata
    doses = "Doses rise by the clock alone" if treatment.titrate else "Starting doses are held for the whole horizon"
    if treatment.stop is not None:
        doses += f", and stop {treatment.stop:g} h after the first one"
    single = [one for arm in scenario.arms for one, _ in scenario.components(arm)]
    acting = any(arm.acts for arm in single)
    limits = [
        f"{doses}, but for arms that say what is done or goes wrong."
        if acting
        else f"{doses}: nobody is held or stopped for being sedated.",
        "Ranks of arms are of risk alone and ignore benefit; the benefit is exposure, not relief of what is treated."
        if scenario.spec.estimands.benefit
        else "Risk alone is estimated: the lowest risk is often the lowest dose, and ranks of arms ignore benefit.",
        "Windows start at the first dose of any drug: an arm that gives a drug in the evening has had less of it "
        "within the first 24 h.",
        f"{_left_out(scenario, acting=acting)} are not simulated.",
    ]
    if held := _held_steps(scenario):
        limits.append(f"Rules that would raise doses within {treatment.horizon:g} h, which this run holds: {held}.")
    if scenario.injures:
        limits.append(
            "In kidney injury clearances follow GFR at once; uraemia has one effect throughout. "
            "Creatinine is made as before, and is measured without error when doses are decided."
        )
    if any(stratum.dialysis and stratum.condition.sessions is None for stratum in strata):
        limits.append("Dialysis patients without sessions are simulated between them: no clearance by dialysis.")
    if scenario.dialyses:
        limits.append("Sessions of dialysis are on time and complete, and clear one patient alike every time.")
    if scenario.population.provenance["kind"] == "patient":
        limits.append("Arms follow their rules from the scenario's start; a described patient's own doses may differ.")
    return limits


def _left_out(scenario: Scenario, *, acting: bool) -> str:
    """What could go wrong with patients and doses beside, in this scenario's trial never."""
    absent = [
        *([] if scenario.injures else ["acute kidney injury"]),
        "other depressants" if scenario.model.extends is None else "depressants that the model does not have",
        *([] if acting else ["missed or wrong doses"]),
    ]
    text = ", ".join(absent)
    return text[0].upper() + text[1:]


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
    """Read a result from its file, or from the folder of its run.

    Raises
    ------
    InputError
        If the file is missing, truncated, or not a result of vtrial.
    """
    path = Path(path)
    path = path / "result.nc" if path.is_dir() else path
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
