"""One YAML file, one question: the keys follow the attributes of an estimand (ICH E9(R1)).

Population, treatment, variable (endpoints), summary (estimands); intercurrent events are those that the
treatment's rules name. A scenario names models, policies and strata; it has no paths, imports or expressions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from vtrial.endpoint import Endpoint, derived, outcomes, utility_of, windows
from vtrial.estimand import Accept, Derived, Estimands, Outcome
from vtrial.model import (
    PRIOR,
    Model,
    Surface,
    draw_parameters,
    eta_names,
    load_model,
    model_names,
    shipped_posterior,
)
from vtrial.model.posterior import check_draws
from vtrial.policy import Arm, Policies, load_policies
from vtrial.population import Population, PopulationSpec, resolve
from vtrial.population.strata import Patient
from vtrial.scenario.assessment import Assessment
from vtrial.scenario.beside import Change, DoseRisk, DoseSurface, Sensitivities
from vtrial.scenario.check import check, fixed, no_posterior
from vtrial.scheme import Plain, Sampling, Scheme, Sobol
from vtrial.spec import Amount, Clock, Document, Duration, InputError, Problem, Spec, choose, in_order, parse, read_yaml

if TYPE_CHECKING:
    import xarray as xr

type Count = Annotated[int, Field(ge=1, strict=True)]
type ModelName = Annotated[str, AfterValidator(lambda given: choose(given, model_names(), "model"))]


class ModelChoice(Spec):
    """Which model, and which of its choices."""

    name: ModelName
    """Name of a file in `models/`."""
    surface: Surface = "greco"
    """How the drugs' contributions combine: product term alpha, additivity, or independent action."""
    food: Literal["fasted", "fed"] = "fasted"
    """Whether doses are taken fasted, which gives the higher peak of pregabalin, or fed."""
    draws_from: Literal["posterior", "prior"] | None = None
    """Where draws of the population parameters come from: the posterior that the library holds of the model
    (`models/posteriors/`), or the model's priors. Left out: the posterior where there is one, or else the priors."""
    fix: dict[str, float | str] = Field(default_factory=dict)
    """Population parameters held at a value, e.g. `alpha: 0` or `baclofen.ke0: "0.3 1/h"`: named assumptions, put in
    place in draws that stay as they are otherwise. A posterior ties parameters to each other: `vtrial calibrate --fix`
    gives the draws of the others given the value, and the calibration report says which assumptions need it."""
    parameters: Literal["uncertain", "median"] = "uncertain"
    """Draw the population parameters, or hold each at its median (of what draws come from): draws then differ by their
    patients alone, and intervals are simulation error."""


class Treatment(Spec):
    """Arms, all given to the same patients."""

    arms: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of arms, from `scenarios/policies/arms.yaml` or from `define`."""
    define: dict[str, Arm] = Field(default_factory=dict)
    """Arms of this scenario's own: a policy for each drug."""
    start: Clock
    """Clock time at which every arm starts; frequencies follow from there, evening doses keep to the evening."""
    titrate: Annotated[bool, Field(strict=True)] = False
    """Follow the policies' titration, or hold the starting dose."""
    horizon: Duration
    """How long doses are given, and patients are followed, from the patient's first dose."""
    stop: Duration | None = None
    """From when on, after the patient's first dose, no arm gives any dose; absent: doses are given to the horizon."""


class Size(Spec):
    """Size of the nested Monte Carlo."""

    draws: Count
    """Draws of the population parameters."""
    patients: Count
    """Patients for each draw, in each stratum."""


class Simulation(Size):
    """How the trial is simulated."""

    seed: Annotated[int, Field(ge=0, strict=True)]
    """All random numbers follow from it."""
    step: Duration = 0.5
    """Step of the time grid, a divisor of every window; maxima are exact between the grid points."""
    sampling: Sampling = "plain"
    """Patients of a draw independent of each other, or spread evenly by a scrambled Sobol set: then their number is a
    power of two."""
    small: Size | None = None
    """Another size, for `--size small`."""


class Examples(Spec):
    """Trajectories to show: one patient under a few arms, a copy with etas of its own for each draw."""

    patient: Patient
    arms: Annotated[tuple[str, ...], Field(min_length=1, max_length=4)]


class Optimise(Spec):
    """The largest start that is allowed, stratum by stratum, for `vtrial optimise`."""

    outcome: str
    """Risk that is limited, e.g. `level3_7d`."""
    below: Annotated[float, Field(gt=0, lt=1, strict=True)]
    """Limit of the risk."""
    probability: Annotated[float, Field(gt=0, le=1, strict=True)]
    """Share of the draws of the parameters in which the risk must be below the limit."""
    most: dict[str, Amount] = Field(default_factory=dict)
    """Drug -> greatest daily dose that is tried; absent: what the strengths give at three doses a day."""


