"""Patients through their doses, fused with the reductions that endpoints need: by modes, or step by step.

Doses may fall anywhere, each enters at its own time; maxima are those of the continuous trajectory. The time at a level
depends on the step only for who goes step by step: with parameters that change, where a trajectory is kept (so under
independent action), and where a system or a patient has no modes (`vtrial.kinetics.modal`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.kinetics import modal, spectrum
from vtrial.kinetics.clock import clocks_of
from vtrial.kinetics.desk import DEEPEST, SMALL, lay_out
from vtrial.kinetics.exposure import Exposure, Grid, Sedation, Trace, running
from vtrial.kinetics.scan import Frame, Kept, Patients, Table, scan
from vtrial.kinetics.streams import Row, crowding, streams_of
from vtrial.kinetics.system import System
from vtrial.lanes import LANES
from vtrial.pharmacodynamics import level_probability

type Array = NDArray[np.float64]

type Regimens = tuple[Sequence[Row], NDArray[np.int64]]
"""A table of regimens, and each patient's row in it."""

NOTHING = np.zeros(1)
"""What stands for a parameter that a drug lacks."""
SLICE = 1024
"""Patients whose drives are kept over time at once, for the time at level under independent action."""


def expose(
    system: System,
    par: Mapping[str, Any],
    doses: Sequence[Regimens],
    origin: Array,
    sedation: Sedation,
    grid: Grid,
    *,
    changes: Sequence[float] = (),
    rows: Sequence[int] | None = None,
    trace: bool = False,
    cmax_windows: int | None = None,
    threads: int = 1,
) -> tuple[Exposure, Trace | None]:
    """Run patients through their doses.

    Parameters
    ----------
    system : System
    par : mapping
        Individual parameters of each drug, shape (n,) or scalars; names as in `vtrial.model.Drug`. With `changes`,
        clearances, volumes and rates (not tlag, F, dur and C50) may have the shape (row, n).
    doses : sequence
        Per drug a table of regimens, each a `vtrial.kinetics.streams.Row` in order of time, and each patient's row in
        it, shape (n,).
    origin : array, shape (n,)
        Time in h of the patient's first dose of any drug; windows and tolerance count from it.
    sedation : Sedation
    grid : Grid
    changes : sequence of float
        Times in h from the first dose, multiples of the grid's `h`, at which parameters change. Amounts stay as they
        are; so does the effect-site concentration.
    rows : sequence of int, optional
        Which row of the parameters holds from the first dose, and from each change; by default the next one each time.
    trace : bool
        Keep whole trajectories: for a few patients.
    cmax_windows : int, optional
        For how many of the windows, from the first, `cmax` and `conc` are wanted; all by default.
    threads : int
        Threads that share the patients who go by modes. A run needs none: it has a thread for each block of patients.

    Returns
    -------
    Exposure, Trace or None

    Raises
    ------
    ValueError
        If a change is no multiple of the step, or a rate is negative, not finite, or too fast for the step.

    Notes
    -----
    Maxima are those of the continuous trajectory (`vtrial.kinetics.peak`). A patient's numbers do not depend on the
    others, nor on their order, nor on threads.
    """
    n, wanted = len(origin), len(grid.windows) if cmax_windows is None else cmax_windows
    starts = _starts(grid, changes)
    row = np.arange(len(starts)) if rows is None else np.asarray(rows, np.int64)
    if len(row) != len(starts):
        raise ValueError(f"{len(row)} rows of parameters for {len(starts)} segments of time")
    over = _Setting(par, np.asarray(origin, float), sedation, grid, starts, row, threads)
    cmax, conc = np.zeros((2, len(system.drugs), len(grid.windows), n))
    for d, drug in enumerate(system.drugs[: len(system.drugs) if wanted else 0]):
        alone = System.of([drug], seen="conc", fed=system.fed)
        seen = _pass(alone, over, doses[d : d + 1], windows=wanted)
        cmax[d, :wanted], conc[d, :wanted] = seen.peak, seen.last
    if sedation.surface != "bliss":
        done = _pass(system, over, doses, trace=trace)
        parts, time_at = [done], done.time_at
    else:
        alone = [(System.of([drug], fed=system.fed), doses[d : d + 1]) for d, drug in enumerate(system.drugs)]
        parts = [_pass(one, over, given, trace=trace) for one, given in alone]
        time_at = _time_together(alone, over) if sedation.r.shape[1] else parts[0].time_at
    since, since_time, last = (
        _joined([getattr(part, name)[None] for part in parts]) for name in ("peak", "peak_time", "last")
    )
    peak, peak_time = running(since, since_time) if grid.restarts else (since, since_time)
    auc = _joined([part.auc for part in parts])
    exposure = Exposure(grid, peak, peak_time, cmax, auc, time_at, since, last, conc)
    return exposure, _trace(parts, grid) if trace else None


