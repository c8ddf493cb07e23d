"""Patients through an arm: draw them once, dose them by each arm's rules, and keep one number per endpoint.

`draw_patients` is where randomness ends. `simulate` is deterministic: regimens from what a prescriber can see,
kinetics with the truth, endpoints from the exposure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vtrial import endpoint
from vtrial.kinetics import Exposure, Grid, Sedation, System, Trace, expose
from vtrial.model import Model, individual
from vtrial.policy import Arm, Regimens, arm_regimens
from vtrial.population import COVARIATES
from vtrial.population.renal import derive
from vtrial.population.strata import Patient
from vtrial.problem import InputError
from vtrial.scenario import Scenario
from vtrial.scheme import Plain, Scheme, normals
from vtrial.stage import stage

SEDATION = ("alpha", "tolerance_fold", "tolerance_t_half", "omega_S")
"""Population parameters of sedation that every model has, beside the thresholds r_1, r_2, ..."""


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
        If Sobol sampling does not allow the number of patients.

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
    span, count = range(int(numbers[0]), int(numbers[-1]) + 1), patients or scenario.patients
    theta, scheme = _columns(draws, 2), scenario.scheme(count)
    parts = []
    for name in names:
        people = scenario.population.draw(name, scheme, span, range(count))
        people["FED"] = np.full_like(people["AGE"], float(scenario.spec.model.food == "fed"))
        z = _deviations(scenario.model, scheme, theta, name, span, count)
        own = individual(scenario.model, theta, people, z)
        sensitivity = [normals(scheme, "sensitivity", name, drug, span, range(count)) for drug in scenario.drugs]
        every = {n: np.broadcast_to(v, (len(span), count)) for n, v in {**people, **own}.items()}
        variables = {n: (("draw", "patient"), v, _attributes(n)) for n, v in every.items()}
        parts.append(xr.Dataset(variables | {"z": (("channel", "draw", "patient"), np.stack(sensitivity))}))
    cohort = xr.concat(parts, "stratum").assign_coords(stratum=names, draw=numbers)
    return cohort.merge(draws[[*SEDATION, *_thresholds(scenario)]])


def _columns(draws: xr.Dataset, ndim: int) -> dict[str, NDArray[np.float64]]:
    """Parameters as arrays of shape (draw, 1, ...), to broadcast against patients."""
    return {str(n): draws[n].values.reshape(-1, *[1] * (ndim - 1)) for n in draws.data_vars}


def _deviations(model: Model, scheme: Scheme, theta: Any, stratum: str, span: range, count: int) -> dict[str, Any]:
    """Standard normal deviations of the etas, correlated where the model says so."""
    names = list(model.omega(theta))
    z = {name: normals(scheme, "eta", stratum, name, span, range(count)) for name in names}
    if not model.correlation:
        return z
    matrix = np.eye(len(names))
    for (one, other), rho in model.correlation.items():
        i, j = names.index(one), names.index(other)
        matrix[i, j] = matrix[j, i] = rho
    mixed = np.einsum("ij,jdp->idp", np.linalg.cholesky(matrix), np.stack([z[name] for name in names]))
    return dict(zip(names, mixed, strict=True))


def _attributes(name: str) -> dict[str, str]:
    if name in COVARIATES:
        return {"units": COVARIATES[name].unit, "long_name": COVARIATES[name].long_name}
    units = {
        **dict.fromkeys(("CL", "Q", "Q3"), "L/h"),
        **dict.fromkeys(("V", "V2", "V3"), "L"),
        **dict.fromkeys(("ka", "ke0", "kout", "koff", "kint", "kdeg"), "1/h"),
        **dict.fromkeys(("tlag", "MTT", "dur"), "h"),
        **dict.fromkeys(("C50", "Km", "IC50", "SC50", "R0"), "mg/L"),
        "Vmax": "mg/h",
        "kon": "L/mg/h",
        "kin": "response/h",
    }
    return {"units": {"GFR": "mL/min"}.get(name, units.get(name.rsplit(".", 1)[-1], "1"))}


def _thresholds(scenario: Scenario) -> list[str]:
    """Names of the thresholds that are parameters; the deepest level's is 1 by definition."""
    return [f"r_{k}" for k in range(1, len(scenario.model.levels) - 1)]


