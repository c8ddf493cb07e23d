"""What a scenario says with more than one key at once: do its parts name each other, and do they fit together?

`check` yields every finding with the path of keys that leads to it; each key by itself has been read before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from vtrial.endpoint import UTILITY, Recovery, TimeAtLevel, derived, levels_named
from vtrial.estimand import POPULATION, Estimands
from vtrial.model import Model, check_fixed
from vtrial.model.posterior import posterior_path
from vtrial.policy import Policies, check_arm
from vtrial.population import Population
from vtrial.scenario.arms import check_routes
from vtrial.scenario.assessment import check_assessment
from vtrial.scenario.dialysis import check_dialysis
from vtrial.scenario.injury import check_injuries
from vtrial.scenario.reactions import check_reactions
from vtrial.scheme import unbalanced
from vtrial.spec import Where, magnitude, nearest

if TYPE_CHECKING:
    from vtrial.scenario import ScenarioSpec, Simulation

type Finding = tuple[Where, str]
"""Path of keys, and what is wrong there."""


def fixed(value: float | str, unit: str) -> float:
    """Value of a fixed parameter in its unit: a quantity, or for the unit 1 a plain number."""
    if unit == "1":
        if isinstance(value, str):
            raise PydanticCustomError("fix", "{text}", {"text": f"given '{value}': a plain number is due here"})
        return float(value)
    return magnitude(value, unit)


def no_posterior(model: Model) -> str:
    """Say that the library holds no posterior of a model, and what to do."""
    where = posterior_path(model)
    return f"there is no posterior of {model.calibrated.name} ({where} is missing): calibrate it, or say prior"


def check(
    spec: ScenarioSpec, model: Model, policies: Policies, population: Population | None, size: str
) -> Iterator[Finding]:
    """Everything that depends on more than one key; parts that could not be read are None."""
    if size == "small" and spec.simulation is not None and spec.simulation.small is None:
        yield ("simulation",), "there is no size 'small' in this scenario: add simulation.small"
    if spec.simulation is not None and spec.simulation.sampling == "sobol":
        yield from _check_balance(spec.simulation)
    yield from _check_model(spec, model)
    yield from _check_states(spec, model)
    yield from check_injuries(spec, model, policies)
    if spec.treatment is not None:
        yield from _check_arms(spec, model, policies)
        yield from check_reactions(spec, model, policies)
        yield from check_routes(spec, model, policies)
        if population is not None:
            yield from check_dialysis(spec, model, policies, population)
    yield from check_assessment(spec)
    if spec.endpoints is not None:
        if spec.treatment is not None and spec.simulation is not None:
            yield from _check_windows(spec)
        yield from _check_names(spec, model, population)


def _check_balance(simulation: Simulation) -> Iterator[Finding]:
    if text := unbalanced(simulation.patients):
        yield ("simulation", "patients"), text
    if simulation.small is not None and (text := unbalanced(simulation.small.patients)):
        yield ("simulation", "small", "patients"), text


def _check_model(spec: ScenarioSpec, model: Model) -> Iterator[Finding]:
    if spec.model.draws_from == "posterior" and not posterior_path(model).exists():
        yield ("model", "draws_from"), no_posterior(model)
    yield from _check_fix(("model", "fix"), spec.model.fix, {}, model)
    for name, change in (spec.sensitivities.cases if spec.sensitivities else {}).items():
        yield from _check_fix(("sensitivities", "cases", name, "fix"), change.fix, spec.model.fix, model)


def _check_states(spec: ScenarioSpec, model: Model) -> Iterator[Finding]:
    """States of strata and patients that the model does not have: they would change nothing."""
    given: list[tuple[Where, tuple[str, ...]]] = []
    if spec.population is not None:
        if spec.population.patient is None:
            given += [(("population", "strata", i), stratum.state) for i, stratum in spec.population.named_strata()]
        given += [(("population", "patient", i), one.state) for i, one in enumerate(spec.population.patient or ())]
    if spec.reference_patient is not None:
        given.append((("reference_patient",), spec.reference_patient.state))
    if spec.examples is not None:
        given.append((("examples", "patient"), spec.examples.patient.state))
    for where, names in given:
        for place, name in enumerate(names):
            if name not in model.states:
                hint = nearest(name, model.states) if model.states else "it has none (models/other_depressants.py has)"
                yield (*where, "state", place), f"model {model.name} has no state '{name}'; {hint}"


def _check_fix(where: Where, given: dict[str, Any], beside: dict[str, Any], model: Model) -> Iterator[Finding]:
    """Check fixed parameters, each by itself and together with those that are fixed `beside` them."""
    names = [param.name for param in model.params]
    known: dict[str, float] = {}
    for name, value in {**beside, **given}.items():
        if name not in names:
            if name in given:
                yield (*where, name), f"unknown parameter '{name}'; {nearest(name, names)}"
            continue
        try:
            known[name] = fixed(value, model.param(name).unit)
        except PydanticCustomError as error:
            if name in given:
                yield (*where, name), str(error)
    for name, text in check_fixed(model, known):
        if name in given:
            yield (*where, name), text


def _check_arms(spec: ScenarioSpec, model: Model, policies: Policies) -> Iterator[Finding]:
    treatment, drugs = spec.treatment, {drug.name for drug in model.drugs}
    known = {**policies.arms, **treatment.define}
    for name, arm in treatment.define.items():
        if name in policies.arms:
            yield (
                ("treatment", "define", name),
                f"arm '{name}' exists already in arms.yaml: choose another name",
            )
        for where, text in check_arm(arm, policies, beside=treatment.define):
            yield ("treatment", "define", name, *where), text
    for place, name in enumerate(treatment.arms):
        if name not in known:
            yield ("treatment", "arms", place), f"unknown arm '{name}'; {nearest(name, known)}"
            continue
        for part in known[name].mix or (name,):
            if part in known and (strange := sorted(set(known[part].drugs) - drugs)):
                yield (
                    ("treatment", "arms", place),
                    f"arm '{part}' gives {', '.join(strange)}; {nearest(strange[0], drugs)}",
                )
    if treatment.stop is not None and treatment.stop > treatment.horizon:
        yield ("treatment", "stop"), f"{treatment.stop:g} h is after treatment.horizon, {treatment.horizon:g} h"
    if twice := sorted({name for name in treatment.arms if treatment.arms.count(name) > 1}):
        yield ("treatment", "arms"), f"given twice: {', '.join(twice)}"
    uses: list[tuple[Where, str]] = [(("accept", i, "arm"), accept.arm) for i, accept in enumerate(spec.accept)]
    if spec.estimands:
        uses.append((("estimands", "reference"), spec.estimands.reference))
    if spec.sensitivities:
        uses += [(("sensitivities", "arms", i), arm) for i, arm in enumerate(spec.sensitivities.arms)]
    if spec.examples:
        uses += [(("examples", "arms", i), arm) for i, arm in enumerate(spec.examples.arms)]
        for i, arm in enumerate(spec.examples.arms):
            if arm in known and known[arm].mix:
                yield ("examples", "arms", i), f"'{arm}' is a mixture, which has no one trajectory: name a component"
    if spec.dose_risk:
        uses.append((("dose_risk", "arm"), spec.dose_risk.arm))
    for where, name in uses:
        if name not in treatment.arms:
            hint = (
                "add it to treatment.arms"
                if name in known
                else nearest(name, [a for a in treatment.arms if a in known])
            )
            yield where, f"'{name}' is no arm of this scenario; {hint}"


def _check_windows(spec: ScenarioSpec) -> Iterator[Finding]:
    step = spec.simulation.step
    for place, endpoint in enumerate(spec.endpoints):
        keys = [key for key in ("within", "times", "at", "until") if hasattr(endpoint, key)]
        where: Where = ("endpoints", place, *(keys if len(keys) == 1 else ()))
        if isinstance(endpoint, Recovery) and endpoint.until <= endpoint.starts[-1]:
            yield (
                ("endpoints", place, "until"),
                f"{endpoint.until:g} h is not after the last time, {endpoint.starts[-1]:g} h",
            )
        for window in endpoint.windows:
            if window > spec.treatment.horizon:
                yield (
                    where,
                    f"window {window:g} h is longer than treatment.horizon, {spec.treatment.horizon:g} h",
                )
            if abs(window / step - round(window / step)) > 1e-9:
                yield where, f"window {window:g} h is not a multiple of simulation.step, {step:g} h"


def _check_worth(estimands: Estimands, names: list[str]) -> Iterator[Finding]:
    """Benefit and weights of utility are of means of patients."""
    uses: list[tuple[Where, str]] = [(("estimands", "utility", name), name) for name in estimands.utility]
    if estimands.benefit is not None:
        uses.append((("estimands", "benefit"), estimands.benefit))
        if estimands.benefit == estimands.primary:
            yield ("estimands", "benefit"), f"'{estimands.benefit}' is the primary outcome, of which less is better"
    for where, name in uses:
        if name not in names:
            yield where, f"no endpoint gives '{name}' as a mean of patients; {nearest(name, names)}"


def _check_names(spec: ScenarioSpec, model: Model, population: Population | None) -> Iterator[Finding]:
    names, joint = list[str](), list[str]()
    for place, endpoint in enumerate(spec.endpoints):
        if deep := {key: level for key, level in levels_named(endpoint).items() if level >= len(model.levels)}:
            allowed = ", ".join(f"{i} {name}" for i, name in enumerate(model.levels) if i)
            for key, level in deep.items():
                yield ("endpoints", place, key), f"given {level}: the model's levels are {allowed}"
            continue
        further = [number.outcome.name for number in derived([endpoint], model)]
        joint += further
        own = [*(outcome.name for outcome in endpoint.outcomes(model)), *further]
        if twice := sorted({name for name in own if [*names, *own].count(name) > 1}):
            yield ("endpoints", place), f"given twice: {', '.join(twice)}"
        names += own
    if sum(isinstance(endpoint, TimeAtLevel) for endpoint in spec.endpoints) > 1:
        yield ("endpoints",), "time_at_level is given twice: name all its levels in one endpoint"
    uses: list[tuple[Where, str]] = [(("accept", i, "outcome"), a.outcome) for i, a in enumerate(spec.accept)]
    if spec.estimands is not None:
        uses.append((("estimands", "primary"), spec.estimands.primary))
        if spec.estimands.primary in joint:
            text = f"'{spec.estimands.primary}' is derived from means of patients: arms are ranked by a mean itself"
            yield ("estimands", "primary"), text
        uses += [(("estimands", "limits", i, "outcome"), x.outcome) for i, x in enumerate(spec.estimands.limits)]
        yield from _check_worth(spec.estimands, [name for name in names if name not in joint])
        if spec.estimands.utility:
            names.append(UTILITY)
    if spec.optimise:
        uses.append((("optimise", "outcome"), spec.optimise.outcome))
        risks = [outcome.name for endpoint in spec.endpoints for outcome in endpoint.outcomes(model) if outcome.risk]
        if spec.optimise.outcome in names and spec.optimise.outcome not in risks:
            text = f"'{spec.optimise.outcome}' is not the risk of a level; {nearest(spec.optimise.outcome, risks)}"
            yield ("optimise", "outcome"), text
        for drug in spec.optimise.most:
            if drug not in (known := [one.name for one in model.drugs]):
                yield ("optimise", "most", drug), f"unknown drug '{drug}'; {nearest(drug, known)}"
    for where, name in uses:
        if name not in names:
            yield where, f"no endpoint gives '{name}'; {nearest(name, names)}"
    places = [] if population is None else [stratum.name for stratum in population.strata]
    cells = [(("accept", i, "stratum"), a.stratum, [*places, POPULATION]) for i, a in enumerate(spec.accept)]
    if spec.dose_risk:
        cells += [(("dose_risk", "strata", i), name, places) for i, name in enumerate(spec.dose_risk.strata)]
    if spec.dose_surface:
        cells += [(("dose_surface", "strata", i), name, places) for i, name in enumerate(spec.dose_surface.strata)]
        known = [drug.name for drug in model.drugs]
        for drug in spec.dose_surface.drugs:
            if drug not in known:
                yield ("dose_surface", "drugs", drug), f"unknown drug '{drug}'; {nearest(drug, known)}"
    if spec.sensitivities:
        cells += [(("sensitivities", "strata", i), name, places) for i, name in enumerate(spec.sensitivities.strata)]
    for where, name, allowed in cells:
        if places and name not in allowed:
            yield where, f"unknown stratum '{name}'; {nearest(name, allowed)}"
