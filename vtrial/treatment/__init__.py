"""Patients through the arms: doses by each arm's rules, kinetics with the truth, one number for each endpoint.

Everything here is deterministic. Arms that give a patient the same doses give him the same outcome: `treat` takes
all arms of a group at once, and works out each distinct treatment of a patient, an item, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vtrial import endpoint
from vtrial.dialysis import Sessions, changes
from vtrial.kinetics import Exposure, Grid, Sedation, System, Trace, expose
from vtrial.patients import Group, groups_of, one_patient, thresholds
from vtrial.policy import Arm
from vtrial.problem import InputError
from vtrial.scenario import Scenario
from vtrial.stage import stage
from vtrial.treatment.given import Given, dose

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]

SLICE = 16_384
"""Items exposed at once: what the kinetics need beside their results is bounded by it."""
PARTS_OF_EXPOSURE = ("peak", "peak_time", "cmax", "auc", "time_at", "since")


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of a group under some arms.

    Parameters
    ----------
    value : array, shape (item, outcome)
        In the order of the scenario's outcomes.
    item : array, shape (arm, draw, patient)
        The item that an arm gives a patient.
    treated : array, shape (arm, drug, draw, patient)
        Who is given the drug; under a mixture, with which probability.
    """

    value: Array
    item: NDArray[np.int32]
    treated: NDArray[Any]


def treat(
    scenario: Scenario, group: Group, arms: Sequence[Arm], reference: Exposure, *, multiple: float = 1.0
) -> Outcomes:
    """Treat the patients of a group by each of the arms; by a mixture with each of its components.

    Parameters
    ----------
    scenario : Scenario
    group : Group
    arms : sequence of Arm
    reference : Exposure
        Of the reference patient for the draws of the group.
    multiple : float
        Factor on all doses.

    Returns
    -------
    Outcomes
    """
    single = {id(one): one for arm in arms for one, _ in scenario.components(arm)}
    with stage("dose"):
        given = dose(scenario, group, list(single.values()))
    value = np.empty((len(given.patient), len(scenario.outcomes)))
    for run, sessions in given.sessions:
        for part in _slices(run, SLICE):
            with stage("kinetics"):
                exposure, origin, _ = _expose(scenario, group, given, part, sessions, multiple=multiple)
            with stage("endpoints"):
                seen = _seen(scenario, group, given.patient[part], exposure, reference, origin)
                found = endpoint.evaluate(scenario.spec.endpoints, seen)
                for column, outcome in zip(value[part].T, found, strict=True):
                    column[:] = outcome
    return _mixed(scenario, arms, list(single), Outcomes(value, given.item, given.treated))


def _slices(run: slice, longest: int) -> Iterator[slice]:
    for begin in range(run.start, run.stop, longest):
        yield slice(begin, min(begin + longest, run.stop))


def _mixed(scenario: Scenario, arms: Sequence[Arm], single: list[int], outcomes: Outcomes) -> Outcomes:
    """Outcomes under the arms from those under single ones: a mixture's are the mean over its components.

    It is worked out, not sampled: what component a patient would draw adds no noise, and there is no further stream of
    random numbers.
    """
    values, item, treated = [outcomes.value], list[NDArray[np.int32]](), list[NDArray[Any]]()
    for arm in arms:
        parts = [(single.index(id(one)), share) for one, share in scenario.components(arm)]
        if len(parts) == 1:
            item.append(outcomes.item[parts[0][0]])
            treated.append(outcomes.treated[parts[0][0]])
            continue
        values.append(_mean([(share, outcomes.value[outcomes.item[a].ravel()]) for a, share in parts]))
        shape, first = outcomes.item.shape[1:], sum(map(len, values[:-1]))
        item.append(np.arange(first, first + len(values[-1]), dtype=np.int32).reshape(shape))
        treated.append(_mean([(share, outcomes.treated[a]) for a, share in parts]))
    if len(values) == 1 and len(item) == len(outcomes.item):
        return outcomes
    return Outcomes(np.concatenate(values), np.stack(item), np.stack(treated))


def _mean(parts: Sequence[tuple[float, NDArray[Any]]]) -> Array:
    """Mean of arrays by their shares, summed in their order."""
    total = np.zeros(parts[0][1].shape)
    for share, values in parts:
        total += share * values
    return total


def _expose(
    scenario: Scenario,
    group: Group,
    given: Given,
    part: slice,
    sessions: Sessions | None,
    *,
    multiple: float = 1.0,
    trace: bool = False,
) -> tuple[Exposure, Array, Trace | None]:
    """Exposure of some items, the time of each one's first dose (h after the start), and trajectories."""
    patient = given.patient[part]
    draw = patient // group.shape[1]

    def own(name: str) -> Array:
        return group.own[name].reshape(-1)[patient] if name in group.own else group.theta[name][draw]

    each = zip(given.table, given.row, strict=True)
    doses = [([(regimen.time, regimen.amt * multiple) for regimen in table], row[part]) for table, row in each]
    first = [np.array([time[0] if len(time) else np.inf for time, _ in table])[row] for table, row in doses]
    origin = np.min(first, axis=0)
    origin = np.where(np.isfinite(origin), origin, 0.0)
    timed = endpoint.levels_timed(scenario.spec.endpoints)
    sedation = Sedation(
        scenario.spec.model.surface,
        *(own("A"), own("alpha"), own("tolerance_fold"), 24.0 * own("tolerance_t_half")),
        draw,
        _levels(scenario, group)[:, [level - 1 for level in timed]],
        group.theta["omega_S"],
    )
    par = {name: own(name) for name in scenario.model.individual_parameters}
    grid = Grid(scenario.spec.simulation.step, scenario.windows, endpoint.restarts(scenario.spec.endpoints))
    wanted = endpoint.concentration_windows(scenario.spec.endpoints, scenario.windows)
    options: dict[str, Any] = {"trace": trace, "cmax_windows": wanted}
    times, rows = changes([one for one in (group.sessions, sessions) if one is not None], scenario.windows[-1])
    if times:
        options |= {"changes": times, "rows": rows}
        for drug in scenario.drugs:
            CL = par[f"{drug}.CL"]
            par[f"{drug}.CL"] = np.stack([CL, CL + own(f"{drug}.CL_HD")])
    exposure, tracks = _kinetics(scenario, group, patient, (par, doses, origin, sedation, grid), options)
    return exposure, origin, tracks


