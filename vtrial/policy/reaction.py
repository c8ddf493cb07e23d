"""What is done about a patient who is seen sedated: rounds, reactions, and the doses that are left.

A reaction rewrites doses that are still to come, from the round at which it is taken; what has been given stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from vtrial.dialysis import Modality, Sessions
from vtrial.policy.form import Clock, Percent, refuse
from vtrial.policy.regimen import Regimen
from vtrial.spec import Duration, Spec

type _Share = Annotated[float, Field(ge=0, le=1)]
type Level = Annotated[int, Field(ge=1, strict=True)]

DAY = 24.0


class Rounds(Spec):
    """When patients are looked at, and how well."""

    clock: Annotated[tuple[Clock, ...], Field(min_length=1)]
    """Clock times, on every day after the patient's first dose."""
    misjudged: tuple[tuple[_Share, ...], ...] = ()
    """Row by true level, from 0 on: the probability that each level is seen, from 0 on. Absent: seen as it is. Each
    look errs by itself."""

    @model_validator(mode="after")
    def _square(self):
        if twice := sorted({f"{time:g} h" for time in self.clock if self.clock.count(time) > 1}):
            raise refuse(f"the clock times of rounds come twice: {', '.join(twice)}")
        n, wrong = len(self.misjudged), []
        for level, row in enumerate(self.misjudged):
            if len(row) != n:
                wrong.append(f"row {level} of 'misjudged' has {len(row)} entries, of {n} rows each needs {n}")
            if abs(sum(row) - 1) > 1e-9:
                wrong.append(f"row {level} of 'misjudged' sums to {sum(row):g}, not to 1")
        if wrong:
            raise refuse("; ".join(wrong))
        return self

    def __str__(self) -> str:
        """When patients are looked at, in words.

        Examples
        --------
        >>> str(Rounds(clock=["08:00", "20:30"]))
        'looked at daily at 08:00, 20:30'
        """
        clock = ", ".join(f"{int(time):02}:{round(time % 1 * 60):02}" for time in self.clock)
        return f"looked at daily at {clock}{', at times misjudged' if self.misjudged else ''}"

    def times(self, start: float, until: float) -> list[float]:
        """Times of the rounds after a first dose at clock time `start`, h from it, before `until`.

        Examples
        --------
        >>> Rounds(clock=["08:00", "20:00"]).times(start=14.0, until=48.0)
        [6.0, 18.0, 30.0, 42.0]
        """
        first = [(time - start) % DAY or DAY for time in self.clock]
        days = range(int(until // DAY) + 1)
        return sorted(time + DAY * day for time in first for day in days if time + DAY * day < until)


class Reaction(Spec):
    """What is done at a round at which a patient is seen at a level or deeper.

    Of the reactions to the level seen or to lower ones, those to the deepest are taken, and no others.
    """

    seen: Level
    """Level at which, or deeper, the patient is seen."""
    do: Literal["stop", "hold", "reduce", "back", "stay", "dialyse"]
    """`stop`: no further dose. `hold`: none until the next round, which decides anew. `reduce`: every further dose is
    multiplied by `to`. `back`: the course goes on from where it was `days` days ago. `stay`: it rises no further, the
    doses of this day come again on every day. `dialyse`: a session of haemodialysis, beside any other reaction."""
    drugs: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Drugs whose doses change; absent: all."""
    to: Percent | None = None
    """Of `reduce`: what is left of each dose."""
    days: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Of `back`."""
    after: Duration | None = None
    """Of `dialyse`: from the round to the start of the session."""
    hours: Duration | None = None
    """Of `dialyse`: length of the session."""
    modality: Modality = "HD"
    """Of `dialyse`."""

    @model_validator(mode="after")
    def _complete(self):
        needed = {"reduce": ("to",), "back": ("days",), "dialyse": ("after", "hours")}.get(self.do, ())
        names = ("to", "days", "after", "hours")
        wrong = [f"'{self.do}' needs '{name}'" for name in needed if getattr(self, name) is None]
        wrong += [
            f"'{name}' does not belong to '{self.do}'"
            for name in names
            if name not in needed and getattr(self, name) is not None
        ]
        if self.do != "dialyse" and "modality" in self.model_fields_set:
            wrong.append(f"'modality' does not belong to '{self.do}'")
        if self.do == "dialyse" and self.drugs is not None:
            wrong.append("'drugs' does not belong to 'dialyse', which clears all")
        if wrong:
            raise refuse("; ".join(wrong))
        return self

    def __str__(self) -> str:
        """What is done, in words.

        Examples
        --------
        >>> str(Reaction(seen=1, do="reduce", to="50 %", drugs=["baclofen"]))
        'seen at level 1: reduce baclofen to 50%'
        """
        details = {
            "reduce": f" to {self.to:g}%" if self.to else "",
            "back": f" by {self.days} days",
            "dialyse": f" by {self.modality} after {self.after:g} h for {self.hours:g} h"
            if self.after and self.hours
            else "",
        }
        drugs = f" {', '.join(self.drugs)}" if self.drugs else ""
        return f"seen at level {self.seen}: {self.do}{drugs}{details.get(self.do, '')}"

    def rewritten(self, regimen: Regimen, now: float, following: float, horizon: float) -> Regimen:
        """The doses of one drug once the reaction is taken; one that is not given is a dose of 0 mg.

        Parameters
        ----------
        regimen : Regimen
            As it would have gone on.
        now, following : float
            Times of this round and the next, h from the start of the trial; a dose at `now` is not yet given.
        horizon : float
            End of dosing, h from the start.

        Returns
        -------
        Regimen
            The same object if nothing changes.

        Examples
        --------
        >>> tid = Regimen("baclofen", [0.0, 6.0, 12.0, 24.0], [5.0, 5.0, 5.0, 10.0])
        >>> Reaction(seen=2, do="hold").rewritten(tid, 12.0, 24.0, 48.0).amt.tolist()
        [5.0, 5.0, 0.0, 10.0]
        >>> Reaction(seen=2, do="reduce", to="50 %").rewritten(tid, 12.0, 24.0, 48.0).amt.tolist()
        [5.0, 5.0, 2.5, 5.0]
        """
        if self.do == "dialyse" or (self.drugs is not None and regimen.drug not in self.drugs):
            return regimen
        changed = regimen[regimen.time < now].followed_by(self._further(regimen, now, following, horizon))
        return regimen if changed.key == regimen.key else changed

    def session(self, now: float) -> Sessions | None:
        """The session of haemodialysis that is asked for at a round, `now` h from the first dose."""
        if self.after is None or self.hours is None:
            return None
        return Sessions.model_construct(first=now + self.after, hours=self.hours, every=None, modality=self.modality)

    def _further(self, regimen: Regimen, now: float, following: float, horizon: float) -> Regimen:
        """Doses from `now` on."""
        if self.do == "back" and regimen.time.size:
            assert self.days is not None
            regimen = _set_back(regimen, self.days)
        elif self.do == "stay" and regimen.time.size:
            regimen = _repeated(regimen, now, horizon)
        regimen = regimen[(regimen.time >= now) & (regimen.time < horizon)]
        if self.do == "reduce":
            assert self.to is not None
            return regimen.giving(regimen.amt * (self.to / 100))
        if self.do in ("stop", "hold"):
            end = following if self.do == "hold" else np.inf
            return regimen.giving(np.where(regimen.time < end, 0.0, regimen.amt))
        return regimen


def _set_back(regimen: Regimen, days: int) -> Regimen:
    """A course as it was days before; before its first day it was as on that. Doses enter as tablets do (`Arm`)."""
    time, amt = regimen.time, regimen.amt
    early = time < time[0] + DAY
    before = [time[early] - DAY * k for k in range(days, 0, -1)]
    return Regimen(
        regimen.drug, np.concatenate([*before, time]) + DAY * days, np.concatenate([*[amt[early]] * days, amt])
    )


def _repeated(regimen: Regimen, now: float, horizon: float) -> Regimen:
    """The day of a course that `now` belongs to, or has just ended with it, again and again."""
    time, amt = regimen.time, regimen.amt
    begin = time[0] + DAY * max(0.0, np.ceil((now - time[0]) / DAY) - 1)
    day = (time >= begin) & (time < begin + DAY)
    days = np.arange(int((horizon - begin) // DAY) + 1)
    return Regimen(regimen.drug, (time[day] + DAY * days[:, None]).ravel(), np.tile(amt[day], len(days)))


def reactions_to(level: int, reactions: Sequence[Reaction]) -> tuple[Reaction, ...]:
    """The reactions that are taken to a level that is seen.

    Examples
    --------
    >>> some = Reaction(seen=1, do="hold"), Reaction(seen=2, do="stop")
    >>> [reaction.do for reaction in reactions_to(3, some)], reactions_to(0, some)
    (['stop'], ())
    """
    deepest = max((one.seen for one in reactions if one.seen <= level), default=None)
    return tuple(one for one in reactions if one.seen == deepest)
