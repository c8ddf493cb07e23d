"""Blocks of patients for the compiled loops: what they are given, what they hold, what is kept of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.exponential import advance, fastest, propagators

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
