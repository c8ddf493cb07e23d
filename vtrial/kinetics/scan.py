"""The compiled loop of the stepper: blocks of patients through time. No exp, log or pow inside it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.exponential import advance, fastest, propagators
from vtrial.pharmacodynamics import accumulate, greco, tolerance

LANES = 64
"""Patients stepped together; a last block that is not full repeats its last patient."""

CHECKPOINT = 8
"""Steps between stored states, from which a maximum is refined."""

RIVALS = 3
"""Local maxima kept of each window: on the grid the highest need not look highest."""

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]


class Pattern(NamedTuple):
    """Where the matrices have entries; see `vtrial.kinetics.system.System`."""

    entries: Index
    products: Index
    sites: Index
    spans: Index


class Patients(NamedTuple):
    """Kinetics and sedation of all patients; arrays end in the patient, or run over the drugs first."""

    rates: Array
    tlag: Array
    F: Array
    per_V: Array
    per_C50: Array
    A: Array
    alpha: Array
    fold: Array
    decay: Array
    draw: Index


class Doses(NamedTuple):
    """Regimens of all drugs, one after the other; `regimen` (drug, patient) names the patient's own."""

    regimen: Index
    first: Index
    time: Array
    amt: Array
    origin: Array


class Frame(NamedTuple):
    """Step in h, step number at the end of each window, and tables of level probabilities (draw, level, node)."""

    h: float
    ends: Index
    n_channel: int
    tables: Array
    lowest: int
    per_octave: int


class Kept(NamedTuple):
    """What is kept, between the end of one window and the next: shape (what, window, patient)."""

    peak: Array
    peak_time: Array
    cmax: Array
    body: Array
    arrived: Array
    time_at: Array
    tracks: Array


class Queue(NamedTuple):
    """Doses that arrive in a block, in order of step: those of step k lie at first[k] to first[k + 1].

    A dose arrives `wait` hours before the end of its step, where it has become `boost` in the drug's states.
    """

    first: Index
    lane: Index
    drug: Index
    amount: Array
    wait: Array
    boost: Array


class Block(NamedTuple):
    """One block of patients on its way.

    Who they are, M = I + A / q, propagators, fastest rate per drug, stored states, maxima on the grid.
    """

    who: Index
    M: Array
    P: Array
    q: Array
    states: Array
    best: Array
    best_step: Array
    top: Array
    top_step: Array


@compiled
def new_block(pattern, frame, n_drug):
    """Allocate what one block needs; it is used again for the next."""
    n_entry, n_state, n_window = len(pattern.entries), pattern.sites[-1, 3], len(frame.ends)
    n_checkpoint = frame.ends[-1] // CHECKPOINT + 1
    return Block(
        np.empty(LANES, np.int64),
        np.empty((n_entry, LANES)),
        np.empty((n_entry, LANES)),
        np.empty((n_drug, LANES)),
        np.empty((n_checkpoint, n_state, LANES)),
        np.empty((RIVALS, frame.n_channel, n_window, LANES)),
        np.empty((RIVALS, frame.n_channel, n_window, LANES)),
        np.empty((RIVALS, n_drug, n_window, LANES)),
        np.empty((RIVALS, n_drug, n_window, LANES)),
    )


@compiled
def load_block(block, start, pattern, patients, h, scratch):
    """Gather the patients from `start` on and compute their propagators."""
    last, n_entry = patients.rates.shape[1] - 1, len(pattern.entries)
    owner = np.zeros(n_entry, np.int64)
    for d in range(len(pattern.spans)):
        owner[pattern.spans[d, 0] : pattern.spans[d, 1]] = d
    for i in range(LANES):
        block.who[i] = min(start + i, last)
    for e in range(n_entry):
        for i in range(LANES):
            block.M[e, i] = patients.rates[e, block.who[i]]
    fastest(block.M, pattern.entries, owner, block.q)
    propagators(block.M, h, pattern.entries, pattern.products, owner, block.q, block.P, scratch[0], scratch[1])
    for e in range(n_entry):  # from A to I + A / q, now that the propagators are done with A
        same = 1.0 if pattern.entries[e, 0] == pattern.entries[e, 1] else 0.0
        for i in range(LANES):
            block.M[e, i] = block.M[e, i] / block.q[owner[e], i] + same


