"""Patients through their doses when the kinetics are a right-hand side of the model's own.

The same door as `vtrial.kinetics.expose`, for `vtrial.model.dynamics.Dynamics`. Each patient is solved alone, from
one dose to the next, by LSODA of scipy (Hindmarsh 1983; Petzold 1983, SIAM J Sci Stat Comput 4:136-48), which goes
over to an implicit method where the equations are stiff. A batch of patients in one system would share its steps,
so that the neighbours of a patient would change the last digits of his numbers; here they do not depend on blocks,
threads or order. A banded Jacobian has no use for the few states of one patient. The price is speed: some ten patients
per second for two drugs over three days, threads or not, as the right-hand side is Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import LSODA, OdeSolution

from vtrial.kinetics import Exposure, Grid, Sedation, Trace
from vtrial.kinetics.exposure import running
from vtrial.model.dynamics import Dynamics
from vtrial.pharmacodynamics import drive, level_probability, tolerance

type Array = NDArray[np.float64]

RTOL, ATOL = 1e-10, 1e-15
"""Local error that LSODA may make: of each state, and of its scale (its initial value, else the largest dose)."""

LONGEST_STEP = 4.0
"""Longest step of the solver in h, so that it does not step over what a slope does at some time of the day; for what
is shorter, or abrupt, a model names its `breaks`."""

MOST_STEPS = 50_000
"""Steps between two doses after which a patient counts as unsolved."""

NODES = 3
"""Looks at the trajectory in each step of the solver, in search of maxima."""

ZOOM = np.linspace(0.0, 1.0, 17)
"""Where a bracket around a maximum is looked at, again and again, each time 8 times closer."""

CLOSE = 0.98
"""A local maximum is refined if on the nodes it reaches this share of the highest one in its window."""


class Unsolved(RuntimeError):
    """A patient could not be solved: his number among those given, from 0, and why."""

    def __init__(self, patient: int, n: int, reason: str):
        self.patient, self.reason = patient, reason
        super().__init__(f"patient {patient} (of {n}, from 0): {reason}")


def expose_nonlinear(
    dynamics: Dynamics,
    par: Mapping[str, Any],
    doses: Sequence[tuple[Sequence[Any], NDArray[np.int64]]],
    origin: Array,
    sedation: Sedation,
    grid: Grid,
    *,
    trace: bool = False,
    cmax_windows: int | None = None,
) -> tuple[Exposure, Trace | None]:
    """Run patients through their doses by a right-hand side.

    Parameters
    ----------
    dynamics : Dynamics
    par : mapping
        Individual parameters, shape (n,) or scalars: `dynamics.parameters`.
    doses : sequence
        Per drug a table of regimens, each (time in h, amt in mg) or (time, amt, tinf in h), and each patient's row in
        it, shape (n,). F amt enters the drug's entry tlag after its time: at once, or over tinf (or `duration`) hours.
    origin : array, shape (n,)
        Time in h of the patient's first dose of any drug; windows and tolerance count from it.
    sedation : Sedation
    grid : Grid
    trace : bool
        Keep whole trajectories: for a few patients. A dose shows after its time.
    cmax_windows : int, optional
        For how many of the windows, from the first, `cmax` is wanted; all by default.

    Returns
    -------
    Exposure, Trace or None
        As `vtrial.kinetics.expose` gives them; `auc` is the integral of the concentration, as a state of its own.

    Raises
    ------
    ValueError
        If a window is no multiple of the step, or tinf is negative.
    Unsolved
        If a patient has a parameter that is not finite, or cannot be solved; says which.

    Notes
    -----
    Concentrations and effects below zero count as zero. Doses are placed to 1e-10 h.

    Examples
    --------
    >>> from vtrial.model import Drug
    >>> from vtrial.model.dynamics import michaelis_menten
    >>> par = {"x.Vmax": 5.0, "x.Km": 2.0, "x.V": 10.0, "x.tlag": 0.0, "x.F": 1.0, "x.C50": 1.0}
    >>> one = np.ones(1)
    >>> sedation = Sedation("loewe", one, one, one, one, np.zeros(1, int), np.empty((1, 0)), one)
    >>> regimen = (np.array([0.0]), np.array([100.0]))
    >>> drug = michaelis_menten(Drug("x", 1, "iv"))
    >>> doses, grid = [([regimen], np.zeros(1, int))], Grid(0.5, (24.0, 240.0))
    >>> found, _ = expose_nonlinear(drug, par, doses, np.zeros(1), sedation, grid)
    >>> round(float(found.cmax[0, 0, 0]), 6), round(float(found.auc[0, 1, 0]), 6)  # V (C0^2 / 2 + Km C0) / Vmax
    (10.0, 140.0)
    """
    n, ends = len(origin), grid.points
    every = {name: np.broadcast_to(np.asarray(par[name], float), n) for name in dynamics.parameters}
    n_channel = len(dynamics.drugs) if sedation.surface == "bliss" else 1
    kept = _Kept.empty(
        n_channel, len(dynamics.drugs), sedation.r.shape[1], len(ends), n, int(ends[-1]) + 1 if trace else 0
    )
    wanted = len(ends) if cmax_windows is None else cmax_windows
    for i in range(n):
        own = {name: float(values[i]) for name, values in every.items()}
        try:
            given = _doses_of(dynamics, own, doses, i, float(origin[i]))
            patient = _Patient(dynamics, own, *_sedation_of(sedation, i))
            with np.errstate(all="ignore"):  # what is not finite is noticed in the states
                track = _solve(patient, given, grid.step * float(ends[-1]))
                _reduce(patient, track, _Frame(grid.step, ends, grid.anew, wanted), kept, i)
        except _Stuck as error:
            listed = ", ".join(f"{name} {value:.6g}" for name, value in own.items())
            raise Unsolved(i, n, f"{error} (parameters: {listed})") from error
    peak, peak_time = running(kept.peak, kept.peak_time)
    exposure = Exposure(grid, peak, peak_time, kept.cmax, kept.auc, kept.time_at, kept.peak, kept.last, kept.at_end)
    return exposure, _trace(kept, grid) if trace else None


class _Stuck(ArithmeticError):
    """Why the patient at hand cannot be solved."""


class _Kept(NamedTuple):
    """What is kept of the patients, the last axis: as in `Exposure`, with `at_end` for its conc, and conc, Ce and drive
    (what, time, n)."""

    peak: Array
    peak_time: Array
    last: Array
    cmax: Array
    auc: Array
    time_at: Array
    at_end: Array
    conc: Array
    Ce: Array
    drive: Array

    @classmethod
    def empty(cls, n_channel: int, n_drug: int, n_level: int, n_window: int, n: int, n_time: int) -> _Kept:
        per_window = (np.zeros((rows, n_window, n)) for rows in (*[n_channel] * 3, n_drug, n_drug, n_level, n_drug))
        return cls(*per_window, *(np.zeros((rows, n_time, n)) for rows in (n_drug, n_drug, n_channel)))


# ------------------------------------------------------------------------------------------- one patient


@dataclass(frozen=True)
class _Patient:
    """One patient: right-hand side, parameters, and what turns effects into a drive."""

    dynamics: Dynamics
    par: Mapping[str, float]
    surface: Any
    A: float
    alpha: float
    fold: float
    t_half: float
    r: Array
    omega: float
    share: tuple[float, float]

    def look(self, t: Array, x: Array) -> tuple[Array, Array, Array]:
        """Conc and Ce (drug, time), and drive (channel, time), of states (state, time)."""
        conc, Ce = (
            np.maximum([np.broadcast_to(row, t.shape) for row in read(x, self.par)], 0.0)
            for read in (self.dynamics.conc, self.dynamics.Ce)
        )
        contributions = [row / self.par[f"{drug}.C50"] for drug, row in zip(self.dynamics.drugs, Ce, strict=True)]
        scale = self.A / tolerance(np.exp2(-t / self.t_half), self.fold)
        return conc, Ce, np.array([scale * u for u in drive(contributions, self.surface, self.alpha)])


def _sedation_of(sedation: Sedation, i: int) -> tuple[Any, ...]:
    own = (sedation.A, sedation.alpha, sedation.tolerance_fold, sedation.tolerance_t_half)
    draw = sedation.draw[i]
    share = tuple(float(np.broadcast_to(end, len(sedation.draw))[i]) for end in sedation.share)
    return sedation.surface, *(float(values[i]) for values in own), sedation.r[draw], float(sedation.omega[draw]), share


class _Doses(NamedTuple):
    """A patient's doses in h from the first one: mg into a state at a time, and mg/h from a time to another."""

    boluses: list[tuple[float, int, float]]
    infusions: list[tuple[float, float, int, float]]


