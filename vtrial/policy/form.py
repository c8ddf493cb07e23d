"""The form of a policy's parts in YAML. Every key is described by the text below it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from vtrial.policy.regimen import FREQUENCIES
from vtrial.spec import Amount, Clock, Duration, Quantity, Spec, choose

METRICS: dict[str, str | None] = {
    "none": None,
    "crcl_cg_actual": "CRCL",
    "crcl_cg_ibw": "CRCL_IBW",
    "crcl_cg_adj": "CRCL_ADJ",
    "egfr_ckdepi2021": "EGFR",
    "egfr_deindexed": "EGFR_ABS",
}
"""Renal metric of a rule -> covariate that holds it: Cockcroft-Gault with actual, ideal or adjusted weight
(mL/min), CKD-EPI 2021 (mL/min per 1.73 m2), and CKD-EPI 2021 times body surface / 1.73 m2 (mL/min)."""


def refuse(text: str) -> PydanticCustomError:
    return PydanticCustomError("policy", "{text}", {"text": text})


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise refuse(f"the range runs from {pair[0]:g} down to {pair[1]:g}: write the lower end first")
    return pair


type Age = Annotated[float, Quantity("year", low=0)]
type Elapsed = Annotated[float, Quantity("h", low=0)]
type Percent = Annotated[float, Quantity("percent", above=0, high=100)]
type RenalFunction = Annotated[float, Quantity("mL/min", low=0)]
type Concentration = Annotated[float, Quantity("mg/mL", above=0)]
type Range = Annotated[tuple[Amount, Amount], AfterValidator(_ordered)]
type MetricName = Annotated[
    str,
    AfterValidator(lambda given: choose(given, METRICS, "renal metric")),
    WithJsonSchema({"enum": list(METRICS)}),
]
type FrequencyName = Annotated[
    str,
    AfterValidator(lambda given: choose(given, FREQUENCIES, "frequency")),
    WithJsonSchema({"enum": list(FREQUENCIES)}),
]
type Grade = Literal["A", "A2", "B", "D"]
type Form = Literal["tablet", "capsule", "granules", "liquid"]
type Patients = Mapping[str, Any]


class Tier(Spec):
    """The starting dose of patients whose renal metric lies in one interval."""

    low: RenalFunction | None = None
    """Lower bound, included; "mL/min" (per 1.73 m2 if the metric is). Absent if the metric is `none`."""
    high: RenalFunction | None = None
    """Upper bound, not included. Absent in the last tier."""
    action: Literal["give", "avoid", "avoid_unless_benefit"] = "give"
    """`avoid` treats nobody; `avoid_unless_benefit` treats with the dose given."""
    dose: Amount | None = None
    """Amount of each dose."""
    freq: FrequencyName | None = None
    """How often: a name of `FREQUENCIES`."""
    factor: float | None = Field(default=None, gt=0, le=1)
    """Fraction of the full dose that this tier stands for."""
    min_daily: Amount | None = None
    """Least daily dose that the source prints for the tier (data)."""
    max_daily: Amount | None = None
    """Ceiling of the daily dose in this tier."""
    start_range_daily: Range | None = None
    """Daily starting doses that the source allows (data; `dose` and `freq` are used)."""
    doses_per_day: tuple[int, int] | None = None
    """Fewest and most doses per day that the source allows (data)."""
    form: Form | None = None
    """Dose form, if it differs from the policy's."""
    intake: str | None = None
    """How it is taken, e.g. after meals."""
    split: str | None = None
    """The source's words on dividing the day's dose."""
    alternative: str | None = None
    """Other starting doses in the source's words."""
    maintenance: str | None = None
    """Maintenance dose in the source's words."""
    maximum: str | None = None
    """Maximum dose in the source's words; `max_daily` holds its daily sum."""
    fallback: str | None = None
    """What the source advises if the drug is given against `avoid`."""
    note: str | None = None
    """Remark."""
    grade: Grade
    """How the numbers are known; legend in baclofen.yaml."""
    analyst_choice: bool = False
    """True where the number is an analyst's, to be varied in sensitivity runs."""
    sources: tuple[str, ...] = ()
    """Where the numbers stand, if not in the policy's sources."""

    @model_validator(mode="after")
    def _complete(self):
        if self.action == "avoid" and (self.dose is not None or self.freq is not None):
            raise refuse("a tier with 'action: avoid' gives no dose: remove 'dose' and 'freq'")
        if self.action != "avoid" and (self.dose is None or self.freq is None):
            raise refuse("a tier needs 'dose' and 'freq', or 'action: avoid'")
        return self

    @property
    def start_daily(self) -> float:
        """Daily starting dose, mg."""
        return 0.0 if self.dose is None or self.freq is None else self.dose * FREQUENCIES[self.freq].n


