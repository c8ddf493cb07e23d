"""The covariate model: age and sex, then creatinine, then height, then weight.

A population is a chain of conditional distributions whose only free numbers stand in a YAML file of
`models/population/`. The order is chosen so that a cell of ages x eGFR (or creatinine) can be sampled
exactly and without rejection, however rare it is:

1. age (completed years) and sex: a table of shares, times the probability of the cell at that age and sex;
2. ln creatinine given age and sex: a tabulated quantile function, truncated to the cell. At a given age
   and sex eGFR (CKD-EPI 2021) is a monotone function of creatinine, so the truncation is exact;
3. height given age, sex and creatinine; 4. ln weight given age, sex, height and eGFR; both a mean and a
   tabulated residual.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from vtrial.compiled import compiled, inlined
from vtrial.library import MODELS
from vtrial.population.renal import scr_of_egfr
from vtrial.spec import Spec, parse, read_yaml

type Floats = NDArray[np.float64]
type Row = list[Annotated[float, Field(strict=True)]]

SCR_DEVIATION = 0.4
"""Height follows the deviation of ln creatinine from its median, up to this much on either side."""
EGFR_HINGE, EGFR_CLIP = 90.0, 30.0
"""Weight follows ln(90 / eGFR) between an eGFR of 90 and one of 30; it is flat outside."""


class AgeSex(Spec):
    """Share (%) of the population by single year of age, from `first`, for men and women."""

    first: int
    M: Row
    F: Row


class Creatinine(Spec):
    """Quantiles of ln creatinine (mg/dL): a row per knot of age, a column per upper-tail probability."""

    upper_tail: Row
    """Probability of a higher creatinine, from 1 down to 0."""
    knots: Row
    """Ages; linear between them, constant outside."""
    M: list[Row]
    F: list[Row]


class Height(Spec):
    """Height (cm) of one sex: mean by age + slope x deviation of ln creatinine + residual."""

    mean: Row
    slope: Row
    """Slope at 50 years, and its change per 10 years (cm per unit of ln creatinine)."""
    residual: Row


class Weight(Spec):
    """ln weight (kg) of one sex: mean by age + height and eGFR terms + scale by age x residual."""

    mean: Row
    """At 165 cm and an eGFR of 90 or more."""
    height_power: float
    egfr_slope: float
    """Per unit of ln(90 / eGFR), eGFR between 30 and 90."""
    scale: Row
    residual: Row


class Size[S: Spec](Spec):
    """Height or weight: knots of age, cumulative probabilities of the residuals, and one part per sex."""

    knots: Row
    probability: Row
    M: S
    F: S


class PopulationModel(Spec):
    """The numbers of a covariate model, as a file of `models/population/` holds them."""

    name: str
    label: str
    source: str
    licence: str
    grade: str
    rows: int
    csv_sha256: str
    command: str
    minimum_egfr: float = Field(gt=0)
    """No virtual patient has a lower eGFR, mL/min/1.73 m2."""
    age_sex: AgeSex
    creatinine: Creatinine
    height: Size[Height]
    weight: Size[Weight]

    @model_validator(mode="after")
    def _shapes(self):
        c, h, w = self.creatinine, self.height, self.weight
        rows = {
            "age_sex": len(self.age_sex.M) == len(self.age_sex.F),
            "creatinine": all(np.shape(t) == (len(c.knots), len(c.upper_tail)) for t in (c.M, c.F)),
            "creatinine, not ascending": all(np.all(np.diff(t, axis=1) >= 0) for t in (c.M, c.F)),
            "height": all(len(s.mean) == len(h.knots) for s in (h.M, h.F)),
            "height residual": all(len(s.residual) == len(h.probability) for s in (h.M, h.F)),
            "weight": all(len(s.mean) == len(s.scale) == len(w.knots) for s in (w.M, w.F)),
            "weight residual": all(len(s.residual) == len(w.probability) for s in (w.M, w.F)),
        }
        if wrong := [name for name, right in rows.items() if not right]:
            raise ValueError(f"numbers do not fit together: {'; '.join(wrong)}")
        return self


class Tables(NamedTuple):
    """A covariate model expanded to one row per age and sex: women first, ages ascending."""

    age: Floats
    female: Floats
    share: Floats
    """Sums to 1."""
    upper_tail: Floats
    log_scr: Floats
    """(row, quantile)"""
    egfr_form: Floats
    """(row, 3): ln eGFR at creatinine kappa, ln kappa, alpha."""
    height: Floats
    """(row, 2): mean, slope."""
    weight: Floats
    """(row, 4): mean, height power, eGFR slope, scale."""
    probability: Floats
    height_residual: Floats
    """(sex, quantile), men first."""
    weight_residual: Floats


def model_names() -> list[str]:
    """Names of the covariate models that this installation has."""
    return sorted(path.stem for path in (MODELS / "population").glob("*.yaml"))


def population_file(name: str) -> Path:
    """Where the covariate model called `name` lies."""
    return MODELS / "population" / f"{name}.yaml"


def load_population_model(path: Path | str) -> PopulationModel:
    """Read a covariate model from its YAML file, with every problem reported at once."""
    return parse(PopulationModel, read_yaml(path))


@cache
def tables_of(name: str) -> Tables:
    """Load the covariate model called `name` and expand it, once per process."""
    return expand(load_population_model(population_file(name)))


def expand(model: PopulationModel) -> Tables:
    """Interpolate a covariate model to single years of age."""
    first, years = model.age_sex.first, len(model.age_sex.M)
    ages = np.arange(first, first + years, dtype=float)
    share = np.concatenate([model.age_sex.F, model.age_sex.M])
    if model.height.probability != model.weight.probability:
        raise ValueError("height and weight residuals must share their probabilities")
    parts = [_of_sex(model, ages, sex) for sex in ("F", "M")]
    log_scr, height, weight = (np.concatenate([p[i] for p in parts]) for i in range(3))
    female = np.repeat([1.0, 0.0], years)
    age = np.tile(ages, 2)
    # at kappa the equation turns; scr_of_egfr at the lowest eGFR bounds the tail
    kappa = np.where(female == 1, 0.7, 0.9)
    at_kappa = 142 * 0.9938**age * np.where(female == 1, 1.012, 1.0)
    highest = np.log(scr_of_egfr(model.minimum_egfr, age, female))
    return Tables(
        age,
        female,
        share / share.sum(),
        np.array(model.creatinine.upper_tail),
        np.minimum(log_scr, highest[:, None]),
        np.column_stack([np.log(at_kappa), np.log(kappa), np.where(female == 1, -0.241, -0.302)]),
        height,
        weight,
        np.array(model.height.probability),
        np.array([model.height.M.residual, model.height.F.residual]),
        np.array([model.weight.M.residual, model.weight.F.residual]),
    )


def _of_sex(model: PopulationModel, ages: Floats, sex: str) -> tuple[Floats, Floats, Floats]:
    quantiles = np.array(getattr(model.creatinine, sex))
    log_scr = np.column_stack([np.interp(ages, model.creatinine.knots, column) for column in quantiles.T])
    h, w = getattr(model.height, sex), getattr(model.weight, sex)
    height = np.column_stack([np.interp(ages, model.height.knots, h.mean), h.slope[0] + h.slope[1] * (ages - 50) / 10])
    mean, scale = (np.interp(ages, model.weight.knots, column) for column in (w.mean, w.scale))
    fixed = np.ones(len(ages))
    return log_scr, height, np.column_stack([mean, fixed * w.height_power, fixed * w.egfr_slope, scale])


class Cell(NamedTuple):
    """The part of a covariate model inside ranges of age, eGFR and creatinine: what the sampler reads."""

    tables: Tables
    rows: NDArray[np.int64]
    """Rows (age and sex) of the tables that the cell reaches, women first."""
    cumulative: Floats
    """Cumulative probability of those rows inside the cell."""
    tail: Floats
    """(row, 2): upper-tail probability at the lower and at the higher end of creatinine."""
    ends: Floats
    """(row, 2): ln creatinine at those ends."""
    probability: float
    """Of the cell in the whole population."""
    split: float
    """Where the women end in `cumulative`."""


type Ends = tuple[float, float]
_EVERY: Ends = (-np.inf, np.inf)


def cell_of(
    tables: Tables,
    age: Ends,
    egfr: Ends = _EVERY,
    scr: Ends = _EVERY,
    *,
    female: float | None = None,
    within: Floats | None = None,
) -> Cell:
    """Cut a cell out of a covariate model; half-open ranges, lower end included.

    Parameters
    ----------
    tables : Tables
        From `tables_of` or `expand`.
    age, egfr, scr : (float, float)
        Ranges: year, mL/min/1.73 m2, mg/dL; infinite where open.
    female : float, optional
        Share of women wanted inside the cell; by default the population's own.
    within : ndarray, shape (row, 2), optional
        Further ends of ln creatinine for each row.

    Returns
    -------
    Cell
        Its probability is zero if nobody can be in it; with `female`, also if one sex cannot.
    """
    log_ends = _creatinine_ends(tables, egfr, scr)
    if within is not None:
        log_ends = np.column_stack([np.fmax(log_ends[:, 0], within[:, 0]), np.fmin(log_ends[:, 1], within[:, 1])])
    log_ends = np.clip(log_ends, tables.log_scr[:, :1], tables.log_scr[:, -1:])
    tail = np.array([np.interp(ends, x, tables.upper_tail) for ends, x in zip(log_ends, tables.log_scr, strict=True)])
    inside = np.maximum(tail[:, 0] - tail[:, 1], 0.0) * ((tables.age >= age[0]) & (tables.age < age[1]))
    probability = tables.share * inside
    total, women = probability.sum(), probability[tables.female == 1].sum()
    own = women / total if total else 0.0
    if female is not None and ((female > 0 and own == 0) or (female < 1 and own == 1)):
        total = 0.0
    mix = own if female is None else female
    if total:
        parts = np.where(tables.female == 1, mix / own if own else 0.0, (1 - mix) / (1 - own) if own < 1 else 0.0)
        probability = probability / total * parts
    rows = np.flatnonzero(probability)
    return Cell(tables, rows, np.cumsum(probability[rows]), tail[rows], log_ends[rows], float(total), float(mix))


def _creatinine_ends(tables: Tables, egfr: Ends, scr: Ends) -> Floats:
    """Ends of ln creatinine of each row, from ranges of eGFR and of creatinine."""
    ends = np.full((len(tables.age), 2), _EVERY)
    for column, bound in ((0, egfr[1]), (1, egfr[0])):  # a high eGFR is a low creatinine
        if 0 < bound < np.inf:
            ends[:, column] = np.log(scr_of_egfr(bound, tables.age, tables.female))
    if egfr[1] <= 0:
        ends[:, 0] = np.inf
    with np.errstate(divide="ignore"):
        ends[:, 0] = np.maximum(ends[:, 0], np.log(max(scr[0], 0.0)))
        ends[:, 1] = np.minimum(ends[:, 1], np.log(max(scr[1], 0.0)))
    return ends


@inlined
def _upper(x, values):
    """Index of the first value that is not below x, in ascending values."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def _quantile(u, probability, values):
    i = min(max(_upper(u, probability), 1), len(probability) - 1)
    part = (u - probability[i - 1]) / (probability[i] - probability[i - 1])
    return values[i - 1] + part * (values[i] - values[i - 1])


