"""What a scenario says of arms whose doses follow what is seen, or are rounded: do the levels and drugs exist, is there
anything to round to, do looks fall on the steps of the grid?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vtrial.model import Model, dialysed
from vtrial.policy import FREQUENCIES, Arm, Policies
from vtrial.scenario.arms import arms_used
from vtrial.spec import Where, nearest

if TYPE_CHECKING:
    from vtrial.scenario import ScenarioSpec


def check_reactions(spec: ScenarioSpec, model: Model, policies: Policies) -> Iterator[tuple[Where, str]]:
    """Every finding, with the path of keys that leads to it."""
    used = list(arms_used(spec, policies))
    for where, arm in used:
        yield from _check_arm(where, arm, model)
        yield from _check_units(where, arm, policies)
        if spec.simulation is not None:
            yield from _check_steps(where, arm, spec.treatment.start, spec.simulation.step)
    surfaces: dict[Where, str | None] = {("model", "surface"): spec.model.surface if spec.model is not None else None}
    for name, change in (spec.sensitivities.cases if spec.sensitivities else {}).items():
        surfaces["sensitivities", "cases", name, "surface"] = change.surface
    names = sorted({arm.id for _, arm in used if arm.reactions})
    for where, surface in surfaces.items():
        if surface == "bliss" and names:
            text = f"arms that react ({', '.join(names)}) divide patients by their sensitivity"
            yield where, f"{text}, and with bliss each drug has one of its own: take greco or loewe"
    following = {arm.id for _, arm in used if arm.feedback}
    for i, name in enumerate(spec.examples.arms if spec.examples else ()):
        if name in following:
            text = f"'{name}' reacts to what is seen: it has no one trajectory; name an arm that does not"
            yield ("examples", "arms", i), text


def _check_arm(where: Where, arm: Arm, model: Model) -> Iterator[tuple[Where, str]]:
    allowed = ", ".join(f"{i} {name}" for i, name in enumerate(model.levels) if i)
    for i, reaction in enumerate(arm.reactions):
        at = (*where, "reactions", i)
        if reaction.seen >= len(model.levels):
            yield (*at, "seen"), f"given {reaction.seen}: the model's levels are {allowed}"
        for drug in reaction.drugs or ():
            if arm.drugs.get(drug) is None:
                given = [name for name, policy in arm.drugs.items() if policy is not None]
                yield (*at, "drugs"), f"the arm does not give '{drug}'; {nearest(drug, given)}"
        if reaction.do == "dialyse" and set(model.clearances_by(reaction.modality)) - set(dialysed(model)):
            yield (*at, "do"), f"model {model.name} does not say what {reaction.modality} clears"
        if reaction.do == "dialyse" and model.dynamics is not None:
            yield (*at, "do"), f"model {model.name} has a right-hand side of its own, which sessions cannot change yet"
    rows = len(arm.rounds.misjudged) if arm.rounds is not None else 0
    if rows and rows != len(model.levels):
        names = ", ".join(f"{i} {name}" for i, name in enumerate(model.levels))
        yield (*where, "rounds", "misjudged"), f"{rows} rows: the model's levels are {names}"


def _check_units(where: Where, arm: Arm, policies: Policies) -> Iterator[tuple[Where, str]]:
    """Drugs whose doses are to be rounded, or follow concentrations, are given, and have units to make doses of."""
    given = [drug for drug, policy in arm.drugs.items() if policy is not None]
    for i, one in enumerate(arm.monitoring):
        if one.drug not in given:
            yield (*where, "monitoring", i, "drug"), f"the arm does not give '{one.drug}'; {nearest(one.drug, given)}"
    solid = [drug for drug, strengths in policies.strengths.items() if strengths.units]
    wanted = [*(given if arm.rounded else ()), *(one.drug for one in arm.monitoring if one.drug in given)]
    for drug in dict.fromkeys(wanted):
        if drug not in solid:
            key = "rounded" if arm.rounded else "monitoring"
            yield (*where, key), f"the policy library has no tablet, capsule or sachet of '{drug}' to round doses to"


def _check_steps(where: Where, arm: Arm, start: float, step: float) -> Iterator[tuple[Where, str]]:
    """Rounds and sessions lie on steps from the first dose, whether that is at the start or waits for the evening."""

    def off(hours: float) -> bool:
        return abs(hours / step - round(hours / step)) > 1e-9

    first = {start, *(one.clock for one in FREQUENCIES.values() if one.clock is not None)}
    for i, clock in enumerate(arm.rounds.clock if arm.rounds is not None else ()):
        if any(off(clock - begin) for begin in first):
            text = f"{clock:g} h is not a multiple of simulation.step, {step:g} h, from the start and evening doses"
            yield (*where, "rounds", "clock", i), text
    for i, one in enumerate(arm.monitoring):
        for k, time in enumerate(one.at):
            if off(time):
                text = f"{time:g} h is not a multiple of simulation.step, {step:g} h"
                yield (*where, "monitoring", i, "at", k), text
    for i, reaction in enumerate(arm.reactions):
        for key in ("after", "hours"):
            hours = getattr(reaction, key)
            if hours is not None and off(hours):
                yield (*where, "reactions", i, key), f"{hours:g} h is not a multiple of simulation.step, {step:g} h"
