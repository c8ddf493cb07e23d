"""What a scenario may ask for beside its arms by strata: risk against dose, over two doses, under other assumptions."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from vtrial.model import Surface
from vtrial.policy.form import FrequencyName, refuse
from vtrial.spec import Amount, Spec


def _rising(given: tuple[float, ...]) -> tuple[float, ...]:
    if any(later <= earlier for earlier, later in pairwise(given)):
        raise refuse(f"given {', '.join(f'{x:g}' for x in given)}: each must be above the one before")
    return given


class DoseRisk(Spec):
    """Risk against dose: all doses of an arm multiplied."""

    arm: str
    strata: Annotated[tuple[str, ...], Field(min_length=1)]
    multiples: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2)]


class DoseAxis(Spec):
    """Doses of one drug that everyone is given."""

    freq: FrequencyName
    """How often, e.g. `TID`."""
    doses: Annotated[tuple[Amount, ...], Field(min_length=2), AfterValidator(_rising)]
    """Amounts of each dose, rising; none at all is tried too."""


class DoseSurface(Spec):
    """Risk over the daily doses of two drugs, for isoboles."""

    strata: Annotated[tuple[str, ...], Field(min_length=1)]
    drugs: Annotated[dict[str, DoseAxis], Field(min_length=2, max_length=2)]
    """Drug -> doses, of two drugs."""


class Change(Spec):
    """What differs from the scenario's `model`."""

    surface: Surface | None = None
    food: Literal["fasted", "fed"] | None = None
    fix: dict[str, float | str] = Field(default_factory=dict)


class Sensitivities(Spec):
    """Named assumptions, one at a time, on the same patients: how much does each matter?"""

    arms: Annotated[tuple[str, ...], Field(min_length=1)]
    strata: Annotated[tuple[str, ...], Field(min_length=1)]
    cases: Annotated[dict[str, Change], Field(min_length=1)]
    """Name of the assumption -> what differs."""
