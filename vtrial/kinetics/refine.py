"""From the largest value on the grid to the maximum of the continuous trajectory.

Between two events the states are exp(-q t) sum c_k (q t)^k with c_k >= 0 (see `exponential`), so value and slope
of the drive, or of a concentration, cost one short sum each: the slope's root is bracketed and found.
"""

from __future__ import annotations

import math

import numpy as np

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.exponential import LONGEST, MOST_TERMS, advance, apply, terms
from vtrial.kinetics.scan import state_at, step_lane
from vtrial.pharmacodynamics import accumulate, greco, tolerance

CLOSE = 1e-7
"""A maximum is located to 1e-7 h: its value, flat there, to far better than 1e-9."""


INVERSE = 1.0 / np.arange(1, MOST_TERMS + 2)


@compiled
def refine(
    block, queue, pattern, patients, frame, count, grid_best, grid_step, on_drive, windows, out, out_time
):
    """Fill `out` and `out_time` (row, window, patient): rows are channels of the drive, or drugs' concentrations."""
    x, after, a, b = np.empty((4, pattern.sites[-1, 3]))
    series = np.empty((len(pattern.sites), 2, MOST_TERMS + 1))
    n = np.empty(len(pattern.sites), np.int64)
    for i in range(count):
        for w in range(windows):
            opens = frame.ends[w - 1] if w > 0 else 0
            for c in range(grid_best.shape[0]):
                best, at = grid_best[c, w, i], int(grid_step[c, w, i])
                time = at * frame.h
                if best > 0.0:
                    first = max(at - 1, opens)
                    state_at(block, queue, pattern, i, first, x, a)
                    for k in range(first, min(at + 1, frame.ends[w])):
                        dosed = step_lane(block, queue, pattern, i, k, x, after)
                        best, time = _step_maximum(
                            block, queue, pattern, patients, frame, i, k, dosed, on_drive, c,
                            x, after, a, b, series, n, best, time,
                        )  # fmt: skip
                        x[:] = after
                out[c, w, block.who[i]] = max(best, 0.0)
                out_time[c, w, block.who[i]] = time


@compiled
def _step_maximum(
    block, queue, pattern, patients, frame, i, k, dosed, on_drive, c, x, after, a, b, series, n, best, time
):
    """Largest value within step `k`, whose ends are `x` and `after`; cut where doses arrive."""
    t, end = k * frame.h, (k + 1) * frame.h
    longest = LONGEST / block.q[:, i].max()  # so fast a rate that the series would underflow: smaller pieces
    if (
        not dosed and frame.h <= longest
    ):  # most steps: nothing to find unless the value rises at the start and falls at the end
        rising = _slope(block, pattern, patients, frame, i, on_drive, c, x, a, b, series, n, t) > 0.0
        if (
            rising
            and _slope(block, pattern, patients, frame, i, on_drive, c, after, a, b, series, n, end) < 0.0
        ):
            return _smooth_maximum(
                block, pattern, patients, frame, i, on_drive, c, x, a, b, series, n, t, frame.h, best, time
            )
        return best, time
    now = x.copy()
    _take_doses(queue, pattern, i, k, end, t, now)
    while t < end:
        until = min(end, t + longest)
        for j in range(queue.first[k], queue.first[k + 1]):
            due = end - queue.wait[j]
            if queue.lane[j] == i and t < due < until:
                until = due
        best, time = _smooth_maximum(
            block, pattern, patients, frame, i, on_drive, c, now, a, b, series, n, t, until - t, best, time
        )
        for d in range(len(pattern.sites)):
            advance(
                block.M, i, pattern.entries, pattern.spans[d], pattern.sites[d, 0], pattern.sites[d, 3],
                block.q[d, i], until - t, now, a, b,
            )  # fmt: skip
        t = until
        _take_doses(queue, pattern, i, k, end, t, now)
    return best, time


@inlined
def _take_doses(queue, pattern, i, k, end, t, x):
    """Add the doses of lane `i` that arrive at time `t` of step `k`."""
    for j in range(queue.first[k], queue.first[k + 1]):
        if queue.lane[j] == i and end - queue.wait[j] == t:
            x[pattern.sites[queue.drug[j], 0]] += queue.amount[j]