def _joined(arrays: Sequence[Array]) -> Array:
    """Arrays one after the other; a single one as it is, as large ones take long to copy."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


class _Setting(NamedTuple):
    """What all passes over the same patients share."""

    par: Mapping[str, Any]
    origin: Array
    sedation: Sedation
    grid: Grid
    starts: NDArray[np.int64]
    row: NDArray[np.int64]
    threads: int


class _Pass(NamedTuple):
    """What one pass leaves: (window, n), per drug and level (what, window, n), and tracks (time, what, n)."""

    peak: Array
    peak_time: Array
    last: Array
    auc: Array
    time_at: Array
    tracks: Array


def _pass(
    system: System, over: _Setting, doses: Sequence[Regimens], *, windows: int | None = None, trace: bool = False
) -> _Pass:
    """Run the patients once, seeing what the system shows: a drive, or a concentration.

    By modes where that goes; step by step for whom it does not, which depends on the patient alone.
    """
    if trace or len(over.starts) > 1 or not system.has_modes:
        return _stepped(system, over, doses, windows=windows, trace=trace)
    done, hard = _by_modes(system, over, doses, windows)
    if len(hard):
        rest = _stepped(system, *_some_of(over, doses, hard), windows=windows)
        for whole, part in zip(done, rest, strict=True):
            whole[..., hard] = part
    return done


def _by_modes(
    system: System, over: _Setting, doses: Sequence[Regimens], windows: int | None
) -> tuple[_Pass, NDArray[np.int64]]:
    """Run the patients by modes; the numbers of those for whom that does not go."""
    n, sedation, ends = len(over.origin), over.sedation, over.grid.windows[:windows]
    levels, steepness = _levels(system, sedation)
    n_level = levels.shape[1]
    clocks = clocks_of(doses, over.origin, ends, _anew(system, over.grid, len(ends)))
    at = spectrum.lay_out(len(system.drugs), sum(map(len, system.modes)), n_level, clocks)
    own = [NOTHING if name is None else _column(over.par[name], n) for name in modal.parameters(system)]
    felt = [_column(v, n) for v in (*_felt(system, sedation, n), sedation.tolerance_t_half, *sedation.share)]
    people = spectrum.People(
        *_addresses(own),
        *_addresses(felt),
        np.ascontiguousarray(sedation.draw, np.int64),
        levels,
        steepness,
    )
    shapes = *[len(ends)] * 3, at.n_drug * len(ends), n_level * len(ends)
    # one large array: NumPy asks for huge pages, and threads that share the patients do not queue for small ones
    peak, peak_time, last, auc, time_at = np.split(np.zeros((sum(shapes), n)), np.cumsum(shapes[:-1]))
    kept = modal.Kept(peak, peak_time, last, auc, time_at, np.zeros(n, np.uint8))
    edges = np.linspace(0, len(clocks.clock), over.threads + 1).astype(int).tolist()

    def run(first: int, past: int) -> None:
        modal.run(system.modes, at, modal.table(system), people, clocks, kept, first, past)

    others = [_pool().submit(run, *part) for part in pairwise(edges[1:])]
    run(*edges[:2])  # the calling thread has its part
    for other in others:
        other.result()
    return (
        _Pass(
            kept.peak,
            kept.peak_time,
            kept.last,
            kept.auc.reshape(at.n_drug, len(ends), n),
            kept.time_at.reshape(n_level, len(ends), n),
            np.zeros((0, 2 * at.n_drug + 1, n)),
        ),
        np.flatnonzero(kept.hard.view(np.bool_)),
    )


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that wait for work between calls, made when they are first needed."""
    return ThreadPoolExecutor(os.cpu_count())


