"""W1, one arm and two drugs: the inputs, and the engines that run it side by side.

Patients have log-normal CL, V and ka; drug A is given every 8 h, drug B every 12 h, both by mouth, for a week. Wanted
are each patient's largest drive b1 CeA + b2 CeB + b3 CeA CeB, and the mean over patients of its logistic link.
The engines are vtrial (`expose`, through the public door), our own C (`w1.c`) and a NumPy recursion. C and NumPy
look at the grid alone; vtrial refines the maximum on the continuous trajectory, and takes any schedule.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from vtrial.kinetics import Grid, Sedation, System, expose
from vtrial.model import Drug

type Array = NDArray[np.float64]
type Patients = dict[str, Array]
"""CL, V and ka of each drug: `A.CL`, ..., each of shape (n,)."""

DRUGS = (Drug("A", 1), Drug("B", 1))
TYPICAL = {"A.CL": 10.8, "A.V": 50.0, "A.ka": 1.5, "B.CL": 4.8, "B.V": 39.0, "B.ka": 4.0}
CV = {"A.CL": 0.30, "A.V": 0.30, "A.ka": 0.60, "B.CL": 0.20, "B.V": 0.15, "B.ka": 0.60}
KE0 = {"A": 0.5, "B": 0.7}
DOSE = {"A": 10.0, "B": 150.0}
B0, B1, B2, B3 = -3.0, 5.0, 0.4, 1.5
SEED = 20260701
BLOCK = 200_000
"""Most patients of a call of vtrial."""


@dataclass(frozen=True)
class Workload:
    """W1, or a variant of it.

    Parameters
    ----------
    horizon : float
        Length in h.
    every : tuple of float
        Hours between doses of A and of B: multiples of the step.
    step : float
        Step of the grid in h.
    """

    horizon: float = 168.0
    every: tuple[float, float] = (8.0, 12.0)
    step: float = 0.5

    @cached_property
    def doses(self) -> dict[str, Array]:
        """Times of the doses of each drug, in h."""
        return {drug.name: np.arange(0, self.horizon, gap) for drug, gap in zip(DRUGS, self.every, strict=True)}

    @property
    def n_doses(self) -> int:
        """Doses of both drugs."""
        return sum(map(len, self.doses.values()))

    @cached_property
    def spans(self) -> tuple[NDArray[np.int64], Array, Array]:
        """Steps from each time of a dose to the next, and the doses of A and B there (0 for none)."""
        at = np.unique(np.concatenate(list(self.doses.values())))
        length = np.round(np.diff(at, append=self.horizon) / self.step).astype(np.int64)
        a, b = (DOSE[name] * np.isin(at, times) for name, times in self.doses.items())
        return length, a, b

    @property
    def grid(self) -> Grid:
        """The grid as vtrial wants it: one window."""
        return Grid(self.step, (self.horizon,))


W1 = Workload()


def draw(n: int, seed: int | tuple[int, ...] = SEED) -> Patients:
    """Draw n patients; sigma = sqrt(log(1 + CV^2))."""
    generator = np.random.default_rng(seed)
    sigma = {name: np.sqrt(np.log1p(cv**2)) for name, cv in CV.items()}
    return {name: TYPICAL[name] * np.exp(sigma[name] * generator.standard_normal(n)) for name in TYPICAL}


def part(patients: Patients, which: slice) -> Patients:
    """Take some of the patients."""
    return {name: value[which] for name, value in patients.items()}


def link(drive: Array) -> Array:
    """Probability from the drive: monotone, so it is taken once, of the maximum."""
    return 1 / (1 + np.exp(-B0 - drive))


def mean_link(drive: Array) -> float:
    """Mean of the link, a part at a time that stays in the cache."""
    parts = range(0, len(drive), 8192)
    return float(sum(link(drive[first : first + 8192]).sum() for first in parts)) / len(drive)


# -------------------------------------------------------------------------------------------- vtrial


def by_vtrial(patients: Patients, workload: Workload = W1, threads: int = 1) -> Array:
    """Largest drive of each patient by `expose`."""
    n = len(patients["A.CL"])
    par = dict(patients) | {"A.C50": 1 / B1, "B.C50": 1 / B2}
    for name, ke0 in KE0.items():
        par |= {f"{name}.ke0": ke0, f"{name}.F": 1.0, f"{name}.tlag": 0.0}
    same, start, sedation = _everyone(n)
    doses = [([(time, np.full(len(time), DOSE[name]))], same) for name, time in workload.doses.items()]
    exposure, _ = expose(System.of(DRUGS), par, doses, start, sedation, workload.grid, cmax_windows=0, threads=threads)
    return exposure.peak[0, -1]


@cache
def _everyone(n: int) -> tuple[NDArray[np.int64], Array, Sedation]:
    """What W1 has no patient differ in: the row of the regimens, the time of the first dose, sedation."""
    one, same = np.ones(n), np.zeros(n, np.int64)
    sedation = Sedation("greco", one, one * B3 / (B1 * B2), one, 24 * one, same, np.empty((1, 0)), np.ones(1))
    return same, np.zeros(n), sedation


def run_vtrial(patients: Patients, workload: Workload = W1, threads: int = 1) -> tuple[float, Array]:
    """Run vtrial block by block; the mean link and all maxima."""
    n = len(patients["A.CL"])
    blocks = (part(patients, slice(first, first + BLOCK)) for first in range(0, n, BLOCK))
    best = np.concatenate([by_vtrial(block, workload, threads) for block in blocks])
    return mean_link(best), best


def stream(n: int, workload: Workload = W1, threads: int = 1) -> float:
    """Mean link of n patients who are drawn block by block and kept no longer than their block."""
    total = 0.0
    for first in range(0, n, BLOCK):
        block = min(BLOCK, n - first)
        total += block * mean_link(by_vtrial(draw(block, (SEED, first)), workload, threads))
    return total / n


# --------------------------------------------------------------------------------------------- NumPy


def by_numpy(patients: Patients, workload: Workload = W1) -> Array:
    """Largest drive of each patient on the grid, by the exact one-step propagator on whole arrays."""
    n = len(patients["A.CL"])
    length, *amounts = workload.spans
    states = np.zeros((2, 3, n))
    steps = [_step(patients, name, workload.step) for name in KE0]
    b1, b2 = B1 / patients["A.V"], B2 / patients["B.V"]
    best, work, drive = np.zeros((3, n))
    for steps_to_go, *doses in zip(length, *amounts, strict=True):
        for state, dose in zip(states, doses, strict=True):
            state[0] += dose
        for _ in range(steps_to_go):
            for (dd, dc, cc, de, ce, ee), (depot, central, effect) in zip(steps, states, strict=True):
                effect *= ee
                effect += np.multiply(ce, central, out=work)
                effect += np.multiply(de, depot, out=work)
                central *= cc
                central += np.multiply(dc, depot, out=work)
                depot *= dd
            np.multiply(b1, states[0, 2], out=work)  # A + B + (b3 / b1 b2) A B = A (1 + (b3 / b1 b2) B) + B
            np.multiply(b2, states[1, 2], out=drive)
            np.maximum(best, drive + work * (1 + B3 / (B1 * B2) * drive), out=best)
    return best


def _step(patients: Patients, name: str, h: float) -> tuple[Array, ...]:
    """Entries of the exponential of one step: depot to depot, depot to central, ..., effect to effect."""
    ka, k, ke0 = patients[f"{name}.ka"], patients[f"{name}.CL"] / patients[f"{name}.V"], KE0[name]
    D, C, E = np.exp(-h * ka), np.exp(-h * k), np.exp(-h * ke0)
    absorbed, equal, late = ka / (k - ka), ke0 / (ke0 - k), ke0 / (ke0 - ka)
    effect = absorbed * (late * (D - E) - equal * (C - E))
    return D, absorbed * (D - C), C, effect, equal * (C - E), np.full_like(ka, E)


def run_numpy(patients: Patients, workload: Workload = W1, threads: int = 1) -> tuple[float, Array]:
    """Run the NumPy recursion, 2,000 patients at a time so that they stay in the cache."""
    n = len(patients["A.CL"])
    blocks = [part(patients, slice(first, first + 2000)) for first in range(0, n, 2000)]
    with ThreadPoolExecutor(threads) as pool:
        best = np.concatenate(list(pool.map(partial(by_numpy, workload=workload), blocks)))
    return mean_link(best), best


# ------------------------------------------------------------------------------------------------- C


class _Shared(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in ("ke0_A", "ke0_B", "b0", "b1", "b2", "b3", "h")] + [
        ("spans", ctypes.c_long),
        ("length", ctypes.c_void_p),
        ("a", ctypes.c_void_p),
        ("b", ctypes.c_void_p),
    ]


class _Patients(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("CL_A", "V_A", "ka_A", "CL_B", "V_B", "ka_B")]


@cache
def library(lanes: int = 4) -> ctypes.CDLL:
    """Compile `w1.c` in a temporary folder and load it.

    Parameters
    ----------
    lanes : int
        Patients per vector: 4, or 8 where the processor has AVX-512.
    """
    with TemporaryDirectory() as folder:
        built = Path(folder) / "w1.so"
        source = Path(__file__).with_name("w1.c")
        flags = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", f"-DLANES={lanes}"]
        subprocess.run([os.environ.get("CC", "gcc"), *flags, "-o", built, source], check=True)
        found = ctypes.CDLL(str(built))
    for name in ("w1_modal", "w1_propagator"):
        engine = getattr(found, name)
        engine.restype = ctypes.c_double
        engine.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_void_p]
        getattr(found, f"{name}_trace").argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p]
    return found


@dataclass(frozen=True)
class C:
    """One of the two engines of `w1.c`: "modal" or "propagator"."""

    kind: str = "modal"
    lanes: int = 4

    def __call__(self, patients: Patients, workload: Workload = W1, threads: int = 1) -> tuple[float, Array]:
        """Run it; the mean link and all maxima on the grid."""
        best = np.empty(len(patients["A.CL"]))
        shared, arrays = _pack(patients, workload)
        engine = getattr(library(self.lanes), f"w1_{self.kind}")
        mean = engine(ctypes.byref(shared), ctypes.byref(arrays), len(best), threads, best.ctypes.data)
        return mean, best

    def trace(self, patients: Patients, workload: Workload = W1) -> Array:
        """CeA and CeB of the first patients, one vector of them: shape (time, drug, lane)."""
        shared, arrays = _pack(patients, workload)
        n_time = round(workload.horizon / workload.step) + 1
        out = np.empty((n_time, 2, self.lanes))
        engine = getattr(library(self.lanes), f"w1_{self.kind}_trace")
        engine(ctypes.byref(shared), ctypes.byref(arrays), len(patients["A.CL"]), out.ctypes.data)
        return out


def _pack(patients: Patients, workload: Workload) -> tuple[_Shared, _Patients]:
    """Point the C structures at NumPy's arrays, which `patients` and `workload` keep alive."""
    length, a, b = workload.spans
    pointers = [array.ctypes.data for array in (length, a, b)]
    shared = _Shared(KE0["A"], KE0["B"], B0, B1, B2, B3, workload.step, len(length), *pointers)
    return shared, _Patients(*(patients[name].ctypes.data for name in TYPICAL))


