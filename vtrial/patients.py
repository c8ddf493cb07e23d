"""The patients of a trial, drawn once, the same for all arms: here randomness ends.

`draw_patients` gives labelled arrays. The same people as plain arrays, one stratum at a time, are a `Group`: that is
what `vtrial.treatment` treats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vtrial.dialysis import Sessions
from vtrial.model import Model, individual
from vtrial.model.draw import impossible
from vtrial.population import COVARIATES
from vtrial.population.injury import Injury
from vtrial.population.renal import derive
from vtrial.population.strata import Patient
from vtrial.problem import InputError
from vtrial.scenario import Scenario
from vtrial.scheme import Plain, Scheme, normals

type Array = NDArray[np.float64]
type Theta = Mapping[str, Array]
"""Population parameters, arrays of shape (draw,)."""

SEDATION = ("alpha", "tolerance_fold", "tolerance_t_half", "omega_S")
"""Population parameters of sedation that every model has, beside the thresholds r_1, r_2, ..."""
_THETA = "theta "
"""Before the names of population parameters in a cohort whose own change."""


@dataclass(frozen=True)
class Group:
    """Patients of one stratum as plain arrays.

    Parameters
    ----------
    stratum : str
    draws, patients : sequence of int
        Numbers of the draws, and of the patients in each.
    theta : mapping of str to array, shape (draw,)
        Population parameters.
    own : mapping of str to array, shape (draw, patient)
        Covariates, and individual parameters.
    z : sequence of arrays, shape (draw, patient)
        Deviation of log sensitivity for each channel; empty where no endpoint looks at it.
    sessions : Sessions, optional
        When they have haemodialysis.
    injury : Injury, optional
        What becomes of their true GFR; `own` is before it.
    """

    stratum: str
    draws: Sequence[int]
    patients: Sequence[int]
    theta: Theta
    own: Mapping[str, NDArray[Any]]
    z: Sequence[Array] = ()
    sessions: Sessions | None = None
    injury: Injury | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(draw, patient)."""
        return len(self.draws), len(self.patients)

    @property
    def numbers(self) -> tuple[range, range]:
        """Numbers of the draws and of the patients, which are consecutive, as ranges."""
        draws, patients = (range(numbers[0], numbers[-1] + 1) for numbers in (self.draws, self.patients))
        return draws, patients


def columns(draws: xr.Dataset) -> dict[str, Array]:
    """Population parameters as plain arrays, shape (draw,)."""
    return {str(name): draws.variables[name].values for name in draws.data_vars}


def draw_patients(
    scenario: Scenario, draws: xr.Dataset, *, strata: Sequence[str] | None = None, patients: int | None = None
) -> xr.Dataset:
    """Draw the patients of a trial: covariates and individual parameters.

    Parameters
    ----------
    scenario : Scenario
    draws : xarray.Dataset
        Population parameters from `draw_parameters`, or consecutive ones of them.
    strata : sequence of str, optional
        Names of strata; all by default.
    patients : int, optional
        Patients for each draw in each stratum; the scenario's by default. With Sobol sampling another number moves
        all of them.

    Returns
    -------
    xarray.Dataset
        ``Cohort``, dims (stratum, draw, patient): covariates, ``GFR`` (true, mL/min), individual parameters, and
        ``z`` (channel, the first of which serves a combined drive), the deviation of log sensitivity that only the
        counting estimator looks at. Patients are fresh in each draw and the same for all arms; more strata, draws
        or (in plain sampling) patients leave them as they are.

    Raises
    ------
    KeyError
        If a stratum is unknown.
    InputError
        If Sobol sampling does not allow the number of patients, or a patient's parameters are not finite or have a
        sign that they cannot have.

    Examples
    --------
    >>> from vtrial import draw_parameters, load_scenario
    >>> from vtrial.library import SCENARIOS
    >>> scenario = load_scenario(SCENARIOS / "starting_dose.yaml")
    >>> theta = draw_parameters(scenario.model, 3, scenario.spec.simulation.seed)
    >>> cohort = draw_patients(scenario, theta, strata=["75-84 G4"], patients=5)
    >>> dict(cohort["EGFR"].sizes), bool((cohort["EGFR"] < 30).all())
    ({'stratum': 1, 'draw': 3, 'patient': 5}, True)
    """
    names = list(strata) if strata is not None else [s.name for s in scenario.population.strata]
    numbers = draws["draw"].values
    span, theta = range(int(numbers[0]), int(numbers[-1]) + 1), columns(draws)
    who = range(patients or scenario.patients)
    scheme = scenario.scheme(len(who))
    groups = [draw_group(scenario, scheme, theta, name, span, who, z=True) for name in names]
    dims = ("stratum", "draw", "patient")
    variables: dict[str, Any] = {
        name: (dims, np.stack([group.own[name] for group in groups]), _attributes(name)) for name in groups[0].own
    }
    variables["z"] = (("channel", *dims), np.stack([group.z for group in groups], 1))
    cohort = xr.Dataset(variables, {"stratum": names, "draw": numbers})
    if scenario.injures:  # parameters of individuals change, and have the names of those of the population
        cohort = cohort.merge(draws.rename({name: f"{_THETA}{name}" for name in draws.data_vars}))
    return cohort.merge(draws[[*SEDATION, *thresholds(scenario)]])


