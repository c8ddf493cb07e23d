"""Gates of a covariate model: what it gives beside what the survey rows give.

Age is compared as the survey records it: virtual patients older than 80 count as 80, also inside the eGFR
equation, because that is how the rows were made. Inside a trial they keep their own age.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from vtrial.population.covariates import PopulationModel, Tables, cell_of, expand, fill
from vtrial.population.fit import TOP, fit_population, read_rows, weighted_quantile
from vtrial.population.renal import ckd_epi_2021
from vtrial.sample import key, uniforms

BANDS = {"18-49": (18, 50), "50-64": (50, 65), "65-74": (65, 75), "75-79": (75, 80), "80+": (80, 200)}
KDIGO = {"G1": (90, 1e9), "G2": (60, 90), "G3a": (45, 60), "G3b": (30, 45), "G4": (15, 30), "G5": (0, 15)}
DECADES = {"18-29": (18, 30), "30-39": (30, 40), "40-49": (40, 50), "50-59": (50, 60), "60-64": (60, 65)}
DECADES |= {"65-69": (65, 70), "70-74": (70, 75), "75-79": (75, 80), "80+": (80, 200)}
_QUANTILES = {"p5": 0.05, "p50": 0.5, "p95": 0.95}


def statistics(people: Mapping[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """Compute the gated numbers of weighted people.

    Parameters
    ----------
    people : mapping of str to ndarray
        AGE (as recorded), SEX (1 female), HT, WT, SCR, EGFR (at that age) and w, one-dimensional.

    Returns
    -------
    dict of (str, str) to float
        Statistic and band (or sex and band) to value: eGFR quantiles (mL/min/1.73 m2), KDIGO shares (%),
        mean weight (kg) and height (cm), correlations, share of women (%).
    """
    age, egfr, w = people["AGE"], people["EGFR"], people["w"]
    found: dict[tuple[str, str], float] = {}
    for band, (low, high) in (DECADES | BANDS).items():
        mine = (age >= low) & (age < high)
        values = weighted_quantile(egfr[mine], w[mine], list(_QUANTILES.values()))
        found |= {(f"eGFR {p}", band): float(v) for p, v in zip(_QUANTILES, values, strict=True)}
    for band, (low, high) in BANDS.items():
        mine = (age >= low) & (age < high)
        for category, (lo, hi) in KDIGO.items():
            inside = (egfr[mine] >= lo) & (egfr[mine] < hi)
            found[f"share {category}", band] = float(100 * np.average(inside, weights=w[mine]))
    for sex, code in (("F", 1), ("M", 0)):
        for band, (low, high) in DECADES.items():
            mine = (age >= low) & (age < high) & (people["SEX"] == code)
            for name in ("WT", "HT"):
                found[f"mean {name}", f"{sex} {band}"] = float(np.average(people[name][mine], weights=w[mine]))
        mine = people["SEX"] == code
        found |= _correlations({k: v[mine] for k, v in people.items()}, sex)
        mine &= age < TOP
        found |= _correlations({k: v[mine] for k, v in people.items()}, f"{sex} 18-79")
    found["share female", "all"] = float(100 * np.average(people["SEX"] == 1, weights=w))
    return found


def _correlations(people: Mapping[str, np.ndarray], sex: str) -> dict[tuple[str, str], float]:
    values = {
        "age": people["AGE"],
        "ln eGFR": np.log(people["EGFR"]),
        "ln WT": np.log(people["WT"]),
        "HT": people["HT"],
        "ln SCR": np.log(people["SCR"]),
    }
    c = np.cov(np.vstack(list(values.values())), aweights=people["w"])
    r = c / np.sqrt(np.outer(np.diag(c), np.diag(c)))
    names = list(values)
    pairs = [("age", "ln eGFR"), ("age", "ln SCR"), ("age", "ln WT"), ("age", "HT"), ("ln WT", "HT")]
    pairs += [("ln WT", "ln SCR"), ("HT", "ln SCR"), ("ln WT", "ln eGFR")]
    return {(f"r {a}, {b}", sex): float(r[names.index(a), names.index(b)]) for a, b in pairs}


def people_of_rows(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Rename survey rows (from `read_rows`) to covariates."""
    names = {"AGE": "age_y", "SEX": "female", "HT": "height_cm", "WT": "weight_kg", "SCR": "scr_mgdl"}
    names |= {"EGFR": "egfr", "w": "w"}
    return {name: rows[column].to_numpy(float) for name, column in names.items()}


