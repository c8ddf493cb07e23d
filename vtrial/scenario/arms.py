"""The arms that a scenario uses, and what its model must have for the routes by which they give drugs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vtrial.model import Model
from vtrial.policy import Arm, Policies
from vtrial.spec import Where

if TYPE_CHECKING:
    from vtrial.scenario import ScenarioSpec


def arms_used(spec: ScenarioSpec, policies: Policies) -> Iterator[tuple[Where, Arm]]:
    """The arms that the scenario uses, components of mixtures included, once each, and where they are written."""
    known = {**policies.arms, **spec.treatment.define}
    listed = [(place, part) for place, name in enumerate(spec.treatment.arms) if name in known
              for part in known[name].mix or (name,)]  # fmt: skip
    for name, place in {part: place for place, part in reversed(listed)}.items():
        if name in spec.treatment.define:
            yield ("treatment", "define", name), spec.treatment.define[name]
        elif name in known:
            yield ("treatment", "arms", place), known[name]


def check_routes(spec: ScenarioSpec, model: Model, policies: Policies) -> Iterator[tuple[Where, str]]:
    """Every finding, with the path of keys that leads to it."""
    drugs = {drug.name: drug for drug in model.drugs}
    named = {param.name for param in model.params}
    for where, arm in arms_used(spec, policies):
        for i, route in enumerate(arm.routes):
            at = (*where, "routes", i)
            if route.drug not in drugs:
                continue  # `check_arm` says so
            absorption = drugs[route.drug].absorption
            if model.dynamics is not None:
                yield at, f"model {model.name} has a right-hand side of its own, in which doses have one way to enter"
            elif absorption not in ("first_order", "transit"):
                yield (
                    at,
                    f"model {model.name} gives {route.drug} by its one way, {absorption}: routes are of drugs by mouth",
                )
            elif route.form != "extended" and f"{route.drug}.F" not in named:
                text = f"model {model.name} has no bioavailability {route.drug}.F: its clearance is apparent, and what"
                yield (*at, "form"), f"{text} enters the blood has no place on that scale; take extended"