def _doses_of(dynamics: Dynamics, par: Mapping[str, float], doses: Sequence[Any], i: int, origin: float) -> _Doses:
    if bad := [name for name, value in par.items() if not np.isfinite(value)]:
        raise _Stuck(f"{', '.join(bad)} not finite")
    durations = dynamics.duration or (None,) * len(dynamics.drugs)
    boluses, infusions = [], []
    for drug, entry, duration, (table, rows) in zip(dynamics.drugs, dynamics.entry, durations, doses, strict=True):
        state, (time, amt, *tinf) = dynamics.states.index(entry), table[rows[i]]
        lasts = np.broadcast_to(tinf[0] if tinf else 0.0, np.shape(time))
        if np.any(lasts < 0) or (duration and np.any(lasts)):
            raise ValueError(f"patient {i}: tinf of {drug} is negative, or its absorption has a duration of its own")
        for at, mg, long in zip(time, amt, lasts, strict=True):
            start = round(float(at) - origin + par[f"{drug}.tlag"], 10)
            span = par[duration] if duration else float(long)
            given = par[f"{drug}.F"] * float(mg)
            if span > 0:
                infusions.append((start, round(start + span, 10), state, given / span))
            else:
                boluses.append((start, state, given))
    return _Doses(boluses, infusions)


