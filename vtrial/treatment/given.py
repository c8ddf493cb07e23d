"""What arms give the patients of a group, doses and sessions: each distinct treatment of a patient once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vtrial.decision import Seen, decide
from vtrial.dialysis import Sessions
from vtrial.items import combine, items
from vtrial.patients import Group
from vtrial.policy import Arm, Regimen, Regimens, Rounding, Route, Slip, Taper
from vtrial.scenario import Scenario
from vtrial.scheme import Plain

type Array = NDArray[np.float64]
type Index = NDArray[np.int64]


@dataclass(frozen=True)
class Items:
    """Treatments of patients.

    Parameters
    ----------
    table : list of lists of Regimen
        Per drug the distinct regimens.
    row : list of arrays, shape (item,)
        Per drug each item's row in its table.
    patient : array, shape (item,)
        Number of the patient in the group, draw * patients + patient.
    share : tuple of arrays, each shape (item,), optional
        Where an item is for a part of the patient's possible sensitivities: from and to which probability that
        sensitivity is greater.
    """

    table: list[list[Regimen]]
    row: list[Index]
    patient: Index
    share: tuple[Array, Array] | None = None

    def __getitem__(self, part: slice) -> Items:
        share = None if self.share is None else (self.share[0][part], self.share[1][part])
        return Items(self.table, [row[part] for row in self.row], self.patient[part], share)

    @property
    def origin(self) -> Array:
        """Time of each item's first dose of any drug, h after the start of the trial; 0 where there is none."""
        first = [np.array([r.time[0] if len(r.time) else np.inf for r in table]) for table in self.table]
        origin = np.min([own[row] for own, row in zip(first, self.row, strict=True)], axis=0)
        return np.where(np.isfinite(origin), origin, 0.0)


@dataclass(frozen=True)
class Given(Items):
    """What arms give the patients of a group.

    Each distinct treatment of a patient comes once, sorted by regimen, then by patient: neighbours take their doses at
    the same times.

    Parameters
    ----------
    item : array, shape (arm, draw, patient)
        The item that an arm gives a patient.
    treated : array of bool, shape (arm, drug, draw, patient)
        Who is given the drug.
    sessions : list of (slice, tuple of Sessions)
        Haemodialysis that arms add to the patients' own: by whole runs of items.
    """

    item: NDArray[np.int32] = field(kw_only=True)
    treated: NDArray[np.bool_] = field(kw_only=True)
    sessions: list[tuple[slice, tuple[Sessions, ...]]] = field(kw_only=True)


