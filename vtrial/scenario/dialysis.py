"""What a scenario says of dialysis: can the model clear by it, do sessions fit the steps, do policies find them?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vtrial.dialysis import Sessions
from vtrial.model import Model, dialysed
from vtrial.policy import Policies
from vtrial.population import Population
from vtrial.spec import Where

if TYPE_CHECKING:
    from vtrial.scenario import ScenarioSpec


def check_dialysis(
    spec: ScenarioSpec, model: Model, policies: Policies, population: Population
) -> Iterator[tuple[Where, str]]:
    """Every finding, with the path of keys that leads to it."""
    for where, sessions in _given(spec, policies):
        yield from _check_steps(spec, where, sessions)
        lacking = sorted(set(model.clearances_by(sessions.modality)) - set(dialysed(model)))
        if model.dynamics is not None:
            yield where, f"model {model.name} has a right-hand side of its own, which sessions cannot change yet"
        elif lacking:
            text = f"model {model.name} gives no {', '.join(lacking)}: it does not say what sessions clear"
            yield where, f"{text}{_hint(lacking)}"
    yield from _check_policies(spec, policies, population)


def _hint(lacking: list[str]) -> str:
    return "" if lacking[0].endswith("CL_HD") else " (models/renal_replacement.py does)"


def _given(spec: ScenarioSpec, policies: Policies) -> Iterator[tuple[Where, Sessions]]:
    """Sessions wherever they are written."""
    for place, stratum in spec.population.named_strata():
        if stratum.sessions is not None:
            yield ("population", "strata", place, "sessions"), stratum.sessions
    for place, patient in enumerate(spec.population.patient or ()):
        if patient.sessions is not None:
            yield ("population", "patient", place, "sessions"), patient.sessions
    for name, arm in spec.treatment.define.items():
        if arm.sessions is not None:
            yield ("treatment", "define", name, "sessions"), arm.sessions
    for place, name in enumerate(spec.treatment.arms):
        for part in (name, *policies.arms[name].mix) if name in policies.arms else ():
            if part in policies.arms and (own := policies.arms[part].sessions) is not None:
                yield ("treatment", "arms", place), own
    if spec.reference_patient is not None and spec.reference_patient.sessions is not None:
        yield ("reference_patient", "sessions"), spec.reference_patient.sessions
    if spec.examples is not None and spec.examples.patient.sessions is not None:
        yield ("examples", "patient", "sessions"), spec.examples.patient.sessions


def _check_steps(spec: ScenarioSpec, where: Where, sessions: Sessions) -> Iterator[tuple[Where, str]]:
    """Kinetics change at steps of the grid alone."""
    if spec.simulation is None:
        return
    step, written = spec.simulation.step, where[-1] == "sessions"  # or in the library of arms
    for key, values in (("first", [sessions.first]), ("hours", [sessions.hours]), ("every", sessions.every or ())):
        for value in values:
            if abs(value / step - round(value / step)) > 1e-9:
                text = f"sessions: {key} {value:g} h is not a multiple of simulation.step, {step:g} h"
                yield (*where, key) if written else where, text


def _check_policies(spec: ScenarioSpec, policies: Policies, population: Population) -> Iterator[tuple[Where, str]]:
    """Policies that dose after sessions alone, for patients without any; or on dialysis alone, for others."""
    between = [f"'{one.name}'" for one in population.strata if one.dialysis and not one.condition.sessions]
    others = [f"'{one.name}'" for one in population.strata if not one.dialysis]
    known = {**policies.arms, **spec.treatment.define}
    for place, name in enumerate(spec.treatment.arms):
        parts = list(known[name].mix or (name,)) if name in known else []
        chosen = [policy for part in parts if part in known for policy in known[part].drugs.values()]
        for policy in sorted({name for name in chosen if isinstance(name, str) and name in policies.policies}):
            says, where = f"policy {policy} of arm '{name}'", ("treatment", "arms", place)
            if between and policies.policies[policy].dialysis_basis == "sessions":
                yield where, f"{says} doses after sessions of dialysis: give {', '.join(between)} 'sessions'"
            if others and policies.policies[policy].renal is None:
                yield where, f"{says} is for patients on dialysis alone, and {', '.join(others)} are not"