@inlined
def _expand(block, pattern, i, on_drive, x, length, a, b, series, n):
    """Coefficients of what is seen of each drug, and of its slope, as polynomials of t / length times exp(-q t)."""
    for d in range(len(pattern.sites)):
        first, last, span = pattern.sites[d, 0], pattern.sites[d, 3], pattern.spans[d]
        seen, q = pattern.sites[d, 2] if on_drive else pattern.sites[d, 1], block.q[d, i]
        n[d] = terms(q, length) if length > 0.0 else 1
        for s in range(first, last):
            a[s] = x[s]
        weight = 1.0
        for k in range(n[d]):
            now = a[seen]
            apply(block.M, i, pattern.entries, span, first, last, a, b)
            for s in range(first, last):
                a[s] = b[s]
            series[d, 0, k] = weight * now
            series[d, 1, k] = weight * q * (a[seen] - now)
            weight *= q * length / (k + 1)


@inlined
def _slope(block, pattern, patients, frame, i, on_drive, c, x, a, b, series, n, t):
    """Slope of the value at a state, from one product with the matrix."""
    _expand(block, pattern, i, on_drive, x, 0.0, a, b, series, n)
    return _value_slope(block, patients, frame, i, on_drive, c, series, n, t, 0.0, 0.0)[1]


@inlined
def _smooth_maximum(
    block, pattern, patients, frame, i, on_drive, c, x, a, b, series, n, t, length, best, time
):
    """Largest of `best` and the values on [t, t + length], where no dose arrives; x is the state at t."""
    _expand(block, pattern, i, on_drive, x, length, a, b, series, n)
    low, high = 0.0, length
    v_low, s_low = _value_slope(block, patients, frame, i, on_drive, c, series, n, t, length, low)
    v_high, s_high = _value_slope(block, patients, frame, i, on_drive, c, series, n, t, length, high)
    if v_low > best:
        best, time = v_low, t
    if v_high > best:
        best, time = v_high, t + length
    if not (s_low > 0.0 > s_high):
        return best, time
    for _ in range(100):  # regula falsi with the Illinois rule, guarded by bisection
        guess = (low * s_high - high * s_low) / (s_high - s_low)
        if not low < guess < high:
            guess = 0.5 * (low + high)
        v, s = _value_slope(block, patients, frame, i, on_drive, c, series, n, t, length, guess)
        if v > best:
            best, time = v, t + guess
        if s > 0.0:
            moved, low, s_low, s_high = guess - low, guess, s, 0.5 * s_high
        else:
            moved, high, s_high, s_low = high - guess, guess, s, 0.5 * s_low
        if moved < CLOSE or s == 0.0:
            break
    return best, time


@inlined
def _value_slope(block, patients, frame, i, on_drive, c, series, n, start, length, t):
    """Drive of channel `c` (or concentration of drug `c`) of lane `i` at start + t, and its slope."""
    p, n_drug = block.who[i], len(series)
    z = t / length if length > 0.0 else 0.0
    total = product = total_slope = product_slope = 0.0
    alone = (frame.n_channel == n_drug and n_drug > 1) or not on_drive
    for d in range(n_drug):
        if alone and d != c:
            continue
        v = s = 0.0
        for k in range(n[d] - 1, -1, -1):
            v = v * z + series[d, 0, k]
            s = s * z + series[d, 1, k]
        gain = (patients.per_C50[d, p] if on_drive else patients.per_V[d, p]) * math.exp(-block.q[d, i] * t)
        u, u_slope = gain * v, gain * s
        product_slope += total_slope * u + total * u_slope
        total, product = accumulate(total, product, u)
        total_slope += u_slope
    if not on_drive:
        return total, total_slope
    U = greco(total, product, patients.alpha[p])
    U_slope = greco(total_slope, product_slope, patients.alpha[p])
    left = patients.decay[p] ** ((start + t) / frame.h)
    tol = tolerance(left, patients.fold[p])
    tol_slope = -(patients.fold[p] - 1.0) * left * math.log(patients.decay[p]) / frame.h
    scale = patients.A[p] / tol
    return U * scale, scale * (U_slope - U * tol_slope / tol)
