"""Acute kidney injury and recovery: what the kidney does, and what creatinine shows of it.

True GFR is a share of the patient's own, constant between known times. Creatinine follows by mass balance, in one
compartment, dC/dt = (G - GFR C) / V, exactly: from one time to the next C goes exponentially to C0 / share, at the
rate share * GFR0 / V. Before the injury C is C0 = G / GFR0, the creatinine that the patient was drawn with.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BeforeValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from vtrial.population.renal import COVARIATES, derive
from vtrial.spec import Duration, Quantity, Spec

type Array = NDArray[np.float64]

LITRES_PER_HOUR = 0.06  # from mL/min
WATER = 0.6
"""Volume of creatinine, L/kg of body weight, total body water. Source: the default of clinPK::calc_kgfr, which cites
Pianta et al., PLoS ONE 2015, after Chen, J Am Soc Nephrol 2013;24:877-88 (A2)."""
RAMP = 12.0
"""Recovery goes in steps of so many hours, each at the mean of a straight line over it; the last may be shorter."""
RENAL = ("CRCL", "CRCL_IBW", "CRCL_ADJ", "EGFR", "EGFR_2009", "EGFR_ABS", "MDRD")
"""Covariates of renal function: with GFR, what the model's clearances may follow."""


def _refuse(text: str) -> PydanticCustomError:
    return PydanticCustomError("injury", "{text}", {"text": text})


_PERCENT = Quantity("percent", above=0, high=100)


def _read_share(given: Any) -> tuple[float, float]:
    ends = given if isinstance(given, list | tuple) else (given, given)
    if len(ends) != 2 or None in ends:
        raise _refuse(f"given {given!r}: write a share of the patient's own GFR, '30 %', or a range [20 %, 40 %]")
    low, high = (_PERCENT.read(end) / 100 for end in ends)
    if low > high:
        raise _refuse(f"impossible range: '{ends[0]}' is above '{ends[1]}'")
    return low, high


_QUANTITY = {"type": "string", "examples": ["30 %"]}
Severity = Annotated[
    tuple[float, float],
    BeforeValidator(_read_share),
    WithJsonSchema({"anyOf": [_QUANTITY, {"type": "array", "items": _QUANTITY, "minItems": 2, "maxItems": 2}]}),
]
"""Share of a patient's own GFR, or a range of it within which all values are equally likely."""


class Injury(Spec):
    """A course of true GFR: it falls at once, stays, and recovers along a straight line. Times count from the first
    dose of any drug."""

    onset: Annotated[float, Quantity("h")]
    """When it falls; negative: so long before the first dose."""
    gfr: Severity
    """What is left of the patient's own GFR: a share, or a range from which each patient has a share of his own.
    Reference and example patients have its middle."""
    lasts: Duration | None = None
    """How long it stays there; absent: to the end."""
    recovery: Duration | None = None
    """How long it then takes to recover; absent: it does at once."""
    recovers_to: Annotated[float, Quantity("percent", above=0, high=100)] = 100.0
    """Share of the patient's own GFR that he has after it."""
    uraemia: Literal["own", "nadir"] = "own"
    """Of which GFR uraemia has its effect on sensitivity, throughout: the patient's own, which is too little in the
    injury, or the lowest, which is too much outside of it. The kernel has one sensitivity for the whole trial."""

    @model_validator(mode="after")
    def _in_order(self):
        if self.lasts is None and (given := [n for n in ("recovery", "recovers_to") if n in self.model_fields_set]):
            raise _refuse(f"'{given[0]}' needs 'lasts': without it the injury lasts to the end")
        if self.recovers_to / 100 < self.gfr[1]:
            raise _refuse(f"'recovers_to' {self.recovers_to:g} % is below 'gfr' {100 * self.gfr[1]:g} %")
        return self

    @property
    def is_none(self) -> bool:
        """Whether it leaves GFR as it is."""
        return self.gfr == (1.0, 1.0)

    @property
    def middle(self) -> float:
        """Share of GFR that is left to reference and example patients."""
        return (self.gfr[0] + self.gfr[1]) / 2

    def steps(self) -> list[tuple[float, float]]:
        """From when on, h, how much of the recovery is done: 0 from the onset, 1 at last.

        Examples
        --------
        >>> Injury(onset="-24 h", gfr="30 %", lasts="48 h", recovery="30 h").steps()
        [(-24.0, 0.0), (24.0, 0.2), (36.0, 0.6), (48.0, 0.9), (54.0, 1.0)]
        """
        found = [(self.onset, 0.0)]
        if self.lasts is None:
            return found
        begin, whole = self.onset + self.lasts, self.recovery or 0.0
        edges = [*np.arange(0.0, whole, RAMP).tolist(), whole]
        found += [(begin + a, (a + b) / 2 / whole) for a, b in pairwise(edges)]
        return [*found, (begin + whole, 1.0)]

    def share(self, nadir: Any, recovered: float | None) -> Any:
        """Share of the own GFR that a patient has, of whom `nadir` is left at worst; `recovered` is None before."""
        if recovered is None or self.is_none:
            return np.ones(np.shape(nadir))
        top = self.recovers_to / 100
        return nadir + recovered * (top - nadir) if recovered < 1 else np.full(np.shape(nadir), top)

    def course(self, horizon: float) -> tuple[list[float], list[float | None]]:
        """When GFR changes after the first dose, before a horizon, h; and how much of the recovery is done, first and
        from each of these times on.

        Examples
        --------
        >>> Injury(onset="-24 h", gfr="30 %", lasts="48 h").course(72)
        ([24.0], [0.0, 1.0])
        >>> Injury(onset="6 h", gfr="30 %").course(72)
        ([6.0], [None, 0.0])
        """
        times = list[float]()
        recovered: list[float | None] = [None]
        if self.is_none:
            return times, recovered
        for begin, done in self.steps():
            if begin <= 0:
                recovered = [done]
            elif begin < horizon:
                times, recovered = [*times, begin], [*recovered, done]
        return times, recovered


