"""What a scenario's `population:` key may hold: where the patients come from, and their strata."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from vtrial.dialysis import Sessions
from vtrial.population.covariates import model_names
from vtrial.population.injury import Injury
from vtrial.population.renal import COVARIATES, UMOL_PER_MG
from vtrial.spec import Spec, choose, magnitude

type Ends = tuple[float, float]


def _refuse(text: str) -> PydanticCustomError:
    return PydanticCustomError("population", "{text}", {"text": text})


def covariate_magnitude(given: Any, unit: str) -> float:
    """Read a covariate's quantity: also `mL/min/1.73 m2`, `kg/m2` and creatinine in µmol/L.

    Examples
    --------
    >>> round(covariate_magnitude("63 umol/L", "mg/dL"), 3)
    0.713
    >>> covariate_magnitude("30 mL/min/1.73 m2", "mL/min/1.73 m2")
    30.0
    """
    if isinstance(given, str):
        given = re.sub(r"\s*/\s*1\.73\s*m[2²]\s*$", "", given)
        if unit == "mg/dL" and re.search(r"mol\s*/\s*L\s*$", given):
            return magnitude(given, "umol/L") / UMOL_PER_MG
        given = re.sub(r"\bm[2²]", "m**2", given)
    return magnitude(given, re.sub(r"\bm2", "m**2", unit.removesuffix("/1.73 m2")))


def _read_range(given: Any, info: ValidationInfo) -> Ends | None:
    unit = COVARIATES[str(info.field_name)].unit
    if given is None:
        return None
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise _refuse(f"given {given!r}: write a range as [low, high], either end may be null")
    if given[0] is None and given[1] is None:
        raise _refuse("both ends are null: leave the range out")
    low = -math.inf if given[0] is None else covariate_magnitude(given[0], unit)
    high = math.inf if given[1] is None else covariate_magnitude(given[1], unit)
    if low >= high:
        raise _refuse(f"impossible range: low '{given[0]}' is not below high '{given[1]}'")
    return low, high


_END = {"anyOf": [{"type": "string"}, {"type": "null"}]}
Range = Annotated[
    Ends | None,
    BeforeValidator(_read_range),
    WithJsonSchema({"type": "array", "items": _END, "minItems": 2, "maxItems": 2}),
]
"""Half-open range, low <= x < high, of the covariate that the field is named after."""


def _covariate(name: str) -> Any:
    unit, long_name = COVARIATES[name]
    return Field(default=None, description=f"{long_name}, {unit}", examples=[[f"10 {unit}", f"20 {unit}"]])


def _read_residual(given: Any) -> Ends:
    if not isinstance(given, list | tuple) or len(given) != 2 or None in given:
        raise _refuse(f"given {given!r}: write the residual GFR as [low, high]")
    low, high = (covariate_magnitude(end, "mL/min") for end in given)
    if not 0 <= low <= high:
        raise _refuse(f"impossible range: 0 <= '{given[0]}' <= '{given[1]}' does not hold")
    return low, high


Residual = Annotated[
    Ends,
    BeforeValidator(_read_residual),
    WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
]
"""Range of a true GFR, mL/min, within which all values are equally likely."""


type _Share = Annotated[float, Field(ge=0, le=1, strict=True)]
type _Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class Condition(Spec):
    """What is known of the patients of a stratum, or of one patient, beside their covariates."""

    dialysis: Annotated[bool, Field(strict=True)] = False
    """Whether they are on dialysis, as policies see it. No covariate model knows who is: give the stratum a weight."""
    residual_gfr: Residual | None = None
    """Range of the true GFR, instead of what creatinine says, which sessions lower: of patients on dialysis. Reference
    and example patients have its middle."""
    sessions: Sessions | None = None
    """When they have haemodialysis, on dialysis or for a rescue; absent: never, or between sessions."""
    injury: Injury | None = None
    """Acute kidney injury: true GFR falls, creatinine follows slowly. Ranges of covariates are those before it."""
    state: tuple[str, ...] = ()
    """States that they are in, e.g. `[dementia]`: names that the model has; absent: none of them."""

    @model_validator(mode="after")
    def _residual_on_dialysis(self):
        if self.injury is not None and self.dialysis:
            raise _refuse("'injury' is for patients who are not on dialysis: leave it out, or 'dialysis: true'")
        if self.residual_gfr is not None and not self.dialysis:
            raise _refuse("'residual_gfr' is for patients on dialysis: add 'dialysis: true'")
        return self


class Stratum(Condition):
    """A part of the population: ranges of covariates (low included, high not). Strata may overlap."""

    name: str = Field(min_length=1)
    AGE: Range = _covariate("AGE")
    HT: Range = _covariate("HT")
    WT: Range = _covariate("WT")
    SCR: Range = _covariate("SCR")
    EGFR: Range = _covariate("EGFR")
    EGFR_2009: Range = _covariate("EGFR_2009")
    MDRD: Range = _covariate("MDRD")
    EGFR_ABS: Range = _covariate("EGFR_ABS")
    CRCL: Range = _covariate("CRCL")
    CRCL_IBW: Range = _covariate("CRCL_IBW")
    CRCL_ADJ: Range = _covariate("CRCL_ADJ")
    IBW: Range = _covariate("IBW")
    BMI: Range = _covariate("BMI")
    BSA: Range = _covariate("BSA")
    LBW: Range = _covariate("LBW")
    female: _Share | None = None
    """Share of women, 0 to 1; by default the population's own inside the ranges."""
    weight: _Positive | None = None
    """Share of the population that the stratum stands for; by default the probability of its ranges.
    Weights are scaled to sum to 1, so shares on any scale do if every stratum has one."""

    def ranges(self) -> dict[str, Ends]:
        """Ranges given, by covariate."""
        every = {name: getattr(self, name) for name in COVARIATES if name != "SEX"}
        return {name: ends for name, ends in every.items() if ends is not None}


