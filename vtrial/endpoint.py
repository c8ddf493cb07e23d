"""From the exposure of a patient to one number: the endpoints that a scenario can name.

A new endpoint is one class here: a spec with its keys, the outcomes it gives, and how to evaluate them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vtrial.estimand import Outcome
from vtrial.model import Model
from vtrial.spec import Duration, Spec

type Array = NDArray[np.float64]


class Exposed(Protocol):
    """The part of `vtrial.kinetics.Exposure` that endpoints read (see there)."""

    @property
    def peak(self) -> Array: ...
    @property
    def peak_time(self) -> Array: ...
    @property
    def cmax(self) -> Array: ...
    @property
    def auc(self) -> Array: ...
    @property
    def time_at(self) -> Array: ...


@dataclass(frozen=True)
class Seen:
    """What an endpoint may look at: exposures, and what turns them into sedation.

    Parameters
    ----------
    exposure, reference : Exposed
        Of n treated patients; and of the reference patient, one for each draw.
    windows : tuple of float
        Ends of the windows, h, in the order of the exposure.
    draw : array of int, shape (n,)
        Which draw each patient belongs to.
    r, omega_S : arrays, shape (draw, level) and (draw,)
    z : sequence of arrays, each shape (n,)
        Deviation of log sensitivity per channel: only the counting estimator looks at it.
    clock : array, shape (n,)
        Clock time of the first dose, h.
    """

    exposure: Exposed
    reference: Exposed
    windows: tuple[float, ...]
    draw: NDArray[np.integer]
    r: Array
    omega_S: Array
    z: Sequence[Array]
    clock: Array

    def window(self, hours: float) -> int:
        """Position of a window."""
        return self.windows.index(hours)

    def of_draw(self, values: Array) -> Array:
        """Each patient's value of what is known for each draw, shape (draw,)."""
        return values[self.draw]


def window_name(hours: float) -> str:
    """Name a window: hours up to three days, days beyond.

    Examples
    --------
    >>> window_name(24), window_name(168)
    ('24h', '7d')
    """
    return f"{hours / 24:g}d" if hours > 72 and hours % 24 == 0 else f"{hours:g}h"


type Windows = Annotated[tuple[Duration, ...], Field(min_length=1)]
type Levels = Annotated[tuple[Annotated[int, Field(ge=1, strict=True)], ...], Field(min_length=1)]


class LevelReached(Spec):
    """Whether the patient is at a sedation level or deeper at least once within a window."""

    kind: Literal["level_reached"]
    level: Levels
    """Levels of the model, counted from 1 (0 is awake)."""
    within: Windows
    """Windows, each from the patient's first dose of any drug."""
    estimator: Literal["integrated", "counting"] = "integrated"
    """Integrate the patient's sensitivity in closed form, or draw it and count: the latter is the oracle."""

    def outcomes(self, model: Model) -> list[Outcome]:
        suffix = "" if self.estimator == "integrated" else "_counted"
        return [
            Outcome(
                f"level{k}_{window_name(w)}{suffix}",
                "1",
                f"P(level >= {k} ({model.levels[k]}) within {window_name(w)})",
                True,
            )
            for k in self.level
            for w in self.within
        ]

    def evaluate(self, seen: Seen) -> list[Array]:
        from vtrial.pharmacodynamics import level_probabilities, level_reached

        peaks = [seen.exposure.peak[:, seen.window(w)] for w in self.within]
        r = seen.r[:, [k - 1 for k in self.level]]
        if self.estimator == "integrated":
            each = [level_probabilities(peaks[0], seen.draw, r, seen.omega_S)]
            for before, peak in pairwise(peaks):
                later = np.flatnonzero((peak != before).any(0))  # the first days' peak is often the week's
                each.append(each[-1].copy())
                each[-1][:, later] = level_probabilities(peak[:, later], seen.draw[later], r, seen.omega_S)
            return [of_window[i] for i in range(len(self.level)) for of_window in each]
        own, omega_S = seen.of_draw(r), seen.of_draw(seen.omega_S)
        return [
            level_reached(list(peak), own[:, i], omega_S, seen.z[: len(peak)]).astype(float)
            for i in range(len(self.level))
            for peak in peaks
        ]


class Cmax(Spec):
    """Maximum concentration of each drug within a window, and its ratio to the reference patient's."""

    kind: Literal["cmax"]
    within: Duration
    """Window from the first dose."""

    def outcomes(self, model: Model) -> list[Outcome]:
        return _exposure_outcomes(model, "cmax", "Cmax", "mg/L", self.within)

    def evaluate(self, seen: Seen) -> list[Array]:
        w = seen.window(self.within)
        return _with_ratios(seen, seen.exposure.cmax[:, w], seen.reference.cmax[:, w])


