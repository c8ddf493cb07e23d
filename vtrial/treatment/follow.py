"""Arms whose doses follow what is seen: each patient divided into those of his sensitivity who fare alike.

A concentration that is measured does not depend on sensitivity: its result changes the doses of all. What is seen at a
round does, and so do the doses after it. But given his kinetics, the sensitivities that take the same course lie side
by side: whoever is more sensitive is at least as deep. So a patient is a whole that splits, at rounds, into shares of
the distribution of sensitivity, each from one probability of being more sensitive to another; a share whose doses
change is exposed anew, on the same kinetics, and nothing is sampled but the errors of those who look. What comes out
are items as of any arm, each with its share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtrial.dialysis import Sessions
from vtrial.patients import Group
from vtrial.pharmacodynamics import level_probabilities
from vtrial.policy import Arm, Regimen, reactions_to
from vtrial.scenario import Scenario
from vtrial.scheme import Plain, normals
from vtrial.treatment.expose import SLICE, expose_items, levels_of
from vtrial.treatment.given import Given, Items, as_units, dose

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]

LEAST = 1e-6
"""A smaller share does not split off: it goes on with its neighbours. So much of a patient can be misplaced at a round,
which bounds the error of a risk by the number of rounds times it."""


@dataclass(frozen=True)
class _Course:
    """What a share of a patient is on: a row of each drug's table, and sessions of dialysis."""

    rows: tuple[int, ...]
    sessions: tuple[Sessions, ...]


@dataclass(frozen=True)
class _Shares:
    """Shares of patients: the patient, the number of the course, from and to which probability, and the first look at
    which it may still change; arrays of one shape."""

    patient: Index
    course: Index
    begin: Array
    end: Array
    round: Index

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.integer] | slice) -> _Shares:
        return _Shares(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: list[_Shares]) -> _Shares:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


class _Courses:
    """The courses of an arm, each once, and what a reaction makes of one: only ever added to."""

    def __init__(self, scenario: Scenario, arm: Arm, table: list[list[Regimen]]) -> None:
        self.scenario, self.arm, self.table = scenario, arm, table
        self._rows = [{r.key: k for k, r in enumerate(own)} for own in table]
        self._numbers, self.all = dict[_Course, int](), list[_Course]()
        self._after = dict[tuple[int, int, int], int]()

    def number(self, course: _Course) -> int:
        if course not in self._numbers:
            self._numbers[course] = len(self.all)
            self.all.append(course)
        return self._numbers[course]

    def after(self, number: int, level: int, j: int, rounds: list[float], origin: float) -> int:
        """The course that follows a level seen at round `j`; the same one if nothing changes."""
        key = number, level, j
        if key not in self._after:
            self._after[key] = self.number(self._changed(self.all[number], level, j, rounds, origin))
        return self._after[key]

    def _changed(self, course: _Course, level: int, j: int, rounds: list[float], origin: float) -> _Course:
        now, following = rounds[j], rounds[j + 1] if j + 1 < len(rounds) else np.inf
        rows, sessions = [*course.rows], course.sessions
        for reaction in reactions_to(level, self.arm.reactions):
            for d, own in enumerate(self.table):
                horizon = origin + self.scenario.spec.treatment.horizon
                new = reaction.rewritten(own[rows[d]], origin + now, origin + following, horizon)
                if new is not own[rows[d]] and self.arm.rounded is not None:
                    new = as_units(self.scenario, new, self.arm.rounded, origin + now)
                rows[d] = self._row(d, new)
            to_come = any(one.every is None and now < one.first + one.hours for one in sessions)  # or it runs
            if (session := reaction.session(now)) is not None and not to_come:
                sessions = (*sessions, session)
        return _Course(tuple(rows), sessions)

    def multiplied(self, number: int, d: int, factor: Array, now: float) -> Index:
        """The courses that follow, for each factor on the doses of a drug from `now` on, h from the start."""
        course = self.all[number]
        regimen, how = self.table[d][course.rows[d]], self.arm.rounded or "nearest"
        later = regimen.time >= now
        before, place = np.unique(regimen.amt[later], return_inverse=True)
        after = self.scenario.policies.strengths[regimen.drug].rounded(factor[:, None] * before, how)
        kinds, kind = np.unique(after, axis=0, return_inverse=True)
        numbers = []
        for amounts in kinds:
            amt = regimen.amt.copy()
            amt[later] = amounts[place]
            rows = [*course.rows]
            rows[d] = self._row(d, regimen.giving(amt))
            numbers.append(self.number(_Course(tuple(rows), course.sessions)))
        return np.array(numbers, np.int64)[kind.ravel()]

    def session_of(self, shares: _Shares) -> tuple[list[tuple[Sessions, ...]], Index]:
        """The sets of sessions of all courses, and the number of each share's."""
        several = list(dict.fromkeys(course.sessions for course in self.all))
        return several, np.array([several.index(course.sessions) for course in self.all], np.int64)[shares.course]

    def _row(self, d: int, regimen: Regimen) -> int:
        row = self._rows[d].setdefault(regimen.key, len(self.table[d]))
        if row == len(self.table[d]):
            self.table[d].append(regimen)
        return row