AGE_BANDS: dict[str, Ends] = {
    "18-49": (18, 50),
    "50-64": (50, 65),
    "65-74": (65, 75),
    "75-84": (75, 85),
    "85+": (85, math.inf),
}
"""Rows of the standard strata (completed years)."""

EGFR_CATEGORIES: dict[str, Ends] = {
    "G1": (90, math.inf),
    "G2 75-89": (75, 90),
    "G2 60-74": (60, 75),
    "G3a": (45, 60),
    "G3b": (30, 45),
    "G4": (15, 30),
    "G5": (-math.inf, 15),
}
"""Columns of the standard strata: KDIGO categories, G2 in two halves (mL/min/1.73 m2, CKD-EPI 2021)."""


def _built(name: str, **fields: Any) -> Stratum:
    # the ends are numbers already: nothing to read, and pint need not be imported
    return Stratum.model_construct(name=name, **fields)


STANDARD: dict[str, Stratum] = {
    f"{age} {category}": _built(f"{age} {category}", AGE=years, EGFR=ends)
    for age, years in AGE_BANDS.items()
    for category, ends in EGFR_CATEGORIES.items()
}
"""The 35 standard strata, by name such as `65-74 G4`."""

LABELS = {f"{age} {category}": (age, category) for age in AGE_BANDS for category in EGFR_CATEGORIES}
"""Row and column of each standard stratum in a heat map."""

NAMED: dict[str, Stratum] = STANDARD | {
    "G5D": _built("G5D", EGFR=(-math.inf, 15), dialysis=True),
    "everyone": _built("everyone"),
}
"""Strata that a scenario may ask for by name."""


def _list_of_strata(given: Any) -> Any:
    return [given] if isinstance(given, str | dict) else given


type _Named = Annotated[str, AfterValidator(lambda given: choose(given, ["standard", *NAMED], "stratum"))]
type _Item = Annotated[
    Annotated[_Named, Tag("name")] | Annotated[Stratum, Tag("Stratum")],
    Discriminator(lambda given: "name" if isinstance(given, str) else "Stratum"),
]
type Strata = Annotated[
    list[_Item], BeforeValidator(_list_of_strata, json_schema_input_type=list[_Item] | _Item), Field(min_length=1)
]


class Columns(Spec):
    """Columns of the user's CSV that hold the covariates; units year, kg, cm, mg/dL."""

    AGE: str
    SEX: str
    """Values F or M, female or male, or 1 (female) or 0 (male)."""
    WT: str
    HT: str
    SCR: str
    weight: str | None = None
    """Sampling weight of the row; by default all rows count the same."""


