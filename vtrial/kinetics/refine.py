"""From the local maxima on the grid to the maximum of the continuous trajectory.

Between two doses the states are entire functions of time, so value and slope of the drive, or of a
concentration, are polynomials to any precision. Around a grid maximum with no dose near it the Taylor series is
short; where a dose falls, or a rate is too fast for it, the series of positive terms of `exponential` serves.
The slope's root is bracketed and found. Of each window the three local maxima are tried that can be highest.
"""

from __future__ import annotations

import math

import numpy as np

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.block import RIVALS
from vtrial.kinetics.exponential import LONGEST, MOST_TERMS, advance, apply, terms
from vtrial.kinetics.scan import state_at, step_lane
from vtrial.pharmacodynamics import accumulate, greco, tolerance

CLOSE = 1e-5
"""A maximum is located to 1e-5 h: its value, flat there, to better than 1e-8 for rates up to 10 /h."""

TAYLOR_TERMS = 48
"""Terms of the Taylor series before it is given up for the other one."""

SMALL = 1e-12
"""The Taylor series ends when two terms in a row are this small beside the value."""


@compiled
def refine(block, queue, pattern, patients, frame, count, bounds, steps, on_drive, windows, out, out_time):
    """Fill `out` and `out_time` (row, window, patient): rows are channels of the drive, or drugs' concentrations.

    `bounds` and `steps` (rival, row, window, lane) hold the local maxima on the grid that may be the highest.
    """
    x, a, b = np.empty((3, pattern.sites[-1, 3]))
    series = np.empty((len(pattern.sites), 2, MOST_TERMS + 1))
    n, shift = np.empty(len(pattern.sites), np.int64), np.empty(len(pattern.sites))
    for i in range(count):
        for w in range(windows):
            for c in range(bounds.shape[1]):
                best = time = 0.0
                for rival in range(RIVALS):
                    if bounds[rival, c, w, i] > best:
                        best, time = _refine_one(
                            block, queue, pattern, patients, frame, i, on_drive, c, w, int(steps[rival, c, w, i]),
                            x, a, b, series, n, shift, best, time,
                        )  # fmt: skip
                out[c, w, block.who[i]] = best
                out_time[c, w, block.who[i]] = time


@compiled
def _refine_one(block, queue, pattern, patients, frame, i, on_drive, c, w, at, x, a, b, series, n, shift, best, time):
    """Larger of `best` and the maximum near grid point `at` of window `w`."""
    opens, closes = frame.ends[w - 1] if w > 0 else 0, frame.ends[w]
    near = opens < at < closes and not _dosed(queue, i, at - 1, at + 1)
    if near:
        state_at(block, queue, pattern, i, at, x, a)
        near = _expand_around(block, pattern, frame, i, on_drive, c, x, a, b, series, n, shift)
    if near:
        h, centre, p = frame.h, at * frame.h, block.who[i]
        v, s = _value_slope(patients, frame, p, on_drive, c, series, n, shift, centre, h, 0.0)
        if v > best:
            best, time = v, centre
        low, high = (0.0, h) if s > 0.0 else (-h, 0.0)  # the side on which the value rises
        return _climb(patients, frame, p, on_drive, c, series, n, shift, centre, h, low, high, best, time)
    first, last = max(at - 1, opens), min(at + 1, closes)
    return _search(
        block, queue, pattern, patients, frame, i, on_drive, c, first, last, x, a, b, series, n, shift, best, time
    )


@inlined
def _dosed(queue, i, first, last):
    """Whether a dose of lane `i` arrives in the steps from `first` up to `last`."""
    found = False
    for j in range(queue.first[first], queue.first[last]):
        found |= queue.lane[j] == i
    return found


@compiled
def _search(block, queue, pattern, patients, frame, i, on_drive, c, first, last, x, a, b, series, n, shift, best, time):
    """Largest value within the steps from `first` up to `last`, cut where doses arrive."""
    state_at(block, queue, pattern, i, first, x, a)
    longest = LONGEST / block.q[:, i].max()  # a faster rate would make the series underflow: smaller pieces
    for k in range(first, last):
        now, t = x.copy(), 0.0  # time within the step
        _take_doses(queue, pattern, frame, i, k, t, now)
        while t < frame.h:
            until = min(frame.h, t + longest)
            for j in range(queue.first[k], queue.first[k + 1]):
                due = frame.h - queue.wait[j]
                if queue.lane[j] == i and t < due < until:
                    until = due
            start, length = k * frame.h + t, until - t
            _expand_ahead(block, pattern, frame, i, on_drive, c, now, length, a, b, series, n, shift)
            best, time = _climb(
                patients, frame, block.who[i], on_drive, c, series, n, shift, start, length, 0.0, length, best, time
            )
            for d in range(len(pattern.sites)):
                depot, past = pattern.sites[d, 0], pattern.sites[d, 3]
                advance(block.M, i, pattern.entries, pattern.spans[d], depot, past, block.q[d, i], length, now, a, b)
            t = until
            _take_doses(queue, pattern, frame, i, k, t, now)
        step_lane(block, queue, pattern, i, k, x, a)
        x[:] = a
    return best, time