# -------------------------------------------------------------------------------------------- memory


def peak_memory() -> float:
    """Largest resident memory of this process so far, MiB.

    On Linux from /proc: what `getrusage` says of a child starts at what its parent held when it forked.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


# -------------------------------------------------------------------------------------------- checks


def by_ode(patients: Patients, i: int, workload: Workload = W1) -> Array:
    """CeA and CeB of one patient by DOP853, shape (time, drug)."""
    from scipy.integrate import solve_ivp

    n_time = round(workload.horizon / workload.step) + 1
    columns = []
    for name, ke0 in KE0.items():
        ka, V = patients[f"{name}.ka"][i], patients[f"{name}.V"][i]
        k = patients[f"{name}.CL"][i] / V

        def slope(_: float, x: Array, ka: float = ka, k: float = k, ke0: float = ke0) -> list[float]:
            return [-ka * x[0], ka * x[0] - k * x[1], ke0 * (x[1] - x[2])]

        x, seen = np.zeros(3), np.zeros(n_time)
        given = np.round(workload.doses[name] / workload.step).astype(int)
        for first, last in zip(given, [*given[1:], n_time - 1], strict=True):
            x[0] += DOSE[name]
            time = workload.step * np.arange(last - first + 1)
            found = solve_ivp(slope, (0, time[-1]), x, method="DOP853", rtol=1e-12, atol=1e-13, t_eval=time).y
            seen[first : last + 1], x = found[2] / V, found[:, -1].copy()
        columns.append(seen)
    return np.stack(columns, 1)


def errors(engine: C, patients: Patients, workload: Workload = W1) -> float:
    """Largest error of the C concentrations against DOP853, over the largest concentration."""
    found = engine.trace(patients, workload)
    truth = np.stack([by_ode(patients, i, workload) for i in range(found.shape[2])], 2)
    return float((np.abs(found - truth).max((0, 2)) / truth.max((0, 2))).max())


@dataclass(frozen=True)
class Agreement:
    """How maxima of the continuous trajectory compare with those that C finds on the grid and on a fine one.

    Parameters
    ----------
    missed : float
        Share of patients whose maximum is below one of the fine grid by more than 1e-6: see the notes of `expose`.
    below, above : float
        Largest relative shortfall of these patients, and largest excess over the grid of W1.
    off : float
        Largest relative difference of the other patients from the fine grid.
    """

    missed: float
    below: float
    above: float
    off: float

    @property
    def good(self) -> bool:
        """Whether it is what `expose` promises."""
        return self.missed <= 1e-3 and self.below < 0.02 and self.above < 0.02 and self.off < 1e-4

    def __str__(self) -> str:
        """Return one sentence."""
        return (
            f"maxima up to {self.above:.1e} above those of the grid, within {self.off:.1e} of those of a fine grid; "
            f"in {self.missed:.2%} of patients a rival peak was missed (shortfall {self.below:.1e} at most)"
        )


def agreement(best: Array, patients: Patients, workload: Workload = W1) -> Agreement:
    """Compare maxima with those of C."""
    grid, fine = C()(patients, workload)[1], C()(patients, replace(workload, step=1 / 64))[1]
    over = best / fine - 1
    missed = over < -1e-6
    return Agreement(
        float(missed.mean()),
        float(np.abs(over).max(where=missed, initial=0.0)),
        float((best / grid - 1).max()),
        float(np.abs(over).max(where=~missed, initial=0.0)),
    )
