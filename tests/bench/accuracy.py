"""Accuracy of the kinetics: `expose` against matrix exponentials, for every structure of the catalogue.

    python tests/bench/accuracy.py [--patients 200] [--days 90]

Largest relative error of Cmax and of the peak drive (maxima of the continuous trajectory), error of the time of the
peak in h, by how much the drive at that time falls short of its maximum, and relative error of the AUC. `stepped` is
the share of patients whose drive goes step by step, not by modes. The oracle is `exact.py` beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from exact import Exact, Patient, disposition
from numpy.typing import NDArray

from vtrial.kinetics import Exposure, Grid, Sedation, System, expose, spectrum
from vtrial.model import Drug

type Array = NDArray[np.float64]
type Case = tuple[str, list[Patient]]

QUANTITIES = ("cmax", "peak", "when", "short", "auc")
TYPICAL = {
    "CL": 6.0, "V": 40.0, "Q": 8.0, "V2": 25.0, "Q3": 1.5, "V3": 60.0, "ka": 1.7, "MTT": 1.3, "dur": 2.5, "tlag": 0.3,
    "F": 0.8, "ke0": 0.6, "C50": 0.3,
}  # fmt: skip
ABSORPTION = {
    "first order": ("first_order", 0),
    "transit": ("transit", 3),
    "zero order": ("zero_order", 0),
    "iv": ("iv", 0),
}
STRUCTURES = {
    f"{compartments} {name}": Drug("x", compartments, absorption, transit)
    for name, (absorption, transit) in ABSORPTION.items()
    for compartments in (1, 2, 3)
}
ORAL = tuple(name for name in STRUCTURES if name in ("1 first order", "2 first order"))
PAIR = Drug("x", 2), Drug("y", 1)
TID = np.arange(0, 72, 8.0), np.tile([10.0, 10.0, 20.0], 3)
OFF_GRID = np.array([0.0, 7.3, 7.31, 15.999, 24.25, 31.7, 48.013]), np.array([10.0, 5.0, 2.0, 20.0, 1.0, 7.0, 15.0])
INFUSED = np.array([1.5, 0, 12.0, 0.01, 0, 0.7, 3.0])
GAPS = (1e-3, 1e-6, 1e-9, 1e-12, 0.0)


# ------------------------------------------------------------------------------------------------ cases


def patient(drugs: Sequence[Drug], *regimens: tuple[Array, ...], windows=(24.0, 72.0), **par: float) -> Patient:
    """A typical patient but for parameters given, `ka=...` of all drugs or `x_ka=...` of one."""
    values = {
        name: par.get(name.replace(".", "_"), par.get(name.split(".")[1], TYPICAL[name.split(".")[1]]))
        for drug in drugs
        for name in drug.parameters
    }
    given = regimens if len(regimens) == len(drugs) else (regimens or (OFF_GRID,)) * len(drugs)
    given = [
        (*own, np.resize(INFUSED, len(own[0]))) if drug.absorption == "iv" else own
        for drug, own in zip(drugs, given, strict=True)
    ]
    return Patient(tuple(drugs), values, tuple(given), windows)


def cases(drug: Drug) -> list[Case]:
    """What is asked of every structure."""
    one = (drug,)
    return [
        ("ordinary", [patient(one, TID), patient(one)]),
        ("stiff", [patient(one, **own) for own in stiff(drug)]),
        *((f"tied, gap {gap:g}", [patient(one, **own) for own in tied(drug, gap)]) for gap in GAPS),
        ("CL 1e-9", [patient(one, CL=1e-9), patient(one, TID, CL=1e-9, ke0=20.0)]),
        ("lag 10 h, 8 h apart", [patient(one, TID, tlag=10.0), patient(one, tlag=10.37)]),
    ]


def stiff(drug: Drug) -> list[dict[str, float]]:
    """Slow and fast effect sites and absorption."""
    rates = [{"ke0": 0.02}, {"ke0": 20.0}]
    if "x.ka" in drug.parameters:
        rates += [{"ka": 100.0}, {"ka": 100.0, "ke0": 20.0}, {"ka": 100.0, "ke0": 0.02}]
    if drug.absorption == "zero_order":
        rates += [{"dur": 0.01, "ke0": 20.0}, {"dur": 17.0, "ke0": 0.02}]
    return rates


def tied(drug: Drug, gap: float) -> list[dict[str, float]]:
    """ka, ke0 and rates of disposition, and rates of transit, a relative gap apart."""
    rates = disposition(drug, patient((drug,)).par)
    found = [{"ke0": k * (1 + gap)} for k in rates]
    if "x.ka" in drug.parameters:
        found += [{"ka": k * (1 + gap)} for k in rates] + [{"ke0": TYPICAL["ka"] * (1 - gap)}]
        found += [{"ka": k * (1 + gap), "ke0": k * (1 - gap)} for k in rates]
    if drug.absorption == "transit":
        found += [{"MTT": 4 / 1.7 * (1 + gap)}, {"MTT": 4 / 1.7 * (1 + gap), "ke0": 1.7 * (1 - gap)}]
    return found


def long_cases(drugs: Sequence[Drug], days: float) -> list[Case]:
    """Doses three times a day up to a long horizon."""
    tid = np.arange(0, 24 * days, 8.0)
    regimen = tid, np.full(len(tid), 10.0)
    slow = ({}, {"CL": 0.3, "ke0": 0.02}, {"CL": 1e-3, "ke0": 20.0})
    return [(f"{days:g} days", [patient(drugs, regimen, windows=(24.0, 24 * days), **own) for own in slow])]


def pair_cases(drugs: tuple[Drug, Drug]) -> list[Case]:
    """Two drugs at times that interleave, by doses and by lags."""
    first, second = OFF_GRID, (np.array([0.0, 7.305, 11.2, 15.9991, 30.0, 50.0]), np.array([7.0, 3, 9, 9, 20, 5]))
    ordinary = {"x_ka": 2.0, "y_ka": 8.0, "y_CL": 2.0, "y_ke0": 0.45}
    lags = ({"x_tlag": 0.3, "y_tlag": 0.1}, {"x_tlag": 0.1, "y_tlag": 0.3}, {"x_tlag": 0.0, "y_tlag": 10.0})
    each = [patient(drugs, TID, TID, **ordinary, **own) for own in lags]
    each += [patient(drugs, first, second, **ordinary, **own) for own in lags]
    tie = [patient(drugs, first, second, ke0=1.7 * (1 + gap), y_ka=0.15 * (1 + gap)) for gap in GAPS]
    none = [patient(drugs, first, second, CL=1e-9, **own) for own in lags]
    return [("interleaving", each), ("tied", tie), ("CL 1e-9", none)]


class Border(NamedTuple):
    """A parameter whose value decides which way a patient goes, and the regimens that show it."""

    name: str
    values: tuple[float, float]
    par: dict[str, float]
    regimen: tuple[Array, Array] = TID


def borders() -> dict[str, Border]:
    """Where one way inside ends and the other begins, a hair on either side, for one compartment."""

    def around(value: float) -> tuple[float, float]:
        return value * (1 - 1e-9), value * (1 + 1e-9)

    V, brisk = TYPICAL["V"], spectrum.TOO_BRISK
    return {
        "heaviest, ka": Border("ka", tuple(0.15 * (1 + x / spectrum.HEAVIEST) for x in (1.15, 0.93)), {"ke0": 2.0}),
        "slowest, CL": Border("CL", around(spectrum.SLOWEST * V)[::-1], {}),
        "slowest, ke0": Border("ke0", around(spectrum.SLOWEST)[::-1], {}),
        "fastest, ka": Border("ka", around(spectrum.FASTEST), {"ke0": 0.6}),
        "fastest, ke0": Border("ke0", around(spectrum.FASTEST), {"ka": 1.7}),
        "too brisk, ka": Border("ka", around(brisk), {"ke0": 20.0, "CL": 60.0}),
        "too brisk, ke0": Border("ke0", around(brisk), {"ka": 20.0}),
        "longest wait": Border("tlag", around(spectrum.LONGEST_WAIT[0]), {}),
        "leg too short": Border("tlag", around(0.25), {}, (np.array([0.0, 8.0, 8.25]), np.array([10.0, 10.0, 20.0]))),
    }  # fmt: skip


def any_patients(drugs: Sequence[Drug], n: int, seed: int = 0) -> list[Patient]:
    """Patients of rates, volumes, lags and dose times as they fall."""
    draw, found = np.random.default_rng(seed), []
    for _ in range(n):
        spans = {"CL": (-1, 1.8), "V": (0.7, 2.3), "Q": (-0.5, 1.5), "V2": (0.7, 2.3), "Q3": (-1, 1), "V3": (1, 2.5),
                 "ka": (-1, 1.5), "MTT": (-1, 1), "dur": (-1.5, 1.3), "ke0": (-1.7, 1.3), "C50": (-1, 1)}  # fmt: skip
        par = {f"{drug.name}_{name}": 10 ** draw.uniform(*span) for drug in drugs for name, span in spans.items()} | {
            f"{drug.name}_tlag": draw.choice([0.0, draw.uniform(0, 0.6), draw.uniform(0, 3)]) for drug in drugs
        }
        regimens = [
            (
                np.sort([0.0, *draw.choice([draw.uniform(0, 48, 6), draw.integers(0, 96, 6) / 2])]),
                draw.uniform(0, 20, 7),
            )
            for _ in drugs
        ]
        found.append(patient(drugs, *regimens, windows=(24.0, 48.0), **par))
    return found


# --------------------------------------------------------------------------------------------- errors


def expose_all(patients: Sequence[Patient]) -> Exposure:
    """Expose patients of the same drugs and windows, each with its own regimens, in one call."""
    n, drugs, rows = len(patients), patients[0].drugs, np.arange(len(patients))
    doses = [([who.regimens[d] for who in patients], rows) for d in range(len(drugs))]
    par = {name: np.array([who.par[name] for who in patients]) for name in patients[0].par}
    own = (np.array([getattr(who, name) for who in patients]) for name in ("A", "alpha", "fold", "t_half"))
    sedation = Sedation("greco", *own, np.zeros(n, np.int64), np.zeros((1, 0)), np.array([0.6]))
    return expose(System.of(drugs), par, doses, np.zeros(n), sedation, Grid(0.5, patients[0].windows))[0]


def errors(who: Patient, found: Exposure, i: int) -> dict[str, float]:
    """Largest errors of one patient over windows and drugs, in the order of `QUANTITIES`."""
    exact, each = Exact(who), []
    for w, window in enumerate(who.windows):
        peak, when = exact.peak(window), found.peak_time[0, w, i]
        cmax = [abs(found.cmax[d, w, i] / exact.cmax(d, window).value - 1) for d in range(len(who.drugs))]
        seen = float(exact.drive(exact.states(when), when))
        auc = np.abs(found.auc[:, w, i] / exact.auc(window) - 1)
        away = min(abs(when - time) for time in peak.times)
        each.append((max(cmax), abs(found.peak[0, w, i] / peak.value - 1), away, abs(1 - seen / peak.value), max(auc)))
    return dict(zip(QUANTITIES, np.max(each, axis=0).tolist(), strict=True))


def worst(patients: Sequence[Patient]) -> dict[str, float]:
    """Largest errors of some patients."""
    found = expose_all(patients)
    each = [errors(who, found, i) for i, who in enumerate(patients)]
    return {name: max(one[name] for one in each) for name in QUANTITIES}


def all_cases(n: int, days: float) -> list[tuple[str, Case]]:
    """Every structure, every case."""
    found = [(name, case) for name, drug in STRUCTURES.items() for case in [*cases(drug), *long_cases((drug,), days)]]
    found += [(name, ("any", any_patients((drug,), n))) for name, drug in STRUCTURES.items()]
    one = STRUCTURES["1 first order"]
    for name, border in borders().items():
        each = [patient((one,), border.regimen, **(border.par | {border.name: value})) for value in border.values]
        found.append(("1 first order", (f"border: {name}", each)))
    pairs = {"2 and 1 first order": PAIR, "2 zero order and 1 iv": (Drug("x", 2, "zero_order"), Drug("y", 1, "iv"))}
    for name, drugs in pairs.items():
        many = [*pair_cases(drugs), *long_cases(drugs, days), ("any", any_patients(drugs, n))]
        found += [(name, case) for case in many]
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=200, help="of random parameters, per structure")
    parser.add_argument("--days", type=float, default=90)
    args = parser.parse_args()
    print(f"{'structure':22}{'case':24}" + "".join(f"{name:>9}" for name in QUANTITIES))
    for structure, group in groupby(all_cases(args.patients, args.days), lambda each: each[0]):
        for _, (name, patients) in group:
            found = worst(patients)
            print(f"{structure:22}{name:24}" + "".join(f"{found[q]:9.1e}" for q in QUANTITIES), flush=True)


if __name__ == "__main__":
    main()