def _anew(system: System, grid: Grid, n_window: int) -> NDArray[np.int64]:
    """At the ends of which windows maxima start anew: those of concentrations never do."""
    return grid.anew[:n_window] if system.seen == "Ce" else np.zeros(n_window, np.int64)


def _felt(system: System, sedation: Sedation, n: int) -> tuple[Array, Array, Array]:
    """A, alpha and tolerance_fold, shape (n,): of a concentration alone nothing is felt."""
    if system.seen == "conc":
        return np.ones(n), np.zeros(n), np.ones(n)
    return sedation.A, sedation.alpha if sedation.surface == "greco" else np.zeros(n), sedation.tolerance_fold


def _levels(system: System, sedation: Sedation) -> tuple[Array, Array]:
    """Of the levels whose time is summed, log2 r (draw, level); and log 2 / omega (draw,)."""
    timed = system.seen == "Ce" and sedation.surface != "bliss"
    thresholds = np.log2(sedation.r if timed else sedation.r[:, :0])
    # in C order whatever is given: the loops would be compiled once more for another
    return np.ascontiguousarray(thresholds), np.log(2) / np.asarray(sedation.omega, float)


def _column(values: Any, n: int) -> Array:
    """One number per patient, or one for all."""
    values = np.ascontiguousarray(values, float)  # of a number, an array of one
    return values if len(values) in (1, n) else np.ascontiguousarray(np.broadcast_to(values, n))


