"""The maximum of the continuous trajectory: what is seen, its slope, and the search for the highest point.

Between two doses the trajectory is smooth, and value and slope are known exactly wherever the states are. A slope
that turns from rise to fall brackets a maximum; the bracket is halved down the ladder, with the sign of the exact
slope, to at most 1/32 of a step, and the cubic through values and slopes at its ends gives the rest.

Around a dose more than one turn may hide in a step. There the step is cut where the doses arrive, and each piece
into eighths. Nothing is searched that a bound shows to lie below what has been found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import overload

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.ladder import carry, step
from vtrial.kinetics.unrolled import blend, fetch, highest, keep, seen, turning
from vtrial.lanes import larger, load, select, smaller, some, splat, store
from vtrial.pharmacodynamics import greco, tolerance, tolerance_slope

EIGHTH = 3
"""Level of the ladder whose steps search the neighbourhood of a dose."""


def combined(shape, desk, at, x) -> Any:
    """What is seen before age, uraemia and tolerance: U, or a concentration where the shape has no effect site."""
    raise NotImplementedError


def glance(shape, desk, at, x, left) -> Any:
    """Value seen: the drive A U / Tol, or a concentration where the shape has no effect site.

    `left` is 2^(-t / t_half), what is left of the way to full tolerance.
    """
    raise NotImplementedError


def view(shape, desk, at, x, left) -> Any:
    """Value seen, and its slope in 1/h."""
    raise NotImplementedError


def rises(shape, desk, at, x, left) -> Any:
    """Whether the value rises."""
    raise NotImplementedError


def ceiling(shape, desk, at, x, before, after) -> Any:
    """What the value cannot exceed within a step that starts from `x`, doses of the step included in `x`.

    `before` and `after` are `left` at both ends.
    """
    raise NotImplementedError


@inlined
def _U(shape, desk, at, x):
    return greco(*seen(shape, x), load(desk, at.alpha))


@inlined
def _clear(shape, desk, at, x):
    return load(desk, at.clarity) * seen(shape, x)[0]


@inlined
def _drive(shape, desk, at, x, left):
    return load(desk, at.A) * _U(shape, desk, at, x) / tolerance(left, load(desk, at.fold))


@inlined
def _drive_and_slope(shape, desk, at, x, left):
    alpha, fold = load(desk, at.alpha), load(desk, at.fold)
    U, U_slope = greco(*seen(shape, x), alpha), greco(*turning(shape, desk, at.rates, x), alpha)
    per_tol = 1.0 / tolerance(left, fold)
    relative = tolerance_slope(left, fold, load(desk, at.fading)) * per_tol
    return load(desk, at.A) * U * per_tol, load(desk, at.A) * per_tol * (U_slope - U * relative)


@inlined
def _drive_rises(shape, desk, at, x, left):
    alpha, fold = load(desk, at.alpha), load(desk, at.fold)
    U, U_slope = greco(*seen(shape, x), alpha), greco(*turning(shape, desk, at.rates, x), alpha)
    return U_slope * tolerance(left, fold) > U * tolerance_slope(left, fold, load(desk, at.fading))


@inlined
def _conc_rises(shape, desk, at, x, left):
    return turning(shape, desk, at.rates, x)[0] > 0.0


@inlined
def _drive_ceiling(shape, desk, at, x, before, after):
    total, product = highest(shape, desk, at.bound, at.gain, x)
    fold = load(desk, at.fold)
    least = smaller(tolerance(before, fold), tolerance(after, fold))
    return greco(total, product, load(desk, at.alpha)) * load(desk, at.A) / least


@inlined
def _conc(shape, desk, at, x, left):
    return load(desk, at.clarity) * seen(shape, x)[0]


@inlined
def _conc_and_slope(shape, desk, at, x, left):
    clarity = load(desk, at.clarity)
    return clarity * seen(shape, x)[0], clarity * turning(shape, desk, at.rates, x)[0]


@inlined
def _conc_ceiling(shape, desk, at, x, before, after):
    return load(desk, at.clarity) * highest(shape, desk, at.bound, at.gain, x)[0]


def _choose(shape: Any, of_drive: Any, of_conc: Any) -> Callable:
    """Choose by the shape what is looked at: `overload` wants the plain function."""
    return (of_conc if len(shape[0][2]) == 1 else of_drive).py_func


_inline: Any = {"forceinline": True}


@overload(combined, jit_options=_inline)
def _combined(shape, desk, at, x):
    return _choose(shape, _U, _clear)


@overload(glance, jit_options=_inline)
def _glance(shape, desk, at, x, left):
    return _choose(shape, _drive, _conc)


@overload(view, jit_options=_inline)
def _view(shape, desk, at, x, left):
    return _choose(shape, _drive_and_slope, _conc_and_slope)


@overload(rises, jit_options=_inline)
def _rises(shape, desk, at, x, left):
    return _choose(shape, _drive_rises, _conc_rises)


@overload(ceiling, jit_options=_inline)
def _ceiling(shape, desk, at, x, before, after):
    return _choose(shape, _drive_ceiling, _conc_ceiling)


@compiled
def climb(shape, desk, at, h, deepest, x, left, level, limit, where, start):
    """Raise the best value to the maximum within `limit` hours of `x`, for the patients `where`.

    The slope is positive at `x` and negative at the limit, which is at most h / 2^level away; `start` is the time
    at `x`. Times are in h from the patient's first dose.
    """
    depth, time, length = load(desk, at.depth), splat(0.0), h * 0.5**level
    for below in range(level + 1, deepest + 1):
        length = 0.5 * length
        middle, middle_left = step(shape, desk, at, below, x), left * load(desk, at.decay + below)
        go = rises(shape, desk, at, middle, middle_left) & (time + length < limit) & (depth >= float(below))
        x = blend(shape, go, middle, x)
        left, time = select(go, middle_left, left), select(go, time + length, time)
    # the bracket: from x to the end of the lowest rung, or to the limit
    rung = load(desk, at.rung)
    span = smaller(rung, limit - time)
    y, cut = _lowest(shape, desk, at, deepest, depth, x), span < rung
    if some(cut & where):
        y = blend(shape, cut, carry(shape, desk, at, h, deepest, x, larger(span, 0.0)), y)
    low, rise = view(shape, desk, at, x, left)
    high, fall = view(shape, desk, at, y, left * _fading_of(load(desk, at.fading) * span))
    part = smaller(larger(rise / (rise - fall), 0.0), 1.0)
    rest = 1.0 - part
    top = low * rest * rest * (1.0 + 2.0 * part) + high * part * part * (1.0 + 2.0 * rest)
    top = top + span * part * rest * (rise * rest - fall * part)
    _raise(desk, at, where, top, start + time + part * span)


@inlined
def _raise(desk, at, where, value, time):
    """Take a value that is higher than the best."""
    best = load(desk, at.best)
    higher = where & (value > best)
    store(desk, at.best, select(higher, value, best))
    store(desk, at.when, select(higher, time, load(desk, at.when)))


@compiled
def look_around(shape, desk, at, h, deepest, begin, k, stop, on_left, on_right, left):
    """Note the maximum beside grid point `k`, for the patients whose highest points are there.

    `at.before_step` holds the states at `k`, and `left` belongs to it. `on_left` and `on_right` are 1 for the
    patients who may have their maximum on that side, else 0. The points from `begin` to `stop` are a smooth run, and
    `at.here` holds the states at its first; on the left of that, `at.last` holds those of the step before, for whom
    it was smooth. Brackets are searched for many patients at once: see `climb_noted`.
    """
    x = fetch(shape, desk, at.before_step)
    value, slope = view(shape, desk, at, x, left)
    before, after = (on_left > 0.0) & (slope < 0.0), (on_right > 0.0) & (slope > 0.0)
    _raise(desk, at, (on_left > 0.0) | (on_right > 0.0), value, splat(k * h))
    if k == begin:
        before = before & (load(desk, at.smooth) > 0.0)
    if k == stop:
        after = before & (slope > 0.0)  # nobody: what comes then is not this run's
    if some((load(desk, at.noted) > 0.0) & (before | after)):
        climb_noted(shape, desk, at, h, deepest)
    if some(after):
        _note(shape, desk, at, after, x, left, splat(k * h))
    if some(before):
        x = fetch(shape, desk, at.last if k == begin else at.here)
        for _ in range(begin, k - 1):
            x = step(shape, desk, at, 0, x)
        _note(shape, desk, at, before, x, left / load(desk, at.decay), splat((k - 1) * h))


@compiled
def end_window(shape, desk, at, h, deepest, k, left):
    """Settle the maximum of a window that ends at step `k`: search what is noted, and take its last point."""
    # a maximum in the step before, if that was the first without doses: the next step, which would look back, is late
    on_left = load(desk, at.risen) * load(desk, at.smooth)
    if some(on_left > 0.0):
        keep(shape, desk, at.before_step, fetch(shape, desk, at.here))
        look_around(shape, desk, at, h, deepest, k, k, k, on_left, splat(0.0), left)
        store(desk, at.smooth, splat(0.0))
    climb_noted(shape, desk, at, h, deepest)
    value = view(shape, desk, at, fetch(shape, desk, at.here), left)[0]
    _raise(desk, at, value >= 0.0, value, splat(k * h))


@compiled
def start_anew(shape, desk, at, h, k, left):
    """Forget the maxima of a window that has ended at step `k`: those that follow start from its last point."""
    store(desk, at.best, view(shape, desk, at, fetch(shape, desk, at.here), left)[0])
    store(desk, at.when, splat(k * h))


@inlined
def _note(shape, desk, at, where, x, left, time):
    """Keep a bracket of one step, to be searched later."""
    keep(shape, desk, at.bracket, blend(shape, where, x, fetch(shape, desk, at.bracket)))
    store(desk, at.bracket_left, select(where, left, load(desk, at.bracket_left)))
    store(desk, at.bracket_time, select(where, time, load(desk, at.bracket_time)))
    store(desk, at.noted, select(where, 1.0, load(desk, at.noted)))


@compiled
def climb_noted(shape, desk, at, h, deepest):
    """Search the brackets that have been noted."""
    where = load(desk, at.noted) > 0.0
    if some(where):
        x, left, time = fetch(shape, desk, at.bracket), load(desk, at.bracket_left), load(desk, at.bracket_time)
        climb(shape, desk, at, h, deepest, x, left, 0, splat(h), where, time)
        store(desk, at.noted, splat(0.0))


@inlined
def _lowest(shape, desk, at, deepest, depth, x):
    """States one lowest rung on; patients differ in which rung that is."""
    y = step(shape, desk, at, deepest, x)
    for level in range(deepest):
        mine = depth == float(level)
        if some(mine):
            y = blend(shape, mine, step(shape, desk, at, level, x), y)
    return y


@compiled
def examine(shape, desk, at, h, deepest, k, n_event, entries, left, whom):
    """Raise the best value to the maximum within step `k`, with the doses noted on the desk.

    The step starts from the states at `at.before_step`; `whom` is 1 for the patients it is done for, else 0.
    """
    wanted = whom > 0.0
    x, offset = fetch(shape, desk, at.before_step), splat(0.0)
    while True:
        until = splat(h)
        for e in range(n_event):
            amount, due = load(desk, at.event + 2 * e), load(desk, at.event + 2 * e + 1)
            pending = (due >= offset) & ((amount > 0.0) | (amount < 0.0))
            until = select(pending, smaller(due, until), until)
        x, left = _piece(shape, desk, at, h, deepest, k, offset, until, x, left, wanted)
        keep(shape, desk, at.start, x)
        for e in range(n_event):
            amount, due = load(desk, at.event + 2 * e), load(desk, at.event + 2 * e + 1)
            now = (due >= offset) & (due <= until)
            row = at.start + entries[e]
            store(desk, row, load(desk, row) + select(now, amount, 0.0))
            # a dose that has been taken is no longer pending
            store(desk, at.event + 2 * e + 1, select(now, -1.0, due))
        x = fetch(shape, desk, at.start)
        value = glance(shape, desk, at, x, left)  # a bolus into what is seen jumps
        _raise(desk, at, wanted & (until < h), value, k * h + until)
        if not some(until < h):
            return
        offset = until


@inlined
def _piece(shape, desk, at, h, deepest, k, offset, until, x, left, wanted):
    """Search from `offset` to `until` hours into the step, where nothing arrives; return the states at its end.

    They come by one way, searched or not: whether to search depends on the neighbours, and no bit of a patient may.
    """
    if some(wanted & (ceiling(shape, desk, at, x, left, left * load(desk, at.decay)) > load(desk, at.best))):
        _search(shape, desk, at, h, deepest, k, offset, until, x, left, wanted)
    part = until - offset
    if some(wanted & (until < h)):  # on to the next dose, if there is one
        x = carry(shape, desk, at, h, deepest, x, part)
    return x, left * _faded(desk, at, h, deepest, part)


@inlined
def _search(shape, desk, at, h, deepest, k, offset, until, x, left, wanted):
    """Raise the best value to the maximum between `offset` and `until`, eighth by eighth of the step."""
    length = h * 0.5**EIGHTH
    rise, now = view(shape, desk, at, x, left)[1], offset
    for _ in range(2**EIGHTH + 1):
        limit = smaller(until - now, length)
        inside = limit > 0.0
        if not some(inside):
            break
        y, y_left, cut = step(shape, desk, at, EIGHTH, x), left * load(desk, at.decay + EIGHTH), limit < length
        if some(inside & cut):
            part = larger(limit, 0.0)
            y = blend(shape, cut, carry(shape, desk, at, h, deepest, x, part), y)
            y_left = select(cut, left * _faded(desk, at, h, deepest, part), y_left)
        value, slope = view(shape, desk, at, y, y_left)
        turns = wanted & inside & (rise > 0.0) & (slope < 0.0)
        if some(turns):
            climb(shape, desk, at, h, deepest, x, left, EIGHTH, limit, turns, k * h + now)
        now = select(inside, now + limit, now)
        _raise(desk, at, wanted & inside, value, k * h + now)
        x = blend(shape, inside, y, x)
        left, rise = select(inside, y_left, left), select(inside, slope, rise)


@inlined
def _faded(desk, at, h, deepest, time):
    """2^(-t / t_half) for times up to a step, rung by rung."""
    left, depth, half, part = time, load(desk, at.depth), h, splat(1.0)
    for level in range(deepest + 1):
        where = (left >= half) & (depth >= float(level))
        part = select(where, part * load(desk, at.decay + level), part)
        left = left - select(where, half, 0.0)
        half = 0.5 * half
    return part * _fading_of(left * load(desk, at.fading))


@inlined
def _fading_of(z):
    """exp(-z) for the small z of the lowest rung: its series to the fourth order."""
    return 1.0 - z * (1.0 - 0.5 * z * (1.0 - z / 3.0 * (1.0 - 0.25 * z)))