@compiled
def queue_doses(block, pattern, patients, doses, frame):
    """Sort the doses of a block by the step in which they arrive, and carry each to the end of that step."""
    n_drug, n_step = len(pattern.sites), frame.ends[-1]
    total, widest = 0, 0
    for d in range(n_drug):
        widest = max(widest, pattern.sites[d, 3] - pattern.sites[d, 0])
        for i in range(LANES):
            row = doses.regimen[d, block.who[i]]
            total += doses.first[row + 1] - doses.first[row]
    queue = Queue(
        np.zeros(n_step + 2, np.int64),
        np.empty(total, np.int64),
        np.empty(total, np.int64),
        np.empty(total),
        np.empty(total),
        np.empty((total, widest)),
    )
    for counting in (True, False):  # a counting sort: first how many arrive in each step, then where they go
        for d in range(n_drug):
            for i in range(LANES):
                _arrivals_of(queue, counting, d, i, block, pattern, patients, doses, frame)
        if counting:
            for k in range(n_step + 1):
                queue.first[k + 1] += queue.first[k]
            for k in range(n_step + 1, 0, -1):
                queue.first[k] = queue.first[k - 1]
            queue.first[0] = 0
    # filling moved each mark to the end of its step: which is where the next one starts
    for k in range(n_step + 1, 0, -1):
        queue.first[k] = queue.first[k - 1]
    queue.first[0] = 0
    return queue


@inlined
def _arrivals_of(queue, counting, d, i, block, pattern, patients, doses, frame):
    """Count or place the doses of drug `d` of lane `i`: place means also how each has spread by its step's end."""
    p = block.who[i]
    row = doses.regimen[d, p]
    depot, past = pattern.sites[d, 0], pattern.sites[d, 3]
    unit, a, b = np.zeros((3, pattern.sites[-1, 3]))
    known = -1.0
    for j in range(doses.first[row], doses.first[row + 1]):
        arrival = doses.time[j] - doses.origin[p] + patients.tlag[d, p]
        k = math.floor(arrival / frame.h)
        if (k + 1) * frame.h <= arrival:  # the quotient was rounded
            k += 1
        if k < 0 or k >= frame.ends[-1]:
            continue
        if counting:
            queue.first[k] += 1
            continue
        place = queue.first[k]
        queue.first[k] += 1
        wait = min((k + 1) * frame.h - arrival, frame.h)
        if abs(wait - known) > 1e-13:  # doses at the same phase of the step spread alike
            known = wait
            unit[:] = 0.0
            unit[depot] = 1.0
            advance(block.M, i, pattern.entries, pattern.spans[d], depot, past, block.q[d, i], wait, unit, a, b)
        queue.lane[place], queue.drug[place], queue.wait[place] = i, d, wait
        queue.amount[place] = doses.amt[j] * patients.F[d, p]
        for s in range(depot, past):
            queue.boost[place, s - depot] = queue.amount[place] * unit[s]


@compiled
def multiply(P, entries, x, y):
    """Set y = P x for all lanes; rows of one array at a time, which is how the compiler vectorises it."""
    before = -1
    for e in range(len(entries)):
        row = entries[e, 0]
        into, factor, seen = y[row], P[e], x[entries[e, 1]]
        if row != before:
            for i in range(LANES):
                into[i] = factor[i] * seen[i]
        else:
            for i in range(LANES):
                into[i] += factor[i] * seen[i]
        before = row


@inlined
def add_doses(queue, sites, k, x):
    """Add the doses that arrived in step `k`."""
    for j in range(queue.first[k], queue.first[k + 1]):
        depot, past, i = sites[queue.drug[j], 0], sites[queue.drug[j], 3], queue.lane[j]
        for s in range(depot, past):
            x[s, i] += queue.boost[j, s - depot]


@compiled
def combine(x, gain, alpha, scale, sites, work, out):
    """Drive of each channel and lane from the effect-site amounts: A U / Tol."""
    n_channel, n_drug = out.shape[0], gain.shape[0]
    total, product, combined = work[0], work[1], out[0]
    total[:], product[:] = 0.0, 0.0
    for d in range(n_drug):
        potency, seen, own = gain[d], x[sites[d, 2]], out[d if n_channel > 1 else 0]
        for i in range(LANES):
            u = potency[i] * seen[i]
            total[i], product[i] = accumulate(total[i], product[i], u)
            own[i] = u * scale[i]  # independent action: each drug on its own
    if n_channel == 1:
        for i in range(LANES):
            combined[i] = greco(total[i], product[i], alpha[i]) * scale[i]


