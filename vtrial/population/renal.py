"""Renal function and body size from age, sex, height, weight and serum creatinine.

Pure NumPy, vectorised, no randomness. Equations carry **no race coefficient**: the 2009 CKD-EPI and the
MDRD equations are the published ones with that factor left at 1. Sources and grades are the rows of the
evidence sheet `population.md`, table A1 (A: read verbatim in a public page).

`female` is true (or 1) for women, everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

type Floats = NDArray[np.float64]

UMOL_PER_MG = 88.4
"""Creatinine: µmol/L in one mg/dL."""


class Covariate(NamedTuple):
    """Unit and label of a covariate."""

    unit: str
    long_name: str


COVARIATES: dict[str, Covariate] = {
    "AGE": Covariate("year", "Age in completed years"),
    "SEX": Covariate("1", "Sex (0 male, 1 female)"),
    "HT": Covariate("cm", "Height"),
    "WT": Covariate("kg", "Body weight"),
    "SCR": Covariate("mg/dL", "Serum creatinine"),
    "EGFR": Covariate("mL/min/1.73 m2", "eGFR (CKD-EPI 2021)"),
    "EGFR_2009": Covariate("mL/min/1.73 m2", "eGFR (CKD-EPI 2009, no race coefficient)"),
    "MDRD": Covariate("mL/min/1.73 m2", "eGFR (MDRD, IDMS, no race coefficient)"),
    "EGFR_ABS": Covariate("mL/min", "eGFR (CKD-EPI 2021), de-indexed"),
    "CRCL": Covariate("mL/min", "Creatinine clearance (Cockcroft-Gault, actual weight)"),
    "CRCL_IBW": Covariate("mL/min", "Creatinine clearance (Cockcroft-Gault, ideal weight)"),
    "CRCL_ADJ": Covariate("mL/min", "Creatinine clearance (Cockcroft-Gault, adjusted weight)"),
    "IBW": Covariate("kg", "Ideal body weight (Devine)"),
    "BMI": Covariate("kg/m2", "Body mass index"),
    "BSA": Covariate("m2", "Body surface area (Mosteller)"),
    "LBW": Covariate("kg", "Lean body weight (Janmahasatian)"),
}
"""Every covariate of a virtual patient: name to unit and label."""

# intercept, annual factor, factor for women, slope above kappa, kappa (male, female), alpha (male, female)
_2021 = (142.0, 0.9938, 1.012, -1.200, (0.9, 0.7), (-0.302, -0.241))
_2009 = (141.0, 0.993, 1.018, -1.209, (0.9, 0.7), (-0.411, -0.329))


def _by_sex(female: ArrayLike, pair: tuple[float, float]) -> Floats:
    return np.where(np.asarray(female, bool), pair[1], pair[0])


def _ckd_epi(scr: ArrayLike, age: ArrayLike, female: ArrayLike, form: tuple) -> Floats:
    intercept, annual, women, slope, kappa, alpha = form
    # min(r, 1)^alpha max(r, 1)^slope, in logarithms: one log and one exp instead of three powers
    ratio = np.log(np.asarray(scr, float) / _by_sex(female, kappa))
    power = np.where(ratio < 0, _by_sex(female, alpha), slope)
    return _by_sex(female, (intercept, intercept * women)) * np.exp(power * ratio + np.log(annual) * np.asarray(age))


def ckd_epi_2021(scr: ArrayLike, age: ArrayLike, female: ArrayLike) -> Floats:
    """Estimate GFR by CKD-EPI 2021 (creatinine).

    142 min(Scr/k, 1)^a max(Scr/k, 1)^-1.200 0.9938^age 1.012 [F]; k 0.7 F, 0.9 M; a -0.241 F, -0.302 M.

    Parameters
    ----------
    scr : array_like
        Serum creatinine, mg/dL.
    age : array_like
        Age, year.
    female : array_like of bool
        True for women.

    Returns
    -------
    ndarray
        eGFR, mL/min/1.73 m2.

    Notes
    -----
    Source: kidney.org/ckd-epi-creatinine-equation-2021 (A). The equation has no race term.

    Examples
    --------
    >>> round(float(ckd_epi_2021(0.713, 68, True)), 1)
    92.1
    """
    return _ckd_epi(scr, age, female, _2021)


def scr_of_egfr(egfr: ArrayLike, age: ArrayLike, female: ArrayLike) -> Floats:
    """Invert CKD-EPI 2021: the creatinine that gives an eGFR. Exact, because the equation is monotone.

    Parameters
    ----------
    egfr : array_like
        eGFR, mL/min/1.73 m2.
    age : array_like
        Age, year.
    female : array_like of bool
        True for women.

    Returns
    -------
    ndarray
        Serum creatinine, mg/dL.

    Examples
    --------
    >>> float(scr_of_egfr(ckd_epi_2021(0.713, 68, True), 68, True).round(12))
    0.713
    """
    intercept, annual, women, slope, kappa, alpha = _2021
    top = _by_sex(female, (intercept, intercept * women)) * np.exp(np.log(annual) * np.asarray(age, float))
    ratio = np.log(np.asarray(egfr, float) / top)
    return _by_sex(female, kappa) * np.exp(ratio / np.where(ratio < 0, slope, _by_sex(female, alpha)))


def ckd_epi_2009(scr: ArrayLike, age: ArrayLike, female: ArrayLike) -> Floats:
    """Estimate GFR by CKD-EPI 2009, without its race coefficient; arguments as for `ckd_epi_2021`.

    141 min(Scr/k, 1)^a max(Scr/k, 1)^-1.209 0.993^age 1.018 [F]; k 0.7 F, 0.9 M; a -0.329 F, -0.411 M.

    Returns
    -------
    ndarray
        eGFR, mL/min/1.73 m2.

    Notes
    -----
    Source: kidney.org/content/ckd-epi-creatinine-equation-2009 (A).

    Examples
    --------
    >>> round(float(ckd_epi_2009(0.713, 68, True)), 1)
    87.1
    """
    return _ckd_epi(scr, age, female, _2009)


def mdrd(scr: ArrayLike, age: ArrayLike, female: ArrayLike) -> Floats:
    """Estimate GFR by the IDMS-traceable MDRD equation, without its race coefficient.

    175 Scr^-1.154 age^-0.203 0.742 [F]; arguments as for `ckd_epi_2021`.

    Returns
    -------
    ndarray
        eGFR, mL/min/1.73 m2.

    Notes
    -----
    Source: vespr.org question and answer (A).

    Examples
    --------
    >>> round(float(mdrd(0.713, 68, True)), 1)
    81.5
    """
    logs = -1.154 * np.log(np.asarray(scr, float)) - 0.203 * np.log(np.asarray(age, float))
    return _by_sex(female, (175.0, 175.0 * 0.742)) * np.exp(logs)


def cockcroft_gault(scr: ArrayLike, age: ArrayLike, female: ArrayLike, weight: ArrayLike) -> Floats:
    """Estimate creatinine clearance by Cockcroft-Gault, with the weight given.

    (140 - age) weight / (72 Scr) 0.85 [F].

    Parameters
    ----------
    scr, age, female : array_like
        As for `ckd_epi_2021`.
    weight : array_like
        The weight of the user's choice (actual, ideal, adjusted), kg.

    Returns
    -------
    ndarray
        Creatinine clearance, mL/min.

    Notes
    -----
    Source: hindawi.com bmri/2014/916542, table 2 (A).

    Examples
    --------
    >>> round(float(cockcroft_gault(0.713, 68, True, 65.0)), 1)
    77.5
    """
    age, scr, weight = np.asarray(age, float), np.asarray(scr, float), np.asarray(weight, float)
    return (140 - age) * weight / (72 * scr) * _by_sex(female, (1.0, 0.85))


def ideal_weight(height: ArrayLike, female: ArrayLike) -> Floats:
    """Ideal body weight of Devine: 45.5 (F) or 50 (M) kg + 2.3 kg per inch above 60.

    Below 60 inches (152.4 cm) the line simply continues. It would cross zero near 100 cm: a result below
    1 kg is set to 1 kg, so that a clearance computed from it stays positive.

    Parameters
    ----------
    height : array_like
        Height, cm.
    female : array_like of bool
        True for women.

    Returns
    -------
    ndarray
        Ideal body weight, kg.

    Notes
    -----
    Source: clincalc.com/Vancomycin, harderworld.com (A).

    Examples
    --------
    >>> round(float(ideal_weight(154.0, True)), 2)
    46.95
    """
    return np.maximum(_by_sex(female, (50.0, 45.5)) + 2.3 * (np.asarray(height, float) / 2.54 - 60), 1.0)


def adjusted_weight(weight: ArrayLike, ideal: ArrayLike) -> Floats:
    """Adjusted body weight: ideal + 0.4 (actual - ideal); the actual weight of who weighs less than ideal.

    Whether a rule uses it (for instance only above 1.2 or 1.3 times ideal) is that rule's choice.

    Parameters
    ----------
    weight, ideal : array_like
        Actual and ideal weight, kg.

    Returns
    -------
    ndarray
        Adjusted weight, kg.

    Notes
    -----
    Source: clincalc.com/Vancomycin, harderworld.com (A).

    Examples
    --------
    >>> round(float(adjusted_weight(65.0, 46.95)), 2)
    54.17
    """
    weight, ideal = np.asarray(weight, float), np.asarray(ideal, float)
    # the lower of the two is the actual weight exactly when it is below ideal
    return np.minimum(ideal + 0.4 * (weight - ideal), weight)


def bmi(weight: ArrayLike, height: ArrayLike) -> Floats:
    """Body mass index, kg/m2, from weight (kg) and height (cm).

    Examples
    --------
    >>> round(float(bmi(65.0, 154.0)), 1)
    27.4
    """
    return np.asarray(weight, float) * 1e4 / np.square(np.asarray(height, float))


def bsa_mosteller(weight: ArrayLike, height: ArrayLike) -> Floats:
    """Body surface area of Mosteller, sqrt(cm kg / 3600), m2, from weight (kg) and height (cm).

    Notes
    -----
    Source: globalrph.com/bsa2.htm (A).

    Examples
    --------
    >>> round(float(bsa_mosteller(65.0, 154.0)), 2)
    1.67
    """
    return np.sqrt(np.asarray(height, float) * np.asarray(weight, float) / 3600)


def bsa_dubois(weight: ArrayLike, height: ArrayLike) -> Floats:
    """Body surface area of DuBois, 0.007184 kg^0.425 cm^0.725, m2, from weight (kg) and height (cm).

    Notes
    -----
    Source: globalrph.com/bsa2.htm (A).

    Examples
    --------
    >>> round(float(bsa_dubois(65.0, 154.0)), 3)
    1.632
    """
    return 0.007184 * np.asarray(weight, float) ** 0.425 * np.asarray(height, float) ** 0.725


def lean_weight(weight: ArrayLike, height: ArrayLike, female: ArrayLike) -> Floats:
    """Lean body weight of Janmahasatian, kg: 9270 wt / (6680 + 216 BMI) M, 9270 wt / (8780 + 244 BMI) F.

    Parameters
    ----------
    weight, height : array_like
        kg, cm.
    female : array_like of bool
        True for women.

    Returns
    -------
    ndarray
        Lean body weight, kg.

    Notes
    -----
    Source: tools.gera.services/lean-body-weight (A).

    Examples
    --------
    >>> round(float(lean_weight(65.0, 154.0, True)), 2)
    38.96
    """
    below = _by_sex(female, (6680.0, 8780.0)) + _by_sex(female, (216.0, 244.0)) * bmi(weight, height)
    return 9270 * np.asarray(weight, float) / below


def deindexed(egfr: ArrayLike, bsa: ArrayLike) -> Floats:
    """De-index an eGFR: eGFR (mL/min/1.73 m2) x BSA (m2) / 1.73, in mL/min.

    Notes
    -----
    Source: renaldose.pages.dev, citing KDIGO 2024 (A).

    Examples
    --------
    >>> round(float(deindexed(92.1, 1.668)), 1)
    88.8
    """
    return np.asarray(egfr, float) * np.asarray(bsa, float) / 1.73


def derive(covariates: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Add every derived covariate to the five measured ones.

    Parameters
    ----------
    covariates : mapping of str to ndarray
        At least AGE (year), SEX (0 male, 1 female), HT (cm), WT (kg), SCR (mg/dL), of one shape.

    Returns
    -------
    dict of str to ndarray
        What was given, and EGFR, EGFR_2009, MDRD, EGFR_ABS, CRCL, CRCL_IBW, CRCL_ADJ, IBW, BMI, BSA, LBW;
        units and labels in `COVARIATES`.

    Examples
    --------
    >>> index = {"AGE": 68.0, "SEX": 1, "HT": 154.0, "WT": 65.0, "SCR": 0.713}
    >>> found = derive({name: np.array(value) for name, value in index.items()})
    >>> round(float(found["EGFR_ABS"]), 1), round(float(found["CRCL_IBW"]), 1)
    (88.8, 56.0)
    """
    age, height, weight, scr = (covariates[name] for name in ("AGE", "HT", "WT", "SCR"))
    female = np.asarray(covariates["SEX"]) == 1
    ideal, bsa = ideal_weight(height, female), bsa_mosteller(weight, height)
    egfr = ckd_epi_2021(scr, age, female)
    per_kg = cockcroft_gault(scr, age, female, 1.0)
    return dict(covariates) | {
        "EGFR": egfr,
        "EGFR_2009": ckd_epi_2009(scr, age, female),
        "MDRD": mdrd(scr, age, female),
        "EGFR_ABS": deindexed(egfr, bsa),
        "CRCL": per_kg * weight,
        "CRCL_IBW": per_kg * ideal,
        "CRCL_ADJ": per_kg * adjusted_weight(weight, ideal),
        "IBW": ideal,
        "BMI": bmi(weight, height),
        "BSA": bsa,
        "LBW": lean_weight(weight, height, female),
    }