class ScenarioSpec(Spec):
    """A scenario file."""

    title: str
    """One line."""
    question: str
    """The question of interest, in words."""
    model: ModelChoice
    population: PopulationSpec
    """Who: a covariate model, a user's rows, or named patients; and the strata."""
    treatment: Treatment
    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1)]
    """Variables: one number per patient each."""
    estimands: Estimands
    accept: tuple[Accept, ...] = ()
    """Conditions that the result must meet, or the run ends with exit code 3."""
    simulation: Simulation
    reference_patient: Patient
    """Typical patient (all etas zero) under the reference arm, to whom exposures are compared."""
    examples: Examples | None = None
    dose_risk: DoseRisk | None = None
    dose_surface: DoseSurface | None = None
    sensitivities: Sensitivities | None = None
    optimise: Optimise | None = None
    assessment: Assessment | None = None
    """What the modeller says of the evidence, in the terms of ICH M15; absent: the report says that it was not done."""


@dataclass(frozen=True)
class Scenario:
    """A checked scenario, with all that it names resolved.

    Parameters
    ----------
    spec : ScenarioSpec
    model : Model
    policies : Policies
    arms : tuple of Arm
        In the order of the file.
    population : Population
    fix : dict
        Fixed parameters in the units of the model.
    size : {"full", "small"}
    draws, patients : int
        Size of the Monte Carlo.
    file, text, sha256
        Where it was read, and what was read.
    """

    spec: ScenarioSpec
    model: Model
    policies: Policies
    arms: tuple[Arm, ...]
    population: Population
    fix: dict[str, float]
    size: str
    draws: int
    patients: int
    file: Path
    text: str
    sha256: str

    @property
    def windows(self) -> tuple[float, ...]:
        """Ends of the endpoint windows, h."""
        return windows(self.spec.endpoints)

    @property
    def outcomes(self) -> list[Outcome]:
        """Outcomes of the endpoints."""
        return outcomes(self.spec.endpoints, self.model)

    @property
    def derived(self) -> list[Derived]:
        """Numbers that the endpoints, and the weights of the estimands, derive from the means of outcomes."""
        weights = self.spec.estimands.utility
        own = [utility_of(weights)] if weights else []
        return [*derived(self.spec.endpoints, self.model), *own]

    @property
    def drugs(self) -> list[str]:
        """Names of the model's drugs."""
        return [drug.name for drug in self.model.drugs]

    def scheme(self, patients: int, *, others: bool = False) -> Scheme:
        """How the uniform numbers of the patients are spread, with that many in a draw; `others`: of other patients."""
        asked = self.spec.simulation
        seed = asked.seed + others
        if asked.sampling == "plain":
            return Plain(seed)
        # what varies in dialysis alone is drawn plainly: whether a stratum has sessions moves no other
        etas = [name for name in eta_names(self.model) if name not in self.model.clearances_by_dialysis]
        kinds = {"population": self.population.words, "eta": etas, "sensitivity": self.drugs}
        return Sobol(seed, patients, [(kind, name) for kind, names in kinds.items() for name in names])

    @property
    def replicates(self) -> int | None:
        """Groups of a draw's patients that are independent of each other; None if every patient is."""
        return self.scheme(self.patients).replicates

    def draws_from(self) -> Path | str:
        """Where the draws come from that the scenario asks for: a posterior file of the library, or "prior".

        An `InputError` if the posterior does not belong to the model and its evidence, or holds too few draws.
        """
        asked = self.spec.model.draws_from
        if asked == PRIOR:
            return PRIOR
        found = shipped_posterior(self.model)
        if found is None and asked is not None:
            raise InputError([f"model.draws_from: {no_posterior(self.model)}"])
        if found is None:
            return PRIOR
        check_draws(found, self.draws)
        return found

    @property
    def dialyses(self) -> bool:
        """Whether anybody has a session of haemodialysis."""
        people = [self.spec.reference_patient, *([self.spec.examples.patient] if self.spec.examples else [])]
        strata = (stratum.condition for stratum in self.population.strata)
        arms = [one for arm in self.arms for one, _ in self.components(arm)]
        asked = any(reaction.do == "dialyse" for arm in arms for reaction in arm.reactions)
        return asked or any(one.sessions is not None for one in (*strata, *people, *arms))

    @property
    def injures(self) -> bool:
        """Whether anybody's kidneys fail within the trial, or have."""
        people = [self.spec.reference_patient, *([self.spec.examples.patient] if self.spec.examples else [])]
        return any(one.injury for one in (*(stratum.condition for stratum in self.population.strata), *people))

    def parameters(self, posterior: Path | str | None = None) -> xr.Dataset:
        """Population parameters of the scenario's draws: see `vtrial.model.draw_parameters`.

        Without `posterior` (a file, or "prior") they are drawn from what the scenario asks for.
        """
        held = self.spec.model.parameters == "median"
        seed = self.spec.simulation.seed
        posterior = self.draws_from() if posterior is None else posterior
        return draw_parameters(self.model, self.draws, seed, posterior=posterior, fix=self.fix, median=held)

    def varied(self, change: Change) -> Scenario:
        """The same scenario under another assumption."""
        given = {name: value for name in ("surface", "food") if (value := getattr(change, name)) is not None}
        spec = self.spec.model_copy(update={"model": self.spec.model.model_copy(update=given)})
        fix = {name: fixed(value, self.model.param(name).unit) for name, value in change.fix.items()}
        return replace(self, spec=spec, fix=self.fix | fix)

    def asking_for(self, wanted: Callable[[Outcome], bool]) -> Scenario:
        """The same scenario with those endpoints alone that give an outcome that is wanted."""
        kept = [e for e in self.spec.endpoints if any(wanted(outcome) for outcome in e.outcomes(self.model))]
        return replace(self, spec=self.spec.model_copy(update={"endpoints": tuple(kept)}))

    def arm(self, name: str) -> Arm:
        """An arm by name, from the scenario or the library."""
        return self.spec.treatment.define.get(name) or self.policies.arms[name]

    def components(self, arm: Arm) -> list[tuple[Arm, float]]:
        """The arms that a mixture is made of, and their shares; an arm that is none, by itself."""
        return [(self.arm(name), share) for name, share in arm.mix.items()] if arm.mix else [(arm, 1.0)]


