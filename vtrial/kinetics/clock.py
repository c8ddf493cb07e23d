"""When things happen: patients whose doses fall at the same times share a clock, whatever their amounts and lags.

A clock has stops, at doses and at the ends of windows, and a leg from each stop to the next. Legs with doses of the
same drugs and the same length are of one kind: what a patient's modes lose over them is worked out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.kinetics.streams import Row
from vtrial.lanes import LANES

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]
type Given = tuple[bytes, bytes]
"""Times and amounts of a regimen."""

SPANS = (1 / 8, 1 / 4, 3 / 8, 3 / 4, 1.0, 2.0)
"""Lengths in h of the steps between the nodes of a leg."""
LONGEST_LAG = 1.0
"""Longest lag in h: the nodes of a leg leave so much room at its end."""
LOOK, MIDDLE, END = 0, 1, 2
"""What a node is for: only to see whether the drive turns; middle or end of two steps that Simpson's rule takes."""
_EARLY = ((0, LOOK), (1, LOOK), (2, MIDDLE), (3, END))  # at 1/8, 3/8, 3/4 and 3/2 h, as (step, what for)
_HOURLY, _HOURS = ((4, MIDDLE), (4, END)), 3  # three times, to 7.5 h
_TWO_HOURLY = ((5, MIDDLE), (5, END))
DAY = 24.0


class Kind(NamedTuple):
    """A kind of leg: drugs dosed at its start, and its length in h."""

    drugs: tuple[bool, ...]
    gap: float

    @property
    def nodes(self) -> tuple[list[tuple[int, int]], float]:
        """Nodes of known steps, as (step, what for), and the hours from the last arrival that they cover."""
        room, nodes, covered = self.gap - LONGEST_LAG, list[tuple[int, int]](), 0.0
        if room >= 1.5:
            nodes, covered = list(_EARLY), 1.5
        for _ in range(_HOURS):
            if nodes and covered + 2.0 <= room:
                nodes, covered = [*nodes, *_HOURLY], covered + 2.0
        while nodes and covered + 4.0 <= room:
            nodes, covered = [*nodes, *_TWO_HOURLY], covered + 4.0
        return nodes, covered


class Schedule(NamedTuple):
    """A combination of regimens, one per drug, relative to the first dose."""

    stops: tuple[float, ...]
    """Times in h: of doses and of ends of windows."""
    drugs: tuple[tuple[bool, ...], ...]
    """Per stop and drug, whether it is dosed."""
    amount: Array
    """Per stop and drug, mg."""
    rises: bool
    """Whether each day's doses come again the next day, none of them smaller."""
    ordered: bool
    """Whether no dose precedes the first."""


@lru_cache(maxsize=8192)
def schedule(given: tuple[Given, ...], origin: float, windows: tuple[float, ...]) -> Schedule:
    """Put the regimens of the drugs on one clock, from the first dose to the end of the last window."""
    ordered, doses = True, list[dict[float, float]]()
    for times, amounts in given:
        own: dict[float, float] = {}
        for time, amount in zip(np.frombuffer(times) - origin, np.frombuffer(amounts), strict=True):
            if amount and time < windows[-1]:
                ordered = ordered and time >= 0
                own[float(time)] = own.get(float(time), 0.0) + float(amount)
        doses.append(own)
    stops = tuple(sorted({0.0, *windows}.union(*doses)))
    amount = np.array([[own.get(time, 0.0) for own in doses] for time in stops])
    rises = all(
        own.get(time + DAY, 0.0) >= dose for own in doses for time, dose in own.items() if time + DAY < windows[-1]
    )
    dosed = tuple(tuple(time in own for own in doses) for time in stops)
    return Schedule(stops, dosed, amount, rises and ordered, ordered)


class Clocks(NamedTuple):
    """All clocks of some patients, for the compiled loop.

    Patients: `order` (item), who stands where, each clock's patients together and filled up to whole vectors;
    `code` (item), which combination of regimens; `clock` (vector). Clocks: `first_stop` and `first_kind` (clock + 1).
    Stops: `time`, `kind` of the leg that follows, `window` that ends there or -1, `quiet`, whether the leg lies outside
    the last 24 h of every window. Kinds: `dosed` (kind, drug), `gap` and `covered` in h, `parts` into which what
    is not covered is divided, `first_node` (kind + 1); nodes: `step`, `role`. Combinations: `first_amount` in `amount`,
    (stop, drug) of each, `rises`, `ordered`.
    """

    order: Index
    code: Index
    clock: Index
    first_stop: Index
    first_kind: Index
    time: Array
    kind: Index
    window: Index
    quiet: Index
    dosed: Index
    gap: Array
    covered: Array
    parts: Index
    first_node: Index
    step: Index
    role: Index
    first_amount: Index
    amount: Array
    rises: Index
    ordered: Index