class Renal(Spec):
    """Tiers of one renal metric that cover every value from 0 upwards exactly once."""

    metric: MetricName
    """Name of the renal metric: a name of `METRICS`; `none` if the rule does not ask for renal function."""
    tiers: tuple[Tier, ...]
    """From 0 to the open end, in order."""

    @field_validator("tiers")
    @classmethod
    def _contiguous(cls, tiers: tuple[Tier, ...], info):
        if not tiers:
            raise refuse("give at least one tier")
        first, last = tiers[0], tiers[-1]
        if info.data.get("metric") == "none":
            if first is last and first.low is None and first.high is None:
                return tiers
            raise refuse("the metric 'none' has one tier without bounds")
        wrong = [] if first.low == 0 else ["the first tier must have low: '0 mL/min'"]
        wrong += [] if last.high is None else ["the last tier must have no 'high'"]
        for number, (tier, following) in enumerate(pairwise(tiers), start=1):
            wrong += _joint(number, tier.high, following.low)
        for number, tier in enumerate(tiers, start=1):
            if tier.low is not None and tier.high is not None and tier.low >= tier.high:
                wrong.append(f"tier {number} runs from {tier.low:g} to {tier.high:g} mL/min")
        if wrong:
            raise refuse("; ".join(wrong))
        return tiers


def _joint(number: int, high: float | None, low: float | None) -> list[str]:
    where = f"tiers {number} and {number + 1}"
    if high is None or low is None:
        return [f"{where} need a 'high' and a 'low' between them"]
    if high < low:
        return [f"gap between {where}: nobody covers {high:g} to {low:g} mL/min"]
    return [f"overlap of {where} from {low:g} to {high:g} mL/min"] if high > low else []


class Increment(Spec):
    """One way in which the dose rises: by a `step`, repeated if `every` is given, or `to` an amount."""

    day: int = Field(ge=2, strict=True)
    """First trial day of the new dose; day 1 is the first 24 h."""
    every: Duration | None = None
    """Time between repeated steps; absent: once."""
    step: Amount | None = None
    """Amount added."""
    to: Amount | None = None
    """Amount reached."""
    per: Literal["dose", "day"]
    """Whether `step`, `to` and `up_to` are of each dose or of the day (divided equally over its doses)."""
    up_to: Amount | None = None
    """Where the steps end, if below the ceiling."""
    freq: FrequencyName | None = None
    """New frequency from then on; with `to` only."""
    at: Clock | None = None
    """Clock time of a further daily dose of `step`, beside the regular doses."""
    analyst_choice: bool = False
    """True where day or amount is an analyst's."""
    note: str | None = None
    """Remark."""

    @model_validator(mode="after")
    def _one_form(self):
        if (self.step is None) == (self.to is None):
            raise refuse("give either 'step' or 'to'")
        if self.to is not None and (self.every is not None or self.up_to is not None or self.at is not None):
            raise refuse("'every', 'up_to' and 'at' belong to a 'step', not to 'to'")
        if self.step is not None and self.freq is not None:
            raise refuse("'freq' belongs to 'to', not to a 'step'")
        if self.at is not None and (self.per != "day" or self.every is not None or self.up_to is not None):
            raise refuse("a dose added 'at' a clock time is 'per: day', without 'every' and 'up_to'")
        return self