def people_of_model(tables: Tables, n: int = 1_000_000, seed: int = 1) -> dict[str, np.ndarray]:
    """Sample `n` people of a covariate model, their age recorded as the survey does (80 = 80 or older)."""
    words = ("AGE_SEX", "SCR", "HT", "WT")
    u = (uniforms(key(seed, "population", "everyone", word), range(1), range(n))[0] for word in words)
    people = fill(cell_of(tables, (-np.inf, np.inf)), *u)
    people["AGE"] = np.minimum(people["AGE"], TOP)
    egfr = ckd_epi_2021(people["SCR"], people["AGE"], people["SEX"])
    return people | {"EGFR": egfr, "w": np.ones(n)}


def bootstrap_se(csv: Path | str, replicates: int = 200, seed: int = 1) -> dict[tuple[str, str], float]:
    """Bootstrap standard error of every number of `statistics`: rows redrawn, keeping their weights."""
    people = people_of_rows(read_rows(csv))
    n = len(people["w"])
    every = []
    for replicate in range(replicates):
        u = uniforms(key(seed, "bootstrap"), range(replicate, replicate + 1), range(n))[0]
        times = np.bincount((u * n).astype(int), minlength=n)
        some = {name: values[times > 0] for name, values in people.items()}
        every.append(statistics(some | {"w": some["w"] * times[times > 0]}))
    return {what: float(np.std([found[what] for found in every], ddof=1)) for what in every[0]}


def allowed_difference(statistic: str, value: float, se: float) -> float:
    """Largest gap that passes the gate: 5%, 1 percentage point or 0.05, or two standard errors if larger."""
    if statistic.startswith("share"):
        return max(1.0, 2 * se)
    if statistic.startswith("r "):
        return max(0.05, 2 * se)
    return max(0.05 * value, 2 * se)


def compare_to_csv(csv: Path | str, model: PopulationModel | None = None) -> pd.DataFrame:
    """Set a covariate model beside the survey rows, number by number.

    Parameters
    ----------
    csv : path
        The survey rows, as for `fit_population`.
    model : PopulationModel, optional
        By default the one fitted to them.

    Returns
    -------
    DataFrame
        statistic, band, rows (their value), se (bootstrap), model, allowed (difference), passed.
    """
    model = model or fit_population(csv)
    of_rows = statistics(people_of_rows(read_rows(csv)))
    of_model = statistics(people_of_model(expand(model)))
    se = bootstrap_se(csv)
    table = pd.DataFrame(
        {
            "statistic": [what for what, _ in of_rows],
            "band": [band for _, band in of_rows],
            "rows": list(of_rows.values()),
            "se": [se[what] for what in of_rows],
            "model": [of_model[what] for what in of_rows],
        }
    )
    gates = zip(table.statistic, table.rows, table.se, strict=True)
    table["allowed"] = [allowed_difference(*gate) for gate in gates]
    table["passed"] = (table.model - table.rows).abs() <= table.allowed
    return table


def comparison_of(model: Path) -> Path:
    """Where the comparison of a covariate model with its survey lies: beside its file."""
    return model.with_name(f"{model.stem}_survey.csv")


def write_comparison(table: pd.DataFrame, path: Path) -> None:
    """Write a table of `compare_to_csv`, numbers only: no rows of the survey."""
    table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def read_comparison(model: Path) -> xr.Dataset | None:
    """Read what `write_comparison` wrote of a covariate model; None if nothing lies beside its file.

    Returns
    -------
    xarray.Dataset, dims (number,)
        ``statistic``, ``band``; ``survey``, its bootstrap standard error ``se``, ``model``, in the units of
        `statistics`.
    """
    held = comparison_of(model)
    if not held.is_file():
        return None
    table = pd.read_csv(held).rename(columns={"rows": "survey"})
    columns = ("statistic", "band", "survey", "se", "model")
    return xr.Dataset(
        {name: ("number", table[name].to_numpy(str if name in columns[:2] else float)) for name in columns}
    )
