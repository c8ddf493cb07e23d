"""Doses of the patients of a vector, in order of the steps in which they arrive.

A stream is a list of doses into one compartment of one drug, with a lag and a factor (bioavailability, or a rate) of
each patient. Of each stream a list of arrivals is made: the step, and per patient the amount (0 for whom nothing
arrives then) and the wait until the end of the step. Patients of one regimen and one lag have the same list: it is
made once for as many as follow each other. What a unit dose has become by the end of its step is its boost; it is
computed again only when the wait changes, so doses on a clock share it.
"""

from __future__ import annotations

import numpy as np

from vtrial.compiled import compiled, inlined
from vtrial.kinetics.ladder import carry
from vtrial.kinetics.unrolled import blend, fetch, keep
from vtrial.lanes import LANES, floor, larger, load, load_from, select, smaller, some, splat, store

NEVER = np.iinfo(np.int64).max
"""Step of the next dose when there is none."""

SAME = 1e-13
"""Waits that differ by less, in h, share a boost."""


@compiled
def list_arrivals(desk, at, agenda, doses, h, last, width, p):
    """Make the lists of the patients from `p` on, unless those of the patients before them serve."""
    for s in range(at.n_stream):
        own = s * width + p
        row, same, alike = doses.regimen[own], p >= LANES, True
        same = same and doses.regimen[own - LANES] == row
        for i in range(1, LANES):
            alike = alike and doses.regimen[own + i] == row
        same = same and alike
        delay = load_from(doses.lag, own) - load_from(doses.origin, p)
        if same:
            before = load(desk, at.delay + s)
            same = not some((delay < before) | (delay > before))
        store(desk, at.delay + s, delay)
        if not (same and agenda.alike[s] == 1):
            _list_stream(desk, at, agenda, doses, s, own, alike, h, last)
        agenda.alike[s] = 1 if alike else 0


@inlined
def _list_stream(desk, at, agenda, doses, s, own, alike, h, last):
    """Go through the regimens of a stream, the soonest arrival first."""
    per_h, delay = 1.0 / h, load(desk, at.delay + s)
    arrival = agenda.first[s]
    for i in range(LANES):
        agenda.position[i] = doses.first[doses.regimen[own + i]]
    while True:
        if alike:
            j = agenda.position[0]
            if j >= doses.first[doses.regimen[own] + 1]:
                break
            due, amount = splat(doses.time[j]), splat(doses.amt[j])
        else:
            for i in range(LANES):
                j = agenda.position[i]
                there = j < doses.first[doses.regimen[own + i] + 1]
                desk[LANES * at.time + i] = doses.time[j] if there else np.inf
                desk[LANES * (at.time + 1) + i] = doses.amt[j] if there else 0.0
            due, amount = load(desk, at.time), load(desk, at.time + 1)
        due = due + delay
        k = floor(due * per_h)
        k = select((k + 1.0) * h <= due, k + 1.0, k)  # the product was rounded
        k = select(k * h > due, k - 1.0, k)
        steps = LANES * (at.time + 2)
        store(desk, at.time + 2, k)
        soonest = latest = desk[steps]
        for i in range(1, LANES):
            soonest, latest = min(soonest, desk[steps + i]), max(latest, desk[steps + i])
        if soonest >= last:  # so are all that follow: regimens are in order of time
            break
        if soonest >= 0.0:
            agenda.step[arrival] = np.int64(soonest)
            store(agenda.amount, arrival, select(k <= soonest, amount, 0.0))
            store(agenda.wait, arrival, smaller(larger((k + 1.0) * h - due, 0.0), h))
            arrival += 1
        if alike and soonest == latest:
            agenda.position[0] += 1
        else:
            if alike:  # lags apart: from here on each has its own position
                for i in range(1, LANES):
                    agenda.position[i] = agenda.position[0]
                alike = False
            for i in range(LANES):
                if desk[steps + i] == soonest:
                    agenda.position[i] += 1
    agenda.step[arrival] = NEVER


@inlined
def forget_boosts(desk, at):
    """Have the boosts computed again: the kinetics have changed."""
    for s in range(at.n_stream):
        store(desk, at.known + s, splat(-1.0))


@inlined
def give(shape, desk, at, h, deepest, s, entry, first, past, amount, wait):
    """Add a dose to the states first to past, as `at.here` holds them, of the end of its step."""
    row, known = at.boost + s * at.n_state, load(desk, at.known + s)
    if some((wait > known + SAME) | (wait < known - SAME)):
        _boost(shape, desk, at, h, deepest, s, entry, amount, wait)
    for state in range(first, past):
        here = at.here + state
        store(desk, here, load(desk, here) + amount * load(desk, row + state))


@compiled
def _boost(shape, desk, at, h, deepest, s, entry, amount, wait):
    """Carry a unit dose over the wait, for whom the dose is."""
    known = load(desk, at.known + s)
    changed = ((wait > known + SAME) | (wait < known - SAME)) & ((amount > 0.0) | (amount < 0.0))
    for state in range(at.n_state):
        store(desk, at.work + state, splat(1.0 if state == entry else 0.0))
    fresh = carry(shape, desk, at, h, deepest, fetch(shape, desk, at.work), wait)
    row = at.boost + s * at.n_state
    keep(shape, desk, row, blend(shape, changed, fresh, fetch(shape, desk, row)))
    store(desk, at.known + s, select(changed, wait, known))
