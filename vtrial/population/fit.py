"""Fit the covariate model to a CSV of survey rows, write it, and compare it with the rows.

Columns read: `age_y`, `sex` (F or M), `weight_kg`, `height_cm`, `scr_mgdl`, `w` (survey weight) and, if
there, `pregnant_known` (rows with 1 are left out). Ages are top-coded at 80, as NHANES does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vtrial.population.covariates import EGFR_CLIP, EGFR_HINGE, SCR_DEVIATION, PopulationModel
from vtrial.population.renal import ckd_epi_2021, scr_of_egfr

type Floats = NDArray[np.float64]

TOP = 80
"""NHANES top-codes age here."""
LAST_AGE, EXCESS = 104, 4.0
"""Oldest virtual patient; mean excess (year) over 85 of the people of 85 and older (B: an assumption)."""
OLD = 85.0
"""Age at which a row of 80+ enters the curves: close to the mean age under the two assumptions above."""
MINIMUM_EGFR = 4.0
"""mL/min/1.73 m2: the lowest of a virtual patient (5 of the 15,284 rows lie below, down to 2.0)."""

_BODY = [1, 0.998, 0.99, 0.975, 0.95, 0.92, 0.88, 0.84, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5]
_BODY += [0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.16, 0.12, 0.09, 0.07, 0.05]
_TAIL = [0.035, 0.025, 0.018, 0.012, 0.008, 0.005, 0.003, 0.0018, 0.001, 0.0005, 0]
_SCR_KNOTS = [18, 22, 26, 30, 35, 40, 45, 50, 55, 60, 65, 70, 74, 77, 80, 85, 95]
_TREND_KNOTS = [18, 26, 35, 45, 55, 65, 75, 85, 95]
_SIZE_KNOTS = [18, 22, 27, 35, 45, 55, 65, 75, 85, 95]
_RESIDUAL = [0, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5]
_RESIDUAL += [round(1 - p, 4) for p in reversed(_RESIDUAL[:-1])]
_BODY_WIDTH, _TAIL_WIDTH = 2.5, 8.0  # SD of the age kernels, year


def read_rows(csv: Path | str) -> pd.DataFrame:
    """Read the survey rows, without known pregnancies, and add eGFR (at the age recorded)."""
    rows = pd.read_csv(csv)
    if "pregnant_known" in rows:
        rows = rows[rows.pregnant_known != 1]
    female = (rows.sex == "F").to_numpy()
    egfr = ckd_epi_2021(rows.scr_mgdl, rows.age_y, female)
    return rows.assign(female=female, egfr=egfr).reset_index(drop=True)


def fit_population(csv: Path | str, *, name: str = "us_adults") -> PopulationModel:
    """Fit the covariate model to survey rows, by their weights.

    Parameters
    ----------
    csv : path
        File with the columns of the module docstring.
    name : str
        Name of the model.

    Returns
    -------
    PopulationModel
        Its numbers, rounded as they are written.
    """
    rows = read_rows(csv)
    curves = {sex: _creatinine(rows, sex) for sex in "MF"}
    size = {sex: _size(rows.loc[rows.sex == sex], curves[sex]) for sex in "MF"}
    shared = {"knots": _SIZE_KNOTS, "probability": _RESIDUAL}
    return PopulationModel.model_validate(
        {
            "name": name,
            "label": "US adults 18+, civilian and not institutionalised, without known pregnancy",
            "source": "NHANES 2013-2018 adults with age, sex, height, weight and creatinine (CRAN httk 2.7.4 "
            "table mecdt; NHANES 2017-18 public files for 80+), examination weights",
            "licence": "httk: MIT; NHANES: US public-use files, for statistical reporting and analysis only, "
            "no re-identification. Only fitted numbers are kept here, no rows.",
            "grade": "C: computed from sources read verbatim; ages within 80+ are an assumption (B)",
            "rows": len(rows),
            "csv_sha256": hashlib.sha256(Path(csv).read_bytes()).hexdigest(),
            "command": f"vtrial fit-population {Path(csv).name}",
            "minimum_egfr": MINIMUM_EGFR,
            "age_sex": _age_sex(rows),
            "creatinine": {
                "upper_tail": _BODY + _TAIL,
                "knots": _SCR_KNOTS,
                **{sex: curve.round(4).tolist() for sex, curve in curves.items()},
            },
            "height": shared | {sex: size[sex][0] for sex in "MF"},
            "weight": shared | {sex: size[sex][1] for sex in "MF"},
        }
    )


def _age_sex(rows: pd.DataFrame) -> dict[str, Any]:
    """Shares (%) by single year: lightly smoothed below 80, 80+ split evenly between 80-84 and 85+."""
    ages = np.arange(18, LAST_AGE + 1)
    excess = np.exp(-(ages[ages >= 85] - 85) / EXCESS)
    shares: dict[str, Any] = {"first": 18}
    for sex in "MF":
        mine = rows[rows.sex == sex]
        counts = np.bincount(mine.age_y, weights=mine.w, minlength=LAST_AGE + 1)
        raw, old = counts[18:TOP], counts[TOP:].sum()
        kernel = np.exp(-0.5 * ((ages[: len(raw), None] - ages[None, : len(raw)]) / 1.5) ** 2)
        smooth = kernel @ raw / kernel.sum(1)
        years = [smooth * raw.sum() / smooth.sum(), np.full(5, old / 10), old / 2 * excess / excess.sum()]
        shares[sex] = (np.concatenate(years) / rows.w.sum() * 100).round(4).tolist()
    return shares


def _hats(ages: Floats, knots: list[int]) -> Floats:
    """Basis of piecewise-linear curves: coefficients are values at the knots (the last one excluded)."""
    return np.column_stack([np.interp(ages, knots[:-1], row) for row in np.eye(len(knots) - 1)])


def _continued(values: Floats, knots: list[int]) -> Floats:
    """Continue a curve to its last knot along its last slope: 80+ has one mean age, but many ages."""
    slope = (values[-1] - values[-2]) / (knots[-2] - knots[-3])
    return np.append(values, values[-1] + slope * (knots[-1] - knots[-2]))


def _least_squares(design: Floats, y: Floats, w: Floats) -> Floats:
    root = np.sqrt(w)
    return np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]


def weighted_quantile(x: NDArray, w: NDArray, p: Any) -> Floats:
    """Quantiles of weighted values, interpolated between the midpoints of the cumulative weights."""
    order = np.argsort(x, kind="stable")  # equal values in the order of their rows, on every processor
    cumulative = np.cumsum(w[order])
    return np.interp(p, (cumulative - 0.5 * w[order]) / cumulative[-1], x[order])


def _curve_ages(rows: pd.DataFrame) -> Floats:
    return np.where(rows.age_y >= TOP, OLD, rows.age_y).astype(float)


def _body(rows: pd.DataFrame) -> Floats:
    """Body of the creatinine quantiles of one sex, (knot, probability): kernel quantiles around a trend."""
    ages, w = _curve_ages(rows), rows.w.to_numpy()
    log_scr = np.log(rows.scr_mgdl.to_numpy())
    trend = _least_squares(_hats(ages, _TREND_KNOTS), np.clip(log_scr, -1, 0.6), w)
    knots = np.minimum(np.array(_SCR_KNOTS, float), OLD)
    residual = log_scr - _hats(ages, _TREND_KNOTS) @ trend
    p = 1 - np.array(_BODY[1:])
    kernel = [w * np.exp(-0.5 * ((ages - knot) / _BODY_WIDTH) ** 2) for knot in knots]
    body = np.array([weighted_quantile(residual, k, p) for k in kernel])
    centre = _hats(knots[:-1], _TREND_KNOTS) @ trend
    body += _continued(centre, _SCR_KNOTS)[:, None]
    lowest = body[:, 0] - (body[:, 1] - body[:, 0])
    return np.column_stack([lowest, body])


def _creatinine(rows: pd.DataFrame, sex: str) -> Floats:
    """Quantiles of ln creatinine, (knot, probability): the body of one sex, the tail shape of both."""
    bodies = {s: _body(rows.loc[rows.sex == s]) for s in "MF"}
    ages, w = _curve_ages(rows), rows.w.to_numpy()
    start = np.where(
        rows.female,
        np.interp(ages, _SCR_KNOTS, bodies["F"][:, -1]),
        np.interp(ages, _SCR_KNOTS, bodies["M"][:, -1]),
    )
    excess = np.log(rows.scr_mgdl.to_numpy()) - start
    knots = np.minimum(np.array(_SCR_KNOTS, float), OLD)
    p = 1 - np.array(_TAIL[:-1])
    kernels = [w * np.exp(-0.5 * ((ages - knot) / _TAIL_WIDTH) ** 2) for knot in knots]
    tail = bodies[sex][:, -1:] + np.array([weighted_quantile(excess, k, p) for k in kernels])
    highest = np.log(scr_of_egfr(MINIMUM_EGFR, np.array(_SCR_KNOTS), sex == "F"))[:, None]
    curve = np.hstack([bodies[sex], np.minimum(tail, highest - 0.02), highest])
    return np.maximum.accumulate(curve, axis=1)


def _size(rows: pd.DataFrame, curve: Floats) -> tuple[dict[str, Any], dict[str, Any]]:
    """Height and weight of one sex, as the dictionaries of the YAML file."""
    ages, w = _curve_ages(rows), rows.w.to_numpy()
    hats = _hats(ages, _SIZE_KNOTS)
    n = hats.shape[1]
    log_scr = np.log(rows.scr_mgdl.to_numpy())
    median = np.interp(ages, _SCR_KNOTS, curve[:, _BODY.index(0.5)])
    deviation = np.clip(log_scr - median, -SCR_DEVIATION, SCR_DEVIATION)
    design = np.column_stack([hats, deviation, deviation * (ages - 50) / 10])
    cm = rows.height_cm.to_numpy()
    b = _least_squares(design, cm, w)
    height = {
        "mean": _continued(b[:n], _SIZE_KNOTS).round(2).tolist(),
        "slope": b[n:].round(3).tolist(),
        "residual": _residual(cm - design @ b, w).round(2).tolist(),
    }
    low = np.clip(np.log(EGFR_HINGE / rows.egfr.to_numpy()), 0, np.log(EGFR_HINGE / EGFR_CLIP))
    design = np.column_stack([hats, np.log(cm / 165), low])
    log_kg = np.log(rows.weight_kg.to_numpy())
    b = _least_squares(design, log_kg, w)
    residual = log_kg - design @ b
    variance = np.array([np.average(residual**2, weights=w * k) for k in _kernels(ages)])
    scale = np.interp(ages, _SIZE_KNOTS, np.sqrt(variance))
    weight = {
        "mean": _continued(b[:n], _SIZE_KNOTS).round(4).tolist(),
        "height_power": round(float(b[n]), 3),
        "egfr_slope": round(float(b[n + 1]), 4),
        "scale": np.sqrt(variance).round(4).tolist(),
        "residual": _residual(residual / scale, w).round(3).tolist(),
    }
    return height, weight


def _kernels(ages: Floats) -> list[Floats]:
    return [np.exp(-0.5 * ((ages - min(knot, OLD)) / 6.0) ** 2) for knot in _SIZE_KNOTS]


def _residual(residual: Floats, w: Floats) -> Floats:
    """Quantiles of a residual; the ends are the weighted extremes pulled in, never beyond the data."""
    inner = weighted_quantile(residual, w, _RESIDUAL[1:-1])
    low, high = weighted_quantile(residual, w, [0.0005, 0.9995])
    return np.concatenate([[low], inner, [high]])


def write(model: PopulationModel, path: Path | str) -> None:
    """Write a covariate model as YAML, a line per row of numbers."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedSeq

    def flow(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: flow(part) for key, part in value.items()}
        if isinstance(value, list):
            rows = CommentedSeq([flow(part) for part in value])
            if not value or not isinstance(value[0], list):
                rows.fa.set_flow_style()
            return rows
        return value

    yaml = YAML()
    yaml.width = 110
    with Path(path).open("w", encoding="utf-8") as file:
        file.write(_HEADER)
        yaml.dump(flow(model.model_dump()), file)


_HEADER = """\
# A virtual population, as fitted numbers. Written by the command below: do not edit by hand.
# Chain: age and sex -> ln creatinine -> height -> ln weight; what each number means stands in
# vtrial/population/covariates.py. Ages 80-84 and 85+ share the top-coded 80+ weight evenly; within
# 85+ the excess is exponential with a mean of 4 years (an assumption, not data).
"""
