"""Patients through the arms: doses by each arm's rules, kinetics with the truth, one number for each endpoint.

Everything here is deterministic. Arms that give a patient the same doses give him the same outcome: `treat` takes
all arms of a group at once, and works out each distinct treatment of a patient, an item, once.

| module | holds |
|---|---|
| `given` | items: what arms give the patients |
| `course` | kinetics that change with time: sessions of dialysis, kidneys that fail |
| `expose` | from items to their exposure |
| `follow` | items of arms that react to what is seen |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vtrial import endpoint
from vtrial.kinetics import Exposure
from vtrial.patients import Group, groups_of, one_patient
from vtrial.policy import Arm
from vtrial.scenario import Scenario
from vtrial.stage import stage
from vtrial.treatment.expose import SLICE, expose_items, levels_of
from vtrial.treatment.follow import follow
from vtrial.treatment.given import Given, Items, dose

type Array = NDArray[np.float64]

PARTS_OF_EXPOSURE = ("peak", "peak_time", "cmax", "auc", "time_at", "since", "last", "conc")


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

    @classmethod
    def joined(cls, parts: Sequence[Outcomes]) -> Outcomes:
        """Those of several groups of arms together."""
        if len(parts) == 1:
            return parts[0]
        first = np.cumsum([0, *(len(part.value) for part in parts)])
        items = [(part.item + begin).astype(np.int32) for part, begin in zip(parts, first, strict=False)]
        values, treated = [part.value for part in parts], [part.treated for part in parts]
        return cls(np.concatenate(values), np.concatenate(items), np.concatenate(treated))


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
    plain = [arm for arm in single.values() if not arm.feedback]
    found = []
    if plain:
        with stage("dose"):
            given = dose(scenario, group, plain)
        value = _evaluated(scenario, group, given, reference, multiple)
        found.append(Outcomes(value, given.item, given.treated))
    reacting = [arm for arm in single.values() if arm.feedback]
    for arm in reacting:
        with stage("rounds"):
            given = follow(scenario, group, arm, multiple=multiple)
        value = _whole(given, _evaluated(scenario, group, given, reference, multiple), given.item.size)
        each = np.arange(given.item.size, dtype=np.int32).reshape(given.item.shape)
        found.append(Outcomes(value, each, given.treated))
    order = [id(arm) for arm in (*plain, *reacting)]
    return _mixed(scenario, arms, order, Outcomes.joined(found))


def _evaluated(scenario: Scenario, group: Group, given: Given, reference: Exposure, multiple: float) -> Array:
    """Outcomes of items, shape (item, outcome)."""
    value = np.empty((len(given.patient), len(scenario.outcomes)))
    for run, sessions in given.sessions:
        for part in _slices(run, SLICE):
            with stage("kinetics"):
                exposure, _ = expose_items(scenario, group, given[part], sessions, multiple=multiple)
            with stage("endpoints"):
                seen = _seen(scenario, group, given[part], exposure, reference)
                value[part] = np.stack(endpoint.evaluate(scenario.spec.endpoints, seen)).T
    return value


def _whole(given: Given, value: Array, patients: int) -> Array:
    """Outcomes of patients, the sum over their shares; always in the order of sensitivity, to the last bit."""
    assert given.share is not None
    order = np.lexsort((given.share[0], given.patient))
    patient = given.patient[order]
    return np.stack([np.bincount(patient, column[order], patients) for column in value.T], 1)


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


def _seen(scenario: Scenario, group: Group, items: Items, exposure: Exposure, reference: Exposure) -> endpoint.Seen:
    """What endpoints may look at, of items."""
    return endpoint.Seen(
        exposure=exposure,
        reference=reference,
        windows=scenario.windows,
        draw=items.patient // group.shape[1],
        r=levels_of(scenario, group),
        omega_S=group.theta["omega_S"],
        fold=group.theta["tolerance_fold"],
        t_half=24.0 * group.theta["tolerance_t_half"],
        z=[channel.reshape(-1)[items.patient] for channel in group.z],
        clock=scenario.spec.treatment.start + items.origin,
        share=items.share,
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
        Of an arm that reacts, the doses it plans.
    """
    group = one_patient(scenario, draws, scenario.spec.reference_patient, vary=False)
    parts = scenario.components(scenario.arm(scenario.spec.estimands.reference))
    each = []
    for arm, _ in parts:
        given = dose(scenario, group, [arm])
        each.append(expose_items(scenario, group, given, given.sessions[0][1])[0])
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
    origin, (_, tracks) = given.origin, expose_items(scenario, group, given, given.sessions[0][1], trace=True)
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