def load_scenario(path: Path | str, *, size: Literal["full", "small"] = "full") -> Scenario:
    """Read and check a scenario: everything that can fail before computing does so here, all at once.

    Parameters
    ----------
    path : path
        A YAML file.
    size : {"full", "small"}
        Which size of the Monte Carlo to take.

    Raises
    ------
    InputError
        With every problem of the scenario and of the policies it uses: file, line, what was given, what is
        allowed, the nearest match.

    Examples
    --------
    >>> from vtrial.library import SCENARIOS
    >>> len(load_scenario(SCENARIOS / "starting_dose.yaml").arms)
    12
    """
    document = read_yaml(path)
    policies, problems = None, []
    try:
        policies = load_policies()
    except InputError as error:
        problems += error.problems
    spec, found = _parsed(document)
    problems += found
    if policies is None:
        raise InputError(problems)
    for name, arm in (spec.treatment.define if spec.treatment else {}).items():
        arm._id = name
    model, population, found = _resolved(spec, document)
    problems += found
    if model is not None:
        problems += [document.problem(where, text) for where, text in check(spec, model, policies, population, size)]
    if problems or population is None or model is None:
        raise InputError(in_order(problems))
    chosen = spec.simulation.small if size == "small" and spec.simulation.small else spec.simulation
    return Scenario(
        spec, model, policies,
        arms=tuple(spec.treatment.define.get(name) or policies.arms[name] for name in spec.treatment.arms),
        population=population,
        fix={name: fixed(value, model.param(name).unit) for name, value in spec.model.fix.items()},
        size=size, draws=chosen.draws, patients=chosen.patients,
        file=Path(path), text=document.text, sha256=hashlib.sha256(document.text.encode()).hexdigest(),
    )  # fmt: skip


def _parsed(document: Document) -> tuple[ScenarioSpec, list[Problem]]:
    """The scenario, or those of its parts that can be read (the others None) with what is wrong with the rest."""
    try:
        return parse(ScenarioSpec, document), []
    except InputError as error:
        problems = error.problems
    parts: dict[str, Any] = dict.fromkeys(ScenarioSpec.model_fields)
    for name in parts.keys() & (document.data if isinstance(document.data, dict) else {}):
        # a part that cannot be read has been reported; it must not hide wrong names in the others
        with suppress(ValidationError):
            annotation: Any = ScenarioSpec.model_fields[name].annotation
            parts[name] = TypeAdapter(annotation).validate_python(document.data[name])
    return ScenarioSpec.model_construct(**{**parts, "accept": parts["accept"] or ()}), problems


def _resolved(spec: ScenarioSpec, document: Document) -> tuple[Model | None, Population | None, list[Problem]]:
    problems, population = [], None
    if spec.population is not None:
        try:
            population = resolve(spec.population, folder=document.file.parent)
        except InputError as error:
            problems = [document.problem(("population", *p.where), p.message) for p in error.problems]
    return load_model(spec.model.name) if spec.model is not None else None, population, problems


def json_schema() -> dict[str, Any]:
    """JSON schema of a scenario file, for completion and checks in an editor.

    Examples
    --------
    >>> json_schema()["title"]
    'vtrial scenario'
    """
    schema = ScenarioSpec.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "vtrial scenario"}