def draw_group(
    scenario: Scenario, scheme: Scheme, theta: Theta, stratum: str, draws: range, patients: range, *, z: bool
) -> Group:
    """Draw some patients of one stratum, for the draws that `theta` belongs to; their `z` if wanted."""
    shape = len(draws), len(patients)
    people = scenario.population.draw(stratum, scheme, draws, patients)
    people["FED"] = np.full(shape, float(scenario.spec.model.food == "fed"))
    people |= _states(scenario.model, scenario.population.stratum(stratum).state, shape)
    rows = {name: values[:, None] for name, values in theta.items()}
    who = stratum, draws, patients
    etas = _deviations(scenario.model, scheme, rows, *who, dialysed=scenario.dialyses)
    own = individual(scenario.model, rows, people, etas)
    drugs = scenario.drugs if z else []
    group = Group(
        stratum,
        draws,
        patients,
        theta,
        {name: np.broadcast_to(value, shape) for name, value in {**people, **own}.items()},
        [normals(scheme, "sensitivity", stratum, drug, draws, patients) for drug in drugs],
        *_kidneys(scenario, stratum),
    )
    return _possible(scenario.model, group)


def _states(model: Model, state: Sequence[str], shape: tuple[int, int]) -> dict[str, Array]:
    """The states that a model has, as covariates: 1 where patients are in it, else 0."""
    return {name: np.full(shape, float(name in state)) for name in model.states}


def _kidneys(scenario: Scenario, stratum: str) -> tuple[Sessions | None, Injury | None]:
    own = scenario.population.stratum(stratum).condition
    return own.sessions, own.injury


def _possible(model: Model, group: Group) -> Group:
    """Refuse patients whose parameters are not finite or of the wrong sign: they would count as unharmed.

    Raises
    ------
    InputError
        With the first such patient of each parameter.
    """
    problems = []
    cleared = [name for name in model.clearances_by_dialysis if name in group.own]
    for name in (*model.individual_parameters, *cleared, "A"):
        wrong = impossible(name, group.own[name])
        if wrong.any():
            d, i = divmod(int(np.argmax(wrong)), group.shape[1])
            who = f"stratum '{group.stratum}', draw {group.draws[d]}, patient {group.patients[i]}"
            problems.append(f"model {model.name} gives '{name}' = {group.own[name][d, i]:g} to a patient: {who}")
    if problems:
        raise InputError(problems)
    return group


def _deviations(
    model: Model, scheme: Scheme, theta: Any, stratum: str, draws: range, patients: range, *, dialysed: bool
) -> dict[str, Any]:
    """Standard normal deviations of the etas, correlated where the model says so; of those of dialysis if it runs."""
    names = [name for name in model.omega(theta) if dialysed or name not in model.clearances_by_dialysis]
    z = {name: normals(scheme, "eta", stratum, name, draws, patients) for name in names}
    if not model.correlation:
        return z
    matrix = np.eye(len(names))
    for (one, other), rho in model.correlation.items():
        if not {one, other} <= set(names):
            continue
        i, j = names.index(one), names.index(other)
        matrix[i, j] = matrix[j, i] = rho
    mixed = np.einsum("ij,jdp->idp", np.linalg.cholesky(matrix), np.stack([z[name] for name in names]))
    return dict(zip(names, mixed, strict=True))


