"""The endpoint of withdrawal: how far the drive falls below what the patient has adapted to. A hypothesis, grade B."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import model_validator
from pydantic_core import PydanticCustomError

from vtrial.endpoint.seen import Array, Levels, Seen, window_name
from vtrial.estimand import Outcome
from vtrial.model import Model
from vtrial.spec import Duration, Spec


class Rebound(Spec):
    """Whether the drive falls below the adapted level by as much as makes a naive patient reach a sedation level.

    A second compartment follows the drive at the half-time of tolerance, and is what the drive is felt against (the
    structure of Ekblom, Hammarlund-Udenaes and Paalzow, J Pharmacol Exp Ther 1993;266:244-252, for morphine in rats;
    that it holds for baclofen or pregabalin in people, and these thresholds, are hypotheses). The patient's
    sensitivity to the lack is that to the drive, and is integrated in closed form.
    """

    kind: Literal["rebound"]
    level: Levels
    """Levels of the model whose thresholds the lack of drive is held against."""
    after: Duration
    """From the first dose: a lack of drive counts from then on, e.g. from when doses fall."""
    within: Duration
    """Until when, from the first dose."""
    every: Duration = 4.0
    """The drive is looked at so often, and is a straight line between."""

    @model_validator(mode="after")
    def _whole(self):
        wrong = [
            f"'{name}', {end:g} h, is not a multiple of 'every', {self.every:g} h"
            for name, end in (("after", self.after), ("within", self.within))
            if abs(end / self.every - round(end / self.every)) > 1e-9
        ]
        if self.within <= self.after:
            wrong.append(f"'within', {self.within:g} h, is not later than 'after', {self.after:g} h")
        if wrong:
            raise PydanticCustomError("rebound", "{text}", {"text": "; ".join(wrong)})
        return self

    @property
    def windows(self) -> tuple[float, ...]:
        return tuple(self.every * k for k in range(1, round(self.within / self.every) + 1))

    def outcomes(self, model: Model) -> list[Outcome]:
        when = f"{window_name(self.after)} to {window_name(self.within)}"
        return [
            Outcome(
                f"rebound{k}_{window_name(self.after)}_{window_name(self.within)}",
                "1",
                f"P(lack of drive >= that of level {k} ({model.levels[k]}), {when}; hypothesis)",
            )
            for k in self.level
        ]

    def evaluate(self, seen: Seen) -> list[Array]:
        from vtrial.pharmacodynamics import level_probability, tolerance

        times = np.array(self.windows)
        fold, t_half = seen.of_draw(seen.fold), seen.of_draw(seen.t_half)
        left = np.exp2(-times[:, None] / t_half)
        last = seen.exposure.last[:, [seen.window(time) for time in self.windows]]
        lack = lacking(times, last * tolerance(left, fold), fold, t_half)[:, times >= self.after].max(1)
        omega = seen.of_draw(seen.omega_S)
        return [seen.within(level_probability(list(lack), seen.of_draw(seen.r[:, k - 1]), omega)) for k in self.level]


def lacking(times: Array, drive: Array, fold: Array, t_half: Array) -> Array:
    """How far the drive is below the adapted level: (1 - 1 / fold) L - A U, or 0 where it is not.

    L follows A U at the half-time of tolerance from 0, so that under a constant drive A U - (1 - 1 / fold) L, what is
    felt, goes from A U to A U / fold, as with `vtrial.pharmacodynamics.tolerance`.

    Parameters
    ----------
    times : array, shape (time,)
        From the first dose, h, increasing.
    drive : array, shape (channel, time, n)
        A U at these times, before tolerance; 0 at the first dose, and a straight line between.
    fold, t_half : arrays, shape (n,)
        Of tolerance; h. A fold below 1, sensitisation, leaves no lack.

    Returns
    -------
    array, shape (channel, time, n)

    Examples
    --------
    >>> drive = np.array([[[1.0], [1.0], [0.0]]])  # for ever, then gone
    >>> lacking(np.array([1e-9, 1e3, 1e3 + 1e-9]), drive, np.array([2.0]), np.array([5.0])).round(3).ravel().tolist()
    [0.0, 0.0, 0.5]
    """
    rate = np.log(2.0) / t_half
    adapted, before, found = np.zeros_like(drive[:, 0]), np.zeros_like(drive[:, 0]), []
    for (start, end), now in zip(pairwise([0.0, *times.tolist()]), np.moveaxis(drive, 1, 0), strict=True):
        x = rate * (end - start)
        kept = np.exp(-x)
        mean = -np.expm1(-x) / x  # of what is kept, over the step
        adapted = kept * adapted + now * (1.0 - mean) + before * (mean - kept)
        found.append(np.maximum((1.0 - 1.0 / fold) * adapted - now, 0.0))
        before = now
    return np.stack(found, 1)
