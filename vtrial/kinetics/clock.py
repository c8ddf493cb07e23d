"""When things happen: patients whose doses fall at the same times share a clock, whatever their amounts and lags.

A clock has stops, at doses and at the ends of windows, and a leg from each stop to the next. Legs with doses of the
same drugs and the same length are of one kind: what a patient's modes lose over them is worked out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.kinetics.streams import Row
from vtrial.lanes import LANES

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]
type Given = tuple[bytes, bytes]
"""Times and amounts of a regimen."""

SPANS = (3 / 8, 3 / 4, 1.0, 2.0)
"""Lengths in h of the steps between the nodes of a leg."""
_SHORT, _LONGER, _HOUR, _HOURS = range(len(SPANS))
EIGHTH = 1 / 8
"""Legs of a whole number of eighths of an hour have their factors from the powers of one."""
POWERS = 9
"""How often that is squared: up to 32 h."""
LONGEST_LAG = 1.0
"""Longest lag in h: the nodes of a leg leave so much room at its end."""
MIDDLE, END, WAIT, WIDE = range(4)
"""What a node is for: middle or end of two steps that Simpson's rule takes; the last arrival, up to which the trapezoid
rule is used; end of a step whose middle Simpson's rule has from the cubic through values and slopes at both ends."""
LONGEST_REST = 2.6
"""Longest rest of a leg, in h, that is a single step: 5/2, and room for what doses' times are rounded by."""
EARLY = 3
"""Nodes of a leg that come soon after its last dose: to 3/2 h."""
DAY = 24.0


class Kind(NamedTuple):
    """A kind of leg: drugs dosed at its start, and its length in h."""

    drugs: tuple[bool, ...]
    gap: float

    @property
    def nodes(self) -> tuple[list[tuple[int, int]], float, int]:
        """Nodes of known steps, as (step, what for); the hours from the last arrival that they cover; and the number of
        equal steps to the end of the leg."""
        room = self.gap - LONGEST_LAG
        if room < 1.5:
            return [], 0.0, max(4, 2 * ceil(self.gap / (2 * SPANS[_SHORT])))
        nodes, covered = [(_SHORT, MIDDLE), (_SHORT, END), (_LONGER, WIDE)], 1.5
        if covered + 2.0 <= room:
            nodes, covered = [*nodes, (_HOUR, MIDDLE), (_HOUR, END)], covered + 2.0
        while covered + 2.0 <= room:
            nodes, covered = [*nodes, (_HOURS, WIDE)], covered + 2.0
        if self.gap - covered > LONGEST_REST:
            nodes, covered = [*nodes, (_HOUR, WIDE)], covered + 1.0
        return nodes, covered, 1

    @property
    def eighths(self) -> int:
        """Length in eighths of an hour; 0 where it is no whole number, or a large one."""
        whole = self.gap % EIGHTH == 0 and self.gap < EIGHTH * 2**POWERS
        return int(self.gap / EIGHTH) if whole else 0


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
            if time < windows[-1]:  # a dose of 0 too: one that is held does not change the clock
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
    `code` (item), which combination of regimens; `clock` (vector). Clocks: `first_stop`, `first_kind`, `first_set` and
    `first_rest` (clock + 1). Stops: `time`, `kind` of the leg that follows, `window` that ends there or -1, `quiet`,
    whether the leg lies outside the last 24 h of every window. Kinds: `gap` in h, `eighths`, its `group`, the set of
    drugs dosed, `rest`, and `first_node` (kind + 1). Nodes: `step`, `role`. Sets: `dosed` (set, drug). Rests, what the
    nodes leave of a leg: `whose`, its set; `left` in h, divided into `parts` steps. Combinations: `first_amount` in
    `amount`, (stop, drug) of each; `so_far`, the same of all doses before a stop; `rises`, `ordered`. Windows: `anew`,
    whether maxima start anew at the end.
    """

    order: Index
    code: Index
    clock: Index
    first_stop: Index
    first_kind: Index
    first_set: Index
    first_rest: Index
    time: Array
    kind: Index
    window: Index
    quiet: Index
    gap: Array
    eighths: Index
    group: Index
    rest: Index
    first_node: Index
    step: Index
    role: Index
    dosed: Index
    whose: Index
    left: Array
    parts: Index
    first_amount: Index
    amount: Array
    so_far: Array
    rises: Index
    ordered: Index
    anew: Index


def clocks_of(
    doses: Sequence[tuple[Sequence[Row], Any]], origin: Array, windows: tuple[float, ...], anew: Index
) -> Clocks:
    """Sort patients by clock.

    Parameters
    ----------
    doses : sequence
        Per drug a table of regimens, each (time in h, amt in mg), and each patient's row in it, shape (n,).
    origin : array, shape (n,)
        Time in h of each patient's first dose of any drug.
    windows : tuple of float
        Ends of the windows in h from there.
    anew : array of int, shape (window,)
        Whether maxima start anew at the end of the window.
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
    first_amount = np.cumsum(sizes)[:-1]
    amount = np.concatenate([s.amount.ravel() for s in schedules])
    so_far = np.concatenate([(s.amount.cumsum(0) - s.amount).ravel() for s in schedules])
    rises, ordered = (np.array([getattr(s, name) for s in schedules], np.int64) for name in ("rises", "ordered"))
    laid = _lay_out(tuple(clocks), windows)
    rest = first_amount, amount, so_far, rises, ordered, anew
    each = code[order] if len(combinations) > 1 else np.zeros(len(order), np.int64)
    return Clocks._make((order, each, of_vector, *laid, *rest))


