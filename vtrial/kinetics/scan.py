"""The loop over time: eight patients at a time, reduced as they go.

Nothing is kept of a trajectory but its running maximum, what the body holds, and the time at each level; so memory
does not grow with the grid. The loop has no exp, log or pow; those that the time at level needs are polynomials.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.compiled import compiled, inlined
from vtrial.kinetics import ladder
from vtrial.kinetics.desk import cleared
from vtrial.kinetics.dosing import NEVER, forget_boosts, give, list_arrivals
from vtrial.kinetics.dwell import dwell, lay_level, lay_share
from vtrial.kinetics.functions import lay_series
from vtrial.kinetics.peak import ceiling, combined, end_window, examine, glance, look_around, start_anew
from vtrial.kinetics.streams import Doses
from vtrial.kinetics.system import COLUMNS
from vtrial.kinetics.unrolled import fetch, keep, matrix, times
from vtrial.lanes import (
    LANES,
    larger,
    load,
    load_from,
    pointer,
    select,
    some,
    splat,
    store,
    store_to,
)
from vtrial.pharmacodynamics import tolerance

RUN = 64
"""Most steps in one go: drives are kept so long for the time at level."""


type Array = NDArray[np.float64]
type Index = NDArray[np.int64]


class Patients(NamedTuple):
    """Patients side by side along the last axis, whose length is a multiple of `LANES`.

    Entries of A (row entry), 1 / V, 1 / (V C50), CL (row drug), sedation (A, alpha, fold, log 2 / t_half,
    2^(-h / t_half), and from and to which share of the distribution of sensitivity), and the draw each belongs to.
    """

    rates: Array
    clarity: Array
    gain: Array
    clearance: Array
    sedation: Array
    draw: Index


class Frame(NamedTuple):
    """Step in h, steps at which windows end, log2 r (draw, level), log 2 / omega (draw,).

    Maxima start anew at the end of a window where `anew` is 1. Segments of time begin at the steps `starts`, each with
    the kinetics of its `row`. Every `stride`-th step counts for the time at level.
    """

    h: float
    stride: int
    ends: Index
    anew: Index
    starts: Index
    row: Index
    thresholds: Array
    steepness: Array


class Kept(NamedTuple):
    """What is kept, patients along the last axis: peak, its time, the last value (window), AUC (drug window), time at
    level (level window), and tracks (time what)."""

    peak: Array
    peak_time: Array
    last: Array
    auc: Array
    time_at: Array
    tracks: Array


class Agenda(NamedTuple):
    """Arrivals of each stream: step, amounts, waits; where a stream's list begins, and what comes next of it.

    And whether all patients of the vector take the same, their positions while a list is made, and the states that
    the doses of a step enter.
    """

    step: Index
    amount: Array
    wait: Array
    first: Index
    next: Index
    alike: Index
    position: Index
    entries: Index


class Size(NamedTuple):
    """Patients (a multiple of LANES), windows, last step, segments, and whether tracks are kept."""

    width: int
    n_window: int
    last: int
    n_segment: int
    tracked: bool


class Table(NamedTuple):
    """Pointers to `System.table` and `System.diagonal`."""

    layout: Index
    diagonal: Index


@compiled
def scan(shape, at, table, patients, doses, frame, kept):
    """Run all patients and fill `kept`."""
    width, n_arrival = patients.sedation.shape[1], LANES * len(doses.time) + at.n_stream + 1
    desk, values = cleared(at.rows), cleared(2 * RUN)
    agenda = Agenda(
        np.zeros(n_arrival, np.int64), np.zeros((n_arrival, LANES)), np.zeros((n_arrival, LANES)),
        np.zeros(at.n_stream, np.int64), np.zeros(at.n_stream, np.int64), np.zeros(at.n_stream, np.int64),
        np.zeros(LANES, np.int64), np.zeros(max(1, (at.start - at.event) // 2), np.int64),
    )  # fmt: skip
    for row in range(len(doses.first) - 1):  # each stream has room for all of its doses, patient by patient
        for s in range(doses.owner[row] + 1, at.n_stream):
            agenda.first[s] += LANES * (doses.first[row + 1] - doses.first[row])
    for s in range(1, at.n_stream):
        agenda.first[s] += s  # and for the mark at its end
    size = Size(width, len(frame.ends), frame.ends[-1], len(frame.starts), len(kept.tracks) > 0)
    _all_blocks(
        shape, pointer(desk), at, pointer(values),
        Agenda(
            pointer(agenda.step), pointer(agenda.amount), pointer(agenda.wait), pointer(agenda.first),
            pointer(agenda.next), pointer(agenda.alike), pointer(agenda.position), pointer(agenda.entries),
        ),
        Table(pointer(table.layout), pointer(table.diagonal)),
        Patients(
            pointer(patients.rates), pointer(patients.clarity), pointer(patients.gain), pointer(patients.clearance),
            pointer(patients.sedation), pointer(patients.draw),
        ),
        Doses(
            pointer(doses.drug), pointer(doses.entry), pointer(doses.source), pointer(doses.regimen),
            pointer(doses.first), pointer(doses.owner), pointer(doses.time), pointer(doses.amt),
            pointer(doses.lag), pointer(doses.factor), pointer(doses.origin),
        ),
        Frame(
            frame.h, frame.stride, pointer(frame.ends), pointer(frame.anew), pointer(frame.starts),
            pointer(frame.row), pointer(frame.thresholds), pointer(frame.steepness),
        ),
        Kept(
            pointer(kept.peak), pointer(kept.peak_time), pointer(kept.last), pointer(kept.auc),
            pointer(kept.time_at), pointer(kept.tracks),
        ),
        size,
    )  # fmt: skip


@compiled
def _all_blocks(shape, desk, at, values, agenda, table, patients, doses, frame, kept, size):
    """Run the patients, vector by vector. All arrays are pointers."""
    for p in range(0, size.width, LANES):
        _sit_down(desk, at, patients, doses, frame, size.width, p)
        list_arrivals(desk, at, agenda, doses, frame.h, size.last, size.width, p)
        _run(shape, desk, at, values, agenda, table, patients, doses, frame, kept, size, p)


@inlined
def _sit_down(desk, at, patients, doses, frame, width, p):
    """Put what does not change over time on the desk."""
    for part, row in enumerate((at.A, at.alpha, at.fold, at.fading, at.decay)):
        store(desk, row, load_from(patients.sedation, part * width + p))
    lay_share(desk, at, load_from(patients.sedation, 5 * width + p), load_from(patients.sedation, 6 * width + p))
    for s in range(at.n_stream):
        store(desk, at.factor + s, load_from(doses.factor, s * width + p))
    n_level = at.series - at.steepness
    lay_series(desk, at.series)
    for level in range(n_level):
        for i in range(LANES):
            draw = patients.draw[p + i]
            desk[LANES * (at.threshold + level) + i] = frame.thresholds[draw * n_level + level]
            desk[LANES * (at.steepness + level) + i] = frame.steepness[draw]
        lay_level(desk, at, level)
    for row in range(at.inflow, at.rows):
        store(desk, row, splat(0.0))


@inlined
def _enter_segment(shape, desk, at, table, patients, h, row, width, p):
    """Take the kinetics of a segment of time, which stand in a row."""
    for e in range(at.n_entry):
        store(desk, at.rates + e, load_from(patients.rates, (row * at.n_entry + e) * width + p))
    for d in range(at.n_drug):
        place = (row * at.n_drug + d) * width + p
        store(desk, at.clarity + d, load_from(patients.clarity, place))
        store(desk, at.gain + d, load_from(patients.gain, place))
        store(desk, at.clearance + d, load_from(patients.clearance, place))
    deepest = ladder.build(shape, desk, at, h, table)
    ladder.fade(desk, at, deepest)
    ladder.bounds(desk, at, h, table)
    forget_boosts(desk, at)
    return deepest


@compiled
def _run(shape, desk, at, values, agenda, table, patients, doses, frame, kept, size, p):
    """The patients of a vector, from the first dose to the end of the last window."""
    h, ends, starts = frame.h, frame.ends, frame.starts
    for state in range(at.n_state):
        store(desk, at.here + state, splat(0.0))
    due = NEVER
    for s in range(at.n_stream):
        agenda.next[s] = agenda.first[s]
        due = min(due, agenda.step[agenda.next[s]])
    left, k, w, segment, deepest, fresh = splat(1.0), 0, 0, 0, 0, False
    while k < size.last:
        changes = starts[segment] if segment < size.n_segment else NEVER
        if k == changes:
            if segment > 0:
                end_window(shape, desk, at, h, deepest, k, left)
            deepest = _enter_segment(shape, desk, at, table, patients, h, frame.row[segment], size.width, p)
            if segment > 0:  # a concentration jumps when its volume changes
                end_window(shape, desk, at, h, deepest, k, left)
            segment, fresh = segment + 1, True
            store(desk, at.fresh, splat(1.0))
            changes = starts[segment] if segment < size.n_segment else NEVER
        if k == due or fresh:  # a dose, or the step after a dose or a change
            fresh, stop = k == due, k + 1
            left, due = _dosed_step(shape, desk, at, h, deepest, k, due, agenda, table, doses, left, values)
        else:
            stop = min(min(due, k + (1 if size.tracked else RUN)), min(ends[w], changes))
            left = _march(shape, desk, at, h, deepest, k, stop, left, values)
        if at.series > at.steepness:
            dwell(desk, at, values, k, stop - k, frame.stride, frame.stride * h)
        if size.tracked:
            _track(desk, at, table, values, kept.tracks, size.width, stop, p)
        k = stop
        if k == ends[w] or k == changes:
            _balance(desk, at, table, h * k)
        if k == ends[w]:
            end_window(shape, desk, at, h, deepest, k, left)
            store_to(kept.last, w * size.width + p, glance(shape, desk, at, fetch(shape, desk, at.here), left))
            _close_window(desk, at, kept, size, w, p)
            if frame.anew[w] != 0:
                start_anew(shape, desk, at, h, k, left)
            w += 1


@inlined
def _march(shape, desk, at, h, deepest, k, stop, left, values):
    """Steps without doses, from `k` to `stop`."""
    x, P = fetch(shape, desk, at.here), matrix(shape, desk, at.ladder)
    decay, near, fold, A = load(desk, at.decay), load(desk, at.near), load(desk, at.fold), load(desk, at.A)
    U, tol = combined(shape, desk, at, x), tolerance(left, fold)
    risen = load(desk, at.risen) > 0.0
    for j in range(k, stop):
        y, y_left = times(shape, P, x), left * decay
        next_U, next_tol = combined(shape, desk, at, y), tolerance(y_left, fold)
        store(values, 2 * (j - k), A * next_U)
        store(values, 2 * (j - k) + 1, next_tol)
        now, then = U * next_tol, next_U * tol  # which of the drives A U / Tol is higher
        # local maxima on the grid, but for those beside which nothing can be the highest
        top = risen & (now >= then) & (U * near > load(desk, at.best) * tol)
        if some(top):
            keep(shape, desk, at.before_step, x)
            tops = select(top, 1.0, 0.0)
            look_around(shape, desk, at, h, deepest, k, j, stop, tops, tops, left)
        x, left, U, tol, risen = y, y_left, next_U, next_tol, then >= now
    top = risen & (U * near > load(desk, at.best) * tol)
    if some(top):
        keep(shape, desk, at.before_step, x)
        tops = select(top, 1.0, 0.0)
        look_around(shape, desk, at, h, deepest, k, stop, stop, tops, tops, left)
    keep(shape, desk, at.here, x)
    store(desk, at.risen, select(risen, 1.0, 0.0))
    store(desk, at.smooth, splat(0.0))  # what lies on the left has been seen to
    return left


@inlined
def _dosed_step(shape, desk, at, h, deepest, k, due, agenda, table, doses, left, values):
    """One step in which doses arrive, or the step after it; for some patients it may be a step like any other."""
    n_event, x = 0, fetch(shape, desk, at.here)
    keep(shape, desk, at.before_step, x)
    keep(shape, desk, at.start, x)
    keep(shape, desk, at.here, ladder.step(shape, desk, at, 0, x))
    own, y_left = load(desk, at.fresh), left * load(desk, at.decay)
    store(desk, at.fresh, splat(0.0))
    if due == k:
        due = NEVER
        for s in range(at.n_stream):
            while agenda.step[agenda.next[s]] == k:
                _take(shape, desk, at, h, deepest, k, s, n_event, agenda, table, doses)
                n_event += 1
            due = min(due, agenda.step[agenda.next[s]])
    own = larger(own, load(desk, at.fresh))
    y, fold, near = fetch(shape, desk, at.here), load(desk, at.fold), load(desk, at.near)
    U, tol = combined(shape, desk, at, x), tolerance(left, fold)
    next_U, next_tol = combined(shape, desk, at, y), tolerance(y_left, fold)
    store(values, 0, load(desk, at.A) * next_U)
    store(values, 1, next_tol)
    most = ceiling(shape, desk, at, fetch(shape, desk, at.start), left, y_left)
    if some((own > 0.0) & (most > load(desk, at.best))):
        examine(shape, desk, at, h, deepest, k, n_event, agenda.entries, left, own)
    now, then, risen = U * next_tol, next_U * tol, load(desk, at.risen)
    on_right = select((now >= then) & (own <= 0.0), risen, 0.0)
    on_left = select((now >= then) | (own > 0.0), risen, 0.0) * load(desk, at.smooth)
    if some((larger(on_left, on_right) > 0.0) & (U * near > load(desk, at.best) * tol)):
        look_around(shape, desk, at, h, deepest, k, k, k + 1, on_left, on_right, left)
    store(desk, at.risen, select(then >= now, 1.0, 0.0))
    store(desk, at.smooth, 1.0 - own)
    keep(shape, desk, at.last, x)
    return y_left, due


@inlined
def _take(shape, desk, at, h, deepest, k, s, n_event, agenda, table, doses):
    """Take the next dose of stream `s`, which arrives in step `k`."""
    arrival, entry, drug = agenda.next[s], doses.entry[s], doses.drug[s]
    agenda.next[s] += 1
    amount, wait = load(agenda.amount, arrival) * load(desk, at.factor + s), load(agenda.wait, arrival)
    first = table.layout[COLUMNS * drug]
    past = first + table.layout[COLUMNS * drug + 2] + table.layout[COLUMNS * drug + 3] + 1
    past += table.layout[COLUMNS * drug + 5]
    give(shape, desk, at, h, deepest, s, entry, first, past, amount, wait)
    store(desk, at.event + 2 * n_event, amount)
    store(desk, at.event + 2 * n_event + 1, h - wait)
    agenda.entries[n_event] = entry
    taken = (amount > 0.0) | (amount < 0.0)
    store(desk, at.fresh, select(taken, 1.0, load(desk, at.fresh)))
    store(desk, at.start + entry, load(desk, at.start + entry) + larger(amount, 0.0))
    if doses.source[s]:  # the amount is a rate, which lasts
        store(desk, at.rate + drug, load(desk, at.rate + drug) + amount)
        sofar = load(desk, at.rate_time + drug)
        store(desk, at.rate_time + drug, sofar + amount * (k * h + (h - wait)))
    else:
        store(desk, at.inflow + drug, load(desk, at.inflow + drug) + amount)


@inlined
def _balance(desk, at, table, time):
    """Bring the areas up to `time`: what came in and is no longer in the body has been cleared."""
    for d in range(at.n_drug):
        layout = COLUMNS * d
        first, source = table.layout[layout], table.layout[layout + 4]
        past = first + table.layout[layout + 2] + table.layout[layout + 3] + 1
        came = load(desk, at.inflow + d) + (load(desk, at.rate + d) * time - load(desk, at.rate_time + d))
        for state in range(first + source, past):
            came = came - load(desk, at.here + state)
        area = (came - load(desk, at.body + d)) / load(desk, at.clearance + d)
        store(desk, at.auc + d, load(desk, at.auc + d) + area)
        store(desk, at.body + d, came)


@inlined
def _close_window(desk, at, kept, size, w, p):
    """Write what a window has come to, for each patient."""
    store_to(kept.peak, w * size.width + p, load(desk, at.best))
    store_to(kept.peak_time, w * size.width + p, load(desk, at.when))
    for d in range(at.n_drug):
        store_to(kept.auc, (d * size.n_window + w) * size.width + p, load(desk, at.auc + d))
    for level in range(at.series - at.steepness):
        # the trapezoid rule: the last point has counted in full
        spent = load(desk, at.spent + level) - 0.5 * load(desk, at.before + level)
        store_to(kept.time_at, (level * size.n_window + w) * size.width + p, spent)


@inlined
def _track(desk, at, table, values, tracks, width, k, p):
    """Write concentrations, effect-site concentrations and drive at step `k`."""
    row = k * (2 * at.n_drug + 1)
    for d in range(at.n_drug):
        layout = COLUMNS * d
        central = at.here + table.layout[layout] + table.layout[layout + 2] + table.layout[layout + 3]
        clarity = load(desk, at.clarity + d)
        store_to(tracks, (row + d) * width + p, clarity * load(desk, central))
        C50 = clarity / load(desk, at.gain + d)
        store_to(tracks, (row + at.n_drug + d) * width + p, C50 * load(desk, central + 1))
    store_to(tracks, (row + 2 * at.n_drug) * width + p, load(values, 0) / load(values, 1))
