"""Starting doses that a pharmacy can fill: their order by what they give, and which one must carry more risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vtrial.policy import FREQUENCIES, Arm, Policies, Strengths, dose_times

FREQUENT = ("QD", "EVENING", "BID", "TID")
"""One to three doses a day: at the start of the trial or in the evening, and from the start on."""


@dataclass(frozen=True)
class Dose:
    """A starting dose of one drug; none if `freq` is empty."""

    drug: str
    amt: float = 0.0
    freq: str = ""

    @property
    def daily(self) -> float:
        """mg a day."""
        return self.amt * self.count

    @property
    def count(self) -> int:
        """Doses a day."""
        return FREQUENCIES[self.freq].n if self.freq else 0

    def day(self, start: float) -> dict[float, float]:
        """Time, h from the start, to amount, of the doses of the first day."""
        if not self.freq:
            return {}
        times = dose_times(FREQUENCIES[self.freq], start=start, horizon=24.0)
        return dict.fromkeys(times.tolist(), self.amt)

    def __str__(self) -> str:
        return f"{self.amt:g} mg {self.freq}" if self.freq else "none"


@dataclass(frozen=True)
class Start:
    """A starting dose of each drug."""

    doses: tuple[Dose, ...]

    def arm(self) -> Arm:
        """The arm that gives it to everyone."""
        given = {d.drug: {"dose": f"{d.amt!r} mg", "freq": d.freq} if d.freq else None for d in self.doses}
        return Arm.model_validate({"drugs": given})

    def value(self, usual: Mapping[str, float]) -> tuple[float, float, int]:
        """What it gives, the better the greater: the least of the drugs' daily doses relative to the usual ones, then
        their sum, then the fewest doses to take."""
        relative = [dose.daily / usual[dose.drug] for dose in self.doses]
        return min(relative), sum(relative), -sum(dose.count for dose in self.doses)

    def __str__(self) -> str:
        return " + ".join(f"{dose.drug} {dose}" for dose in self.doses)


def starts_that_exist(
    drugs: Sequence[str], policies: Policies, most: Mapping[str, float], usual: Mapping[str, float]
) -> list[Start]:
    """Every start of one unit of the pharmacy a dose and one to three doses a day, from the least value on.

    Parameters
    ----------
    drugs : sequence of str
    policies : Policies
        Which hold the strengths.
    most : mapping of str to float
        Greatest daily dose, mg.
    usual : mapping of str to float
        Daily dose that counts as 1, mg.

    Returns
    -------
    list of Start
        The first gives nothing.
    """
    each = [
        [Dose(drug), *(Dose(drug, amt, freq) for amt in _units(policies.strengths.get(drug)) for freq in FREQUENT
                       if amt * FREQUENCIES[freq].n <= most.get(drug, np.inf))]
        for drug in drugs
    ]  # fmt: skip
    return sorted((Start(doses) for doses in product(*each)), key=lambda start: (start.value(usual), str(start)))


def _units(strengths: Strengths | None) -> tuple[float, ...]:
    return () if strengths is None else strengths.units


def dominance(starts: Sequence[Start], start: float) -> NDArray[np.bool_]:
    """Which start gives at least as much of each drug at each time as another, counted from the same first dose.

    Its risk is then no lower, whoever takes it: the drive never falls with a dose. Windows count from the first dose,
    so those with another first time are not compared.

    Returns
    -------
    array of bool, shape (start, start)
        Entry (i, j): j gives at least what i gives.

    Examples
    --------
    >>> some = [Start((Dose("x", amt, freq),)) for amt, freq in ((5.0, "QD"), (5.0, "BID"), (10.0, "QD"))]
    >>> dominance(some, 8.0).astype(int).tolist()
    [[1, 1, 1], [0, 1, 0], [0, 0, 1]]
    """
    days = [[dose.day(start) for dose in one.doses] for one in starts]
    times = sorted({time for day in days for own in day for time in own})
    amounts = np.array([[own.get(time, 0.0) for own in day for time in times] for day in days])
    first = np.array([min((time for own in day for time in own), default=np.nan) for day in days])
    same = (first[:, None] == first) | np.isnan(first)[:, None]  # nothing at all is less than anything
    return same & (amounts[:, None] <= amounts).all(-1)
