"""A policy: the form of its entry in YAML, and the doses that it gives to patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from vtrial.policy.form import (
    METRICS,
    Amount,
    Applies,
    Ceiling,
    Dialysis,
    Elapsed,
    Form,
    Grade,
    Patients,
    Range,
    Remark,
    Renal,
    SensitivePatients,
    Tier,
    Titration,
    refuse,
)
from vtrial.policy.regimen import Regimen, Regimens
from vtrial.policy.strengths import Strengths
from vtrial.policy.titration import course
from vtrial.spec import InputError, Spec, nearest

HOURS_OF_DAY = 24.0
DIALYSED = -1
"""What `Policy.tier_of` gives for a patient who is treated by the policy's dialysis entry."""


class _Tables(dict[tuple[Any, ...], tuple[tuple[Regimen, ...], np.ndarray]]):
    """What a policy has written out already: no part of what it is, nor of what travels to a worker."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tables)

    def __reduce__(self):
        return _Tables, ()


class Policy(Spec):
    """A dosing rule of one drug, from what the prescriber sees of a patient to doses."""

    title: str
    """One line for tables."""
    kind: Literal["source_document", "label", "study", "guideline", "practice", "analyst"]
    """What sort of source it rests on."""
    grade: Grade
    """How the rule as a whole is known."""
    sources: tuple[str, ...] = Field(min_length=1)
    """Where it stands."""
    form: Form | None = None
    """Dose form; absent: any solid form of the drug."""
    caution: str | None = None
    """Why the source should not be trusted beyond a scenario."""
    applies: Applies | None = None
    """Ages that the rule is for; absent: all."""
    renal: Renal | None = None
    """Starting dose by renal function. Absent if the rule is for dialysis only."""
    dialysis: Dialysis | None = None
    """Rule on dialysis. Without a dose in it, a patient on dialysis is dosed by the lowest renal tier."""
    titration: Titration | None = None
    """How the dose rises; absent: the source has none, the dose is held."""
    max_daily: Amount | None = None
    """Ceiling of the daily dose in all tiers."""
    max_daily_if: tuple[Ceiling, ...] = ()
    """Further ceilings for some patients; the lowest that applies counts."""
    max_daily_indication: dict[str, Amount] = Field(default_factory=dict)
    """Ceilings in an indication (data)."""
    usual_max_daily: Amount | None = None
    """Daily dose that is seldom passed (data)."""
    usual_range_daily: Range | None = None
    """Usual daily doses (data)."""
    sensitive_patients: SensitivePatients | None = None
    """A lower start in the source's words (data)."""
    elderly: Remark | None = None
    """What the source says of the elderly."""
    observed_dose_times: tuple[Elapsed, ...] = ()
    """Times from the first dose at which the index patient took the doses (data)."""
    note: str | None = None
    """Remark."""

    _id: str = PrivateAttr("")
    _drug: str = PrivateAttr("")
    _tables: _Tables = PrivateAttr(default_factory=lambda: _Tables())

    @property
    def id(self) -> str:
        """Name of the policy: its key in the file."""
        return self._id

    @property
    def drug(self) -> str:
        """Drug of the file that the policy stands in."""
        return self._drug

    @model_validator(mode="after")
    def _consistent(self):
        wrong = [] if self.renal or self.dialysis else ["a policy needs 'renal' or 'dialysis'"]
        tiers = self.renal.tiers if self.renal else ()
        rises = self.titration is not None and len(self.titration.increments) > 0
        for number, tier in enumerate(tiers, start=1):
            ceiling = min([self._ceiling(tier), *(c.max_daily for c in self.max_daily_if if self._meets(c, tier))])
            if tier.start_daily > ceiling:
                wrong.append(f"tier {number} starts with {tier.start_daily:g} mg a day, above {ceiling:g} mg")
            if rises and tier.action != "avoid" and ceiling == float("inf"):
                wrong.append(f"tier {number} is titrated without an end: give 'max_daily'")
            scaled = self.titration is not None and self.titration.scaled_by_factor
            if scaled and tier.action != "avoid" and tier.factor is None:
                wrong.append(f"tier {number} needs a 'factor', as the titration is scaled by it")
        if wrong:
            raise refuse("; ".join(wrong))
        return self

    def _ceiling(self, tier: Tier) -> float:
        return min(limit for limit in (tier.max_daily, self.max_daily, float("inf")) if limit is not None)

    def _meets(self, ceiling: Ceiling, tier: Tier) -> bool:
        if self.renal is None or self.renal.metric != ceiling.metric:
            return False
        below = ceiling.high is None or (tier.low or 0.0) < ceiling.high
        return below and (tier.high is None or ceiling.low < tier.high)

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the covariates that `regimens` reads, besides the optional DIALYSIS."""
        metrics = [c.metric for c in self.max_daily_if] + ([self.renal.metric] if self.renal else [])
        names = {METRICS[metric] for metric in metrics} | ({"AGE"} if self.max_daily_if else set())
        return tuple(sorted(name for name in names if name))

    @property
    def dialysis_basis(self) -> Literal["entry", "sessions", "lowest tier"]:
        """What doses a patient on dialysis: the dialysis entry, its doses after sessions alone, the lowest tier.

        A report should say so where it is "lowest tier": the source has no rule for such a patient.
        """
        if self.dialysis and self.dialysis.after_each_session:
            return "sessions"
        entry = self.dialysis and (self.dialysis.action == "avoid" or self.dialysis.dose is not None)
        return "entry" if entry else "lowest tier"

    def tier_of(self, patients: Patients) -> np.ndarray:
        """Find the renal tier of every patient.

        Parameters
        ----------
        patients : mapping of str to array
            Covariates, arrays of one shape; the renal metric under its name in `METRICS`, and optionally
            DIALYSIS.

        Returns
        -------
        ndarray of int, shape of the patients
            Position in `renal.tiers`, or `DIALYSED` where the dialysis entry doses.

        Raises
        ------
        InputError
            If the metric is missing, negative or not a number, or if the rule is for dialysis only and a
            patient is not on dialysis.

        Examples
        --------
        >>> from vtrial.policy import load_policies
        >>> policy = load_policies().policies["PGB_US_LABEL"]
        >>> policy.tier_of({"CRCL": [20.0, 60.0, 14.9], "DIALYSIS": [False, False, True]}).tolist()
        [1, 3, -1]
        """
        shape = patient_shape(patients)
        on_dialysis = np.broadcast_to(np.asarray(patients.get("DIALYSIS", False), dtype=bool), shape)
        if self.renal is None:
            if not on_dialysis.all():
                raise InputError([f"policy {self.id} has no rule for patients who are not on dialysis"])
            return np.full(shape, DIALYSED)
        tier = np.zeros(shape, dtype=np.intp)
        if METRICS[self.renal.metric] is not None:
            value = np.where(on_dialysis, 0.0, self._covariate(patients, self.renal.metric))
            if not (value >= 0).all():
                raise InputError([f"policy {self.id}: {METRICS[self.renal.metric]} is negative or not a number"])
            bounds = [tier.low for tier in self.renal.tiers if tier.low is not None]
            tier = np.searchsorted(bounds, value, side="right") - 1
        # without an entry of its own, dialysis counts as the lowest renal function
        return np.where(on_dialysis, 0 if self.dialysis_basis == "lowest tier" else DIALYSED, tier)

    def regimens(
        self,
        patients: Patients,
        *,
        start: float,
        horizon: float,
        titrate: bool = False,
        after: Sequence[float] | None = None,
    ) -> Regimens:
        """Give every patient the doses of this rule.

        The rule is applied to whoever is given, whatever the age; the ages it is for are the arm's business.

        Parameters
        ----------
        patients : mapping of str to array
            Covariates, arrays of one shape; see `covariates`.
        start : float
            Clock time of the start of the trial, h after midnight.
        horizon : float
            End of dosing, h from the start.
        titrate : bool
            Whether the dose rises by the titration, within the ceilings, or is held at the start.
        after : sequence of float, optional
            When sessions of haemodialysis end, h from the start: who is on dialysis has a supplement then, the lowest
            that the first source gives for his daily dose; or, by `after_each_session`, the start and then all doses.

        Returns
        -------
        Regimens

        Raises
        ------
        InputError
            If a covariate is missing or unusable, or if doses depend on dialysis sessions and `after` is not given.

        Examples
        --------
        >>> from vtrial.policy import load_policies
        >>> policy = load_policies().policies["BAC_AJKD_2018"]
        >>> given = policy.regimens({"EGFR": [22.0, 45.0]}, start=8.0, horizon=24.0)
        >>> given.treated.tolist(), given.total(0, 24).tolist()
        ([False, True], [0.0, 7.5])
        """
        tier = self.tier_of(patients)
        on_dialysis = np.broadcast_to(np.asarray(patients.get("DIALYSIS", False), dtype=bool), tier.shape)
        if self.dialysis_basis == "sessions" and after is None and on_dialysis.any():
            text = f"policy {self.id} doses after sessions of dialysis: its patients on dialysis need 'sessions'"
            raise InputError([text])
        table, given = self._table(start, horizon, tuple(after or ()), titrate=titrate)
        sets = 2 ** len(self.max_daily_if)
        last = len(table) - sets  # where the rows of patients on dialysis begin
        index = np.where(on_dialysis, last, tier * sets)
        if self.max_daily_if:
            index = index + self._ceiling_set(patients)
        return Regimens(table, index, given[index])

    def _table(
        self, start: float, horizon: float, after: tuple[float, ...], *, titrate: bool
    ) -> tuple[tuple[Regimen, ...], np.ndarray]:
        """What the rule can give, and whether that is to treat: for each block of patients the same.

        One row for each tier and each set of conditional ceilings, then one on dialysis for each set.
        """
        if (known := self._tables.get((start, horizon, after, titrate))) is not None:
            return known
        tiers, sets = self.renal.tiers if self.renal else (), 2 ** len(self.max_daily_if)
        titration = self.titration if titrate else None
        table: list[Regimen] = []
        for own in tiers:
            for which in range(sets):
                limits = [c.max_daily for k, c in enumerate(self.max_daily_if) if which >> k & 1]
                ceiling = min([self._ceiling(own), *limits])
                row = course(self.drug, own, titration, ceiling=ceiling, start=start, horizon=horizon)
                table.append(row)
        given = [own.action != "avoid" for own in tiers for _ in range(sets)]
        lowest = self.dialysis_basis == "lowest tier" and len(tiers) > 0
        for which in range(sets):
            base = table[which] if lowest else self._dialysis_regimen(start, horizon, after)
            table.append(self._supplemented(base, after))
            given.append(given[which] if lowest else self.dialysis is not None and self.dialysis.action != "avoid")
        self._tables[start, horizon, after, titrate] = tuple(table), np.array(given)
        return self._tables[start, horizon, after, titrate]

    def _dialysis_regimen(self, start: float, horizon: float, after: tuple[float, ...]) -> Regimen:
        """Doses of the dialysis entry, without supplements."""
        entry = self.dialysis
        if entry is not None and entry.after_each_session is not None:
            times = np.array([time for time in (0.0, *after) if time < horizon])  # the trial starts as after a session
            return Regimen(self.drug, times, np.full(times.shape, entry.after_each_session.dose))
        if entry is None or entry.dose is None:
            return Regimen.none(self.drug)
        tier = Tier.model_construct(dose=entry.dose, freq=entry.freq)
        return course(self.drug, tier, None, ceiling=float("inf"), start=start, horizon=horizon)

    def _supplemented(self, base: Regimen, after: tuple[float, ...]) -> Regimen:
        """A regimen with the supplement of the dialysis entry at the ends of sessions, if it treats at all."""
        daily = base.amt[base.time < HOURS_OF_DAY].sum()
        supplement = self.dialysis.supplement(float(daily)) if self.dialysis else None
        if supplement is None or not after or not base.time.size:
            return base
        time, amt = np.append(base.time, after), np.append(base.amt, np.full(len(after), supplement))
        order = np.argsort(time, kind="stable")
        return Regimen(self.drug, time[order], amt[order])

    def _ceiling_set(self, patients: Patients) -> np.ndarray:
        """Which conditional ceilings apply to each patient, as bits of an integer."""
        member = np.zeros(patient_shape(patients), dtype=np.intp)
        for k, ceiling in enumerate(self.max_daily_if):
            age, value = self._covariate(patients, "AGE"), np.asarray(0.0)
            if METRICS[ceiling.metric] is not None:
                value = self._covariate(patients, ceiling.metric)
            high = float("inf") if ceiling.high is None else ceiling.high
            member += ((age >= ceiling.age_min) & (value >= ceiling.low) & (value < high)).astype(np.intp) << k
        return member

    def _covariate(self, patients: Patients, metric: str) -> np.ndarray:
        name = METRICS.get(metric) or metric
        if name not in patients:
            raise InputError([f"policy {self.id} needs the covariate '{name}'; {nearest(name, patients)}"])
        return np.asarray(patients[name], dtype=float)


def patient_shape(patients: Patients) -> tuple[int, ...]:
    """Give the common shape of the patients' covariates; raise InputError if there is none."""
    try:
        return np.broadcast_shapes(*(np.shape(values) for values in patients.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {np.shape(values)}" for name, values in patients.items())
        raise InputError([f"the covariates of the patients have different shapes: {shapes}"]) from None


def unavailable_doses(policy: Policy, strengths: Strengths, *, titrate: bool = False) -> list[float]:
    """List the doses of a policy, mg, that its drug's tablets, halves, capsules and sachets cannot make up.

    Such a dose needs a liquid; what is simulated is the exact dose.

    Parameters
    ----------
    policy : Policy
    strengths : Strengths
        Of the policy's drug.
    titrate : bool
        Whether the doses of the first year of titration count as well.

    Examples
    --------
    >>> from vtrial.policy import load_policies
    >>> house = load_policies()
    >>> unavailable_doses(house.policies["BAC_VLAVONOU_EXACT"], house.strengths["baclofen"])
    [1.667, 3.333]
    """
    titration, doses = policy.titration if titrate else None, set()
    for tier in policy.renal.tiers if policy.renal else ():
        limits = [c.max_daily for c in policy.max_daily_if if policy._meets(c, tier)]
        for ceiling in {policy._ceiling(tier), *(min(limit, policy._ceiling(tier)) for limit in limits)}:
            given = course(policy.drug, tier, titration, ceiling=ceiling, start=8.0, horizon=24.0 * 365)
            doses |= {round(float(amt), 6) for amt in given.amt}
    if policy.dialysis and policy.dialysis.dose is not None:
        doses.add(policy.dialysis.dose)
    return sorted(dose for dose in doses if not _made_of(dose, strengths.units))


def _made_of(dose: float, units: tuple[float, ...]) -> bool:
    sums = {0.0}
    while sums:
        sums = {total + unit for total in sums for unit in units if total + unit <= dose + 1e-6}
        if any(abs(total - dose) < 1e-6 for total in sums):
            return True
    return False