def _addresses(columns: Sequence[Array]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the numbers lie, and whether there is one for each patient."""
    return (
        np.array([column.__array_interface__["data"][0] for column in columns], np.int64),
        np.array([int(len(column) > 1) for column in columns], np.int64),
    )


def _stepped(
    system: System, over: _Setting, doses: Sequence[Regimens], *, windows: int | None = None, trace: bool = False
) -> _Pass:
    """Run the patients step by step."""
    n, grid, sedation = len(over.origin), over.grid, over.sedation
    full = -(-n // LANES) * LANES  # the last vector is filled up with copies of the last patient
    seats = np.minimum(np.arange(full), n - 1)
    ends = grid.ends[:windows]
    levels, steepness = _levels(system, sedation)
    n_level = levels.shape[1]
    given = streams_of(system.layouts, over.par, doses, over.origin)
    rates, clarity, gain, clearance = _kinetics(system, over, n)
    _check_rates(system, rates, grid.h)
    at = lay_out(system, len(given.drug), crowding(given, grid.h), n_level)

    def filled(array: Array) -> Array:
        array = np.ascontiguousarray(array).reshape(-1, n)
        return array if full == n else np.take(array, seats, 1)

    half_times = np.asarray(sedation.tolerance_t_half, float)
    own, share = _felt(system, sedation, n), np.broadcast_arrays(*sedation.share, np.zeros(n))[:2]
    patients = Patients(
        filled(rates),
        filled(clarity),
        filled(gain),
        filled(clearance),
        filled(np.stack([*own, np.log(2) / half_times, np.exp2(-grid.h / half_times), *share])),
        np.asarray(sedation.draw, np.int64)[seats],
    )
    given = given._replace(
        **{name: filled(getattr(given, name)) for name in ("regimen", "lag", "factor", "origin")},
    )
    anew = _anew(system, grid, len(ends))
    frame = Frame(grid.h, grid.stride, ends, anew, over.starts, over.row, levels, steepness)
    shapes = *[len(ends)] * 3, at.n_drug * len(ends), n_level * len(ends)
    times = (int(ends[-1]) + 1) * (2 * at.n_drug + 1) if trace else 0
    kept = Kept(*(np.zeros((rows, full)) for rows in (*shapes, times)))
    scan(system.shape, at, Table(system.table.ravel(), system.diagonal), patients, given, frame, kept)
    return _Pass(
        kept.peak[:, :n],
        kept.peak_time[:, :n],
        kept.last[:, :n],
        kept.auc.reshape(at.n_drug, len(ends), full)[..., :n],
        kept.time_at.reshape(n_level, len(ends), full)[..., :n],
        kept.tracks.reshape(-1, 2 * at.n_drug + 1, full)[:: grid.stride, :, :n],
    )


def _kinetics(system: System, over: _Setting, n: int) -> tuple[Array, Array, Array, Array]:
    """Entries of A (row entry, n), 1 / V, 1 / (V C50) and CL (row drug, n)."""
    rows = []
    for row in range(int(over.row.max()) + 1):
        par = {name: value[row] if np.ndim(value) == 2 else value for name, value in over.par.items()}
        V, CL, C50 = (
            np.stack([np.broadcast_to(par[f"{drug.name}.{name}"], n) for drug in system.drugs])
            for name in ("V", "CL", "C50")
        )
        rows.append((system.rates(par, n), 1 / V, 1 / (V * C50), CL))
    rates, clarity, gain, clearance = (
        parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in zip(*rows, strict=True)
    )
    return rates, clarity, gain, clearance


def _check_rates(system: System, rates: Array, h: float) -> None:
    """Refuse what the stepper cannot follow."""
    diagonal = rates.reshape(-1, system.n_entries, rates.shape[-1])[:, system.diagonal]
    fastest, slowest = -diagonal.min(initial=0.0), -diagonal.max(initial=-np.inf)
    if not (slowest >= 0 and np.isfinite(fastest)):
        raise ValueError("kinetics: a rate is negative or not finite")
    if fastest * h > SMALL * 2.0**DEEPEST:
        raise ValueError(f"kinetics: a rate of {fastest:g} /h is too fast for a step of {h:g} h")


def _starts(grid: Grid, changes: Sequence[float]) -> NDArray[np.int64]:
    """Step numbers at which segments of constant parameters begin."""
    if not changes:
        return np.zeros(1, np.int64)
    steps = np.asarray([0.0, *changes]) / grid.h
    if not np.allclose(steps, np.round(steps), atol=1e-9) or np.any(np.diff(steps) <= 0):
        raise ValueError(f"changes at {tuple(changes)} h are not increasing multiples of {grid.h:g} h")
    return np.round(steps).astype(np.int64)


def _time_together(alone: Sequence[tuple[System, Sequence[Regimens]]], over: _Setting) -> Array:
    """Time at level when each drug acts by itself: their drives are needed side by side, a slice at a time."""
    n, grid, sedation = len(over.origin), over.grid, over.sedation
    time_at = np.zeros((sedation.r.shape[1], len(grid.windows), n))
    for begin in range(0, n, SLICE):
        part = slice(begin, min(begin + SLICE, n))
        drives = [_pass(one, *_some_of(over, given, part), trace=True).tracks[:, -1] for one, given in alone]
        r, omega = sedation.r[sedation.draw[part]], sedation.omega[sedation.draw[part]]
        for level in range(len(time_at)):
            chance = level_probability(drives, r[:, level], omega)
            summed = grid.step * (np.cumsum(chance, 0) - 0.5 * (chance + chance[0]))
            time_at[level, :, part] = summed[grid.points]
    return time_at


def _some_of(over: _Setting, doses: Sequence[Regimens], which: Any) -> tuple[_Setting, list[Regimens]]:
    """Some of the patients."""
    sedation = over.sedation
    own = {
        name: np.asarray(getattr(sedation, name))[which]
        for name in ("A", "alpha", "tolerance_fold", "tolerance_t_half", "draw")
    }
    begin, end = (edge[which] if len(edge) > 1 else edge for edge in sedation.share)
    some = over._replace(
        par={name: np.asarray(v)[..., which] if np.ndim(v) else v for name, v in over.par.items()},
        origin=over.origin[which],
        sedation=replace(sedation, **own, share=(begin, end)),
    )
    return some, [(table, np.asarray(rows)[which]) for table, rows in doses]


def _trace(parts: Sequence[_Pass], grid: Grid) -> Trace:
    """Tracks of the passes as one record; time 0 is before the first dose."""
    tracks = [part.tracks for part in parts]
    n_drug = [(track.shape[1] - 1) // 2 for track in tracks]
    conc, Ce = (
        np.concatenate([track[:, i * d : (i + 1) * d] for track, d in zip(tracks, n_drug, strict=True)], 1)
        for i in (0, 1)
    )
    time = grid.step * np.arange(len(conc), dtype=np.float64)
    return Trace(time, conc, Ce, np.concatenate([track[:, -1:] for track in tracks], 1))