def _kinetics(
    scenario: Scenario, group: Group, patient: Index, given: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Exposure, Trace | None]:
    """Exposure by the linear kernel, or by the model's own right-hand side."""
    model = scenario.model
    if model.dynamics is None:
        return expose(System.of(model.drugs), *given, **options)
    from vtrial.kinetics.nonlinear import Unsolved, expose_nonlinear  # and scipy.integrate: few need them

    try:
        return expose_nonlinear(model.dynamics, *given, **options)
    except Unsolved as error:
        d, p = np.unravel_index(patient[error.patient], group.shape)
        who = f"stratum '{group.stratum}', draw {group.draws[d]}, patient {group.patients[p]}"
        raise InputError([f"model {model.name} cannot solve a patient: {who}: {error.reason}"]) from error


def _levels(scenario: Scenario, group: Group) -> Array:
    """Thresholds (draw, level); the deepest level's is 1."""
    columns = [group.theta[name] for name in thresholds(scenario)]
    return np.stack([*columns, np.ones(group.shape[0])], -1)


def _seen(
    scenario: Scenario, group: Group, patient: Index, exposure: Exposure, reference: Exposure, origin: Array
) -> endpoint.Seen:
    """What endpoints may look at, of the items that belong to these patients."""
    return endpoint.Seen(
        exposure=exposure,
        reference=reference,
        windows=scenario.windows,
        draw=patient // group.shape[1],
        r=_levels(scenario, group),
        omega_S=group.theta["omega_S"],
        z=[channel.reshape(-1)[patient] for channel in group.z],
        clock=scenario.spec.treatment.start + origin,
    )


def part_of(exposure: Exposure, part: slice) -> Exposure:
    """Exposure of some of the patients (or, of a reference, of some of the draws)."""
    return Exposure(exposure.grid, *(getattr(exposure, name)[..., part] for name in PARTS_OF_EXPOSURE))


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
    >>> from vtrial import draw_parameters, draw_patients, load_scenario
    >>> from vtrial.library import SCENARIOS
    >>> scenario = load_scenario(SCENARIOS / "starting_dose.yaml")
    >>> theta = draw_parameters(scenario.model, 3, scenario.spec.simulation.seed)
    >>> cohort = draw_patients(scenario, theta, strata=["75-84 G4"], patients=5)
    >>> outcomes = simulate(scenario, cohort, "ARM0_INDEX", expose_reference(scenario, theta))
    >>> bool((outcomes["level3_7d"] < outcomes["level1_7d"]).all())
    True
    """
    arm = scenario.arm(arm) if isinstance(arm, str) else arm
    parts = [treat(scenario, group, [arm], reference, multiple=multiple) for group in groups_of(scenario, cohort)]
    values = np.stack([part.value[part.item[0]] for part in parts])
    dims = ("stratum", "draw", "patient")
    variables: dict[str, Any] = {
        outcome.name: (dims, values[..., o], {"units": outcome.unit, "long_name": outcome.label})
        for o, outcome in enumerate(scenario.outcomes)
    }
    variables["treated"] = ((*dims, "drug"), np.moveaxis(np.stack([part.treated[0] for part in parts]), 1, -1))
    coords = {"stratum": cohort["stratum"], "draw": cohort["draw"], "drug": scenario.drugs}
    return xr.Dataset(variables, coords, {"arm": arm.id})


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
        With n = draws. Under a mixture the mean over its components: an exposure to compare with, not to be sedated by.
    """
    group = one_patient(scenario, draws, scenario.spec.reference_patient, vary=False)
    parts = scenario.components(scenario.arm(scenario.spec.estimands.reference))
    each = [_expose(scenario, group, dose(scenario, group, [arm]), slice(None), arm.sessions)[0] for arm, _ in parts]
    if len(each) == 1:
        return each[0]
    shares = [share for _, share in parts]
    means = [_mean(list(zip(shares, (getattr(one, name) for one in each), strict=True))) for name in PARTS_OF_EXPOSURE]
    return Exposure(each[0].grid, *means)


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
    group = one_patient(scenario, draws, scenario.spec.examples.patient, vary=True)
    given = dose(scenario, group, [arm])
    _, origin, tracks = _expose(scenario, group, given, slice(None), arm.sessions, trace=True)
    assert tracks is not None
    horizon = scenario.windows[-1]
    doses = [
        (time - origin[0], amt, drug)
        for drug, table, row in zip(scenario.drugs, given.table, given.row, strict=True)
        for regimen in [table[row[0]]]
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
