"""Endpoints of the course of sedation: when a level is first reached, and whether it is over after some time."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from vtrial.endpoint.seen import Array, Levels, Seen, window_name
from vtrial.endpoint.window import chances
from vtrial.estimand import Derived, Outcome
from vtrial.model import Model
from vtrial.spec import Duration, Spec


def _refuse(text: str) -> PydanticCustomError:
    return PydanticCustomError("course", "{text}", {"text": text})


def _increasing(given: tuple[float, ...]) -> tuple[float, ...]:
    if any(later <= earlier for earlier, later in pairwise(given)):
        raise _refuse(f"times {', '.join(f'{time:g} h' for time in given)} do not increase")
    return given


type Times = Annotated[tuple[Duration, ...], Field(min_length=1), AfterValidator(_increasing)]


class Onset(Spec):
    """When a sedation level is first reached: cumulative incidence, mean time free of it, and median onset.

    The patient's sensitivity is integrated in closed form. Between the times the curve is taken for a straight line,
    so they should lie close where it is steep.
    """

    kind: Literal["onset"]
    level: Levels
    """Levels of the model, counted from 1 (0 is awake)."""
    times: Annotated[Times, Field(min_length=2)]
    """Times, each from the patient's first dose of any drug, at which the curve is wanted; the last is the horizon."""

    @property
    def windows(self) -> tuple[float, ...]:
        return self.times

    def outcomes(self, model: Model) -> list[Outcome]:
        last = window_name(self.times[-1])
        found = []
        for k in self.level:
            what = f"level >= {k} ({model.levels[k]})"
            found += [Outcome(f"onset{k}_{t}", "1", f"P({what} by {t})") for t in map(window_name, self.times)]
            found.append(Outcome(f"free{k}_{last}", "h", f"mean time before {what} is first reached, within {last}"))
        return found

    def derived(self, model: Model) -> list[Derived]:
        last, times = window_name(self.times[-1]), np.array([0.0, *self.times])

        def median(*curve: Array) -> Array:
            return half_time(times, np.stack([np.zeros_like(curve[0]), *curve], -1))

        return [
            Derived(
                Outcome(
                    f"median_onset{k}_{last}",
                    "h",
                    f"median time of first reaching level >= {k} ({model.levels[k]}), of those who do within {last}",
                ),
                tuple(f"onset{k}_{window_name(t)}" for t in self.times),
                median,
            )
            for k in self.level
        ]

    def evaluate(self, seen: Seen) -> list[Array]:
        each, steps = chances(seen, self.level, self.times), np.diff(self.times, prepend=0.0)
        found: list[Array] = []
        for i in range(len(self.level)):
            curve = [of_time[i] for of_time in each]
            lost = sum(
                0.5 * step * (before + after)
                for step, before, after in zip(steps, [np.zeros_like(curve[0]), *curve[:-1]], curve, strict=True)
            )
            found += [*curve, seen.weight * self.times[-1] - lost]
        return found


def half_time(times: Array, curve: Array) -> Array:
    """When a cumulative incidence reaches half of its last value, linear between the times.

    Parameters
    ----------
    times : array, shape (time,)
        The first is 0.
    curve : array, shape (..., time)
        Not decreasing, the first value 0.

    Returns
    -------
    array, shape (...)
        NaN where the last value is 0: nobody has an onset.

    Examples
    --------
    >>> half_time(np.array([0.0, 10.0, 20.0]), np.array([[0.0, 0.1, 0.3], [0.0, 0.0, 0.0]])).tolist()
    [12.5, nan]
    """
    goal = 0.5 * curve[..., -1:]
    at = np.minimum((curve < goal).sum(-1, keepdims=True), len(times) - 1).clip(1)
    low, high = (np.take_along_axis(curve, at - shift, -1) for shift in (1, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = times[at - 1] + (goal - low) / (high - low) * (times[at] - times[at - 1])
    return np.where(goal > 0, found, np.nan)[..., 0]


class Recovery(Spec):
    """Whether sedation is over: of those who reached a level, who is not yet back below another for good.

    The patient's sensitivity is integrated in closed form in both. The estimate is the ratio of two means, in each
    draw of the parameters; with few patients in a draw it is biased by their noise, which the inner share tells.
    """

    kind: Literal["recovery"]
    from_level: Annotated[int, Field(ge=1, strict=True)]
    """Level that the patients have reached at some time before `at`."""
    to_level: Annotated[int, Field(ge=1, strict=True)]
    """Level below which they are when they have recovered."""
    at: Duration
    """From the patient's first dose: e.g. when doses stop (`treatment.stop`), or dialysis begins."""
    times: Times
    """Times after `at`: who reaches `to_level` at or after it has not recovered by then."""
    until: Duration
    """From the first dose: for good means until then."""

    @property
    def _tag(self) -> str:
        return f"{self.from_level}to{self.to_level}_{window_name(self.at)}"

    @property
    def windows(self) -> tuple[float, ...]:
        return (self.at, *self.starts, self.until)

    @property
    def starts(self) -> tuple[float, ...]:
        """When those who have recovered must be below the level, h from the first dose."""
        return tuple(self.at + time for time in self.times)

    def _texts(self, model: Model) -> tuple[str, str]:
        reached = f"level >= {self.from_level} ({model.levels[self.from_level]}) within {window_name(self.at)}"
        return reached, f"level >= {self.to_level} ({model.levels[self.to_level]})"

    def outcomes(self, model: Model) -> list[Outcome]:
        reached, still = self._texts(model)
        found = [Outcome(f"reached{self._tag}", "1", f"P({reached})")]
        for start, t in zip(map(window_name, self.starts), map(window_name, self.times), strict=True):
            late = f"{still} between {start} and {window_name(self.until)}"
            found.append(Outcome(f"unrecovered{self._tag}_{t}_joint", "1", f"P({reached}, and {late})"))
            found.append(Outcome(f"recovered{self._tag}_{t}_joint", "1", f"P({reached}, and no {late})"))
        return found

    def derived(self, model: Model) -> list[Derived]:
        reached, still = self._texts(model)
        return [
            Derived(
                Outcome(
                    f"unrecovered{self._tag}_{t}",
                    "1",
                    f"P(not below {still} for good {t} after {window_name(self.at)}, given {reached})",
                ),
                (f"unrecovered{self._tag}_{t}_joint", f"reached{self._tag}", f"recovered{self._tag}_{t}_joint"),
                lambda joint, base, rest: _ratio(joint, base),
                _ratio_noise,
            )
            for t in map(window_name, self.times)
        ]

    def evaluate(self, seen: Seen) -> list[Array]:
        from vtrial.pharmacodynamics import both_levels, level_probability

        omega = seen.of_draw(seen.omega_S)
        first, second = (seen.of_draw(seen.r[:, k - 1]) for k in (self.from_level, self.to_level))
        early = list(seen.exposure.peak[:, seen.window(self.at)])
        base = seen.within(level_probability(early, first, omega))
        found = [base]
        for start in self.starts:
            joint = seen.within(both_levels(early, list(seen.between(start, self.until)), first, second, omega))
            found += [joint, base - joint]
        return found


def _ratio(part: Array, whole: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return part / whole


def _ratio_noise(means: tuple[Array, ...], noise: tuple[Array, ...]) -> Array:
    """Variance of joint / base by the delta method; the rest, base - joint, tells their covariance."""
    (joint, base, _), (of_joint, of_base, of_rest) = means, noise
    ratio = _ratio(joint, base)
    covariance = 0.5 * (of_joint + of_base - of_rest)
    return _ratio(of_joint + ratio**2 * of_base - 2 * ratio * covariance, base**2)
