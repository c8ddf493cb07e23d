"""The fast way: drugs by mouth, in one or two compartments, as sums of modes.

Each rate of a drug (ka, the rates of disposition, ke0) has a mode, z' = -lambda z, into which all doses enter; plasma
and effect site are weighted sums of the same modes (Gibaldi and Perrier 1982, Pharmacokinetics, 2nd ed., chapters 1
and 2; Sheiner et al. 1979, Clin Pharmacol Ther 25:358-71). A step of any length costs one product per mode, so the
loop goes from node to node: close together after a dose, further apart later. Slope and curvature are weighted sums
too: a slope that turns from rise to fall between two nodes brackets a maximum, which Newton's method finds on the
exact trajectory.

Weights have the differences of rates below a fraction bar: patients with rates too close together, too slow or too fast
are named as hard, and go the way of `vtrial.kinetics.scan`. Who is hard depends on the patient alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.clock import EARLY, END, MIDDLE, WAIT, WIDE, Clocks
from vtrial.kinetics.desk import cleared
from vtrial.kinetics.dwell import begin_points, spend, sum_up
from vtrial.kinetics.modes import advance, give, move, sight, walk
from vtrial.kinetics.spectrum import KNOWN, PARAMETERS, People, lay_steps, settle, sit_down
from vtrial.kinetics.summit import bend, climb, comb, note, see
from vtrial.kinetics.system import System
from vtrial.lanes import (
    LANES,
    load,
    pointer,
    replace,
    select,
    some,
    splat,
    store,
    veiled,
)

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]

HUMP = 1.25
"""By how much a drive that falls, soon after a dose and at the next node, can at most have risen in between."""


class Kept(NamedTuple):
    """Peak, its time, and the last value (window, n), AUC (drug window, n), time at level (level window, n), and who is
    hard (n,)."""

    peak: Array
    peak_time: Array
    last: Array
    auc: Array
    time_at: Array
    hard: NDArray[np.uint8]


class Size(NamedTuple):
    """Patients, and windows."""

    n: int
    n_window: int


@lru_cache(maxsize=256)
def table(system: System) -> Index:
    """Per drug its first mode, its compartments, and whether it has an effect site."""
    first = np.cumsum([0, *map(len, system.modes)])
    rows = [(at, drug.compartments, system.seen == "Ce") for at, drug in zip(first, system.drugs, strict=False)]
    return np.array(rows, np.int64).ravel()


@lru_cache(maxsize=256)
def parameters(system: System) -> tuple[str | None, ...]:
    """Names of the drugs' individual parameters, in the order of `PARAMETERS`; None for those that a drug lacks."""
    own = [set(drug.parameters) for drug in system.drugs]
    names = [[f"{drug.name}.{name}" for name in PARAMETERS] for drug in system.drugs]
    return tuple(name if name in mine else None for mine, wanted in zip(own, names, strict=True) for name in wanted)


@compiled
def run(shape, at, table, people, clocks, kept, first, past):
    """Run the vectors of patients from `first` to before `past`, and fill their places in `kept`."""
    desk = cleared(at.rows)
    _all_vectors(
        shape, pointer(desk), at, pointer(table),
        People(
            pointer(people.address), pointer(people.stride), pointer(people.sedation),
            pointer(people.sedation_stride), pointer(people.draw), pointer(people.thresholds),
            pointer(people.steepness),
        ),
        Clocks(
            pointer(clocks.order), pointer(clocks.code), pointer(clocks.clock), pointer(clocks.first_stop),
            pointer(clocks.first_kind), pointer(clocks.first_set), pointer(clocks.first_rest), pointer(clocks.time),
            pointer(clocks.kind), pointer(clocks.window), pointer(clocks.quiet), pointer(clocks.gap),
            pointer(clocks.eighths), pointer(clocks.group), pointer(clocks.rest),
            pointer(clocks.first_node), pointer(clocks.step), pointer(clocks.role), pointer(clocks.dosed),
            pointer(clocks.whose), pointer(clocks.left), pointer(clocks.parts), pointer(clocks.first_amount),
            pointer(clocks.amount), pointer(clocks.so_far), pointer(clocks.rises), pointer(clocks.ordered),
            pointer(clocks.anew),
        ),
        Kept(
            pointer(kept.peak), pointer(kept.peak_time), pointer(kept.last), pointer(kept.auc),
            pointer(kept.time_at), pointer(kept.hard),
        ),
        Size(kept.peak.shape[1], kept.peak.shape[0]), first, past,
    )  # fmt: skip