def clocks_of(doses: Sequence[tuple[Sequence[Row], Any]], origin: Array, windows: tuple[float, ...]) -> Clocks:
    """Sort patients by clock.

    Parameters
    ----------
    doses : sequence
        Per drug a table of regimens, each (time in h, amt in mg), and each patient's row in it, shape (n,).
    origin : array, shape (n,)
        Time in h of each patient's first dose of any drug.
    windows : tuple of float
        Ends of the windows in h from there.
    """
    code, combinations = _combinations(doses, origin)
    texts = [[(_bytes(row[0]), _bytes(row[1])) for row in table] for table, _ in doses]
    schedules = [
        schedule(tuple(text[r] for text, r in zip(texts, rows, strict=True)), start, windows)
        for rows, start in combinations
    ]
    clocks: dict[Any, int] = {}
    own = np.array([clocks.setdefault((s.stops, s.drugs), len(clocks)) for s in schedules], np.int64)
    order, of_vector = _line_up(code, own, len(clocks))
    sizes = [0, *(s.amount.size for s in schedules)]
    return Clocks(
        order,
        code[order],
        of_vector,
        *_lay_out(list(clocks), windows),
        np.cumsum(sizes)[:-1],
        np.concatenate([s.amount.ravel() for s in schedules]),
        np.array([s.rises for s in schedules], np.int64),
        np.array([s.ordered for s in schedules], np.int64),
    )


def _bytes(values: Any) -> bytes:
    return np.asarray(values, float).tobytes()


def _combinations(
    doses: Sequence[tuple[Sequence[Row], Any]], origin: Array
) -> tuple[Index, list[tuple[tuple[int, ...], float]]]:
    """Number the combinations of regimens and first time that occur: each patient's number, and what they are."""
    code, sizes = np.zeros(len(origin), np.int64), [len(table) for table, _ in doses]
    for (_, rows), size in zip(doses, sizes, strict=True):
        code = code * size + rows
    starts = np.full(int(np.prod(sizes)), np.nan)
    starts[code] = origin
    if not np.array_equal(starts[code], origin):  # patients of one combination may count from different times
        starts, place = np.unique(origin, return_inverse=True)
        code = code * len(starts) + place
        starts = np.tile(starts, int(np.prod(sizes)))
    used = np.zeros(len(starts), bool)
    used[code] = True
    found = np.flatnonzero(used)
    rows = np.unravel_index(found // (len(starts) // int(np.prod(sizes))), sizes)
    combinations = [(tuple(int(r[i]) for r in rows), float(starts[number])) for i, number in enumerate(found)]
    return (np.cumsum(used) - 1)[code], combinations


def _line_up(code: Index, clock: Index, n_clock: int) -> tuple[Index, Index]:
    """Patients in the order of clocks and combinations, whole vectors each; and the clock of each vector."""
    if len(clock) == 1:
        order, mine = np.arange(len(code)), np.array([len(code)])
    else:
        place = np.empty(len(clock), np.uint16 if len(clock) < 2**16 else np.int64)
        place[np.argsort(clock, kind="stable")] = np.arange(len(clock))
        order = np.argsort(place[code], kind="stable")
        mine = np.bincount(clock[code], minlength=n_clock)
    vectors = -(-mine // LANES)
    ends = np.cumsum(mine)
    room = np.arange(LANES * vectors.sum()) - np.repeat(LANES * (np.cumsum(vectors) - vectors), LANES * vectors)
    first = np.repeat(ends - mine, LANES * vectors)
    last = np.repeat(ends - 1, LANES * vectors)
    return order[np.minimum(first + room, last)], np.repeat(np.arange(n_clock), vectors)


def _lay_out(clocks: Sequence[tuple[tuple[float, ...], Any]], windows: tuple[float, ...]) -> tuple[Any, ...]:
    """Stops, kinds and nodes of all clocks, one after the other."""
    first_stop, first_kind, first_node = [0], [0], [0]
    time, kind, window, quiet, nodes = list[float](), list[int](), list[int](), list[int](), list[tuple[int, int]]()
    kinds: list[Kind] = []
    for stops, drugs in clocks:
        own: dict[Kind, int] = {}
        for begin, end, dosed in zip(stops, [*stops[1:], None], drugs, strict=True):
            time.append(begin)
            window.append(windows.index(begin) if begin in windows else -1)
            leg = begin if end is None else end
            quiet.append(not any(leg > w - DAY and begin < w for w in windows))
            # no leg follows the last stop
            kind.append(-1 if end is None else len(kinds) + own.setdefault(Kind(dosed, end - begin), len(own)))
        kinds += own
        first_stop.append(len(time))
        first_kind.append(len(kinds))
    for of_kind in kinds:
        nodes += of_kind.nodes[0]
        first_node.append(len(nodes))
    parts = [2 if of_kind.nodes[0] else 4 for of_kind in kinds]
    return (
        *(np.array(part, np.int64) for part in (first_stop, first_kind)),
        np.array(time),
        *(np.array(part, np.int64) for part in (kind, window, quiet)),
        np.array([of_kind.drugs for of_kind in kinds], np.int64),
        np.array([of_kind.gap for of_kind in kinds]),
        np.array([of_kind.nodes[1] for of_kind in kinds]),
        np.array(parts, np.int64),
        np.array(first_node, np.int64),
        *np.array(nodes or [(0, 0)], np.int64).T.copy(),
    )
