"""What a scenario says of kidneys that fail: can the model's kinetics follow, and do they change on the steps?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vtrial.model import Model
from vtrial.model.draw import following_gfr
from vtrial.policy import Policies
from vtrial.population.injury import RAMP, Injury
from vtrial.scenario.arms import arms_used
from vtrial.spec import Where

if TYPE_CHECKING:
    from vtrial.scenario import ScenarioSpec

CHANGING = {"CL", "V", "Q", "V2", "Q3", "V3", "ka", "MTT", "ke0"}
"""Parameters that the kernel lets change within a trial."""


def check_injuries(spec: ScenarioSpec, model: Model, policies: Policies) -> Iterator[tuple[Where, str]]:
    """Every finding, with the path of keys that leads to it."""
    found = list(_given(spec))
    for where, injury in found:
        yield from _check_steps(spec, where, injury)
        if model.dynamics is not None:
            yield where, f"model {model.name} has a right-hand side of its own, which an injury cannot change yet"
            continue
        names = [name for name in following_gfr(model) if name != "A"]
        fixed = [name for name in names if name.rsplit(".", 1)[-1] not in CHANGING or name in model.logit]
        if fixed:
            yield where, f"model {model.name} has {', '.join(fixed)} follow GFR, which an injury cannot change yet"
    if spec.treatment is not None:
        yield from _check_reviews(spec, policies)


def _check_reviews(spec: ScenarioSpec, policies: Policies) -> Iterator[tuple[Where, str]]:
    """Reviews within the trial, and of patients whose creatinine is known."""
    reviewed = [(where, arm) for where, arm in arms_used(spec, policies) if arm.review]
    for where, arm in reviewed:
        for hours in arm.review:
            if hours >= spec.treatment.horizon:
                text = f"review at {hours:g} h is not before treatment.horizon, {spec.treatment.horizon:g} h"
                yield (*where, "review"), text
    strata = spec.population.named_strata() if spec.population is not None and reviewed else []
    for place, stratum in strata:
        if stratum.injury is not None and stratum.sessions is not None:
            text = f"arm '{reviewed[0][1].id}' reviews creatinine, and what sessions of dialysis make of that is not"
            yield ("population", "strata", place, "sessions"), f"{text} modelled"


def _given(spec: ScenarioSpec) -> Iterator[tuple[Where, Injury]]:
    """Injuries wherever they are written."""
    if spec.population is not None:
        for place, stratum in spec.population.named_strata():
            if stratum.injury is not None:
                yield ("population", "strata", place, "injury"), stratum.injury
        for place, patient in enumerate(spec.population.patient or ()):
            if patient.injury is not None:
                yield ("population", "patient", place, "injury"), patient.injury
    if spec.reference_patient is not None and spec.reference_patient.injury is not None:
        yield ("reference_patient", "injury"), spec.reference_patient.injury
    if spec.examples is not None and spec.examples.patient.injury is not None:
        yield ("examples", "patient", "injury"), spec.examples.patient.injury


def _check_steps(spec: ScenarioSpec, where: Where, injury: Injury) -> Iterator[tuple[Where, str]]:
    """Kinetics change at steps of the grid alone."""
    if spec.simulation is None:
        return
    step = spec.simulation.step

    def off(hours: float) -> bool:
        return abs(hours / step - round(hours / step)) > 1e-9

    for key in ("onset", "lasts", "recovery"):
        value = getattr(injury, key)
        if value is not None and off(value):
            yield (*where, key), f"{value:g} h is not a multiple of simulation.step, {step:g} h"
    if injury.recovery is not None and injury.recovery > RAMP and off(RAMP):
        yield (*where, "recovery"), f"goes in steps of {RAMP:g} h, no multiple of simulation.step, {step:g} h"