@compiled
def _fill(
    u,
    rows,
    cumulative,
    tail,
    ends,
    age,
    female,
    neg_tail,
    log_scr,
    form,
    height,
    weight,
    p,
    h_res,
    w_res,
    out,
):
    """Turn four uniforms per patient, u (4, n), into out (5, n): age, sex, height, weight, creatinine."""
    middle = log_scr[:, np.argmin(np.abs(neg_tail + 0.5))]
    for i in range(u.shape[1]):
        j = min(_upper(u[0, i] * cumulative[-1], cumulative), len(rows) - 1)
        row = rows[j]
        survival = tail[j, 0] - u[1, i] * (tail[j, 0] - tail[j, 1])
        x = _quantile(-survival, neg_tail, log_scr[row])
        # rounding must not carry anybody over the edge of the cell
        x = min(max(x, ends[j, 0] + 1e-12), ends[j, 1] - 1e-12)
        sex = int(female[row])
        deviation = min(max(x - middle[row], -SCR_DEVIATION), SCR_DEVIATION)
        cm = height[row, 0] + height[row, 1] * deviation + _quantile(u[2, i], p, h_res[sex])
        ratio = x - form[row, 1]
        log_egfr = form[row, 0] + ratio * (form[row, 2] if ratio < 0 else -1.2)
        low = min(max(np.log(EGFR_HINGE) - log_egfr, 0.0), np.log(EGFR_HINGE / EGFR_CLIP))
        log_kg = weight[row, 0] + weight[row, 1] * np.log(cm / 165.0) + weight[row, 2] * low
        log_kg += weight[row, 3] * _quantile(u[3, i], p, w_res[sex])
        out[0, i], out[1, i], out[2, i] = age[row], female[row], cm
        out[3, i], out[4, i] = np.exp(log_kg), np.exp(x)


def fill(cell: Cell, age_sex: Floats, scr: Floats, height: Floats, weight: Floats) -> dict[str, NDArray]:
    """Turn uniform numbers into people of a cell.

    Parameters
    ----------
    cell : Cell
        From `cell_of`; not an empty one.
    age_sex, scr, height, weight : ndarray
        Uniform numbers, one array per step of the chain, all of one shape.

    Returns
    -------
    dict of str to ndarray
        AGE, SEX, HT, WT, SCR, of that shape.
    """
    t = cell.tables
    u = np.stack([age_sex.ravel(), scr.ravel(), height.ravel(), weight.ravel()])
    out = np.empty((5, u.shape[1]))
    # the quantiles are searched by minus the upper-tail probability: ascending, and precise in the tail
    creatinine = (-t.upper_tail, t.log_scr, t.egfr_form)
    size = (t.height, t.weight, t.probability, t.height_residual, t.weight_residual)
    _fill(u, cell.rows, cell.cumulative, cell.tail, cell.ends, t.age, t.female, *creatinine, *size, out)
    return {name: out[i].reshape(age_sex.shape) for i, name in enumerate(("AGE", "SEX", "HT", "WT", "SCR"))}