def follow(scenario: Scenario, group: Group, arm: Arm, *, multiple: float) -> Given:
    """Give the patients the doses of an arm that reacts.

    Parameters
    ----------
    scenario : Scenario
    group : Group
    arm : Arm
        With `feedback`.
    multiple : float
        Factor on all doses.

    Returns
    -------
    Given
        With one item for each course that some share of a patient takes.
    """
    planned = dose(scenario, group, [arm])
    courses = _Courses(scenario, arm, planned.table)
    rows, course = np.unique(np.stack(planned.row), axis=1, return_inverse=True)
    for own in rows.T.tolist():
        courses.number(_Course(tuple(own), planned.sessions[0][1]))
    n = len(planned.patient)
    left = _Shares(planned.patient, course.ravel(), np.zeros(n), np.ones(n), np.zeros(n, np.int64))
    settled = []
    while len(left.patient):
        parts = [_look(scenario, group, arm, courses, some, multiple) for some in _alike(courses, left)]
        settled += [stay for stay, _ in parts]
        left = _Shares.joined([changed for _, changed in parts])
    return _given(planned, courses, _Shares.joined(settled))


def _alike(courses: _Courses, shares: _Shares) -> Iterator[_Shares]:
    """Shares that can be exposed together: with the same sessions and time of the first dose, and not too many."""
    _, kind = np.unique(_items(courses, shares).origin, return_inverse=True)
    _, session = courses.session_of(shares)
    _, kind = np.unique(kind * (session.max() + 1) + session, return_inverse=True)
    for number in range(int(kind.max()) + 1):
        mine = np.flatnonzero(kind == number)
        mine = mine[np.argsort(shares.course[mine], kind="stable")]  # neighbours take their doses at the same times
        for first in range(0, len(mine), SLICE):
            yield shares[mine[first : first + SLICE]]


def _items(courses: _Courses, shares: _Shares) -> Items:
    """Shares as items."""
    rows = np.array([course.rows for course in courses.all], np.int64)[shares.course].T
    used = [np.unique(own, return_inverse=True) for own in rows]  # of many courses few occur together
    table = [[own[k] for k in which] for own, (which, _) in zip(courses.table, used, strict=True)]
    return Items(table, [row for _, row in used], shares.patient, (shares.begin, shares.end))


class _Event(NamedTuple):
    """A look at a patient: a sample for the monitoring of that number, or -1 for a round; which of them it is; and its
    time, h from the first dose."""

    time: float
    monitoring: int
    number: int


def _events(arm: Arm, clock: float, until: float) -> tuple[list[_Event], list[float]]:
    """Samples and rounds in order, a sample before a round of the same time; and the times of the rounds."""
    rounds = [] if arm.rounds is None else arm.rounds.times(clock, until)
    samples = [_Event(t, m, j) for m, one in enumerate(arm.monitoring) for j, t in enumerate(one.at) if t < until]
    looks = [*samples, *(_Event(t, -1, j) for j, t in enumerate(rounds))]
    return sorted(looks, key=lambda event: (event.time, event.monitoring < 0)), rounds


def _look(
    scenario: Scenario, group: Group, arm: Arm, courses: _Courses, shares: _Shares, multiple: float
) -> tuple[_Shares, _Shares]:
    """Look at shares at all times: what stays on its course to the end, and what changes it."""
    items = _items(courses, shares)
    origin = float(items.origin[0])
    events, rounds = _events(arm, scenario.spec.treatment.start + origin, scenario.windows[-1])
    if not events:
        return shares, shares[:0]
    times = sorted({event.time for event in events})
    sessions, measured = courses.all[int(shares.course[0])].sessions, bool(arm.monitoring)
    exposure, _ = expose_items(scenario, group, items, sessions, multiple=multiple, looks=times, measured=measured)
    draw = shares.patient // group.shape[1]
    r, omega = levels_of(scenario, group), group.theta["omega_S"]
    source, here, changed = np.arange(len(shares.patient)), shares, []
    for k, event in enumerate(events):
        if not len(source):
            break
        at = times.index(event.time)
        if event.monitoring < 0:
            depth = level_probabilities(exposure.last[:1, at, source], draw[source], r, omega)
            seen = _seen(scenario, group, arm, here.patient, event.number, r.shape[1])
            after = np.stack([_next(courses, here, level, event.number, rounds, origin) for level in seen])
        else:
            depth = np.zeros((r.shape[1], len(source)))
            conc = exposure.conc[:, at, source]
            after = np.tile(_dosed_anew(scenario, group, courses, here, event, conc, origin), (r.shape[1] + 1, 1))
        after = np.where(here.round > k, here.course, after)
        pieces, from_source = _split(here, depth, after, k)
        moved = pieces.course != here.course[from_source]
        changed.append(pieces[moved])
        source = source[from_source[~moved]]
        here = pieces[~moved]
    return here, _Shares.joined([shares[:0], *changed])


