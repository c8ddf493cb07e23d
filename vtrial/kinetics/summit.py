"""The search for maxima between nodes: brackets are noted, and climbed on the exact trajectory by Newton's method."""

from __future__ import annotations

import numpy as np

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.functions import exponential
from vtrial.kinetics.modes import copy, curvature, move, walk
from vtrial.lanes import larger, load, replace, root, select, smaller, some, splat, store, veiled
from vtrial.pharmacodynamics import greco, tolerance, tolerance_slope

NEAR = 2e-4
"""Newton's method has arrived when its step in h is so small: what is left is of its third power."""
ABOVE = 1.0 + 1e-9
"""By how much a bracket must be above another that is dropped for it: by more than rounding, or which of equal maxima
is found would depend on the neighbours."""
TEETH = 6
"""Parts into which such a step is divided."""
LITTLE = 1 / 64
"""Rate times hours up to which five terms give the exponential to 2e-14."""


@inlined
def see(desk, at, z, sums):
    """U, Tol, and a number of the sign of the slope of U / Tol: U' Tol - U Tol'."""
    (total, product, slope, bend), alpha, fold = sums, load(desk, at.alpha), load(desk, at.fold)
    left = load(desk, z + at.n_mode)
    U, tol = greco(total, product, alpha), tolerance(left, fold)
    fading = tolerance_slope(left, fold, load(desk, at.rate + at.n_mode))
    return U, tol, greco(slope, bend, alpha) * tol - U * fading


@inlined
def bend(shape, desk, at, z, U, tol):
    """Slope of the number that has the sign of the slope, U'' Tol - U Tol''."""
    bends, fading = curvature(shape, desk, z, at.weight, at.fall, at.bow), load(desk, at.rate + at.n_mode)
    slope = tolerance_slope(load(desk, z + at.n_mode), load(desk, at.fold), fading)
    return greco(*bends, load(desk, at.alpha)) * tol + U * fading * slope


@inlined
def note(shape, desk, at, z, before, here, span, now, top):
    """Keep a bracket for the search, if it may hold the highest point so far.

    A curve with one point of inflection lies, about its top, below its tangent at the later end if it bends down there,
    and else below that at the earlier end: this is the `roof` of the bracket. The higher of its ends is the `ground`,
    and no bracket whose roof is lower need be searched. A curve that does not rise at the earlier end has no such roof.
    """
    (U, tol, rise), (next_U, next_tol, next_rise) = before, here
    bar = load(desk, at.bar)
    most, next_most = U * tol + rise * span, next_U * next_tol - next_rise * span
    hot = top & ((most > bar * (tol * tol)) | (next_most > bar * (next_tol * next_tol)) | (rise <= 0.0))
    if some(hot):
        z = veiled(z)
        per, next_per = 1.0 / tol, 1.0 / next_tol
        value, slope = U * per, rise * per * per
        next_value, next_slope = next_U * next_per, next_rise * next_per * next_per
        roof, early_roof = next_value - next_slope * span, value + slope * span
        falling = bend(shape, desk, at, z, next_U, next_tol) < 0.0
        roof = larger(roof, select(falling, 0.0, early_roof))
        roof = select(rise > 0.0, roof, np.inf)
        hot, ground = hot & (roof > bar), larger(value, next_value)
        if some(hot & (load(desk, at.noted) > 0.0) & (ground <= ABOVE * load(desk, at.roof))):
            climb(shape, desk, at)
            bar = load(desk, at.bar)
            hot = hot & (roof > bar)
        # the top of the cubic through values and slopes, as hours back from the node
        both = slope + next_slope - 3.0 * (next_value - value) / span
        lean = root(larger(both * both - slope * next_slope, 0.0))
        guess = span * (next_slope - lean - both) / (next_slope - slope - 2.0 * lean)
        copy(shape, desk, z, at.slot, hot)
        replace(desk, at.span, hot, span)
        replace(desk, at.back, hot, smaller(larger(guess, 0.0), span))
        replace(desk, at.at_time, hot, now)
        replace(desk, at.roof, hot, roof)
        replace(desk, at.noted, hot, 1.0)
        store(desk, at.bar, select(hot, larger(bar, ground), bar))


@compiled
def comb(shape, desk, at, z, here, span, now, where):
    """Look for a maximum between two nodes at both of which the drive falls, tooth by tooth, from the later one back.

    A dose may lift a drive that falls, and it may fall again before the next node.
    """
    move(shape, desk, z, at.tooth)
    span = span * (1 / TEETH)
    for m in range(at.n_mode + 1):
        store(desk, at.comb + m, exponential(load(desk, at.rate + m) * span))
    for _ in range(TEETH - 1):
        move(shape, desk, at.tooth, at.earlier)
        before = see(desk, at, at.earlier, walk(shape, desk, at.earlier, at.comb, at.weight, at.fall))
        top = where & (before[2] > 0.0) & (here[2] <= 0.0)
        if some(top):
            note(shape, desk, at, at.tooth, before, here, span, now, top)
        move(shape, desk, at.earlier, at.tooth)
        here, now = before, now - span


@compiled
def climb(shape, desk, at):
    """Search the brackets that have been noted: Newton's method on the slope, halving where it leaves the bracket."""
    open_, step = load(desk, at.noted), load(desk, at.back)
    back, low, high = splat(0.0), splat(0.0), load(desk, at.span)
    for _ in range(60):
        back = back + step
        _lay_move(desk, at, step)
        sums = walk(shape, desk, at.slot, at.move, at.weight, at.fall)
        U, tol, rise = see(desk, at, at.slot, sums)
        bow, per = bend(shape, desk, at, at.slot, U, tol), 1.0 / tol
        # hours to the top of the parabola; very many where the curve is hollow, so that the bracket is halved
        onward = select(bow < 0.0, rise / (0.0 - bow), 1e9)
        low, high = select(rise <= 0.0, back, low), select(rise <= 0.0, high, back)
        near = larger(onward, 0.0 - onward) <= NEAR
        done = (open_ > 0.0) & (near | (high - low <= NEAR * NEAR))
        value, best = per * (U + select(near, 0.5 * rise * per * onward, 0.0)), load(desk, at.best)
        higher = done & (value > best)
        replace(desk, at.best, higher, value)
        replace(desk, at.when, higher, load(desk, at.at_time) - back + onward)
        open_ = select(done, 0.0, open_)
        if not some(open_ > 0.0):
            break
        further = back - onward
        inside = (further >= low) & (further <= high)
        step = select(open_ > 0.0, select(inside, 0.0 - onward, 0.5 * (low + high) - back), 0.0)
    store(desk, at.noted, splat(0.0))
    store(desk, at.bar, larger(load(desk, at.bar), load(desk, at.best)))


@inlined
def _lay_move(desk, at, back):
    """Factors of the modes some hours earlier; by a short series for who moves a little."""
    far = splat(0.0)
    for m in range(at.n_mode + 1):
        x = load(desk, at.rate + m) * back
        far = select((x > LITTLE) | (x < -LITTLE), 1.0, far)
    if some(far <= 0.0):
        for m in range(at.n_mode + 1):
            x = load(desk, at.rate + m) * back
            series = 1.0 + x * (1.0 + x * (1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120)))))
            store(desk, at.move + m, series)
    if some(far > 0.0):
        for m in range(at.n_mode + 1):
            replace(desk, at.move + m, far > 0.0, exponential(load(desk, at.rate + m) * back))