class Auc(Spec):
    """Area under the concentration of each drug from the first dose, and its ratio to the reference patient's."""

    kind: Literal["auc"]
    within: Duration
    """Window from the first dose."""

    def outcomes(self, model: Model) -> list[Outcome]:
        return _exposure_outcomes(model, "auc", "AUC", "mg h/L", self.within)

    def evaluate(self, seen: Seen) -> list[Array]:
        w = seen.window(self.within)
        return _with_ratios(seen, seen.exposure.auc[:, w], seen.reference.auc[:, w])


def _exposure_outcomes(model: Model, name: str, label: str, unit: str, within: float) -> list[Outcome]:
    window = window_name(within)
    plain = [Outcome(f"{name}_{d.name}_{window}", unit, f"{label} of {d.name}, 0 to {window}") for d in model.drugs]
    ratio = [
        Outcome(
            f"{name}_ratio_{d.name}_{window}",
            "1",
            f"{label} of {d.name}, 0 to {window}, over the reference patient's",
        )
        for d in model.drugs
    ]
    return plain + ratio


def _with_ratios(seen: Seen, values: Array, reference: Array) -> list[Array]:
    with np.errstate(divide="ignore", invalid="ignore"):  # a reference arm without the drug has no ratio
        return [*values, *(value / seen.of_draw(ref) for value, ref in zip(values, reference, strict=True))]


class PeakClock(Spec):
    """Time of day at which the drive peaks: its share in each quarter of the day, and at night."""

    kind: Literal["peak_clock"]
    within: Duration
    """Window from the first dose."""

    def outcomes(self, model: Model) -> list[Outcome]:
        window = window_name(self.within)
        return [
            Outcome(
                f"peak_clock_{a:02}_{b:02}_{window}",
                "1",
                f"share of peaks of the drive between {a:02}:00 and {b:02}:00",
            )
            for a, b in CLOCK_BINS
        ]

    def evaluate(self, seen: Seen) -> list[Array]:
        w = seen.window(self.within)
        # under independent action the day's peak is that of the channel that peaks highest
        peak, time = seen.exposure.peak[0, w], seen.exposure.peak_time[0, w]
        for other, its_time in zip(seen.exposure.peak[1:, w], seen.exposure.peak_time[1:, w], strict=True):
            peak, time = np.maximum(peak, other), np.where(other > peak, its_time, time)
        hour = np.where(peak > 0, (seen.clock + time) % 24.0, np.nan)  # the undosed peak at no time
        return [((hour >= a) & (hour < b) if a < b else (hour >= a) | (hour < b)).astype(float) for a, b in CLOCK_BINS]


CLOCK_BINS = ((0, 6), (6, 12), (12, 18), (18, 24), (22, 7))
"""Quarters of the day, and the night from 22:00 to 07:00."""


class TimeAtLevel(Spec):
    """Expected time at a sedation level or deeper within a window, the patient's sensitivity integrated out."""

    kind: Literal["time_at_level"]
    level: Levels
    """Levels of the model."""
    within: Duration
    """Window from the first dose."""

    def outcomes(self, model: Model) -> list[Outcome]:
        window = window_name(self.within)
        return [
            Outcome(
                f"time_level{k}_{window}",
                "h",
                f"expected time at level >= {k} ({model.levels[k]}) within {window}",
            )
            for k in self.level
        ]

    def evaluate(self, seen: Seen) -> list[Array]:
        w = seen.window(self.within)
        return [seen.exposure.time_at[i, w] for i in range(len(self.level))]


type Endpoint = Annotated[LevelReached | Cmax | Auc | PeakClock | TimeAtLevel, Field(discriminator="kind")]


def windows(endpoints: Sequence[Any]) -> tuple[float, ...]:
    """All windows that endpoints name, increasing."""
    every = [w for e in endpoints for w in (e.within if isinstance(e.within, tuple) else (e.within,))]
    return tuple(sorted(set(every)))


def outcomes(endpoints: Sequence[Any], model: Model) -> list[Outcome]:
    """All outcomes of the endpoints, in their order."""
    return [outcome for endpoint in endpoints for outcome in endpoint.outcomes(model)]


def levels_timed(endpoints: Sequence[Any]) -> tuple[int, ...]:
    """Levels whose time a scenario asks for (at most one endpoint of this kind)."""
    return next((e.level for e in endpoints if isinstance(e, TimeAtLevel)), ())


def concentration_windows(endpoints: Sequence[Any], every: Sequence[float]) -> int:
    """How many windows, from the first, need maxima of concentrations."""
    return max((every.index(e.within) + 1 for e in endpoints if isinstance(e, Cmax)), default=0)


def counted(endpoints: Sequence[Any]) -> bool:
    """Whether an endpoint looks at a patient's own sensitivity."""
    return any(isinstance(e, LevelReached) and e.estimator == "counting" for e in endpoints)


def evaluate(endpoints: Sequence[Any], seen: Seen) -> list[Array]:
    """Evaluate endpoints for all patients: arrays of shape (n,), in the order of `outcomes`."""
    return [value for endpoint in endpoints for value in endpoint.evaluate(seen)]
