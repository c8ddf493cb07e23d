"""Effect-site concentrations in closed form, on NumPy and PyTensor alike: what the likelihood integrates.

A drug by mouth in one or two compartments has a mode for each of its rates (ka, those of disposition, ke0); its
effect-site concentration is a weighted sum of the modes (Gibaldi and Perrier 1982, Pharmacokinetics, 2nd ed.,
chapters 1 and 2), and repeated doses multiply each mode by a geometric sum. `tests/test_calibration.py` holds it
against the exact stepper that simulates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytensor.tensor
from numpy.typing import NDArray
from pytensor.gradient import disconnected_grad

from vtrial.model import Drug
from vtrial.model.prior import greater

pt: Any = pytensor.tensor  # typed there as if everything might be a plain Variable, or None


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
        Two rates that are nearly equal are moved apart, by `APART`; three at once are not foreseen.
    """
    found = disposition(drug, par)
    found = _after(found, par[f"{drug.name}.ka"])
    if effect:
        found = _after(found, par[f"{drug.name}.ke0"])
    scale = par[f"{drug.name}.F"] / par[f"{drug.name}.V"]
    return [(rate, scale * weight) for rate, weight in found]


def _after(found: list[tuple[Any, Any]], k: Any) -> list[tuple[Any, Any]]:
    """Modes of what follows, or is followed by, a step of first order with rate k."""
    apart = [(_apart(rate, k), weight) for rate, weight in found]
    after = [(rate, weight * k / (k - rate)) for rate, weight in apart]
    return [*after, (k, -sum(weight for _, weight in after))]


APART = 1e-5
"""Least distance of two rates, relative. Weights grow as its inverse and their gradients as its square: of a patient
whose rates agree to nine digits the gradient was rounding alone, and ended a trajectory in 2,000."""


def _apart(rate: Any, other: Any) -> Any:
    distance = 1.0 - rate / other
    near, above = abs(distance) < APART, distance < 0.0
    moved = other * near * (APART * (2.0 * above - 1.0))
    return rate + (disconnected_grad(moved) if isinstance(moved, pytensor.graph.Variable) else moved)


@dataclass(frozen=True)
class Course:
    """Moments at which a course of equal doses is looked at: some hours after some of the doses.

    Parameters
    ----------
    phase : array, shape (phase,)
        Hours since the latest dose; later than any lag.
    latest : array, shape (dose,)
        Time of that dose, h since the first.
    doses : array, shape (dose,)
        Doses until then.
    begun : array, shape (dose,)
        1 if the first of them was the first of all; 0 in the steady state, whatever `doses` says.
    scale : array, shape (dose,)
        Dose at that time, relative to the one that is named.
    interval : float or array
        Hours between doses.

    Notes
    -----
    Courses side by side have shapes (course, 1, phase) and so on.
    """

    phase: Any
    latest: Any
    doses: Any
    begun: Any
    scale: Any
    interval: Any

    @property
    def time(self) -> Any:
        """Hours since the first dose, shape (dose, phase)."""
        return self.latest[..., :, None] + self.phase[..., None, :]

    def concentration(self, drug: Drug, par: Mapping[str, Any], *, effect: bool = True) -> Any:
        """Concentration per mg, shape (n, dose, phase), for parameters of shape (n, 1, 1) or numbers."""
        since = greater(self.phase[..., None, :] - par[f"{drug.name}.tlag"], 0.0)
        lasted, begun = (self.interval * self.doses)[..., :, None], self.begun[..., :, None]
        interval = self.interval[..., None] if isinstance(self.interval, np.ndarray) else self.interval
        total = 0.0
        for rate, weight in modes(drug, par, effect=effect):
            given = (1.0 - begun * np.exp(-rate * lasted)) / (1.0 - np.exp(-rate * interval))
            total = total + weight * np.exp(-rate * since) * given
        return self.scale[..., :, None] * total

    def at(self, which: Any) -> Course:
        """One moment for each patient: `which` is its position among (dose, phase), shape (course, node)."""
        row, phases = np.arange(self.phase.shape[0])[:, None], self.phase.shape[-1]

        def one(values: Array, place: Any) -> Any:
            return pt.constant(values[:, 0, :])[row, place][..., None]

        of_dose = {name: one(getattr(self, name), which // phases) for name in _OF_DOSES}
        return replace(self, phase=one(self.phase, which % phases), **of_dose)


_OF_DOSES = ("latest", "doses", "begun", "scale")


def highest(course: Course, value: Callable[[Course], Any]) -> Any:
    """Highest value among the moments of courses side by side, shape (course, node).

    The moment is looked for first, and the value taken there: its gradient is that of the maximum (the moment's own
    contributes nothing), for a fraction of the work, and does not hang on the rounding of what equals the maximum.
    """
    every: Any = disconnected_grad(pt.as_tensor(value(course)))
    which = pt.argmax(every.reshape((every.shape[0], every.shape[1], -1)), axis=-1)
    return value(course.at(which))[..., 0, 0]


PHASES = (0.7, 1.0, 1.4, 1.9, 2.6, 3.5, 4.7, 6.3)
"""Hours after a dose at which repeated doses are looked at: the effect of either drug peaks among them."""
CYCLES = (1, 2, 3, 4, 5, 7, 10, 15)
"""Which of the doses are looked at: accumulation has ended before tolerance has begun to tell."""


FAR = 1e6
"""Hours to a next dose that never comes: finite, so that gradients are."""


def once() -> Course:
    """A single dose, looked at for two days."""
    one = np.ones(1)
    return Course(np.geomspace(0.5, 48.0, 20), 0.0 * one, one, one, one, FAR)


def repeated(interval: float) -> Course:
    """Equal doses from the first day on."""
    doses = np.array(CYCLES, float)
    one = np.ones(len(doses))
    return Course(_phases(interval), (doses - 1.0) * interval, doses, one, one, interval)


def titrated(interval: float, steps: Mapping[float, float]) -> Course:
    """Doses that rise: each step (its first day: share of the named dose) at its steady state from its second day."""
    start, one = 24.0 * (np.array([*steps]) + 1.0), np.ones(len(steps))
    return Course(_phases(interval), start, one, 0.0 * one, np.array([*steps.values()], float), interval)


def _phases(interval: float) -> Array:
    return np.array([p for p in PHASES if p <= interval])


def side_by_side(courses: Sequence[Course]) -> Course:
    """Several courses as one: shorter ones are filled up with their last moments."""

    def filled(name: str) -> Array:
        rows = [getattr(course, name) for course in courses]
        longest = max(len(row) for row in rows)
        return np.stack([np.pad(row, (0, longest - len(row)), mode="edge") for row in rows])[:, None, :]

    interval = np.array([course.interval for course in courses])[:, None, None]
    return Course(filled("phase"), interval=interval, **{name: filled(name) for name in _OF_DOSES})