@compiled
def _all_vectors(shape, desk, at, table, people, clocks, kept, size, first, past):
    """Run the patients, vector by vector. All arrays are pointers."""
    for v in range(first, past):
        p, alike, neighbours, easy = LANES * v, True, True, False
        for i in range(1, LANES):
            alike = alike and clocks.code[p + i] == clocks.code[p]
            neighbours = neighbours and clocks.order[p + i] == clocks.order[p] + i
        hard = sit_down(desk, at, table, people, clocks, neighbours, p)
        hard = lay_steps(desk, at, table, clocks, clocks.clock[v], hard)
        settle(desk, at, people, clocks, p)
        store(desk, at.now, hard)
        for i in range(LANES):
            unfit = desk[LANES * at.now + i] > 0.0 or clocks.ordered[clocks.code[p + i]] == 0
            kept.hard[clocks.order[p + i]] = 1 if unfit else 0
            easy = easy or not unfit
        if easy:
            _run(shape, desk, at, table, clocks, kept, size, v, alike)


@inlined
def _run(shape, desk, at, table, clocks, kept, size, v, alike):
    """The patients of a vector, from the first dose to the end of the last window."""
    clock, p = clocks.clock[v], LANES * v
    first, last = clocks.first_stop[clock], clocks.first_stop[clock + 1] - 1
    first_kind, steady, stop = clocks.first_kind[clock], _steady(desk, at, clocks, p), first
    begin_points(desk, at)
    while True:
        if clocks.window[stop] >= 0:
            _take(desk, at, clocks, clocks.so_far, stop - first, p, alike)
            _close(shape, desk, at, table, clocks, kept, size, clocks.window[stop], clocks.time[stop], p)
        if stop == last:
            break
        kind = clocks.kind[stop]
        wanted = splat(1.0) if clocks.quiet[stop] == 0 else 1.0 - steady
        look = at.n_level > 0 or some(wanted > 0.0)
        if look:
            move(shape, desk, at.here, at.walker)
        _take(desk, at, clocks, clocks.amount, stop - first, p, alike)
        leg = at.legs + (kind - first_kind) * (2 * at.n_mode + 1)
        advance(shape, desk, at.here, leg, at.given, leg + at.n_mode + 1)
        if look:
            _look(shape, desk, at, clocks, clock, kind, splat(clocks.time[stop]), wanted)
        stop += 1


@inlined
def _look(shape, desk, at, clocks, clock, kind, now, wanted):
    """Go through the nodes of a leg, and search the maxima between them; the walker starts from its first state."""
    size, group, rest = at.n_mode + 2, clocks.group[kind], clocks.rest[kind]
    mine, n_set = group - clocks.first_set[clock], clocks.first_set[clock + 1] - clocks.first_set[clock]
    n_arrival = 0
    for d in range(at.n_drug):
        n_arrival += clocks.dosed[group * at.n_drug + d]
    if at.n_level > 0:  # an effect site has no jump, nor has its slope
        before = load(desk, at.seen), load(desk, at.seen + 1), load(desk, at.seen + 2)
    else:
        before = see(desk, at, at.walker, sight(shape, desk, at.walker, at.weight, at.fall))
    waited, n = splat(0.0), 1
    for j in range(n_arrival):
        rung = at.steps + (KNOWN + mine * at.n_drug + j) * size
        span = load(desk, rung + size - 1)
        if some(span > 0.0):
            now, waited = now + span, waited + span
            seen = see(desk, at, at.walker, walk(shape, desk, at.walker, rung, at.weight, at.fall))
            _visit(shape, desk, at, at.walker, before, seen, span, now, wanted, True)
            before = seen
        _arriving(desk, at, mine, j)
        give(shape, desk, at.walker, at.now)
        if at.n_level == 0:
            before = see(desk, at, at.walker, sight(shape, desk, at.walker, at.weight, at.fall))
    if at.n_level > 0 and n_arrival > 0:
        n = spend(desk, at, n, before, waited, WAIT)
    own = at.steps + (KNOWN + n_set * at.n_drug + rest - clocks.first_rest[clock]) * size
    node, past = clocks.first_node[kind], clocks.first_node[kind + 1]
    end, last = past + clocks.parts[rest] - 1, WIDE if clocks.parts[rest] == 1 else END
    while node < end:
        rung, role = own, END if (end - node) % 2 == 0 else MIDDLE
        if node < past:
            rung, role = at.steps + clocks.step[node] * size, clocks.role[node]
        span = load(desk, rung + size - 1)
        now = now + span
        seen = see(desk, at, at.walker, walk(shape, desk, at.walker, rung, at.weight, at.fall))
        if at.n_level > 0:
            n = spend(desk, at, n, seen, span, role)
        early = node < clocks.first_node[kind] + EARLY or past == clocks.first_node[kind]
        _visit(shape, desk, at, at.walker, before, seen, span, now, wanted, early)
        before = seen
        node += 1
    span = load(desk, own + size - 1)
    seen = see(desk, at, at.here, sight(shape, desk, at.here, at.weight, at.fall))
    if at.n_level > 0:
        n = spend(desk, at, n, seen, span, last)
        sum_up(desk, at, n)
        for part in range(3):
            store(desk, at.seen + part, seen[part])
    _visit(shape, desk, at, at.here, before, seen, span, now + span, wanted, False)


