"""Effect-site concentrations in closed form, on NumPy and PyTensor alike: what the likelihood integrates.

A drug by mouth in one or two compartments has a mode for each of its rates (ka, those of disposition, ke0); its
effect-site concentration is a weighted sum of the modes (Gibaldi and Perrier 1982, Pharmacokinetics, 2nd ed.,
chapters 1 and 2), and repeated doses multiply each mode by a geometric sum. `tests/test_calibration.py` holds it
against the exact stepper that simulates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.gradient import disconnected_grad

from vtrial.model import Drug
from vtrial.model.prior import greater

type Array = NDArray[np.float64]


def disposition(drug: Drug, par: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Rates in 1/h of a bolus into the plasma, the fastest first, and the share of each in the concentration at 0.

    Parameters
    ----------
    drug : Drug
        One or two compartments.
    par : mapping
        Individual parameters of the drug, numbers, arrays or tensors that broadcast.

    Returns
    -------
    list of (rate, share)

    Examples
    --------
    >>> par = {"x.CL": 5.0, "x.V": 50.0}
    >>> disposition(Drug("x", 1, "iv"), par)
    [(0.1, 1.0)]
    """
    V = par[f"{drug.name}.V"]
    k10 = par[f"{drug.name}.CL"] / V
    if drug.compartments == 1:
        return [(k10, 1.0)]
    Q = par[f"{drug.name}.Q"]
    k12, k21 = Q / V, Q / par[f"{drug.name}.V2"]
    apart = ((k10 + k12 - k21) ** 2 + 4.0 * k12 * k21) ** 0.5
    alpha = 0.5 * (k10 + k12 + k21 + apart)
    beta = k10 * k21 / alpha
    return [(alpha, (alpha - k21) / apart), (beta, (k21 - beta) / apart)]


def modes(drug: Drug, par: Mapping[str, Any], *, effect: bool) -> list[tuple[Any, Any]]:
    """Rates, and weights of the concentration (mg/L) at a time since one mg arrived by mouth.

    Parameters
    ----------
    drug : Drug
        First-order absorption.
    par : mapping
        As for `disposition`.
    effect : bool
        Of the effect site rather than the plasma.

    Returns
    -------
    list of (rate, weight)
        Equal rates are a singularity.
    """
    ka, scale = par[f"{drug.name}.ka"], par[f"{drug.name}.F"] / par[f"{drug.name}.V"]
    found = [(rate, scale * share * ka / (ka - rate)) for rate, share in disposition(drug, par)]
    found.append((ka, -sum(weight for _, weight in found)))
    if effect:
        ke0 = par[f"{drug.name}.ke0"]
        found = [(rate, weight * ke0 / (ke0 - rate)) for rate, weight in found]
        found.append((ke0, -sum(weight for _, weight in found)))
    return found


@dataclass(frozen=True)
class Course:
    """Moments at which a course of equal doses is looked at.

    Parameters
    ----------
    time : array, shape (moment,)
        Hours since the first dose.
    phase : array, shape (moment,)
        Hours since the latest dose; later than any lag.
    doses : array, shape (moment,)
        Doses until then.
    begun : array, shape (moment,)
        1 if the first of them was the first of all; 0 in the steady state, whatever `doses` says.
    scale : array, shape (moment,)
        Dose at that time, relative to the one that is named.
    interval : float or array
        Hours between doses.
    """

    time: Any
    phase: Any
    doses: Any
    begun: Any
    scale: Any
    interval: Any

    def concentration(self, drug: Drug, par: Mapping[str, Any], *, effect: bool = True) -> Any:
        """Concentration per mg, shape (n, moment), for parameters of shape (n, 1) or numbers."""
        since = greater(self.phase - par[f"{drug.name}.tlag"], 0.0)
        total = 0.0
        for rate, weight in modes(drug, par, effect=effect):
            left = 1.0 - np.exp(-rate * self.interval)
            given = 1.0 - self.begun * np.exp(-rate * (self.interval * self.doses))
            total = total + weight * np.exp(-rate * since) * (given / left)
        return self.scale * total

    def at(self, which: Any) -> Course:
        """One moment for each patient: `which` is its position, shape (course, node)."""
        row = np.arange(self.time.shape[0])[:, None]

        def one(values: Array) -> Any:
            return pt.constant(values[:, 0, :])[row, which][..., None]

        return Course(*map(one, (self.time, self.phase, self.doses, self.begun, self.scale)), self.interval)


def highest(course: Course, value: Callable[[Course], Any]) -> Any:
    """Highest value among the moments of courses side by side, shape (course, node).

    The moment is looked for first, and the value taken there: its gradient is that of the maximum (the moment's own
    contributes nothing), for a fraction of the work, and does not hang on the rounding of what equals the maximum.
    """
    which = pt.argmax(disconnected_grad(value(course)), axis=-1)
    return value(course.at(which))[..., 0]


PHASES = (0.75, 1.25, 2.0, 3.0, 4.5, 6.5)
"""Hours after a dose at which repeated doses are looked at: the effect of either drug peaks among them."""
CYCLES = (1, 2, 3, 4, 6, 10, 21)
"""Which of the doses are looked at: accumulation has ended before tolerance has begun to tell."""


FAR = 1e6
"""Hours to a next dose that never comes: finite, so that gradients are."""


def once() -> Course:
    """A single dose, looked at for two days."""
    time = np.geomspace(0.5, 48.0, 20)
    one = np.ones(len(time))
    return Course(time, time, one, one, one, FAR)


def repeated(interval: float) -> Course:
    """Equal doses from the first day on."""
    phases = np.array([p for p in PHASES if p <= interval])
    doses = np.repeat(np.array(CYCLES, float), len(phases))
    phase = np.tile(phases, len(CYCLES))
    one = np.ones(len(phase))
    return Course((doses - 1.0) * interval + phase, phase, doses, one, one, interval)


def titrated(interval: float, steps: Mapping[float, float]) -> Course:
    """Doses that rise: each step (its first day: share of the named dose) at its steady state from its second day."""
    phases = np.array([p for p in PHASES if p <= interval])
    start = np.repeat(24.0 * (np.array([*steps]) + 1.0), len(phases))
    phase = np.tile(phases, len(steps))
    scale = np.repeat(np.array([*steps.values()], float), len(phases))
    one = np.ones(len(phase))
    return Course(start + phase, phase, one, 0.0 * one, scale, interval)


def side_by_side(courses: Sequence[Course]) -> Course:
    """Several courses as one, shape (course, 1, moment): shorter ones are filled up with their last moment."""
    longest = max(len(course.time) for course in courses)

    def filled(name: str) -> Array:
        rows = [getattr(course, name) for course in courses]
        return np.stack([np.pad(row, (0, longest - len(row)), mode="edge") for row in rows])[:, None, :]

    interval = np.array([course.interval for course in courses])[:, None, None]
    return Course(*map(filled, ("time", "phase", "doses", "begun", "scale")), interval)