@inlined
def _take_doses(queue, pattern, frame, i, k, t, x):
    """Add the doses of lane `i` that arrive `t` hours into step `k`."""
    for j in range(queue.first[k], queue.first[k + 1]):
        if queue.lane[j] == i and frame.h - queue.wait[j] == t:
            x[pattern.sites[queue.drug[j], 0]] += queue.amount[j]


@inlined
def _alone(frame, n_drug, on_drive):
    """Whether the value is that of one drug: a concentration, or a channel of its own."""
    return (frame.n_channel == n_drug and n_drug > 1) or not on_drive


@inlined
def _expand_around(block, pattern, frame, i, on_drive, c, x, a, b, series, n, shift):
    """Taylor series in t / h, both ways, of what is seen of each drug; false if it is not short."""
    alone = _alone(frame, len(pattern.sites), on_drive)
    for d in range(len(pattern.sites)):
        if alone and d != c:
            continue
        first, last, span = pattern.sites[d, 0], pattern.sites[d, 3], pattern.spans[d]
        seen, rate = pattern.sites[d, 2] if on_drive else pattern.sites[d, 1], block.q[d, i] * frame.h
        for s in range(first, last):
            a[s] = x[s]
        series[d, 0, 0] = x[seen]
        enough, k = SMALL * x[seen], 0
        while k < TAYLOR_TERMS:
            k += 1
            apply(block.M, i, pattern.entries, span, first, last, a, b)
            for s in range(first, last):  # A = q (M - I)
                a[s] = (b[s] - a[s]) * (rate / k)
            series[d, 0, k] = a[seen]
            series[d, 1, k - 1] = a[seen] * k / frame.h
            if abs(a[seen]) < enough and abs(series[d, 0, k - 1]) < enough:
                break
        n[d], shift[d] = k, 0.0
        if k == TAYLOR_TERMS:
            return False
    return True


@inlined
def _expand_ahead(block, pattern, frame, i, on_drive, c, x, length, a, b, series, n, shift):
    """Series of positive terms in t / length, times exp(-q t), of what is seen of each drug."""
    alone = _alone(frame, len(pattern.sites), on_drive)
    for d in range(len(pattern.sites)):
        if alone and d != c:
            continue
        first, last, span = pattern.sites[d, 0], pattern.sites[d, 3], pattern.spans[d]
        seen, q = pattern.sites[d, 2] if on_drive else pattern.sites[d, 1], block.q[d, i]
        n[d], shift[d] = terms(q, length, 6.0), q
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


@compiled
def _climb(patients, frame, p, on_drive, c, series, n, shift, start, length, low, high, best, time):
    """Largest of `best` and the values on start + [low, high]."""
    v_low, s_low = _value_slope(patients, frame, p, on_drive, c, series, n, shift, start, length, low)
    v_high, s_high = _value_slope(patients, frame, p, on_drive, c, series, n, shift, start, length, high)
    if v_low > best:
        best, time = v_low, start + low
    if v_high > best:
        best, time = v_high, start + high
    if not (s_low > 0.0 > s_high):
        return best, time
    for _ in range(100):  # regula falsi with the Illinois rule, guarded by bisection
        guess = (low * s_high - high * s_low) / (s_high - s_low)
        if not low < guess < high:
            guess = 0.5 * (low + high)
        v, s = _value_slope(patients, frame, p, on_drive, c, series, n, shift, start, length, guess)
        if v > best:
            best, time = v, start + guess
        if s > 0.0:
            moved, low, s_low, s_high = guess - low, guess, s, 0.5 * s_high
        else:
            moved, high, s_high, s_low = high - guess, guess, s, 0.5 * s_low
        if moved < CLOSE or s == 0.0:
            break
    return best, time


@inlined
def _value_slope(patients, frame, p, on_drive, c, series, n, shift, start, length, t):
    """Drive of channel `c` (or concentration of drug `c`) of patient `p` at start + t, and its slope."""
    n_drug, z = len(series), t / length
    total = product = total_slope = product_slope = 0.0
    alone = _alone(frame, n_drug, on_drive)
    for d in range(n_drug):
        if alone and d != c:
            continue
        v = s = 0.0
        for k in range(n[d] - 1, -1, -1):
            v = v * z + series[d, 0, k]
            s = s * z + series[d, 1, k]
        gain = patients.per_C50[d, p] if on_drive else patients.per_V[d, p]
        gain *= math.exp(-shift[d] * t)
        u, u_slope = gain * v, gain * s
        product_slope += total_slope * u + total * u_slope
        total, product = accumulate(total, product, u)
        total_slope += u_slope
    if not on_drive:
        return total, total_slope
    U = greco(total, product, patients.alpha[p])
    U_slope = greco(total_slope, product_slope, patients.alpha[p])
    fading = math.log(patients.decay[p]) / frame.h
    left = math.exp(fading * (start + t))
    tol = tolerance(left, patients.fold[p])
    tol_slope = -(patients.fold[p] - 1.0) * left * fading
    scale = patients.A[p] / tol
    return U * scale, scale * (U_slope - U * tol_slope / tol)