class _Piece(NamedTuple):
    """The trajectory between two doses: states, then the area under the concentration of each drug."""

    start: float
    stop: float
    solution: Any


class _Track(NamedTuple):
    """The states and areas before the first dose, and the pieces since."""

    before: Array
    pieces: list[_Piece]

    def at(self, time: Array) -> Array:
        """States and areas (row, time) at increasing times, the first of them 0; before a dose that arrives then."""
        found = [self.before[:, None]]
        for piece in self.pieces:
            inside = (time > piece.start) & (time <= piece.stop)
            if inside.any():
                found.append(piece.solution(time[inside]))
        return np.concatenate(found, 1)


def _solve(patient: _Patient, doses: _Doses, horizon: float) -> _Track:
    """Solve a patient from dose to dose; a dose at the horizon itself leaves no trace."""
    dynamics = patient.dynamics
    given = dynamics.initial(patient.par)
    before = np.zeros(len(dynamics.states) + len(dynamics.drugs))
    before[: len(dynamics.states)] = np.asarray(given, float) if len(given) else 0.0
    largest = max([mg for _, _, mg in doses.boluses] + [rate * (b - a) for a, b, _, rate in doses.infusions], default=0)
    atol = ATOL * np.where(before == 0, largest or 1.0, np.abs(before))
    times = [t for t, *_ in doses.boluses] + [t for a, b, *_ in doses.infusions for t in (a, b)]
    cuts = np.unique([0.0, horizon, *(t for t in (*times, *dynamics.breaks) if 0 < t < horizon)])
    x, pieces = before.copy(), []
    for start, stop in pairwise(cuts.tolist()):
        for at, state, mg in doses.boluses:
            if at == start:
                x[state] += mg
        flow = [(state, rate) for a, b, state, rate in doses.infusions if a <= start < b]
        solution, x = _integrate(_slope_of(patient, flow), x, start, stop, atol)
        pieces.append(_Piece(start, stop, solution))
    return _Track(before, pieces)


def _slope_of(patient: _Patient, flow: list[tuple[int, float]]) -> Any:
    """Right-hand side of the states and areas, with the rates that flow in now."""
    dynamics, par, n = patient.dynamics, patient.par, len(patient.dynamics.states)

    def slope(t: float, x: Array) -> list[Any]:
        rows = [*dynamics.slope(t, x[:n], par)]
        for state, rate in flow:
            rows[state] = rows[state] + rate
        return [*rows, *dynamics.conc(x[:n], par)]

    return slope


def _integrate(slope: Any, x: Array, start: float, stop: float, atol: Array) -> tuple[OdeSolution, Array]:
    """Solve one piece: a continuous solution, and the states at its end."""
    times, steps, message = [start], [], None
    bound: Any = atol  # one per state, which the class takes though its annotation does not say so
    try:
        solver = LSODA(slope, start, x, stop, rtol=RTOL, atol=bound, max_step=LONGEST_STEP)
        while solver.status == "running" and len(steps) < MOST_STEPS:
            message = solver.step()
            if solver.status != "failed":
                times.append(solver.t)
                steps.append(solver.dense_output())
    except Exception as error:  # of the slope, or a warning of the solver that became an error
        raise _Stuck(f"after {times[-1]:.9g} h: {type(error).__name__}: {error}") from error
    if solver.status != "finished":
        raise _Stuck(f"the solver stopped at {times[-1]:.9g} h: {message or 'too many steps'}")
    if not np.isfinite(solver.y).all():
        raise _Stuck(f"states are not finite before {stop:.9g} h")
    return OdeSolution(times, steps), np.array(solver.y)


# ------------------------------------------------------------------------------------------- what is kept


