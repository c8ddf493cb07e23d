"""Doses that fall from some time on: stopped at once, cut to a share, or tapered in steps."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import model_validator

from vtrial.policy.form import refuse
from vtrial.policy.regimen import Regimen
from vtrial.spec import Amount, Duration, Quantity, Spec

DAY = 24.0


class Taper(Spec):
    """How the doses of a drug fall: at once, by `to`, or in steps, by `step` and `every`."""

    drug: str
    """Drug whose doses fall."""
    at: Duration
    """When, from the patient's first dose of any drug."""
    to: Annotated[float, Quantity("percent", low=0, high=100)] | None = None
    """What is left of each dose from then on: 0 % is to stop at once."""
    step: Amount | None = None
    """By how much the daily dose of the day before `at` falls, then and again after every `every`, until none is left;
    divided equally over the doses of the day; see the arm's `rounded` for tablets."""
    every: Duration | None = None
    """Time between steps."""

    @model_validator(mode="after")
    def _one_way(self):
        steps = self.step is not None, self.every is not None
        if (self.to is None) != all(steps) or any(steps) != all(steps):
            raise refuse("a taper needs either 'to', or both 'step' and 'every'")
        return self

    def __str__(self) -> str:
        """How doses fall, in words.

        Examples
        --------
        >>> str(Taper(drug="baclofen", at="14 d", step="5 mg", every="3 d"))
        'baclofen from 336 h on: 5 mg/day less every 72 h'
        """
        how = (
            f"{self.to:g}% of each dose" if self.to is not None else f"{self.step:g} mg/day less every {self.every:g} h"
        )
        return f"{self.drug} from {self.at:g} h on: {how}"

    def tapered(self, regimen: Regimen, first: float) -> Regimen:
        """The doses of a patient whose first dose of any drug is at `first`, h from the start.

        Examples
        --------
        >>> bid = Regimen("baclofen", [0.0, 12.0, 24.0, 36.0, 48.0, 60.0], np.full(6, 10.0))
        >>> Taper(drug="baclofen", at="24 h", step="5 mg", every="24 h").tapered(bid, 0.0).amt.tolist()
        [10.0, 10.0, 7.5, 7.5, 5.0, 5.0]
        """
        begin = first + self.at
        later = regimen.time >= begin
        if self.to is not None:
            left = self.to / 100.0
        else:
            assert self.step is not None
            assert self.every is not None
            daily = regimen.amt[(regimen.time >= begin - DAY) & ~later].sum()
            steps = 1 + np.floor((regimen.time[later] - begin) / self.every)
            left = np.clip(1.0 - steps * self.step / daily, 0.0, None) if daily > 0 else 0.0
        amt = regimen.amt.copy()
        amt[later] *= left
        return regimen.giving(amt)