def simulate(
    scenario: Scenario, cohort: xr.Dataset, arm: Arm | str, reference: Exposure, *, multiple: float = 1.0
) -> xr.Dataset:
    """Treat a cohort by the rules of an arm.

    Parameters
    ----------
    scenario : Scenario
    cohort : xarray.Dataset
        From `draw_patients`.
    arm : Arm or str
    reference : Exposure
        Of the reference patient for the same draws, from `expose_reference`.
    multiple : float
        Factor on all doses.

    Returns
    -------
    xarray.Dataset
        ``Outcomes``, dims (stratum, draw, patient): one variable per outcome of the scenario's endpoints, and
        ``treated`` with the further dim drug.

    Examples
    --------
    >>> from vtrial import draw_parameters, load_scenario
    >>> from vtrial.library import SCENARIOS
    >>> scenario = load_scenario(SCENARIOS / "starting_dose.yaml")
    >>> theta = draw_parameters(scenario.model, 3, scenario.spec.simulation.seed)
    >>> cohort = draw_patients(scenario, theta, strata=["75-84 G4"], patients=5)
    >>> outcomes = simulate(scenario, cohort, "ARM0_INDEX", expose_reference(scenario, theta))
    >>> bool((outcomes["level3_7d"] < outcomes["level1_7d"]).all())
    True
    """
    arm = scenario.arm(arm) if isinstance(arm, str) else arm
    cohort = cohort.transpose("stratum", "draw", "patient", ...)
    sizes = cohort.sizes
    with stage("dose"):
        given = _regimens(scenario, arm, cohort)
    with stage("kinetics"):
        exposure, origin, _ = _expose(scenario, cohort, given, multiple=multiple)
    z = cohort.variables["z"].transpose("channel", "stratum", "draw", "patient").values
    values: dict[str, Any] = {}
    for s in range(sizes["stratum"]):  # endpoints see one stratum at a time: (draw, patient)
        part = slice(s * sizes["draw"] * sizes["patient"], (s + 1) * sizes["draw"] * sizes["patient"])
        seen = endpoint.Seen(
            exposure=part_of(exposure, part),
            reference=reference,
            windows=scenario.windows,
            shape=(sizes["draw"], sizes["patient"]),
            r=_levels(scenario, cohort),
            omega_S=cohort.variables["omega_S"].values,
            z=list(z[:, s]),
            clock=scenario.spec.treatment.start + origin[part],
        )
        with stage("endpoints"):
            for name, value in endpoint.evaluate(scenario.spec.endpoints, scenario.model, seen).items():
                values.setdefault(name, []).append(value)
    dims = ("stratum", "draw", "patient")
    treated = np.stack([given[drug].treated for drug in scenario.drugs], -1)
    outcomes = xr.Dataset(
        {name: (dims, np.stack(value)) for name, value in values.items()} | {"treated": ((*dims, "drug"), treated)},
        {"stratum": cohort["stratum"], "draw": cohort["draw"], "drug": scenario.drugs},
        {"arm": arm.id},
    )
    for outcome in scenario.outcomes:
        outcomes[outcome.name].attrs = {"units": outcome.unit, "long_name": outcome.label}
    return outcomes


def part_of(exposure: Exposure, part: slice) -> Exposure:
    """Exposure of some of the patients (or, of a reference, of some of the draws)."""
    arrays = (exposure.peak, exposure.peak_time, exposure.cmax, exposure.auc, exposure.time_at)
    return Exposure(exposure.grid, *(array[..., part] for array in arrays))


def _levels(scenario: Scenario, cohort: xr.Dataset) -> NDArray[np.float64]:
    """Thresholds (draw, level); the deepest level's is 1."""
    columns = [cohort.variables[name].values for name in _thresholds(scenario)]
    return np.stack([*columns, np.ones(cohort.sizes["draw"])], -1)