@compiled
def keep_peaks(before, now, after, t, best, when):
    """Keep the `RIVALS` local maxima of `now`, at step `t`, that can be highest between the grid points.

    They are ranked by a bound: the value plus a quarter of its bend, 2 now - before - after, which is twice
    what the vertex of the parabola through the three values can add.
    """
    for c in range(now.shape[0]):
        left, centre, right = before[c], now[c], after[c]
        first, second, third = best[0, c], best[1, c], best[2, c]
        at_first, at_second, at_third = when[0, c], when[1, c], when[2, c]
        for i in range(LANES):
            bend = (centre[i] - left[i]) + (centre[i] - right[i])
            peaks = (centre[i] >= left[i]) & (centre[i] >= right[i])
            v = centre[i] + 0.25 * bend if peaks else -1.0
            over_first, over_second, over_third = v > first[i], v > second[i], v > third[i]
            third[i] = second[i] if over_second else (v if over_third else third[i])
            at_third[i] = at_second[i] if over_second else (t if over_third else at_third[i])
            second[i] = first[i] if over_first else (v if over_second else second[i])
            at_second[i] = at_first[i] if over_first else (t if over_second else at_second[i])
            first[i] = v if over_first else first[i]
            at_first[i] = t if over_first else at_first[i]


@compiled
def age(left, decay, fold, A, scale):
    """Let tolerance grow by a step: `left` is 2^(-t / t_half), `scale` A / Tol."""
    for i in range(LANES):
        left[i] *= decay[i]
        scale[i] = A[i] / tolerance(left[i], fold[i])


@compiled
def concentrate(x, clarity, sites, conc):
    """Concentrations of each drug and lane."""
    for d in range(conc.shape[0]):
        into, per_V, amount = conc[d], clarity[d], x[sites[d, 1]]
        for i in range(LANES):
            into[i] = per_V[i] * amount[i]


@inlined
def probabilities(value, bits, draw, frame, out):
    """P(level or deeper) now, per level and lane, from the tables; the cell is found from the bits of the drive."""
    n_level, last = out.shape[0], frame.tables.shape[2] - 2
    shift = 52 - int(math.log2(frame.per_octave))
    for i in range(LANES):
        for level in range(n_level):
            out[level, i] = 0.0
        for c in range(value.shape[0]):
            cell = (bits[c, i] >> shift) - (1023 + frame.lowest) * frame.per_octave
            if cell < 0:
                continue
            within = (bits[c, i] & ((1 << shift) - 1)) / (1 << shift)
            if cell > last:
                cell, within = last, 1.0
            for level in range(n_level):
                left, right = frame.tables[draw[i], level, cell], frame.tables[draw[i], level, cell + 1]
                p = left + (right - left) * within
                out[level, i] += p * (1.0 - out[level, i])