@inlined
def _steady(desk, at, clocks, p):
    """Whose highest point of a window lies in its last 24 h: doses come again daily, and nothing wears off.

    Then the states a day later are nowhere lower: the system is linear and positive, and so is what enters it.
    """
    for i in range(LANES):
        desk[LANES * at.now + i] = clocks.rises[clocks.code[p + i]]
    plain = (load(desk, at.fold) == 1.0) & (load(desk, at.alpha) >= 0.0)
    return select(plain, load(desk, at.now), 0.0)


@inlined
def _take(desk, at, clocks, numbers, stop, p, alike):
    """Put amounts of a stop, or those so far, on the desk."""
    for d in range(at.n_drug):
        if alike:
            place = clocks.first_amount[clocks.code[p]] + stop * at.n_drug + d
            store(desk, at.given + d, splat(numbers[place]))
        else:
            for i in range(LANES):
                place = clocks.first_amount[clocks.code[p + i]] + stop * at.n_drug + d
                desk[LANES * (at.given + d) + i] = numbers[place]


@inlined
def _arriving(desk, at, group, j):
    """Put on the desk what arrives as number `j`."""
    for d in range(at.n_drug):
        mine = load(desk, at.rank + group * at.n_drug + d) == float(j)
        store(desk, at.now + d, select(mine, load(desk, at.given + d), 0.0))


@inlined
def _visit(shape, desk, at, z, before, here, span, now, wanted, early):
    """Note a maximum since the last node. `early`: soon after an arrival."""
    falls = here[2] <= 0.0
    risen = here[0] * before[1] > before[0] * here[1]  # the first dose: no slope yet, and here it has passed its top
    top = ((before[2] > 0.0) | risen) & falls
    if some(top):
        note(shape, desk, at, z, before, here, span, now, top & (wanted > 0.0))
    if early:
        brisk = load(desk, at.brisk)
        bar = load(desk, at.bar)
        # a slope that has passed its own maximum falls: the drive has since been below the tangent
        most = here[0] * here[1] - here[2] * span + brisk
        high = (HUMP * before[0] + brisk > bar * before[1]) & (most > bar * (here[1] * here[1]))
        hump = (before[2] <= 0.0) & falls & high & (wanted > 0.0)
        if some(hump):
            z = veiled(z)
            hump = hump & (bend(shape, desk, at, z, here[0], here[1]) < brisk)
            if some(hump):
                comb(shape, desk, at, z, here, span, now, hump)


@compiled
def _close(shape, desk, at, table, clocks, kept, size, w, time, p):
    """Take the last point of a window, write what the window has come to, and start maxima anew if that is wanted."""
    if some(load(desk, at.noted) > 0.0):
        climb(shape, desk, at)
    U, tol, _ = see(desk, at, at.here, sight(shape, desk, at.here, at.weight, at.fall))
    best, last = load(desk, at.best), U / tol
    higher = last > best
    best = select(higher, last, best)
    store(desk, at.best, best)
    replace(desk, at.when, higher, time)
    store(desk, at.bar, best)
    _scatter(desk, at, clocks, kept.peak, w * size.n, load(desk, at.A) * best, p)
    _scatter(desk, at, clocks, kept.peak_time, w * size.n, load(desk, at.when), p)
    _scatter(desk, at, clocks, kept.last, w * size.n, load(desk, at.A) * last, p)
    for d in range(at.n_drug):
        area = splat(0.0)
        for m in range(table[3 * d], table[3 * d] + table[3 * d + 1] + 1):
            area = area + load(desk, at.area + m) * (load(desk, at.given + d) - load(desk, at.here + m))
        _scatter(desk, at, clocks, kept.auc, (d * size.n_window + w) * size.n, area, p)
    for level in range(at.n_level):
        spent = load(desk, at.spent + level)
        _scatter(desk, at, clocks, kept.time_at, (level * size.n_window + w) * size.n, spent, p)
    if clocks.anew[w] != 0:
        store(desk, at.best, last)
        store(desk, at.when, splat(time))
        store(desk, at.bar, last)


@inlined
def _scatter(desk, at, clocks, numbers, first, values, p):
    """Write a number of each patient."""
    store(desk, at.now, values)
    for i in range(LANES):
        numbers[first + clocks.order[p + i]] = desk[LANES * at.now + i]
