"""The virtual population: who the patients of a trial are, stratum by stratum.

Read a `PopulationSpec` from YAML, `resolve` it into a `Population`, and `draw` covariates. Ages, sexes,
body size and creatinine come from a covariate model (`covariates`), a user's rows, or one patient; renal
metrics are derived (`renal`), and may change within a trial (`injury`). A stratum's patients do not depend on the other
strata, on blocks and threads, or (with plain numbers, see `vtrial.scheme`) on how many draws or patients are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtrial.population.covariates import Tables, cell_of, population_file, tables_of
from vtrial.population.injury import Injury
from vtrial.population.narrow import METRICS, creatinine_ends
from vtrial.population.renal import COVARIATES, Covariate, derive
from vtrial.population.sources import (
    LEAST_ACCEPTED,
    ModelSource,
    Numbers,
    PatientSource,
    RowSource,
    Source,
    outside,
    people_of,
)
from vtrial.population.strata import LABELS, STANDARD, Bootstrap, Condition, Patient, PopulationSpec, Stratum
from vtrial.scheme import Plain, Scheme
from vtrial.spec import InputError, Problem, nearest

__all__ = ["COVARIATES", "Covariate", "Population", "PopulationSpec", "ResolvedStratum", "Stratum", "resolve"]

_CELL = ("AGE", "EGFR", "SCR")
_PILOT = 100_000


@dataclass(frozen=True)
class ResolvedStratum:
    """A stratum ready to be sampled."""

    name: str
    weight: float
    """Share of the population; the weights of all strata sum to 1."""
    row: str | None
    """Age band, for standard strata."""
    column: str | None
    """eGFR category, for standard strata."""
    condition: Condition
    """Whether its patients are on dialysis, their residual GFR and sessions, an injury of their kidneys, and states."""
    source: Source = field(repr=False)

    @property
    def dialysis(self) -> bool:
        """Whether its patients are on dialysis."""
        return self.condition.dialysis

    @property
    def state(self) -> tuple[str, ...]:
        """States that its patients are in, by the names of the model."""
        return self.condition.state


@dataclass(frozen=True)
class Population:
    """Strata with their weights, and the people in them."""

    strata: tuple[ResolvedStratum, ...]
    provenance: Mapping[str, str]
    """Where the people come from: kind, name, and sha256 of the file, if any."""

    @property
    def words(self) -> tuple[str, ...]:
        """Names of the uniform numbers that a patient is made of: the strata have one kind of source."""
        return self.strata[0].source.words

    def draw(self, stratum: str, scheme: Scheme, draws: range, patients: range) -> dict[str, NDArray[Any]]:
        """Draw the covariates of a block of patients.

        Parameters
        ----------
        stratum : str
            Name of the stratum.
        scheme : Scheme
            The uniform numbers that people are made of.
        draws, patients : range
            Numbers of the draws and patients wanted (step 1).

        Returns
        -------
        dict of str to ndarray, each (draw, patient)
            Every covariate of `COVARIATES`, DIALYSIS (bool), for patients with a residual GFR that, as GFR, and if
            any stratum has an injury NADIR, the share of the own GFR that is left (1 where there is none).
        """
        own, numbers = self.stratum(stratum), Numbers(scheme, stratum, draws, patients)
        people = people_of(own.source, numbers)
        people |= {"DIALYSIS": np.full((len(draws), len(patients)), own.dialysis)}
        if own.condition.residual_gfr is not None:
            low, high = own.condition.residual_gfr
            people["GFR"] = low + (high - low) * numbers.uniforms("GFR")
        if any(stratum.condition.injury for stratum in self.strata):
            people["NADIR"] = self._nadir(own.condition.injury, numbers)
        return people

    @staticmethod
    def _nadir(injury: Injury | None, numbers: Numbers) -> NDArray[np.float64]:
        low, high = (1.0, 1.0) if injury is None else injury.gfr
        if low == high:
            return np.full((len(numbers.draws), len(numbers.patients)), low)
        return low + (high - low) * numbers.uniforms("INJURY")

    def stratum(self, name: str) -> ResolvedStratum:
        """The stratum of that name.

        Raises
        ------
        KeyError
            If there is none; names the nearest.
        """
        found = {s.name: s for s in self.strata}
        if name not in found:
            raise KeyError(f"unknown stratum '{name}'; {nearest(name, found)}")
        return found[name]


def resolve(spec: PopulationSpec, *, folder: Path | str = ".") -> Population:
    """Find the people of every stratum, and the strata's weights.

    Parameters
    ----------
    spec : PopulationSpec
        From the scenario.
    folder : path
        Folder of the scenario: a CSV's path is relative to it.

    Returns
    -------
    Population

    Raises
    ------
    InputError
        With every empty stratum and unusable CSV column; `where` counts from the population's own keys.

    Examples
    --------
    >>> population = resolve(PopulationSpec(model="us_adults"))
    >>> population.strata[26].name, round(population.strata[26].weight, 4)
    ('75-84 G4', 0.0009)
    """
    if spec.patient is not None:
        return _of_patients(spec.patient)
    if spec.bootstrap is not None:
        rows, digest = _read_csv(spec.bootstrap, Path(folder))
        provenance = {"kind": "bootstrap", "name": str(spec.bootstrap.csv), "sha256": digest}
        return _of_strata(spec, lambda s: _rows_in(s, rows, spec.bootstrap), provenance)  # type: ignore[arg-type]
    name = str(spec.model)
    digest = hashlib.sha256(population_file(name).read_bytes()).hexdigest()
    tables = tables_of(name)
    provenance = {"kind": "model", "name": name, "sha256": digest}
    return _of_strata(spec, lambda s: _people_in(s, tables), provenance)


type _Found = tuple[Source, float] | str
"""The source of a stratum and its probability, or why there is none."""


def _of_strata(spec: PopulationSpec, find: Callable[[Stratum], _Found], provenance: dict[str, str]) -> Population:
    problems: list[Problem] = []
    found: list[tuple[Stratum, Source, float]] = []
    for place, stratum in spec.named_strata():
        match find(stratum):
            case str(reason):
                where = ("strata", place) if spec.strata else ("strata",)
                problems.append(Problem(f"stratum '{stratum.name}' {reason}", where))
            case (source, probability):
                found.append((stratum, source, stratum.weight or probability))
    if problems:
        raise InputError(problems)
    total = sum(weight for _, _, weight in found)
    strata = []
    for stratum, source, weight in found:
        row, column = LABELS[stratum.name] if STANDARD.get(stratum.name) is stratum else (None, None)
        strata.append(ResolvedStratum(stratum.name, weight / total, row, column, stratum, source))
    return Population(tuple(strata), provenance)


def _people_in(stratum: Stratum, tables: Tables) -> _Found:
    ranges = stratum.ranges()
    age, egfr, scr = (ranges.pop(name, (-np.inf, np.inf)) for name in _CELL)
    within = creatinine_ends(tables, ranges) if ranges.keys() & set(METRICS) else None
    cell = cell_of(tables, age, egfr, scr, female=stratum.female, within=within)
    if not cell.probability:
        ages = f"{tables.age.min():.0f}-{tables.age.max():.0f}"
        return f"is empty: the covariate model has nobody there (completed years of age {ages})"
    source = ModelSource(cell, ranges, stratum.female is not None)
    accepted = 1.0
    if ranges:
        pilot = source.propose(Numbers(Plain(0), stratum.name, range(1), range(_PILOT)))
        inside = ~outside(pilot, ranges)
        sexes = [inside[pilot["SEX"] == sex] for sex in (0, 1)]
        accepted = float(inside.mean())
        # where the mix of sexes is fixed, each sex must be accepted often enough
        if min([x.mean() for x in sexes if x.size and source.keep_sex], default=accepted) < LEAST_ACCEPTED:
            names = ", ".join(ranges)
            return (
                f"is empty or too narrow: {accepted:.2%} of the people of its AGE, EGFR and SCR"
                f" lie in its {names}"
                f" (at least {LEAST_ACCEPTED:.0%} is needed: widen {names}, or narrow AGE or EGFR)"
            )
    return source, cell.probability * accepted


def _rows_in(stratum: Stratum, rows: Mapping[str, NDArray[Any]], bootstrap: Bootstrap) -> _Found:
    inside = ~outside(rows, stratum.ranges())
    w = np.where(inside, rows["weight"], 0.0)
    if not w.sum():
        return "is empty: no row of the CSV lies in it"
    probability = float(w.sum() / rows["weight"].sum())
    women = float(w[rows["SEX"] == 1].sum() / w.sum())
    if stratum.female is not None:
        if (stratum.female > 0 and not women) or (stratum.female < 1 and women == 1):
            return f"is empty: female is {stratum.female:g}, but its rows are of one sex"
        parts = (
            stratum.female / women if women else 0.0,
            (1 - stratum.female) / (1 - women) if women < 1 else 0.0,
        )
        w = w * np.where(rows["SEX"] == 1, *parts)
    keep = w > 0
    mine = {name: rows[name][keep] for name in ("AGE", "SEX", "HT", "WT", "SCR")}
    jitter = {name: sd for name in ("AGE", "HT", "WT", "SCR") if (sd := getattr(bootstrap.jitter, name)) and sd[0]}
    return RowSource(mine, np.cumsum(w[keep]), jitter, stratum.ranges()), probability


def _of_patients(patients: list[Patient]) -> Population:
    strata = []
    for patient in patients:
        covariates = {"AGE": patient.age, "SEX": float(patient.sex == "F"), "HT": patient.height}
        source = PatientSource(covariates | {"WT": patient.weight, "SCR": patient.scr})
        strata.append(ResolvedStratum(patient.name, 1 / len(patients), None, None, patient, source))
    return Population(tuple(strata), {"kind": "patient", "name": ", ".join(p.name for p in patients)})


_SEX = {"f": 1.0, "female": 1.0, "1": 1.0, "1.0": 1.0, "m": 0.0, "male": 0.0, "0": 0.0, "0.0": 0.0}


def _read_csv(bootstrap: Bootstrap, folder: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """Read the rows of a CSV as covariates with `weight`, all derived ones added; and the file's sha256."""
    import pandas as pd

    path = folder / bootstrap.csv
    try:
        table = pd.read_csv(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError) as error:
        raise InputError([Problem(f"'{path}' cannot be read as CSV: {error}", ("bootstrap", "csv"))]) from None
    rows: dict[str, NDArray[Any]] = {"weight": np.ones(len(table))}
    problems = []
    for name, column in bootstrap.columns.model_dump(exclude_none=True).items():
        where = ("bootstrap", "columns", name)
        if column not in table.columns:
            message = f"unknown CSV column '{column}'; {nearest(column, map(str, table.columns))}"
            problems.append(Problem(message, where))
            continue
        values = table[column]
        if name == "SEX":
            values = values.map(lambda value: _SEX.get(str(value).strip().lower()))
        rows[name] = np.asarray(pd.to_numeric(values, errors="coerce"), float)
        low = rows[name] >= 0 if name in ("SEX", "weight") else rows[name] > 0
        if (bad := ~(low & np.isfinite(rows[name]))).any():
            first = table[column].iloc[int(np.argmax(bad))]
            message = f"{bad.sum()} rows of '{column}' are missing or impossible, the first one is {first!r}"
            problems.append(Problem(message, where))
    if not len(table):
        problems.append(Problem("the CSV has no rows", ("bootstrap", "csv")))
    if problems:
        raise InputError(problems)
    return derive(rows), digest
