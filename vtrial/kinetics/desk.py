"""The desk: all that the loops hold of eight patients, as rows of one array of shape (row, 8).

One array and row numbers, and not a record of arrays, because compiled code counts references to each array that it
takes out of a record, which costs more than the work on eight patients.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vtrial.compiled import inlined
from vtrial.kinetics.functions import SERIES
from vtrial.kinetics.system import System
from vtrial.lanes import LANES

DEEPEST = 28
"""Most halvings of the step: rates up to 2^24 per step are followed."""

SMALL = 1 / 16
"""Largest rate times length at the lowest rung of the ladder."""

HALVINGS = 5
"""Least halvings: a maximum is bracketed to 1/32 of a step."""


class Desk(NamedTuple):
    """First row of each part.

    Kinetics: `rates`, entries of A; `ladder`, entries of exp(A h / 2^level), level by level; `work`, five matrices;
    `decay`, 2^(-h / 2^level / t_half), level by level; `gain`, `clarity` (drug), 1 / (V C50) and 1 / V; `clearance`
    (drug); `bound` (state) and `near`, see `ladder.bounds`; `depth`, `rung`, halvings of the step, and what is left
    of it after them, h. Sedation: `A`, `alpha`, `fold`, `fading`.

    Doses: `factor`, `delay` (lag less the time of the first dose), `known` (stream), `boost` (stream, state);
    `time`, scratch of the lists of doses; `event`, amount and offset of each dose of a step; `start`, scratch for
    states.

    Now: `here`, `before_step`, `last`, states now, a step ago, and at the step before; `bracket`, `bracket_left`,
    `bracket_time`, `noted`, states, tolerance and time where a maximum is to be searched, and whether; `risen`,
    `smooth`, `fresh`, whether the value rose into this point, is smooth there, and a dose or change came; `best`,
    `when`, highest value and its time; `inflow`, `rate`, `rate_time`, `body`, `auc` (drug), mass balance; `threshold`,
    `steepness`, `before`, `spent` (level), `beyond`, `width`, time at level; `series`, coefficients of
    `vtrial.kinetics.functions`.
    """

    n_state: int
    n_entry: int
    n_drug: int
    n_stream: int
    rates: int
    ladder: int
    work: int
    decay: int
    gain: int
    clarity: int
    clearance: int
    bound: int
    near: int
    depth: int
    rung: int
    A: int
    alpha: int
    fold: int
    fading: int
    factor: int
    delay: int
    time: int
    known: int
    boost: int
    event: int
    start: int
    here: int
    before_step: int
    last: int
    bracket: int
    bracket_left: int
    bracket_time: int
    beyond: int
    width: int
    threshold: int
    steepness: int
    series: int
    inflow: int
    noted: int
    risen: int
    smooth: int
    fresh: int
    best: int
    when: int
    rate: int
    rate_time: int
    body: int
    auc: int
    before: int
    spent: int
    rows: int


def lay_out(system: System, n_stream: int, n_event: int, n_level: int) -> Desk:
    """Give every part its rows: for so many streams, doses in one step, and levels whose time is wanted."""
    n_state, n_entry, n_drug = system.n_states, system.n_entries, len(system.drugs)
    sizes = {
        "rates": n_entry, "ladder": (DEEPEST + 1) * n_entry, "work": 5 * n_entry, "decay": DEEPEST + 1,
        "gain": n_drug, "clarity": n_drug, "clearance": n_drug, "bound": n_state, "near": 1, "depth": 1, "rung": 1,
        "A": 1, "alpha": 1, "fold": 1, "fading": 1,
        "factor": n_stream, "delay": n_stream, "time": 3, "known": n_stream,
        "boost": n_stream * n_state, "event": 2 * n_event, "start": n_state, "here": n_state, "before_step": n_state,
        "last": n_state, "bracket": n_state, "bracket_left": 1, "bracket_time": 1,
        "beyond": 1, "width": 1, "threshold": n_level, "steepness": n_level, "series": len(SERIES),
        "inflow": n_drug, "noted": 1, "risen": 1, "smooth": 1, "fresh": 1,
        "best": 1, "when": 1, "rate": n_drug, "rate_time": n_drug, "body": n_drug, "auc": n_drug,
        "before": n_level, "spent": n_level,
    }  # fmt: skip
    first = np.cumsum([0, *sizes.values()]).tolist()
    return Desk(n_state, n_entry, n_drug, n_stream, *first)


@inlined
def cleared(rows):
    """Rows of zeros, one after the other, from an address that 64 divides: one that straddles two lines takes two."""
    room = np.zeros((rows + 1) * LANES)
    return room[(64 - room.ctypes.data % 64) // 8 % LANES :]