def _regimens(scenario: Scenario, arm: Arm, cohort: xr.Dataset) -> dict[str, Regimens]:
    """What each patient is given: by what the prescriber sees, so GFR and individual parameters stay hidden."""
    visible = {name: cohort.variables[name].values for name in (*COVARIATES, "DIALYSIS")}
    treatment = scenario.spec.treatment
    # a first dose may wait for the evening, and an arm's drug for its day: its horizon counts from there
    latest = 24.0 * max([*arm.start_day.values(), 1])
    given = arm_regimens(
        arm,
        scenario.policies,
        visible,
        start=treatment.start,
        horizon=treatment.horizon + latest,
        titrate=treatment.titrate,
    )
    shape = cohort.variables["AGE"].shape
    return {drug: given.get(drug, Regimens.none(drug, shape)) for drug in scenario.drugs}


def _expose(
    scenario: Scenario,
    cohort: xr.Dataset,
    given: dict[str, Regimens],
    *,
    multiple: float = 1.0,
    trace: bool = False,
) -> tuple[Exposure, NDArray[np.float64], Trace | None]:
    """Exposure of a cohort, the time of each patient's first dose (h after the start), and trajectories."""
    sizes, n = cohort.sizes, cohort.variables["AGE"].size
    whole = (sizes["stratum"], sizes["draw"], sizes["patient"])

    def flat(name: str) -> NDArray[np.float64]:
        values = cohort.variables[name].values
        values = values if values.ndim == 3 else np.broadcast_to(values[None, :, None], whole)
        return np.ascontiguousarray(values, float).reshape(n)

    doses = [([(r.time, r.amt * multiple) for r in given[d].table], given[d].index.reshape(n)) for d in scenario.drugs]
    first = [np.array([time[0] if len(time) else np.inf for time, _ in table])[index] for table, index in doses]
    origin = np.min(first, axis=0)
    origin = np.where(np.isfinite(origin), origin, 0.0)
    timed = endpoint.levels_timed(scenario.spec.endpoints)
    draw = np.broadcast_to(np.arange(sizes["draw"])[None, :, None], whole)
    sedation = Sedation(
        scenario.spec.model.surface,
        *(flat("A"), flat("alpha"), flat("tolerance_fold"), 24.0 * flat("tolerance_t_half")),
        np.array(draw).reshape(n),
        _levels(scenario, cohort)[:, [level - 1 for level in timed]],
        cohort.variables["omega_S"].values,
    )
    par = {name: flat(name) for name in scenario.model.individual_parameters}
    grid = Grid(scenario.spec.simulation.step, scenario.windows)
    wanted = endpoint.concentration_windows(scenario.spec.endpoints, scenario.windows)
    treated = par, doses, origin, sedation, grid
    exposure, tracks = _kinetics(scenario.model, cohort, treated, trace=trace, cmax_windows=wanted)
    return exposure, origin, tracks


def _kinetics(
    model: Model, cohort: xr.Dataset, given: tuple[Any, ...], *, trace: bool, cmax_windows: int
) -> tuple[Exposure, Trace | None]:
    """Exposure by the linear kernel, or by the model's own right-hand side."""
    if model.dynamics is None:
        return expose(System.of(model.drugs), *given, trace=trace, cmax_windows=cmax_windows)
    from vtrial.kinetics.nonlinear import Unsolved, expose_nonlinear  # and scipy.integrate: few need them

    try:
        return expose_nonlinear(model.dynamics, *given, trace=trace, cmax_windows=cmax_windows)
    except Unsolved as error:
        dims = ("stratum", "draw", "patient")
        s, d, p = np.unravel_index(error.patient, [cohort.sizes[dim] for dim in dims])
        who = f"stratum '{cohort['stratum'].values[s]}', draw {cohort['draw'].values[d]}, patient {p}"
        raise InputError([f"model {model.name} cannot solve a patient: {who}: {error.reason}"]) from error


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
    return {**people, "DIALYSIS": np.bool_(patient.dialysis)}