class Titration(Spec):
    """How the dose rises after the start; no increments means that the source holds it."""

    increments: tuple[Increment, ...]
    """In the order of their days. Ceilings are in the policy and its tiers."""
    scaled_by_factor: bool = False
    """True if steps are multiplied by the tier's `factor`."""
    as_printed: str
    """The source's rule with its ranges; the increments use the faster end of a range."""
    grade: Grade
    """How the titration is known."""


class Ceiling(Spec):
    """A daily maximum for patients of some age and renal function."""

    metric: MetricName
    """Renal metric of the bounds."""
    low: RenalFunction = 0.0
    """Lower bound, included."""
    high: RenalFunction | None = None
    """Upper bound, not included; absent: open."""
    age_min: Age = 0.0
    """Least age."""
    max_daily: Amount
    """Greatest daily dose, reached or not passed."""


class SupplementRow(Spec):
    """The supplement after haemodialysis for a range of daily doses."""

    base: Range
    """Daily dose between sessions."""
    freq: FrequencyName | None = None
    """Frequency of the base dose, if printed."""
    supplement: Range
    """Supplement after a session."""


class Supplement(Spec):
    """Doses after a haemodialysis session beside the daily dose; the lowest of a range is given."""

    session: Duration | None = None
    """Length of the session."""
    start: Range | None = None
    """First supplement."""
    max: Amount | None = None
    """Greatest supplement."""
    table: tuple[SupplementRow, ...] = ()
    """Supplement by daily dose."""
    basis: str | None = None
    """What the source rests it on."""
    note: str | None = None
    """Remark."""
    grade: Grade
    """How it is known."""


class AfterSession(Spec):
    """Doses given only after haemodialysis sessions."""

    dose: Amount
    """Starting dose after each session; it is held."""
    titrate_to: Range | None = None
    """Doses to which it may rise (data)."""


class Dialysis(Spec):
    """The rule for patients on dialysis. Its base dose is held: no source titrates it."""

    action: Literal["give", "avoid"] = "give"
    """`avoid`: not on dialysis."""
    dose: Amount | None = None
    """Base dose, on every day."""
    freq: FrequencyName | None = None
    """Frequency of the base dose."""
    after_each_session: AfterSession | None = None
    """A dose after each session instead of a base dose."""
    supplements: tuple[Supplement, ...] = ()
    """Supplements after sessions; of several entries, sources that disagree, the first that has one counts."""
    grade: Grade
    """How it is known."""

    @model_validator(mode="after")
    def _one_form(self):
        if (self.dose is None) != (self.freq is None):
            raise refuse("'dose' and 'freq' go together")
        if self.action == "avoid" and (self.dose or self.after_each_session or self.supplements):
            raise refuse("'action: avoid' on dialysis gives no dose")
        if self.dose is not None and self.after_each_session is not None:
            raise refuse("give either a base dose or 'after_each_session'")
        return self

    def supplement(self, daily: float) -> float | None:
        """The supplement, mg, to a daily dose: the lowest that the first source with one for this dose gives."""
        for source in self.supplements:
            if source.start is not None:
                return source.start[0]
            for row in source.table:
                if row.base[0] <= daily <= row.base[1]:
                    return row.supplement[0]
        return None


class Applies(Spec):
    """Whom the source speaks of."""

    age_min: Age
    """Least age. An arm with this policy says in `otherwise` who treats the younger."""
    grade: Grade
    """How it is known."""


class Remark(Spec):
    """Words of the source without a number."""

    text: str
    """The words."""
    grade: Grade
    """How they are known."""


class SensitivePatients(Spec):
    """A lower start for patients whom the source calls sensitive (data)."""

    daily: Range
    """Daily starting doses."""
    grade: Grade
    """How it is known."""
