"""Kinetics that change at known times: sessions of dialysis, and kidneys that fail and recover.

A patient's kinetics are of few kinds, one for each share of the own GFR, within and between sessions; the kernel is
told which kind holds from when on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtrial.model.draw import following_gfr
from vtrial.patients import Group
from vtrial.population.injury import injured
from vtrial.scenario import Scenario

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]
type Parameters = dict[str, Any]


def over_time(
    scenario: Scenario,
    group: Group,
    patient: Index,
    par: Parameters,
    cleared: Mapping[str, Mapping[str, Array]],
    dialysis: tuple[Sequence[float], Sequence[tuple[str, ...]]],
    horizon: float,
) -> tuple[Parameters, dict[str, Any]]:
    """Individual parameters as they change with time.

    Parameters
    ----------
    scenario : Scenario
    group : Group
    patient : array, shape (item,)
        Number of the patient of each item.
    par : dict
        Individual parameters of the own GFR between sessions, each of shape (item,).
    cleared : mapping of str to mapping of str to array
        Modality -> drug -> clearance by dialysis; empty without sessions.
    dialysis : tuple
        When sessions begin and end, h from the first dose, and which run, from `vtrial.dialysis.changes`.
    horizon : float
        End of what is simulated, h.

    Returns
    -------
    dict, dict
        Parameters, those that change of shape (row, item); and what the kernel is told of it: changes, rows.
    """
    when, recovered = ([], [None]) if group.injury is None else group.injury.course(horizon)
    times, pairs = _together((when, range(len(recovered))), dialysis)
    kinds = sorted(set(pairs))
    kidney = _renal(scenario, group, patient, par, [recovered[level] for level in dict(kinds)])
    by_level = dict(zip(dict(kinds), kidney, strict=True))
    several = [_dialysed(by_level[level], [cleared[modality] for modality in on]) for level, on in kinds]
    if len(several) == 1:
        return several[0], {}
    changing = {name for one in several for name in one if one[name] is not several[0][name]}
    stacked = {name: np.stack([one[name] for one in several]) for name in par if name in changing}
    return par | stacked, {"changes": times, "rows": [kinds.index(pair) for pair in pairs]}


def _dialysed(par: Parameters, cleared: Sequence[Mapping[str, Array]]) -> Parameters:
    """Parameters while what clears beside does."""
    for by_one in cleared:
        par = par | {f"{drug}.CL": par[f"{drug}.CL"] + extra for drug, extra in by_one.items()}
    return par


def uraemic(scenario: Scenario, group: Group, patient: Index, A: Array) -> Array:
    """Factor on the drive of items, from that of the own GFR: by the GFR of which the injury says that uraemia acts."""
    if group.injury is None or group.injury.uraemia == "own":
        return A
    return _renal(scenario, group, patient, {"A": A}, [0.0])[0]["A"]


def _together[S, T](
    one: tuple[Sequence[float], Sequence[S]], other: tuple[Sequence[float], Sequence[T]]
) -> tuple[list[float], list[tuple[S, T]]]:
    """Two courses as one: when either changes, and what both are at first and from each of these times on."""
    times = sorted({*one[0], *other[0]})
    at = [np.searchsorted(np.asarray(own[0], float), [-1.0, *times], side="right") for own in (one, other)]
    return times, [(one[1][i], other[1][j]) for i, j in zip(*at, strict=True)]


def _renal(
    scenario: Scenario, group: Group, patient: Index, par: Parameters, recovered: Sequence[float | None]
) -> list[Parameters]:
    """Individual parameters at each stage of an injury (None: before it), with the same etas.

    Etas multiply: what a parameter of a typical patient changes by, that of any patient does. The check of the scenario
    has refused injuries where a parameter with a logit follows GFR.
    """
    if not any(done is not None for done in recovered):
        return [par for _ in recovered]
    model, injury = scenario.model, group.injury
    assert injury is not None
    names = [name for name in following_gfr(model) if name in par]
    theta = {name: values[patient // group.shape[1]] for name, values in group.theta.items()}
    cov = {name: group.own[name].reshape(-1)[patient] for name in (*model.covariates, "GFR", "NADIR")}
    own, found = model.typical(theta, cov), []
    for done in recovered:
        later = own if done is None else model.typical(theta, cov | injured(injury.share(cov["NADIR"], done), cov))
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: none before, none then
            change = {name: np.where(later[name] == own[name], 1.0, later[name] / own[name]) for name in names}
        found.append(par if done is None else par | {name: par[name] * change[name] for name in names})
    return found