def _one_patient(scenario: Scenario, draws: xr.Dataset, patient: Patient, *, vary: bool) -> xr.Dataset:
    """A cohort of one patient for each draw: typical, or with etas of its own."""
    n = draws.sizes["draw"]
    people = {name: np.full((n, 1), value) for name, value in covariates_of(patient).items()}
    people["FED"] = np.full((n, 1), float(scenario.spec.model.food == "fed"))
    theta = _columns(draws, 2)
    plain = Plain(scenario.spec.simulation.seed)  # one to a draw: nothing to spread
    z = _deviations(scenario.model, plain, theta, f"example {patient.name}", range(n), 1) if vary else {}
    own = individual(scenario.model, theta, people, z)
    every = {name: np.broadcast_to(value, (n, 1))[None] for name, value in {**people, **own}.items()}
    cohort = xr.Dataset(
        {name: (("stratum", "draw", "patient"), value) for name, value in every.items()},
        {"stratum": [patient.name], "draw": draws["draw"]},
    )
    return cohort.merge(draws[[*SEDATION, *_thresholds(scenario)]])


def expose_reference(scenario: Scenario, draws: xr.Dataset) -> Exposure:
    """Expose the reference patient (all etas zero) to the reference arm, once for each draw.

    Parameters
    ----------
    scenario : Scenario
    draws : xarray.Dataset
        From `draw_parameters`.

    Returns
    -------
    Exposure
        With n = draws.
    """
    cohort = _one_patient(scenario, draws, scenario.spec.reference_patient, vary=False)
    arm = scenario.arm(scenario.spec.estimands.reference)
    return _expose(scenario, cohort, _regimens(scenario, arm, cohort))[0]


def trace_example(scenario: Scenario, draws: xr.Dataset, arm: Arm | str) -> xr.Dataset:
    """Trajectories of the scenario's example patient under an arm, one for each draw, with etas.

    Parameters
    ----------
    scenario : Scenario
        With `examples`.
    draws : xarray.Dataset
    arm : Arm or str

    Returns
    -------
    xarray.Dataset
        ``Trajectory``: conc and Ce (draw, time, drug) in mg/L, drive (draw, time), time in h from the patient's
        first dose (with attribute ``clock``, its clock time), and doses (dose): dose_time, dose_amt, dose_drug.

    Raises
    ------
    ValueError
        If the scenario has no examples.
    """
    if scenario.spec.examples is None:
        raise ValueError("the scenario has no examples")
    arm = scenario.arm(arm) if isinstance(arm, str) else arm
    cohort = _one_patient(scenario, draws, scenario.spec.examples.patient, vary=True)
    given = _regimens(scenario, arm, cohort)
    _, origin, tracks = _expose(scenario, cohort, given, trace=True)
    assert tracks is not None
    horizon = scenario.windows[-1]
    doses = [
        (time - origin[0], amt, drug)
        for drug in scenario.drugs
        for regimen in [given[drug].table[int(given[drug].index.flat[0])]]
        for time, amt in zip(regimen.time, regimen.amt, strict=True)
        if time - origin[0] < horizon
    ]
    return xr.Dataset(
        {
            "conc": (("draw", "time", "drug"), np.moveaxis(tracks.conc, -1, 0), {"units": "mg/L"}),
            "Ce": (("draw", "time", "drug"), np.moveaxis(tracks.Ce, -1, 0), {"units": "mg/L"}),
            "drive": (("draw", "time"), tracks.drive.max(1).T, {"units": "1"}),
            "dose_time": ("dose", [d[0] for d in doses], {"units": "h"}),
            "dose_amt": ("dose", [d[1] for d in doses], {"units": "mg"}),
            "dose_drug": ("dose", [d[2] for d in doses]),
        },
        {"time": ("time", tracks.time, {"units": "h"}), "drug": scenario.drugs},
        {"clock": scenario.spec.treatment.start + float(origin[0]), "arm": arm.id},
    )
