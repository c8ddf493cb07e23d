"""The evidence a model is calibrated on, as a file of `models/calibration/` holds it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from vtrial.library import MODELS
from vtrial.model import Beta, HalfNormal, LogNormal, Model, Normal, Param, Prior
from vtrial.population import Stratum
from vtrial.spec import Amount, Duration, InputError, Quantity, Spec, nearest, parse, read_yaml

type Array = NDArray[np.float64]
type Positive = Annotated[float, Field(gt=0)]
type Level = Annotated[int, Field(ge=1)]
type Share = Annotated[float, Field(ge=0, le=1)]
type BetaShape = tuple[Positive, Positive]
"""a and b of a beta prior."""


Z = 1.959964
"""97.5% quantile of the normal distribution: half a 95% interval in standard errors."""


def _error_of(ci: tuple[float, float]) -> float:
    """Standard error of the logarithm of what is printed with a 95% confidence interval."""
    return float(np.log(ci[1] / ci[0])) / (2 * Z)


class Volunteer(Spec):
    """Whom a kinetic study is about: the mean of its people."""

    AGE: Annotated[float, Quantity("year", above=0)]
    SEX: Share
    """Share of women."""
    HT: Annotated[float, Quantity("cm", above=0)]
    WT: Annotated[float, Quantity("kg", above=0)]


class Statistic(Spec):
    """A number that a kinetic study printed, with its error."""

    study: str
    rows: list[str] = Field(min_length=1)
    """Rows of the evidence, e.g. `pk:1.01`."""
    of: str
    """Which statistic (`vtrial.calibration.statistics`), e.g. `CL/F`, or the name of a population parameter."""
    drug: str | None = None
    value: Positive
    """In the unit of the statistic or the parameter."""
    n: int | None = Field(default=None, ge=1)
    """Subjects: with `cv` the standard error."""
    cv: Positive | None = None
    """Coefficient of variation between subjects."""
    ci: tuple[Positive, Positive] | None = None
    """95% confidence interval."""
    volunteer: str = "healthy"
    crcl: Annotated[float, Quantity("mL/min", low=0)] | None = None
    """Mean creatinine clearance; not printed if left out: then it is uncertain about the normal one."""
    amt: Amount | None = None
    """Dose, where the statistic depends on it."""
    assumed: str = ""
    """What of this entry is a judgement and not printed."""
    grade: Literal["A", "A2", "D"] = "A"

    @model_validator(mode="after")
    def _error(self):
        if (self.ci is None) == (self.n is None or self.cv is None):
            raise ValueError("give either ci, or n and cv")
        return self

    @property
    def se(self) -> float:
        """Standard error of the logarithm."""
        if self.ci is not None:
            return _error_of(self.ci)
        assert self.cv is not None
        assert self.n is not None
        return self.cv / self.n**0.5

    def log_likelihood(self, expected: Array, tau_kinetics: Array | float) -> Array:
        """Log likelihood, of the logarithm of what is printed, given what the model expects; arrays of one shape."""
        from scipy import stats

        return stats.t.logpdf(np.log(self.value), 4, np.log(expected), np.hypot(self.se, tau_kinetics))


class Doses(Spec):
    """A course of equal doses, or doses that rise to the named one."""

    interval: Duration
    steps: dict[Annotated[float, Field(ge=0)], Share] | None = None
    """Day on which a step begins, and its share of the named dose."""


class Beside(Spec):
    """Another drug that an unknown share of all arms took for long: tolerant to it."""

    drug: str
    amt: Amount
    share: BetaShape


class Count(Spec):
    """One arm: how many had the event."""

    rows: list[str] = Field(min_length=1)
    amt: Annotated[float, Quantity("mg", low=0)]
    doses: Doses | None = None
    """Where they differ from those of the trial."""
    cohort: str | None = None
    """Where it differs from that of the trial."""
    lowered: Positive | None = None
    """Scale of the half-normal log factor by which selection, or doses below the named one, lower the drive."""
    events: int = Field(ge=0)
    n: int = Field(ge=1)

    def log_likelihood(self, expected: Array, _: Array | float = 0.0) -> Array:
        """Log likelihood of the count, given the probability of the event."""
        from scipy import stats

        return stats.binom.logpmf(self.events, self.n, expected)


class Relative(Spec):
    """One comparison with placebo, of which only the risk ratio was printed."""

    rows: list[str] = Field(min_length=1)
    amt: Amount
    ratio: Positive
    ci: tuple[Positive, Positive]
    """95% confidence interval."""

    @property
    def se(self) -> float:
        """Standard error of the logarithm."""
        return _error_of(self.ci)

    def log_likelihood(self, expected: Array, _: Array | float = 0.0) -> Array:
        """Log likelihood of the logarithm of the ratio, given that which is expected."""
        from scipy import stats

        return stats.norm.logpdf(np.log(self.ratio), np.log(expected), self.se)


class Trial(Spec):
    """Adverse events of a trial: P = b + (1 - b) rho P(level reached), b the background, rho the share recorded."""

    target: str
    study: str
    meaning: str
    """Who was observed, and what the event means on the levels."""
    cohort: str
    drug: str
    level: Level | tuple[Level, Level]
    """That of the event; of two, one between them that is free and alike in all trials that say so."""
    doses: Doses | None = None
    """Left out: one dose."""
    background: BetaShape = (1.0, 9.0)
    recorded: Literal["common"] | BetaShape = "common"
    """Share of those at the level who are recorded: that of spontaneous reports, or one of its own."""
    beside: Beside | None = None
    arms: list[Count] = Field(default_factory=list)
    ratios: list[Relative] = Field(default_factory=list)


class Overdose(Spec):
    """Coma among people who took one large dose."""

    target: str
    study: str
    meaning: str
    rows: list[str] = Field(min_length=1)
    cohort: str
    drug: str
    amt: Amount
    """Median."""
    sdlog: Positive
    """SD of the logarithm of the dose."""
    seen: Literal["admitted", "presenting"]
    """Whether they are counted because they were ill (at level 1 at least), or because they took it."""
    others: Share
    """Share who took another depressant too."""
    events: int = Field(ge=0)
    n: int = Field(ge=1)

    def log_likelihood(self, expected: Array, _: Array | float = 0.0) -> Array:
        """Log likelihood of the count, given the probability of the event."""
        from scipy import stats

        return stats.binom.logpmf(self.events, self.n, expected)


class Case(Spec):
    """A patient in coma at one concentration and awake at a lower one: selected, so only the way down counts."""

    target: str
    study: str
    meaning: str
    rows: list[str] = Field(min_length=1)
    drug: str
    AGE: Annotated[float, Quantity("year", above=0)]
    GFR: Annotated[float, Quantity("mL/min", low=0)]
    tolerant: bool = False
    """Whether the drug had been taken for long."""
    fall: Annotated[float, Quantity("1/h", low=0)]
    """Rate at which the plasma concentration fell before the patient woke."""
    hours: Duration
    """How long it had fallen so."""
    coma: Annotated[float, Quantity("mg/L", above=0)]
    asleep: Annotated[float, Quantity("mg/L", above=0)]
    """Lowest concentration at which the patient was not awake (level 2)."""
    awake: Annotated[float, Quantity("mg/L", above=0)]
    """Concentration at which the patient was awake."""
    error: Positive
    """SD of the log of these: assay, time of sampling, and judgement of who is awake."""
    assumed: str

    def log_likelihood(self, expected: Array, _: Array | float = 0.0) -> Array:
        """Log of the probability that waking falls where it did."""
        return np.log(expected)


class LeftOut(Spec):
    """Rows that enter no likelihood."""

    rows: list[str] = Field(min_length=1)
    why: str


class Evidence(Spec):
    """All that a model is calibrated on."""

    model: str
    volunteers: dict[str, Volunteer]
    cohorts: list[Stratum]
    kinetics: list[Statistic]
    trials: list[Trial]
    overdoses: list[Overdose]
    cases: list[Case]
    pooled: dict[str, list[str]] = Field(default_factory=dict)
    """Rows that priors rest on: the rows that they were computed from."""
    left_out: list[LeftOut]

    @property
    def targets(self) -> list[str]:
        """What may be left out: all but the kinetics."""
        return [*dict.fromkeys(entry.target for entry in (*self.trials, *self.overdoses, *self.cases))]

    def without(self, targets: Collection[str]) -> Evidence:
        """The same evidence but for some targets."""
        kept = {
            part: [entry for entry in getattr(self, part) if entry.target not in targets]
            for part in ("trials", "overdoses", "cases")
        }
        return self.model_copy(update=kept)


def load_evidence(model: Model) -> Evidence:
    """Read the evidence on which a model is calibrated.

    Parameters
    ----------
    model : Model

    Returns
    -------
    Evidence

    Raises
    ------
    InputError
        With every problem of the file: unknown keys, drugs, cohorts or volunteers, bare numbers.

    Examples
    --------
    >>> from vtrial.model import load_model
    >>> evidence = load_evidence(load_model("baclofen_pregabalin"))
    >>> evidence.trials[0].target, evidence.trials[0].arms[-1].events
    ('C1', 59)
    """
    if model.extends is not None:  # its posterior file would be that of the other model
        name = model.calibrated.name
        raise InputError([f"model {model.name} extends {name}, and takes its posterior: calibrate {name}"])
    path = Path(MODELS / "calibration" / f"{model.name}.yaml")
    if not path.exists():
        raise InputError([f"model {model.name} has no evidence to be calibrated on ({path.name} is missing)"])
    document = read_yaml(path)
    evidence = parse(Evidence, document)
    drugs, cohorts = [drug.name for drug in model.drugs], [cohort.name for cohort in evidence.cohorts]
    problems = []
    for part, known in (("drug", drugs), ("cohort", cohorts), ("volunteer", [*evidence.volunteers])):
        for key in ("kinetics", "trials", "overdoses", "cases"):
            for place, entry in enumerate(getattr(evidence, key)):
                given = getattr(entry, part, None)
                if given is not None and given not in known:
                    message = f"unknown {part} '{given}'; {nearest(given, known)}"
                    problems.append(document.problem((key, place, part), message))
    if problems:
        raise InputError(problems)
    return evidence


def prior_of(param: Param, evidence: Evidence) -> Prior:
    """The prior of the model file, at twice its SD if a row that it rests on, or one pooled in it, is in a likelihood.

    The cases do not count: given the coma, they say how far the concentration fell until they woke, and nothing on
    where it was, which is what priors took from them.
    """
    counted = {row for entry in (*evidence.kinetics, *evidence.overdoses) for row in entry.rows}
    rests = {*param.rows}.union(*(evidence.pooled.get(row, ()) for row in param.rows))
    return _weakened(param.prior) if counted & rests else param.prior


def _weakened(prior: Prior) -> Prior:
    """Twice the SD, on the scale on which the prior is normal or nearly so."""
    match prior:
        case LogNormal(median, sdlog, upper):
            return LogNormal(median, 2.0 * sdlog, upper)
        case Normal(mean, sd):
            return Normal(mean, 2.0 * sd)
        case HalfNormal(sd):
            return HalfNormal(2.0 * sd)
        case Beta(a, b):
            return Beta(a / 4.0, b / 4.0)
        case _:
            return prior