@compiled
def scan(block, queue, pattern, patients, frame, kept, count):
    """Step a block over the whole grid, filling its grid maxima, bodies, times at level and tracks."""
    # arrays are taken out of their records once: each access inside the loop would count references
    entries, sites, P, who, states = pattern.entries, pattern.sites, block.P, block.who, block.states
    h, ends, tracks = frame.h, frame.ends, kept.tracks
    n_drug, n_state, n_level = len(sites), sites[-1, 3], kept.time_at.shape[0]
    x, y = np.zeros((2, n_state, LANES))
    gain, clarity = np.empty((2, n_drug, LANES))
    # the last three grid points, in turn: a local maximum is known one step later
    values, concs = np.zeros((3, frame.n_channel, LANES)), np.zeros((3, n_drug, LANES))
    best, when = np.empty((2, RIVALS, frame.n_channel, LANES))
    top, top_when = np.empty((2, RIVALS, n_drug, LANES))
    now, before, spent = np.zeros((3, n_level, LANES))
    alpha, fold, decay, A = (
        patients.alpha[who],
        patients.fold[who],
        patients.decay[who],
        patients.A[who],
    )
    draw = patients.draw[who]
    left, scale, work = np.ones(LANES), np.empty(LANES), np.empty((2, LANES))
    for d in range(n_drug):
        gain[d] = patients.per_C50[d][who]
        clarity[d] = patients.per_V[d][who]
    best[:], when[:], top[:], top_when[:] = -1.0, 0.0, -1.0, 0.0
    w = 0
    for k in range(ends[-1]):
        if k % CHECKPOINT == 0:
            states[k // CHECKPOINT] = x
        multiply(P, entries, x, y)
        x, y = y, x
        add_doses(queue, sites, k, x)
        age(left, decay, fold, A, scale)
        value, conc = values[k % 3], concs[k % 3]
        combine(x, gain, alpha, scale, sites, work, value)
        concentrate(x, clarity, sites, conc)
        keep_peaks(values[(k + 1) % 3], values[(k + 2) % 3], value, float(k), best, when)
        keep_peaks(concs[(k + 1) % 3], concs[(k + 2) % 3], conc, float(k), top, top_when)
        if n_level > 0:
            probabilities(value, value.view(np.int64), draw, frame, now)
            for level in range(n_level):
                for i in range(LANES):
                    spent[level, i] += 0.5 * h * (before[level, i] + now[level, i])
                    before[level, i] = now[level, i]
        if tracks.shape[0] > 0:
            _track(x, clarity, conc, value, sites, who, count, tracks[k + 1])
        if k + 1 == ends[w]:
            keep_peaks(value, value, value, k + 1.0, best, when)  # the end of a window may be its highest point
            keep_peaks(conc, conc, conc, k + 1.0, top, top_when)
            block.best[:, :, w], block.best_step[:, :, w] = best, when
            block.top[:, :, w], block.top_step[:, :, w] = top, top_when
            best[:], top[:] = -1.0, -1.0
            _close_window(x, spent, sites, who, count, w, kept)
            w += 1


@compiled
def _track(x, clarity, conc, value, sites, who, count, row):
    n_drug = len(sites)
    for i in range(count):
        for d in range(n_drug):
            row[d, who[i]] = conc[d, i]
            row[n_drug + d, who[i]] = clarity[d, i] * x[sites[d, 2], i]
        for c in range(value.shape[0]):
            row[2 * n_drug + c, who[i]] = value[c, i]


@compiled
def _close_window(x, spent, sites, who, count, w, kept):
    """Store the amount in the body and the time at each level; the time starts anew."""
    for i in range(count):
        for d in range(len(sites)):
            amount = 0.0
            for s in range(sites[d, 0], sites[d, 2]):
                amount += x[s, i]
            kept.body[d, w, who[i]] = amount
        for level in range(spent.shape[0]):
            kept.time_at[level, w, who[i]] = spent[level, i]
    spent[:] = 0.0


@compiled
def tally_doses(queue, who, count, ends, arrived):
    """Add up what arrived in each window, per drug."""
    w = 0
    for k in range(ends[-1]):
        if k == ends[w]:
            w += 1
        for j in range(queue.first[k], queue.first[k + 1]):
            if queue.lane[j] < count:
                arrived[queue.drug[j], w, who[queue.lane[j]]] += queue.amount[j]


@inlined
def step_lane(block, queue, pattern, i, k, x, y):
    """Step `k` of one lane, as `multiply` and `add_doses` do it for all: y = P x plus doses; true if a dose arrived."""
    y[:] = 0.0
    for e in range(len(pattern.entries)):
        y[pattern.entries[e, 0]] += block.P[e, i] * x[pattern.entries[e, 1]]
    dosed = False
    for a in range(queue.first[k], queue.first[k + 1]):
        if queue.lane[a] == i:
            dosed = True
            depot, past = pattern.sites[queue.drug[a], 0], pattern.sites[queue.drug[a], 3]
            for s in range(depot, past):
                y[s] += queue.boost[a, s - depot]
    return dosed


@inlined
def state_at(block, queue, pattern, i, k, x, y):
    """State of one lane at grid point `k`, stepped again from the last checkpoint."""
    start = k // CHECKPOINT
    x[:] = block.states[start, :, i]
    for j in range(start * CHECKPOINT, k):
        step_lane(block, queue, pattern, i, j, x, y)
        x[:] = y