class _Frame(NamedTuple):
    """Step in h, steps at which the windows end, whether maxima of the drive start anew there, and in how many windows
    Cmax is wanted."""

    step: float
    ends: NDArray[np.int64]
    anew: NDArray[np.int64]
    wanted: int


def _reduce(patient: _Patient, track: _Track, frame: _Frame, kept: _Kept, i: int) -> None:
    """Write a patient's numbers into column `i`."""
    step, ends, anew, wanted = frame
    n, time = len(patient.dynamics.states), step * np.arange(int(ends[-1]) + 1, dtype=np.float64)
    x = track.at(time)
    conc, Ce, drives = patient.look(time, x[:n])
    if not np.isfinite(drives).all():  # of the concentrations, their areas would have told
        raise _Stuck("the effect is not finite")
    kept.auc[..., i] = x[n:, ends]
    kept.last[..., i] = drives[:, ends]
    begin, end = patient.share
    chance = (level_probability(list(drives), patient.r[:, None], patient.omega) - begin).clip(0.0, end - begin)
    summed = step * (np.cumsum(chance, 1) - 0.5 * (chance + chance[:, :1]))
    kept.time_at[..., i] = summed[:, ends]
    if kept.conc.shape[1]:
        kept.conc[..., i], kept.Ce[..., i], kept.drive[..., i] = conc, Ce, drives
    split, signals = len(drives), len(drives) + len(conc)
    best, when = np.zeros((2, signals, len(ends)))
    for w, (first, last) in enumerate(pairwise([0, *ends.tolist()])):
        rows = signals if w < wanted else split
        best[:rows, w], when[:rows, w] = _maxima(patient, track.pieces, time[first : last + 1], rows)
        earlier = best[:, w] <= best[:, w - 1] if w else np.zeros(signals, bool)
        earlier[:split] &= not (w and anew[w - 1])
        best[earlier, w], when[earlier, w] = best[earlier, w - 1], when[earlier, w - 1]
    kept.peak[..., i], kept.peak_time[..., i] = best[:split], when[:split]
    kept.cmax[:, :wanted, i] = best[split:, :wanted]
    kept.at_end[:, :wanted, i] = conc[:, ends[:wanted]]


def _maxima(patient: _Patient, pieces: list[_Piece], time: Array, rows: int) -> tuple[Array, Array]:
    """Highest drive of each channel, then concentration of each drug, within a window; and when."""
    looks = []
    for piece in pieces:
        low, high = max(piece.start, time[0]), min(piece.stop, time[-1])
        if low < high:
            steps = piece.solution.ts
            between = [steps[:-1] + np.diff(steps) * k / NODES for k in range(1, NODES)]
            t = np.unique(np.clip(np.concatenate([steps, *between, time]), low, high))
            looks.append((piece, t, _signals(patient, piece, t)[:rows]))
    goal = CLOSE * np.max([values.max(1) for _, _, values in looks], 0)
    best, when = np.zeros((2, rows))
    for piece, t, values in looks:
        beside = np.pad(values, ((0, 0), (1, 1)), constant_values=-np.inf)
        tops = (values > beside[:, :-2]) & (values >= beside[:, 2:]) & (values >= goal[:, None]) & (values > 0)
        for row, j in np.argwhere(tops).tolist():
            refined = _refine(patient, piece, row, t[max(j - 1, 0)], t[min(j + 1, len(t) - 1)])
            value, at = max((float(values[row, j]), float(t[j])), refined)
            if value > best[row]:
                best[row], when[row] = value, at
    return best, when


def _signals(patient: _Patient, piece: _Piece, t: Array) -> Array:
    conc, _, drives = patient.look(t, piece.solution(t)[: len(patient.dynamics.states)])
    return np.concatenate([drives, conc])


def _refine(patient: _Patient, piece: _Piece, row: int, low: float, high: float) -> tuple[float, float]:
    """Maximum of one signal in a bracket, and its time."""
    best = -np.inf, low
    while high - low > 1e-7:
        t = low + (high - low) * ZOOM
        values = _signals(patient, piece, t)[row]
        j = int(values.argmax())
        best = max(best, (float(values[j]), float(t[j])))
        low, high = t[max(j - 1, 0)], t[min(j + 1, len(t) - 1)]
    return best


def _trace(kept: _Kept, grid: Grid) -> Trace:
    time = grid.step * np.arange(kept.conc.shape[1], dtype=np.float64)
    return Trace(time, *(np.moveaxis(tracks, 0, 1) for tracks in (kept.conc, kept.Ce, kept.drive)))