def _bytes(values: Any) -> bytes:
    return np.asarray(values, float).tobytes()


def _combinations(
    doses: Sequence[tuple[Sequence[Row], Any]], origin: Array
) -> tuple[Index, list[tuple[tuple[int, ...], float]]]:
    """Number the combinations of regimens and first time that occur: each patient's number, and what they are."""
    code, sizes = np.zeros(len(origin), np.int64), [len(table) for table, _ in doses]
    if sizes == [1] * len(sizes) and (origin == origin[0]).all():
        return code, [((0,) * len(sizes), float(origin[0]))]
    for (_, rows), size in zip(doses, sizes, strict=True):
        code = code * size + rows
    found, code = _renumbered(code, int(np.prod(sizes)))
    starts = np.empty(len(found))
    starts[code] = origin
    if not np.array_equal(starts[code], origin):  # patients of one combination may count from different times
        each, place = np.unique(origin, return_inverse=True)
        both, code = _renumbered(code * len(each) + place, len(found) * len(each))
        found, starts = found[both // len(each)], each[both % len(each)]
    rows = np.unravel_index(found, sizes)
    return code, [(tuple(int(r[i]) for r in rows), float(start)) for i, start in enumerate(starts)]


def _renumbered(code: Index, most: int) -> tuple[Index, Index]:
    """The numbers below `most` that occur, in ascending order; and each one's place among them."""
    if most > len(code):  # a mark for each would take longer than to sort
        found, place = np.unique(code, return_inverse=True)
        return found, place
    used = np.zeros(most, bool)
    used[code] = True
    return np.flatnonzero(used), (np.cumsum(used) - 1)[code]


def _line_up(code: Index, clock: Index, n_clock: int) -> tuple[Index, Index]:
    """Patients in the order of clocks and combinations, whole vectors each; and the clock of each vector."""
    if len(clock) == 1:
        vectors = -(-len(code) // LANES)
        order = np.arange(LANES * vectors)
        order[len(code) :] = len(code) - 1
        return order, np.zeros(vectors, np.int64)
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


@lru_cache(maxsize=64)
def _lay_out(clocks: tuple[tuple[tuple[float, ...], Any], ...], windows: tuple[float, ...]) -> tuple[Any, ...]:
    """Stops, kinds, nodes, sets and rests of all clocks, one after the other."""
    firsts: list[tuple[int, ...]] = [(0, 0, 0, 0)]
    stops, kinds, nodes, sets = list[Any](), list[Any](), [(0, 0)], list[Any]()
    rests, first_node = list[Any](), [1]
    for times, drugs in clocks:
        own: dict[Kind, int] = {}
        groups: dict[Any, int] = {}
        leavings: dict[Any, int] = {}
        for begin, end, dosed in zip(times, [*times[1:], None], drugs, strict=True):
            leg = begin if end is None else end
            quiet = not any(leg > w - DAY and begin < w for w in windows)
            kind = -1 if end is None else len(kinds) + own.setdefault(Kind(dosed, end - begin), len(own))
            stops.append((begin, kind, windows.index(begin) if begin in windows else -1, quiet))
        for kind in own:
            mine, covered, parts = kind.nodes
            nodes += mine
            first_node.append(len(nodes))
            group = len(sets) + groups.setdefault(kind.drugs, len(groups))
            rest = (group, kind.gap - covered, parts)
            kinds.append((kind.gap, kind.eighths, group, len(rests) + leavings.setdefault(rest, len(leavings))))
        sets += groups
        rests += leavings
        firsts.append((len(stops), len(kinds), len(sets), len(rests)))
    return (
        *(np.array(part, np.int64) for part in zip(*firsts, strict=True)),
        *_columns(stops, float, int, int, int),
        *_columns(kinds, float, int, int, int),
        np.array(first_node, np.int64),
        *_columns(nodes, int, int),
        np.array(sets, np.int64),
        *_columns(rests, int, float, int),
    )


def _columns(rows: Sequence[tuple[Any, ...]], *kinds: type) -> list[NDArray[Any]]:
    return [np.array(part, kind) for part, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
