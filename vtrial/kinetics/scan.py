"""The compiled loop of the stepper: blocks of patients through time. No exp, log or pow inside it."""

from __future__ import annotations

import math

import numpy as np

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.block import CHECKPOINT, LANES, RIVALS
from vtrial.pharmacodynamics import accumulate, greco, tolerance


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
