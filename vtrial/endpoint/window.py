"""Endpoints of a window that starts at the first dose: levels reached, exposures, time of the peak, time at a level."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from vtrial.endpoint.seen import Array, Levels, Seen, Windows, window_name
from vtrial.estimand import Outcome
from vtrial.model import Model
from vtrial.spec import Duration, Spec


def chances(seen: Seen, levels: Sequence[int], windows: Sequence[float]) -> list[Array]:
    """Probability that each level is reached within each window, in the share: for each window an array (level, n)."""
    from vtrial.pharmacodynamics import level_probabilities

    peaks = [seen.exposure.peak[:, seen.window(w)] for w in windows]
    r = seen.r[:, [k - 1 for k in levels]]
    each = [level_probabilities(peaks[0], seen.draw, r, seen.omega_S)]
    for before, peak in pairwise(peaks):
        later = np.flatnonzero((peak != before).any(0))  # the first days' peak is often the week's
        each.append(each[-1].copy())
        each[-1][:, later] = level_probabilities(peak[:, later], seen.draw[later], r, seen.omega_S)
    return [seen.within(of_window) for of_window in each]


class LevelReached(Spec):
    """Whether the patient is at a sedation level or deeper at least once within a window."""

    kind: Literal["level_reached"]
    level: Levels
    """Levels of the model, counted from 1 (0 is awake)."""
    within: Windows
    """Windows, each from the patient's first dose of any drug."""
    estimator: Literal["integrated", "counting"] = "integrated"
    """Integrate the patient's sensitivity in closed form, or draw it and count: the latter is the oracle."""

    @property
    def windows(self) -> tuple[float, ...]:
        return self.within

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
        from vtrial.pharmacodynamics import level_reached

        if self.estimator == "integrated":
            each = chances(seen, self.level, self.within)
            return [of_window[i] for i in range(len(self.level)) for of_window in each]
        peaks = [seen.exposure.peak[:, seen.window(w)] for w in self.within]
        r = seen.r[:, [k - 1 for k in self.level]]
        own, omega_S = seen.of_draw(r), seen.of_draw(seen.omega_S)
        return [
            (level_reached(list(peak), own[:, i], omega_S, seen.z[: len(peak)]) & seen.counts()).astype(float)
            for i in range(len(self.level))
            for peak in peaks
        ]


class _OneWindow(Spec):
    """An endpoint of one window."""

    within: Duration
    """Window from the first dose."""

    @property
    def windows(self) -> tuple[float, ...]:
        return (self.within,)


class Cmax(_OneWindow):
    """Maximum concentration of each drug within a window, and its ratio to the reference patient's."""

    kind: Literal["cmax"]

    def outcomes(self, model: Model) -> list[Outcome]:
        return _exposure_outcomes(model, "cmax", "Cmax", "mg/L", self.within)

    def evaluate(self, seen: Seen) -> list[Array]:
        w = seen.window(self.within)
        return _with_ratios(seen, seen.exposure.cmax[:, w], seen.reference.cmax[:, w])


class Auc(_OneWindow):
    """Area under the concentration of each drug from the first dose, and its ratio to the reference patient's."""

    kind: Literal["auc"]

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
    with np.errstate(invalid="ignore"):
        # a reference arm without the drug has no ratio, whatever the others give: NaN, not infinite
        known = (np.where(ref > 0, ref, np.nan) for ref in reference)
        ratios = (value / seen.of_draw(ref) for value, ref in zip(values, known, strict=True))
        return [seen.weight * value for value in (*values, *ratios)]


class PeakClock(_OneWindow):
    """Time of day at which the drive peaks: its share in each quarter of the day, and at night."""

    kind: Literal["peak_clock"]

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
        inside = [(hour >= a) & (hour < b) if a < b else (hour >= a) | (hour < b) for a, b in CLOCK_BINS]
        return [seen.weight * share for share in inside]


CLOCK_BINS = ((0, 6), (6, 12), (12, 18), (18, 24), (22, 7))
"""Quarters of the day, and the night from 22:00 to 07:00."""


class TimeAtLevel(_OneWindow):
    """Expected time at a sedation level or deeper within a window, the patient's sensitivity integrated out."""

    kind: Literal["time_at_level"]
    level: Levels
    """Levels of the model."""

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