def injured(share: Any, covariates: Mapping[str, Any]) -> dict[str, Any]:
    """Covariates of a kidney that has a share of its own GFR: the true one, and all metrics that stand for it.

    Examples
    --------
    >>> injured(0.5, {"GFR": 80.0, "CRCL": 70.0, "WT": 60.0})
    {'GFR': 40.0, 'CRCL': 35.0}
    """
    return {name: covariates[name] * share for name in ("GFR", *RENAL) if name in covariates}


def creatinine(
    injury: Injury, hours: float, *, nadir: ArrayLike, scr: ArrayLike, gfr: ArrayLike, weight: ArrayLike
) -> Array:
    """Serum creatinine in an injury.

    Parameters
    ----------
    injury : Injury
    hours : float
        When, h from the first dose.
    nadir : array_like
        Share of the own GFR that is left at worst.
    scr, gfr, weight : array_like
        The patient's own creatinine, mg/dL, true GFR, mL/min, and weight, kg.

    Returns
    -------
    ndarray
        Creatinine, mg/dL.

    Examples
    --------
    A day after GFR fell from 80 to 24 mL/min, creatinine has come halfway from 0.9 to 3.0 mg/dL:

    >>> fall = Injury(onset="-24 h", gfr="30 %")
    >>> round(float(creatinine(fall, 0.0, nadir=0.3, scr=0.9, gfr=80.0, weight=65.0)), 2)
    2.13
    """
    own, nadir = np.asarray(scr, float), np.asarray(nadir, float)
    rate = LITRES_PER_HOUR * np.asarray(gfr, float) / (WATER * np.asarray(weight, float))  # 1/h
    found, steps = own, injury.steps()
    for (begin, recovered), end in zip(steps, [*(later for later, _ in steps[1:]), np.inf], strict=True):
        if begin < hours:
            share = injury.share(nadir, recovered)
            level = own / share
            found = level + (found - level) * np.exp(-rate * share * (min(end, hours) - begin))
    return found


def kinetic_share(
    before: ArrayLike, now: ArrayLike, apart: float, *, scr: ArrayLike, crcl: ArrayLike, weight: ArrayLike
) -> Array:
    """Kinetic GFR by two creatinines, as a share of the patient's own.

    The mass balance between the two: (scr / mean) (1 - change / (apart * highest)), not below 0, where `highest` is how
    fast creatinine rises when nothing is cleared.

    Parameters
    ----------
    before, now : array_like
        The two creatinines, mg/dL.
    apart : float
        Time between them, h.
    scr, crcl, weight : array_like
        Creatinine (mg/dL) and creatinine clearance (mL/min) when the kidney was well, as a prescriber knows them, and
        weight, kg.

    Returns
    -------
    ndarray

    Notes
    -----
    Chen, J Am Soc Nephrol 2013;24:877-88, recalled (B), with the highest rise from what is made in the volume `WATER`.

    Examples
    --------
    Creatinine has risen from 1.0 to 2.0 mg/dL within a day. It stands for half of the GFR, but less is left:

    >>> float(kinetic_share(1.0, 2.0, 24.0, scr=1.0, crcl=75.0, weight=60.0).round(2))
    0.44
    """
    own = np.asarray(scr, float)
    highest = LITRES_PER_HOUR * np.asarray(crcl, float) / (WATER * np.asarray(weight, float)) * own  # mg/dL/h
    change, mean = np.subtract(now, before), np.add(now, before) / 2
    return np.maximum(own / mean * (1 - change / (apart * highest)), 0.0)


def visible(
    people: Mapping[str, Any], injury: Injury | None, hours: float, *, kinetic: float | None = None
) -> dict[str, Any]:
    """What can be seen of patients at a time: their covariates, with the creatinine then and all that follows from it.

    Parameters
    ----------
    people : mapping of str to array
        Covariates, DIALYSIS, the true GFR (mL/min) and NADIR, the share of it that an injury leaves.
    injury : Injury or None
    hours : float
        When, h from the first dose.
    kinetic : float, optional
        Metrics of renal function are kinetic ones, by this creatinine and that of so many hours before.

    Returns
    -------
    dict of str to array
        Covariates of `COVARIATES` and DIALYSIS; the very numbers of `people` where creatinine is the patient's own.
    """
    own = {name: people[name] for name in (*COVARIATES, "DIALYSIS")}
    if injury is None:
        return own
    body = {"nadir": people["NADIR"], "scr": people["SCR"], "gfr": people["GFR"], "weight": people["WT"]}
    now = creatinine(injury, hours, **body)
    if kinetic is not None:
        before, known = creatinine(injury, hours - kinetic, **body), {"scr": own["SCR"], "crcl": own["CRCL"]}
        share = kinetic_share(before, now, kinetic, weight=own["WT"], **known)
        return own | {"SCR": now} | {name: own[name] * share for name in RENAL}
    if np.array_equal(now, own["SCR"]):
        return own
    later = derive({name: own[name] for name in ("AGE", "SEX", "HT", "WT")} | {"SCR": now})
    same = now == own["SCR"]
    return own | {name: np.where(same, own[name], value) for name, value in later.items()}
