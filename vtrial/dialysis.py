"""Haemodialysis: when sessions are, and from when to when they change a patient's kinetics.

A drug is cleared by dialysis as a model says that gives its individual parameter ``<drug>.CL_HD``, in the units and
conventions of CL: within a session clearance is CL + CL_HD, between sessions CL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from vtrial.spec import Duration, Spec


class Sessions(Spec):
    """Sessions of haemodialysis, counted from the patient's first dose of any drug."""

    first: Duration
    """Start of the first session."""
    hours: Duration
    """Length of each session."""
    every: Annotated[tuple[Duration, ...], Field(min_length=1)] | None = None
    """From the start of a session to that of the next, in turn and over again: [48 h, 48 h, 72 h] is three times a
    week. Absent: a single session, as in a rescue."""

    @model_validator(mode="after")
    def _apart(self):
        if self.every is not None and min(self.every) <= self.hours:
            text = f"a session of {self.hours:g} h has not ended {min(self.every):g} h after its start"
            raise PydanticCustomError("sessions", "{text}", {"text": text})
        return self

    def until(self, horizon: float) -> list[tuple[float, float]]:
        """Start and end, h, of all sessions that start before the horizon.

        Examples
        --------
        >>> Sessions(first="44 h", hours="4 h", every=["48 h", "72 h"]).until(200)
        [(44.0, 48.0), (92.0, 96.0), (164.0, 168.0)]
        """
        found, start = list[tuple[float, float]](), self.first
        while start < horizon and (self.every is not None or not found):
            found.append((start, start + self.hours))
            start += self.every[(len(found) - 1) % len(self.every)] if self.every is not None else 0.0
        return found


def changes(several: Sequence[Sessions], horizon: float) -> tuple[list[float], list[int]]:
    """When dialysis begins or ends, and whether it runs: at first, and from each of these times on.

    Parameters
    ----------
    several : sequence of Sessions
        Of one patient; they may overlap.
    horizon : float
        End of what is simulated, h.

    Examples
    --------
    >>> changes([Sessions(first="2 h", hours="4 h"), Sessions(first="5 h", hours="3 h")], 24)
    ([2.0, 8.0], [0, 1, 0])
    """
    times, rows, end = list[float](), [0], -1.0
    for begin, stop in sorted(session for one in several for session in one.until(horizon)):
        if begin > end:
            times, rows = [*times, begin, stop], [*rows, 1, 0]
        else:
            times[-1] = max(end, stop)
        end = times[-1]
    inside = [time for time in times if time < horizon]
    return inside, rows[: len(inside) + 1]
