"""Concrete doses, and the clock that places them.

The trial starts at a clock time `start`, in hours after midnight, and every time is counted in hours from
there. QD, BID, TID and QID follow the start: the first dose is at 0 h and the others at the gaps of
`FREQUENCIES`, every 24 h. EVENING and QHS belong to the clock: they are given at 20:00 and 22:00, the first
time at or after the start. Day 1 of the trial is the first 24 h, so a new day begins at `start`, not at
midnight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from vtrial.model import SWALLOWED
from vtrial.spec import InputError


@dataclass(frozen=True)
class Frequency:
    """Doses of one day: hours after the first one, and the clock time of the first if it is fixed."""

    gaps: tuple[float, ...]
    clock: float | None = None

    @property
    def n(self) -> int:
        """Doses per day."""
        return len(self.gaps)


FREQUENCIES = MappingProxyType(
    {
        "QD": Frequency((0.0,)),
        "BID": Frequency((0.0, 12.0)),
        "TID": Frequency((0.0, 6.0, 12.0)),
        "QID": Frequency((0.0, 4.0, 8.0, 12.0)),
        "EVENING": Frequency((0.0,), clock=20.0),
        "QHS": Frequency((0.0,), clock=22.0),
    }
)
"""Every dosing frequency, with the gaps of 08:00, 14:00, 20:00 (TID) and 08:00, 12:00, 16:00, 20:00 (QID)."""


def dose_times(frequency: Frequency, *, start: float, horizon: float) -> np.ndarray:
    """Give the times of all doses before `horizon`.

    Parameters
    ----------
    frequency : Frequency
        One of `FREQUENCIES`.
    start : float
        Clock time at which the trial starts, h after midnight, in [0, 24).
    horizon : float
        End of dosing, h from the start; a dose at the horizon itself is not given.

    Returns
    -------
    ndarray (n_dose,)
        Times in h from the start, increasing.

    Raises
    ------
    InputError
        If `start` is not a clock time or `horizon` is not finite.

    Examples
    --------
    >>> dose_times(FREQUENCIES["TID"], start=14.0, horizon=30.0).tolist()
    [0.0, 6.0, 12.0, 24.0]
    >>> dose_times(FREQUENCIES["EVENING"], start=14.0, horizon=48.0).tolist()
    [6.0, 30.0]
    """
    if not 0 <= start < 24:
        raise InputError([f"the trial starts at clock {start} h: give hours after midnight, from 0 to below 24"])
    if not np.isfinite(horizon):
        raise InputError([f"the horizon of dosing is {horizon} h: give a finite number of hours"])
    first = 0.0 if frequency.clock is None else (frequency.clock - start) % 24
    days = np.arange(max(0, int(np.ceil(horizon / 24))))
    time = (first + 24.0 * days[:, None] + np.array(frequency.gaps)).ravel()
    return time[time < horizon]


_ZEROS = np.empty(0)
"""In place of a column of zeros, however many."""


@dataclass(frozen=True, eq=False)
class Regimen:
    """The doses of one drug, in order.

    Attributes
    ----------
    drug : str
    time : ndarray (n_dose,)
        Hours from the start of the trial, not decreasing.
    amt : ndarray (n_dose,)
        mg.
    tinf : ndarray (n_dose,)
        How long a dose enters at a constant rate, h; 0: it enters at once.
    way : ndarray of int (n_dose,)
        How it enters: `SWALLOWED`, as the drug's tablets are absorbed; `RELEASED`, over `tinf`; or into the `BLOOD`.
    """

    drug: str
    time: np.ndarray
    amt: np.ndarray
    tinf: np.ndarray = field(default_factory=lambda: _ZEROS)
    way: np.ndarray = field(default_factory=lambda: _ZEROS)

    def __post_init__(self):
        n = len(np.asarray(self.time))
        for name in ("time", "amt", "tinf", "way"):
            given = getattr(self, name)
            array = np.zeros(n) if given is _ZEROS else np.array(given, dtype=float)
            array = array.astype(np.int64) if name == "way" else array
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.time.shape != self.amt.shape or self.time.ndim != 1:
            raise ValueError(f"time {self.time.shape} and amt {self.amt.shape} must be vectors of one length")

    def __getitem__(self, which: np.ndarray) -> Regimen:
        """Some of the doses."""
        return Regimen(self.drug, self.time[which], self.amt[which], self.tinf[which], self.way[which])

    def giving(self, amt: np.ndarray) -> Regimen:
        """The same doses, of other amounts in mg."""
        return Regimen(self.drug, self.time, amt, self.tinf, self.way)

    @property
    def solid(self) -> np.ndarray:
        """Which doses are swallowed, as tablets are: bool (n_dose,)."""
        return (self.way == SWALLOWED) & (self.tinf == 0)

    def followed_by(self, other: Regimen) -> Regimen:
        """These doses, then those of `other`, none of which is earlier."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("time", "amt", "tinf", "way"))
        return Regimen(self.drug, *(np.concatenate(pair) for pair in pairs))

    @property
    def key(self) -> tuple[bytes, ...]:
        """What tells it from other regimens of the drug."""
        return tuple(column.tobytes() for column in (self.time, self.amt, self.tinf, self.way))

    @classmethod
    def none(cls, drug: str) -> Regimen:
        """Make the regimen without a dose."""
        return cls(drug, np.empty(0), np.empty(0))