def _dosed_anew(
    scenario: Scenario, group: Group, courses: _Courses, shares: _Shares, event: _Event, conc: Array, origin: float
) -> Index:
    """The course that follows the result of a sample, of each share; `conc` (drug, share) in mg/L."""
    monitoring = courses.arm.monitoring[event.monitoring]
    d = scenario.drugs.index(monitoring.drug)
    name = f"{monitoring.drug} {event.number}"
    z = normals(Plain(scenario.spec.simulation.seed), "assay", group.stratum, name, *group.numbers)
    factor = monitoring.factor(conc[d], z.ravel()[shares.patient])
    after = shares.course.copy()
    for number in np.unique(shares.course[factor != 1]).tolist():
        mine = (shares.course == number) & (factor != 1)
        after[mine] = courses.multiplied(number, d, factor[mine], origin + event.time + monitoring.delay)
    return after


def _seen(scenario: Scenario, group: Group, arm: Arm, patient: Index, j: int, levels: int) -> list[Index]:
    """What is seen of each patient if his true level is 0, 1, ...: at this round."""
    assert arm.rounds is not None
    if not arm.rounds.misjudged:
        return [np.full(len(patient), level) for level in range(levels + 1)]
    luck = Plain(scenario.spec.simulation.seed)
    u = luck.uniforms("round", group.stratum, str(j), *group.numbers).ravel()[patient]
    return [np.minimum(np.searchsorted(np.cumsum(row), u, side="right"), levels) for row in arm.rounds.misjudged]


def _next(courses: _Courses, shares: _Shares, level: Index, j: int, times: list[float], origin: float) -> Index:
    """The course that follows, of each share, if it is seen at that level."""
    most = int(level.max()) + 1
    code, place = np.unique(shares.course * most + level, return_inverse=True)
    return np.array([courses.after(*divmod(int(one), most), j, times, origin) for one in code], np.int64)[place]


def _split(shares: _Shares, depth: Array, next_course: Index, j: int) -> tuple[_Shares, Index]:
    """Divide shares at the probabilities `depth` (level, share) of each level; and which share each piece is of.

    From the most sensitive on; neighbours on the same course are one piece, and a piece that is too small to matter
    goes with them.
    """
    n = len(shares.patient)
    edges = np.concatenate([np.zeros((1, n)), depth[::-1], np.ones((1, n))])  # deepest level first
    edges = np.clip(edges, shares.begin, shares.end)
    found: list[_Shares] = []
    whose: list[Index] = []
    begin, course = shares.begin.copy(), np.full(n, -1)
    for k in range(len(edges) - 1):
        own = next_course[len(edges) - 2 - k]
        wide = edges[k + 1] - edges[k] > LEAST
        turn = wide & (course >= 0) & (own != course)  # what has been gathered so far is a piece
        found.append(_piece(shares, turn, course, begin, edges[k], j))
        whose.append(np.flatnonzero(turn))
        begin = np.where(turn, edges[k], begin)
        course = np.where(wide, own, course)
    course = np.where(course < 0, shares.course, course)
    found.append(_piece(shares, np.ones(n, bool), course, begin, shares.end, j))
    whose.append(np.arange(n))
    return _Shares.joined(found), np.concatenate(whose)


def _piece(shares: _Shares, which: NDArray[np.bool_], course: Index, begin: Array, end: Array, j: int) -> _Shares:
    following = np.maximum(shares.round[which], j + 1)
    return _Shares(shares.patient[which], course[which], begin[which], end[which], following)


def _given(planned: Given, courses: _Courses, shares: _Shares) -> Given:
    """The shares as items, those with the same sessions side by side."""
    several, session = courses.session_of(shares)
    order = np.lexsort((shares.patient, shares.course, session))
    shares, session = shares[order], session[order]
    ends = np.searchsorted(session, np.arange(len(several) + 1))
    items = _items(courses, shares)
    return replace(
        planned,
        **{name: getattr(items, name) for name in ("table", "row", "patient", "share")},
        sessions=[(slice(a, b), own) for a, b, own in zip(ends[:-1], ends[1:], several, strict=True) if b > a],
    )
