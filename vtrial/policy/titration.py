"""The course of one tier's doses over the days: the starting dose, then steps and targets up to a ceiling.

One rule for every source: a dose rises to the ceiling and stays there (the last step is cut if it would
pass it), it never falls, and a daily amount is divided equally over the doses of the day. What no tablet or
capsule gives is not rounded here; `unavailable_doses` names it, and `Arm.rounded` rounds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vtrial.policy.regimen import FREQUENCIES, Frequency, Regimen, dose_times

if TYPE_CHECKING:
    from vtrial.policy.form import Increment, Tier, Titration


@dataclass(frozen=True)
class Level:
    """A dose of `amt` mg at every time of `frequency`, from `since` h until the next level begins."""

    since: float
    frequency: Frequency
    amt: float

    @property
    def daily(self) -> float:
        return self.frequency.n * self.amt


def course(
    drug: str, tier: Tier, titration: Titration | None, *, ceiling: float, start: float, horizon: float
) -> Regimen:
    """Write out the doses of a tier.

    Parameters
    ----------
    drug : str
    tier : Tier
        Starting dose; a tier that says avoid gives no dose.
    titration : Titration or None
        None holds the starting dose.
    ceiling : float
        Greatest daily dose, mg; inf if there is none.
    start, horizon : float
        As in `dose_times`, h.

    Returns
    -------
    Regimen
    """
    if tier.dose is None or tier.freq is None:
        return Regimen.none(drug)
    levels, added = _levels(Level(0.0, FREQUENCIES[tier.freq], tier.dose), tier, titration, ceiling, horizon)
    ends = [*(level.since for level in levels[1:]), horizon]
    spans = list(zip(levels, ends, strict=True)) + [(level, horizon) for level in added]
    times = [dose_times(level.frequency, start=start, horizon=end) for level, end in spans]
    times = [time[time >= level.since] for time, (level, _) in zip(times, spans, strict=True)]
    amts = [np.full(time.size, level.amt) for time, (level, _) in zip(times, spans, strict=True)]
    time, amt = np.concatenate(times), np.concatenate(amts)
    order = np.argsort(time, kind="stable")
    return Regimen(drug, time[order], amt[order])


def _levels(
    first: Level, tier: Tier, titration: Titration | None, ceiling: float, horizon: float
) -> tuple[list[Level], list[Level]]:
    """Successive levels of the regular dose, and the doses added at a clock time of their own."""
    levels, added = [first], []
    if titration is None:
        return levels, added
    scale = (tier.factor or 1.0) if titration.scaled_by_factor else 1.0
    for since, increment in _events(titration, horizon):
        now = levels[-1]
        room = ceiling - now.daily - sum(level.daily for level in added)
        if room <= 0 and increment.freq is None:
            continue
        if increment.at is not None and increment.step is not None:
            amt = min(increment.step * scale, room)
            added.append(Level(since, Frequency((0.0,), clock=increment.at), amt))
            continue
        frequency = FREQUENCIES[increment.freq] if increment.freq else now.frequency
        daily = min(_wanted(increment, now, frequency, scale), now.daily + room)
        after = Level(since, frequency, max(daily, now.daily) / frequency.n)
        if after.amt != now.amt or after.frequency != now.frequency:
            levels.append(after)
    return levels, added


def _wanted(increment: Increment, now: Level, frequency: Frequency, scale: float) -> float:
    """Daily dose, mg, that an increment asks for before the ceiling."""
    share = frequency.n if increment.per == "dose" else 1
    if increment.to is not None:
        return increment.to * share
    daily = now.daily + (increment.step or 0.0) * scale * share
    return daily if increment.up_to is None else min(daily, increment.up_to * share)


def _events(titration: Titration, horizon: float) -> Iterator[tuple[float, Increment]]:
    """Times, h, at which increments happen before the horizon, in order."""
    events: list[tuple[float, Increment]] = []
    for increment in titration.increments:
        first, every = 24.0 * (increment.day - 1), increment.every or float("inf")
        count = 1 + (0 if every == float("inf") else max(0, int((horizon - first) // every)))
        events += [(first + (k * every if k else 0.0), increment) for k in range(count)]
    # sort is stable: increments of the same time act in the order of the file
    yield from sorted((event for event in events if event[0] < horizon), key=lambda event: event[0])