def dose(scenario: Scenario, group: Group, arms: Sequence[Arm]) -> Given:
    """Give every patient the doses of every arm, and find the distinct treatments."""
    known: Seen = {}
    given = [_regimens(scenario, arm, group, known) for arm in arms]
    draws, patients = group.shape
    kind = np.zeros((len(arms), draws * patients), np.int32)
    sessions = list(dict.fromkeys(arm.sessions for arm in arms))
    rows, tables = np.arange(len(sessions), dtype=np.int32)[:, None], list[list[Regimen]]()
    for arm, own in zip(arms, kind, strict=True):
        own[:] = sessions.index(arm.sessions)  # first: items with the same sessions are neighbours
    for drug in scenario.drugs:
        table, row = _common_table([of_arm[drug] for of_arm in given])
        found = combine(kind, row, len(rows), len(table))
        rows = np.column_stack([rows[found // len(table)], found % len(table)])  # of a kind, in each table
        tables.append(table)
    patient, ends = items(kind, len(rows))
    runs = np.searchsorted(rows[:, 0], np.arange(len(sessions) + 1))
    return Given(
        tables,
        list(np.repeat(rows[:, 1:], np.diff(ends), axis=0).T),
        patient,
        item=kind.reshape(len(arms), draws, patients),
        treated=np.array([[of_arm[drug].treated for drug in scenario.drugs] for of_arm in given]),
        sessions=[
            (slice(ends[a], ends[b]), () if own is None else (own,))
            for a, b, own in zip(runs[:-1], runs[1:], sessions, strict=True)
        ],
    )


def _common_table(given: Sequence[Regimens]) -> tuple[list[Regimen], NDArray[np.int32]]:
    """Put the regimens of several arms into one table, equal ones once, and find each patient's row (arm, n)."""
    known: dict[tuple[bytes, ...], int] = {}
    table: list[Regimen] = []
    row = np.empty((len(given), given[0].index.size), np.int32)
    for regimens, own in zip(given, row, strict=True):
        numbers = np.empty(len(regimens.table), np.int32)
        for k, regimen in enumerate(regimens.table):
            numbers[k] = known.setdefault(regimen.key, len(table))
            if numbers[k] == len(table):
                table.append(regimen)
        own[:] = numbers[regimens.index.ravel()]
    return table, row


def _regimens(scenario: Scenario, arm: Arm, group: Group, known: Seen) -> dict[str, Regimens]:
    """What each patient is given: as decided at first and at each review, until doses stop, fall or go wrong."""
    found = _decided(scenario, arm, group, known, 0.0)
    first = first_dose(found)
    for hours in arm.review if group.injury is not None else ():  # nothing else would be seen than at first
        later = _decided(scenario, arm, group, known, hours)
        found = {drug: own.then(later[drug], first + hours) for drug, own in found.items()}
    found = _changed(arm.routes, Route.given, found)
    found = _changed(arm.tapers, Taper.tapered, _stopped(found, scenario.spec.treatment.stop))
    return _slipped(scenario, group, arm, _rounded(scenario, arm, found))


def _decided(scenario: Scenario, arm: Arm, group: Group, known: Seen, hours: float) -> dict[str, Regimens]:
    """What is decided for each patient so many hours after the first dose."""
    treatment = scenario.spec.treatment
    # a first dose may wait for the evening, and an arm's drug for its day: its horizon counts from there
    horizon = treatment.horizon + 24.0 * max([*arm.start_day.values(), 1])

    def given(after: Sequence[float] | None) -> dict[str, Regimens]:
        found = decide(
            arm, scenario.policies, group.own, group.injury, hours,
            start=treatment.start, horizon=horizon, titrate=treatment.titrate, after=after, known=known,
        )  # fmt: skip
        return {drug: found.get(drug, Regimens.none(drug, group.shape)) for drug in scenario.drugs}

    if group.sessions is None:
        return given(None)
    found = given(())
    first = first_dose(found)
    ends = [end for _, end in group.sessions.until(treatment.horizon)]
    for origin in np.unique(first[np.isfinite(first)]).tolist():  # sessions count from the first dose
        own = given([origin + end for end in ends])
        found = {drug: own[drug].where(first == origin, regimens) for drug, regimens in found.items()}
    return found


def first_dose(given: Mapping[str, Regimens]) -> Array:
    """Time of each patient's first dose of any drug, h from the start; infinite if there is none."""
    tables = [np.array([row.time[0] if row.time.size else np.inf for row in own.table]) for own in given.values()]
    return np.min([table[own.index] for table, own in zip(tables, given.values(), strict=True)], axis=0)


def _stopped(given: dict[str, Regimens], stop: float | None) -> dict[str, Regimens]:
    """The same doses up to a time after each patient's first one."""
    if stop is None:
        return given
    first = first_dose(given)
    found = given
    for origin in np.unique(first[np.isfinite(first)]).tolist():
        found = {drug: given[drug].until(origin + stop).where(first == origin, own) for drug, own in found.items()}
    return found


def _changed[T: (Route, Taper)](
    several: Sequence[T], change: Callable[[T, Regimen, float], Regimen], given: dict[str, Regimens]
) -> dict[str, Regimens]:
    """The same doses where something changes those of a drug, by the time since each patient's first dose of any."""
    first = first_dose(given)
    for one in several:
        own = found = given[one.drug]
        for origin in np.unique(first[np.isfinite(first)]).tolist():
            table = tuple(change(one, regimen, origin) for regimen in own.table)
            found = Regimens(table, own.index, own.treated).where(first == origin, found)
        given = given | {one.drug: found}
    return given


def _rounded(scenario: Scenario, arm: Arm, given: dict[str, Regimens]) -> dict[str, Regimens]:
    """What the pharmacy hands out."""
    if arm.rounded is None:
        return given
    return {
        drug: Regimens(tuple(as_units(scenario, regimen, arm.rounded) for regimen in own.table), own.index, own.treated)
        for drug, own in given.items()
    }


def as_units(scenario: Scenario, regimen: Regimen, how: Rounding, since: float = -np.inf) -> Regimen:
    """The same doses, those to be swallowed from a time on rounded to what the drug's solid units make up."""
    strengths, amt = scenario.policies.strengths.get(regimen.drug), regimen.amt.copy()
    which = regimen.solid & (regimen.time >= since)
    if strengths is None or not which.any():
        return regimen
    amt[which] = strengths.rounded(amt[which], how)
    return regimen.giving(amt)


def _slipped(scenario: Scenario, group: Group, arm: Arm, given: dict[str, Regimens]) -> dict[str, Regimens]:
    """What is taken, where doses go wrong."""
    for k, slip in enumerate(arm.slips):
        ordered = given[slip.drug]
        longest = max(len(regimen.amt) for regimen in ordered.table)
        if slip.chance == 100:
            regimens, index = [(regimen, np.ones(longest, bool)) for regimen in ordered.table], ordered.index
        else:
            wrong = _wrong(scenario, group, k, slip, longest)
            kinds, index = np.unique(np.column_stack([ordered.index.ravel(), wrong]), axis=0, return_inverse=True)
            regimens = [(ordered.table[kind[0]], kind[1:].astype(bool)) for kind in kinds]
        table = tuple(slip.taken(regimen, wrong[: len(regimen.amt)]) for regimen, wrong in regimens)
        given = given | {slip.drug: Regimens(table, index.reshape(group.shape), ordered.treated)}
    return given


def _wrong(scenario: Scenario, group: Group, k: int, slip: Slip, doses: int) -> NDArray[np.bool_]:
    """Which doses go wrong, shape (patients of the group, dose): the same ones in all arms whose k-th slip it is."""
    wrong = np.zeros((group.shape[0] * group.shape[1], doses), bool)
    luck = Plain(scenario.spec.simulation.seed)
    for number in range(doses) if slip.doses is None else [one - 1 for one in slip.doses if one <= doses]:
        name = f"{slip.drug} {k} {number + 1}"
        wrong[:, number] = luck.uniforms("slip", group.stratum, name, *group.numbers).ravel() < slip.chance / 100
    return wrong