def _read_spread(given: Any, info: ValidationInfo) -> tuple[float, bool] | None:
    if given is None:
        return None
    relative = isinstance(given, str) and given.strip().endswith("%")
    if relative and not _is_number(given):
        raise _refuse(f"'{given}' is not a percentage; write e.g. '5%'")
    unit = COVARIATES[str(info.field_name)].unit
    value = float(given.strip()[:-1]) / 100 if relative else covariate_magnitude(given, unit)
    if value < 0 or (relative and value > 0.5):
        raise _refuse(f"given '{given}': a jitter is not negative, and at most 50%")
    return value, relative


def _is_number(given: str) -> bool:
    return re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)\s*%\s*", given) is not None


Spread = Annotated[
    tuple[float, bool] | None,
    BeforeValidator(_read_spread),
    WithJsonSchema({"type": "string", "examples": ["5%", "1 cm"]}),
]
"""SD, and whether it is relative, of the covariate that the field is named after."""


class Jitter(Spec):
    """SD of the kernel jitter of each row drawn: `5%` multiplies by a log-normal factor, `1 cm` adds."""

    AGE: Spread = None
    WT: Spread = None
    HT: Spread = None
    SCR: Spread = None


class Bootstrap(Spec):
    """Rows of a CSV, drawn by weight, with jitter; jitter that leaves the stratum is drawn anew."""

    csv: Path
    """Relative to the scenario's folder."""
    columns: Columns
    jitter: Jitter = Jitter()


_LIMITS = {
    "age": ("year", 18, 120),
    "height": ("cm", 100, 250),
    "weight": ("kg", 20, 400),
    "scr": ("mg/dL", 0.1, 30),
}


def _read_measure(given: Any, info: ValidationInfo) -> float:
    unit, low, high = _LIMITS[str(info.field_name)]
    value = covariate_magnitude(given, unit)
    if not low <= value <= high:
        raise _refuse(f"given '{given}': must be at least {low:g} {unit} and at most {high:g} {unit}")
    return value


Measure = Annotated[
    float,
    BeforeValidator(_read_measure),
    WithJsonSchema({"type": "string", "examples": ["68 year", "154 cm", "65 kg", "0.713 mg/dL", "63 umol/L"]}),
]
"""A quantity in the unit, and between the limits, of the field."""


class Patient(Condition):
    """One patient with fixed covariates; a stratum of its own."""

    name: str = Field(default="patient", min_length=1)
    age: Measure
    sex: Literal["F", "M"]
    height: Measure
    weight: Measure
    scr: Measure
    """Serum creatinine; EGFR and CRCL follow from it."""


def _known_model(given: str) -> str:
    return choose(given, model_names(), "covariate model")


def _list_of_patients(given: Any) -> Any:
    return [given] if isinstance(given, dict) else given


class PopulationSpec(Spec):
    """Who the scenario is about: exactly one of `model`, `bootstrap` and `patient`."""

    model: Annotated[str, AfterValidator(_known_model)] | None = None
    """Name of a covariate model in `models/population/`."""
    bootstrap: Bootstrap | None = None
    patient: (
        Annotated[
            list[Patient],
            BeforeValidator(_list_of_patients, json_schema_input_type=list[Patient] | Patient),
            Field(min_length=1),
        ]
        | None
    ) = None
    """One patient, or a list of named ones."""
    strata: Strata | None = None
    """`standard` (the default), a list of strata, or names: a standard stratum, `G5D`, `everyone`."""

    @model_validator(mode="after")
    def _one_source(self):
        given = [name for name in ("model", "bootstrap", "patient") if getattr(self, name) is not None]
        problems = []
        if len(given) != 1:
            problems.append(f"give exactly one of model, bootstrap, patient; given: {', '.join(given) or 'none'}")
        if self.patient is not None and self.strata is not None:
            problems.append("a patient has no strata: each patient is one")
        names = [p.name for p in self.patient or []] if self.patient else [s.name for _, s in self.named_strata()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            problems.append(f"every stratum needs a name of its own; given twice: {', '.join(twice)}")
        if problems:
            raise _refuse("; ".join(problems))
        return self

    def named_strata(self) -> list[tuple[int, Stratum]]:
        """Strata in order, names expanded, each with its place in the list of the file."""
        found: list[tuple[int, Stratum]] = []
        for place, item in enumerate(self.strata or ["standard"]):
            if isinstance(item, Stratum):
                found.append((place, item))
            else:
                several = STANDARD.values() if item == "standard" else [NAMED[item]]
                found += [(place, stratum) for stratum in several]
        return found
