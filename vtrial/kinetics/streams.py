"""From regimens to streams: lists of doses into one compartment, as the compiled loops take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.kinetics.system import Layout
from vtrial.model import BLOOD, RELEASED, SWALLOWED

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]
type Row = tuple[Array, Array] | tuple[Array, Array, Array] | tuple[Array, Array, Array, Index]
"""A regimen: time in h, amt in mg, for infusions tinf in h (0: a bolus), and of a drug by mouth its way, one of
those of `vtrial.model`."""


class Doses(NamedTuple):
    """Streams, one after the other.

    Per stream its drug, the state it enters, whether that is a source, and per patient the row of its regimen
    (stream, patient), lag in h, and factor of the amount. Row r, of stream owner[r], has the doses from first[r] to
    first[r + 1]. `origin` (1, patient) is the time of a patient's first dose of any drug.
    """

    drug: Index
    entry: Index
    source: Index
    regimen: Index
    first: Index
    owner: Index
    time: Array
    amt: Array
    lag: Array
    factor: Array
    origin: Array


class Stream(NamedTuple):
    """One stream before it is put beside the others: its rows, and each patient's row, lag and factor."""

    drug: int
    entry: int
    source: bool
    table: list[tuple[Array, Array]]
    rows: Index
    lag: Array
    factor: Array


def streams_of(
    layouts: Sequence[Layout], par: Mapping[str, Any], doses: Sequence[tuple[Sequence[Row], Index]], origin: Array
) -> Doses:
    """Turn the regimens of the drugs into streams.

    Parameters
    ----------
    layouts : sequence of Layout
    par : mapping
        Individual parameters, shape (n,) or scalars: tlag, F, and dur of a zero-order absorption are used.
    doses : sequence
        Per drug a table of regimens and each patient's row in it.
    origin : array, shape (n,)
        Time in h of the patient's first dose of any drug.
    """
    n = len(origin)
    streams = [
        stream
        for d, (at, (table, rows)) in enumerate(zip(layouts, doses, strict=True))
        for stream in _streams_of_drug(d, at, par, table, np.asarray(rows, np.int64), n)
    ]
    regimen, first, owner, times, amts = [], [0], [], [], []
    for number, stream in enumerate(streams):
        regimen.append(stream.rows + len(owner))
        for time, amt in stream.table:
            owner.append(number)
            times.append(np.asarray(time, float))
            amts.append(np.asarray(amt, float))
            first.append(first[-1] + len(times[-1]))
    return Doses(
        np.array([stream.drug for stream in streams]),
        np.array([stream.entry for stream in streams]),
        np.array([int(stream.source) for stream in streams]),
        np.stack(regimen),
        np.array(first),
        np.array(owner),
        np.concatenate([*times, np.empty(0)]),
        np.concatenate([*amts, np.empty(0)]),
        np.stack([s.lag for s in streams]),
        np.stack([s.factor for s in streams]),
        np.asarray(origin, float).reshape(1, -1),
    )


def crowding(doses: Doses, h: float) -> int:
    """Largest number of doses that can arrive in one step of `h` hours, over all streams together."""
    most = np.ones(len(doses.drug), np.int64)
    for row, (begin, end) in enumerate(zip(doses.first[:-1], doses.first[1:], strict=True)):
        time = doses.time[begin:end]
        if len(time):
            near = np.searchsorted(time, time + h * (1 + 1e-9), "right") - np.arange(len(time))
            most[doses.owner[row]] = max(most[doses.owner[row]], int(near.max()))
    return int(most.sum())


def _streams_of_drug(
    d: int, at: Layout, par: Mapping[str, Any], table: Sequence[Row], rows: Index, n: int
) -> list[Stream]:
    def of(name: str) -> Array:
        return np.broadcast_to(np.asarray(par[f"{at.drug.name}.{name}"], float), n)

    entry, lag, F = at.state, of("tlag"), of("F")
    if at.drug.absorption == "zero_order":
        rate, plain = F / of("dur"), [(row[0], row[1]) for row in table]
        ends = Stream(d, entry, True, plain, rows, lag + of("dur"), -rate)
        return [Stream(d, entry, True, plain, rows, lag, rate), ends]
    if at.drug.absorption == "iv":
        boluses = [_boluses(row) for row in table]
        infusions = [_infusions(row) for row in table]
        return [
            Stream(d, at.central, False, boluses, rows, lag, F),
            Stream(d, entry, True, infusions, rows, lag, F),
        ]
    if any(len(row) == 3 and np.any(row[2]) for row in table):
        raise ValueError(f"{at.drug.name} is given by mouth: an infusion needs a drug of absorption 'iv', or a way")
    swallowed = [_of_way(row, SWALLOWED)[:2] for row in table]
    if not at.fed:
        return [Stream(d, entry, False, swallowed, rows, lag, F)]
    blood, released = ([_of_way(row, way) for row in table] for way in (BLOOD, RELEASED))
    at_once, all_of_it = np.zeros(n), np.ones(n)
    return [
        Stream(d, entry + 1, False, swallowed, rows, lag, F),
        Stream(d, at.central, False, [_boluses(row) for row in blood], rows, at_once, all_of_it),
        Stream(d, entry, True, [_infusions(row) for row in blood], rows, at_once, all_of_it),
        Stream(d, entry, True, [_infusions(row) for row in released], rows, lag, F),
    ]


def _of_way(row: Row, way: int) -> tuple[Array, Array, Array]:
    """The doses of a regimen that enter in one way."""
    mine = np.asarray(row[3]) == way if len(row) == 4 else np.full(len(row[0]), way == SWALLOWED)
    time, amt, tinf = _columns(row)
    return time[mine], amt[mine], tinf[mine]


def _boluses(row: Row) -> tuple[Array, Array]:
    time, amt, tinf = _columns(row)
    return time[tinf == 0], amt[tinf == 0]


def _infusions(row: Row) -> tuple[Array, Array]:
    """Rates that begin, and the same with a minus where they end."""
    time, amt, tinf = _columns(row)
    long = tinf > 0
    when = np.concatenate([time[long], (time + tinf)[long]])
    rate = amt[long] / tinf[long]
    order = np.argsort(when, kind="stable")
    return when[order], np.concatenate([rate, -rate])[order]


def _columns(row: Row) -> tuple[Array, Array, Array]:
    time, amt = np.asarray(row[0], float), np.asarray(row[1], float)
    tinf = np.asarray(row[2], float) if len(row) > 2 else np.zeros_like(time)
    if np.any(tinf < 0):
        raise ValueError(f"tinf {tinf.min()} h is negative")
    return time, amt, tinf
