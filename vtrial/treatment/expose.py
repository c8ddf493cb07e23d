"""From what patients are given to their exposure: the truth of the patient, what changes with time, one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtrial import endpoint
from vtrial.dialysis import Sessions, changes
from vtrial.kinetics import Exposure, Grid, Row, Sedation, System, Trace, expose
from vtrial.model import Drug
from vtrial.patients import Group, thresholds
from vtrial.policy import Regimen
from vtrial.problem import InputError
from vtrial.scenario import Scenario
from vtrial.treatment.course import over_time, uraemic
from vtrial.treatment.given import Items

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]

SLICE = 16_384
"""Items exposed at once: what the kinetics need beside their results is bounded by it."""


def expose_items(
    scenario: Scenario,
    group: Group,
    items: Items,
    sessions: Sequence[Sessions],
    *,
    multiple: float = 1.0,
    trace: bool = False,
    looks: Sequence[float] | None = None,
    measured: bool = False,
) -> tuple[Exposure, Trace | None]:
    """Exposure of items, and their trajectories.

    Parameters
    ----------
    scenario : Scenario
    group : Group
    items : Items
    sessions : sequence of Sessions
        Haemodialysis beside the patients' own.
    multiple : float
        Factor on all doses.
    trace : bool
        Whether trajectories are wanted.
    looks : sequence of float, optional
        Times, h from the first dose, that take the place of the scenario's windows; times at level are then not worked
        out, nor, unless they are `measured`, concentrations.
    measured : bool
        Whether concentrations at the looks are wanted.

    Raises
    ------
    InputError
        If the kinetics of a patient cannot be solved.
    """
    draw = items.patient // group.shape[1]

    def own(name: str) -> Array:
        return group.own[name].reshape(-1)[items.patient] if name in group.own else group.theta[name][draw]

    each = zip(items.table, items.row, strict=True)
    doses = [([_row(regimen, multiple) for regimen in table], row) for table, row in each]
    windows, endpoints = scenario.windows, scenario.spec.endpoints
    timed, restarts = endpoint.levels_timed(endpoints), endpoint.restarts(endpoints)
    wanted = endpoint.concentration_windows(endpoints, windows)
    if looks is not None:
        windows, timed, restarts, wanted = tuple(looks), (), (), len(looks) * measured
    share = {} if items.share is None else {"share": items.share}
    sedation = Sedation(
        scenario.spec.model.surface,
        *(
            uraemic(scenario, group, items.patient, own("A")),
            own("alpha"),
            own("tolerance_fold"),
            24.0 * own("tolerance_t_half"),
        ),
        draw,
        levels_of(scenario, group)[:, [level - 1 for level in timed]],
        group.theta["omega_S"],
        **share,
    )
    par = {name: own(name) for name in scenario.model.individual_parameters}
    several = [*([] if group.sessions is None else [group.sessions]), *sessions]
    modalities = dict.fromkeys(one.modality for one in several)
    cleared = {m: {drug: own(f"{drug}.CL_{m}") for drug in scenario.drugs} for m in modalities}
    par, options = over_time(scenario, group, items.patient, par, cleared, changes(several, windows[-1]), windows[-1])
    options |= {"trace": trace, "cmax_windows": wanted}
    grid = Grid(scenario.spec.simulation.step, windows, restarts)
    return _kinetics(scenario, group, items.patient, (par, doses, items.origin, sedation, grid), options)


def _row(regimen: Regimen, multiple: float) -> Row:
    """A regimen as the kinetics take it."""
    plain = regimen.time, regimen.amt * multiple
    return (*plain, regimen.tinf, regimen.way) if regimen.way.any() else plain


def _fed(drugs: Sequence[Drug], doses: Sequence[tuple[Sequence[Row], Index]]) -> list[str]:
    """Drugs some doses of which are not swallowed."""
    return [drug.name for drug, (table, _) in zip(drugs, doses, strict=True) if any(len(row) > 2 for row in table)]


def _kinetics(
    scenario: Scenario, group: Group, patient: Index, given: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Exposure, Trace | None]:
    """Exposure by the linear kernel, or by the model's own right-hand side."""
    model = scenario.model
    if model.dynamics is None:
        return expose(System.of(model.drugs, fed=_fed(model.drugs, given[1])), *given, **options)
    from vtrial.kinetics.nonlinear import Unsolved, expose_nonlinear  # and scipy.integrate: few need them

    try:
        return expose_nonlinear(model.dynamics, *given, **options)
    except Unsolved as error:
        d, p = np.unravel_index(patient[error.patient], group.shape)
        who = f"stratum '{group.stratum}', draw {group.draws[d]}, patient {group.patients[p]}"
        raise InputError([f"model {model.name} cannot solve a patient: {who}: {error.reason}"]) from error


def levels_of(scenario: Scenario, group: Group) -> Array:
    """Thresholds (draw, level); the deepest level's is 1."""
    columns = [group.theta[name] for name in thresholds(scenario)]
    return np.stack([*columns, np.ones(group.shape[0])], -1)