@dataclass(frozen=True, eq=False)
class Regimens:
    """The regimen of every patient for one drug.

    Few regimens differ, many patients share one: a patient holds the row of a short table.

    Attributes
    ----------
    table : tuple of Regimen
        The regimens that the rule can give.
    index : ndarray of int, shape of the patients
        Row of each patient in `table`.
    treated : ndarray of bool, shape of the patients
        False where the rule says avoid or the arm does not give the drug; such a patient's row has no dose.
    """

    table: tuple[Regimen, ...]
    index: np.ndarray
    treated: np.ndarray

    @classmethod
    def none(cls, drug: str, shape: tuple[int, ...]) -> Regimens:
        """Give the drug to nobody."""
        return cls((Regimen.none(drug),), np.zeros(shape, dtype=np.intp), np.zeros(shape, dtype=bool))

    def total(self, first: float, last: float) -> np.ndarray:
        """Sum the doses with `first` <= time < `last`, in mg; shape of the patients.

        Examples
        --------
        >>> twice = Regimen("baclofen", [0.0, 12.0], [5.0, 10.0])
        >>> Regimens((twice,), np.array([0, 0]), np.array([True, True])).total(0, 24).tolist()
        [15.0, 15.0]
        """
        rows = [row.amt[(row.time >= first) & (row.time < last)].sum() for row in self.table]
        return np.array(rows)[self.index]

    def first_day(self, start: float) -> str:
        """Describe what the first patient is given in the first 24 h of a trial that starts at clock time `start`.

        Examples
        --------
        >>> twice = Regimen("baclofen", [0.0, 12.0], [5.0, 5.0])
        >>> Regimens((twice,), np.array([0]), np.array([True])).first_day(8.0)
        '5 mg at 08:00, 20:00: 10 mg/day'
        """
        if not self.treated.flat[0]:
            return "avoid"
        row = self.table[int(self.index.flat[0])]
        early = row.time < 24
        minutes = np.round(60 * (start + row.time[early])).astype(int) % (24 * 60)
        amounts = " / ".join(sorted({f"{amt:.4g}" for amt in row.amt[early]}))
        clock = ", ".join(f"{minute // 60:02}:{minute % 60:02}" for minute in minutes)
        return f"{amounts} mg at {clock}: {row.amt[early].sum():.4g} mg/day"

    def where(self, keep: np.ndarray, other: Regimens) -> Regimens:
        """Keep these regimens where `keep` is true, and take those of `other` elsewhere."""
        index = np.where(keep, self.index, other.index + len(self.table))
        return Regimens(self.table + other.table, index, np.where(keep, self.treated, other.treated))

    def until(self, end: float) -> Regimens:
        """Leave out the doses from `end` h on.

        Examples
        --------
        >>> twice = Regimen("baclofen", [0.0, 12.0], [5.0, 10.0])
        >>> Regimens((twice,), np.array([0]), np.array([True])).until(12.0).table[0].time.tolist()
        [0.0]
        """
        table = tuple(row[row.time < end] for row in self.table)
        return Regimens(table, self.index, self.treated)

    def then(self, other: Regimens, at: np.ndarray) -> Regimens:
        """Go over to other regimens at a time of each patient, h from the start; infinite: never.

        Examples
        --------
        >>> one, two = (Regimen("baclofen", [0.0, 12.0, 24.0], [amt] * 3) for amt in (10.0, 5.0))
        >>> alone = np.array([0]), np.array([True])
        >>> found = Regimens((one,), *alone).then(Regimens((two,), *alone), np.array([12.0]))
        >>> found.table[0].amt.tolist()
        [10.0, 5.0, 5.0]
        """
        each = np.stack([self.index.ravel(), other.index.ravel(), at.ravel()])
        kinds, index = np.unique(each, axis=1, return_inverse=True)
        table = []
        for mine, theirs, end in kinds.T:
            old, new = self.table[int(mine)], other.table[int(theirs)]
            table.append(old[old.time < end].followed_by(new[new.time >= end]))
        treated = self.treated | (other.treated & np.isfinite(at))
        return Regimens(tuple(table), index.reshape(self.index.shape), treated)

    def later(self, hours: float) -> Regimens:
        """Shift every dose by `hours`."""
        if not hours:
            return self
        table = tuple(Regimen(row.drug, row.time + hours, row.amt, row.tinf, row.way) for row in self.table)
        return Regimens(table, self.index, self.treated)


def daily_totals(given: Mapping[str, Regimens], drugs: Sequence[str], people: int) -> np.ndarray:
    """Sum the doses of the first 24 h, mg: shape (drug, person); 0 of a drug that is not given at all.

    Examples
    --------
    >>> twice = Regimens((Regimen("x", [0.0, 12.0], [5.0, 5.0]),), np.array([0]), np.array([True]))
    >>> daily_totals({"x": twice}, ["x", "y"], 1).tolist()
    [[10.0], [0.0]]
    """
    nothing = np.zeros(people)
    return np.array([given[drug].total(0.0, 24.0).ravel() if drug in given else nothing for drug in drugs])