def _attributes(name: str) -> dict[str, str]:
    if name in COVARIATES:
        return {"units": COVARIATES[name].unit, "long_name": COVARIATES[name].long_name}
    units = {
        **dict.fromkeys(("CL", "CL_HD", "CL_CVVH", "CL_CAPD", "Q", "Q3"), "L/h"),
        **dict.fromkeys(("V", "V2", "V3"), "L"),
        **dict.fromkeys(("ka", "ke0", "kout", "koff", "kint", "kdeg"), "1/h"),
        **dict.fromkeys(("tlag", "MTT", "dur"), "h"),
        **dict.fromkeys(("C50", "Km", "IC50", "SC50", "R0"), "mg/L"),
        "Vmax": "mg/h",
        "kon": "L/mg/h",
        "kin": "response/h",
    }
    return {"units": {"GFR": "mL/min"}.get(name, units.get(name.rsplit(".", 1)[-1], "1"))}


def thresholds(scenario: Scenario) -> list[str]:
    """Names of the thresholds that are parameters; the deepest level's is 1 by definition."""
    return [f"r_{k}" for k in range(1, len(scenario.model.levels) - 1)]


def groups_of(scenario: Scenario, cohort: xr.Dataset) -> list[Group]:
    """The strata of a cohort from `draw_patients`, as plain arrays."""
    cohort = cohort.transpose("channel", "stratum", "draw", "patient", ...)
    numbers = cohort["draw"].values.tolist()
    theta = {name: cohort.variables[name].values for name in (*SEDATION, *thresholds(scenario))}
    named = (str(name) for name in cohort.data_vars if str(name).startswith(_THETA))
    theta |= {name.removeprefix(_THETA): cohort.variables[name].values for name in named}
    wide = {str(n): v.values for n, v in cohort.data_vars.items() if v.dims == ("stratum", "draw", "patient")}
    z = cohort.variables["z"].values
    who = range(cohort.sizes["patient"])
    groups = [
        Group(
            str(name), numbers, who, theta, {n: values[s] for n, values in wide.items()}, list(z[:, s]),
            *_kidneys(scenario, str(name)),
        )
        for s, name in enumerate(cohort["stratum"].values)
    ]  # fmt: skip
    return [_possible(scenario.model, group) for group in groups]


def covariates_of(patient: Patient) -> dict[str, Any]:
    """Covariates of a named patient, derived ones included.

    Examples
    --------
    >>> patient = Patient(age="68 year", sex="F", height="154 cm", weight="65 kg", scr="0.713 mg/dL")
    >>> round(float(covariates_of(patient)["CRCL"]), 1)
    77.5
    """
    fixed = {"AGE": patient.age, "SEX": float(patient.sex == "F"), "HT": patient.height, "WT": patient.weight}
    people = derive({name: np.asarray(value, float) for name, value in {**fixed, "SCR": patient.scr}.items()})
    residual = {} if patient.residual_gfr is None else {"GFR": np.float64(sum(patient.residual_gfr) / 2)}
    nadir = {} if patient.injury is None else {"NADIR": np.float64(patient.injury.middle)}
    return {**people, **residual, **nadir, "DIALYSIS": np.bool_(patient.dialysis)}


def one_patient(scenario: Scenario, draws: xr.Dataset, patient: Patient, *, vary: bool) -> Group:
    """A group of one patient for each draw: typical, or with etas of its own."""
    n = draws.sizes["draw"]
    people = {name: np.full((n, 1), value) for name, value in covariates_of(patient).items()}
    people["FED"] = np.full((n, 1), float(scenario.spec.model.food == "fed"))
    people |= _states(scenario.model, patient.state, (n, 1))
    theta = columns(draws)
    rows = {name: values[:, None] for name, values in theta.items()}
    plain = Plain(scenario.spec.simulation.seed)  # one to a draw: nothing to spread
    who = f"example {patient.name}", range(n), range(1)
    z = _deviations(scenario.model, plain, rows, *who, dialysed=scenario.dialyses) if vary else {}
    own = individual(scenario.model, rows, people, z)
    every = {name: np.broadcast_to(value, (n, 1)) for name, value in {**people, **own}.items()}
    group = Group(patient.name, range(n), range(1), theta, every, sessions=patient.sessions, injury=patient.injury)
    return _possible(scenario.model, group)
