"""Dialysis: when sessions are, and from when to when they change a patient's kinetics.

A drug is cleared by dialysis as a model says that gives its individual parameter ``<drug>.CL_HD``, CL_CVVH or CL_CAPD,
in the units and conventions of CL: within a session of haemodialysis clearance is CL + CL_HD, between sessions CL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from vtrial.spec import Duration, Quantity, Spec

type Modality = Literal["HD", "CVVH", "CAPD"]
"""Kinds of dialysis: `vtrial.model.DIALYSES`."""


class Sessions(Spec):
    """Sessions of dialysis, counted from the patient's first dose of any drug."""

    modality: Modality = "HD"
    """Haemodialysis; CVVH, which runs for days; or CAPD, which runs all the time: from 0 h on for the whole horizon."""
    first: Annotated[float, Quantity("h", low=0)]
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


def changes(several: Sequence[Sessions], horizon: float) -> tuple[list[float], list[tuple[Modality, ...]]]:
    """When dialysis begins or ends, and what runs: at first, and from each of these times on.

    Parameters
    ----------
    several : sequence of Sessions
        Of one patient. They may overlap: one modality clears once, different ones add up.
    horizon : float
        End of what is simulated, h.

    Examples
    --------
    >>> changes([Sessions(first="2 h", hours="4 h"), Sessions(first="5 h", hours="3 h")], 24)
    ([2.0, 8.0], [(), ('HD',), ()])
    >>> changes([Sessions(first="0 h", hours="9 h", modality="CAPD"), Sessions(first="2 h", hours="4 h")], 8)
    ([2.0, 6.0], [('CAPD',), ('CAPD', 'HD'), ('CAPD',)])
    """
    spans = [(begin, end, one.modality) for one in several for begin, end in one.until(horizon)]
    kinds: list[Modality] = sorted({one.modality for one in several})

    def running(time: float) -> tuple[Modality, ...]:
        on = {modality for begin, end, modality in spans if begin <= time < end}
        return tuple(modality for modality in kinds if modality in on)

    times, rows = list[float](), [running(0.0)]
    for time in sorted({edge for begin, end, _ in spans for edge in (begin, end) if 0 < edge < horizon}):
        if (now := running(time)) != rows[-1]:
            times, rows = [*times, time], [*rows, now]
    return times, rows
