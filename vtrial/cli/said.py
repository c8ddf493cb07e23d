"""What the commands read off a line, and say in one: a patient, his first day, where parameters come from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vtrial.problem import InputError

if TYPE_CHECKING:
    from vtrial.scenario import Scenario


def source(scenario: Scenario) -> str:
    """Where the parameters of a run will come from; an `InputError` if it cannot be used."""
    from vtrial.model.posterior import PRIOR, source_of

    found = scenario.draws_from()
    return "the priors" if found == PRIOR else source_of(scenario.model, found)


def uncalibrated(scenario: Scenario) -> str:
    """A warning if a run falls back on the priors of a model that could be calibrated; else nothing."""
    from vtrial.model.posterior import belongings, posterior_path

    chosen = scenario.spec.model.draws_from is not None or posterior_path(scenario.model).exists()
    if chosen or not belongings(scenario.model)["evidence_sha256"]:
        return ""
    name = scenario.model.calibrated.name
    return (
        f"[yellow]from the priors:[/] {name} has evidence but no posterior: calibrate it (vtrial calibrate {name}), "
        "or say so (model.draws_from: prior)"
    )


def read_clock(given: str) -> float:
    """A clock time, h after midnight; an `InputError` if it is none."""
    from pydantic import TypeAdapter, ValidationError

    from vtrial.spec import Clock

    try:
        return TypeAdapter(Clock).validate_python(given)
    except ValidationError as error:
        raise InputError([f"--start: {detail['msg']}" for detail in error.errors()]) from None


def read_patient(text: str) -> dict[str, Any]:
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


def first_day(policy: Any, covariates: dict[str, Any], start: float) -> str:
    """What a policy gives a patient on the first day."""
    if policy.renal is None:
        return "on dialysis only"
    given = policy.regimens(covariates, start=start, horizon=24.0)
    remark = f" (for ages from {policy.applies.age_min:g} y)" if policy.applies else ""
    return given.first_day(start) + remark
