"""How doses enter the body, where it is not as the drug's tablets do: into the blood, or released slowly."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import model_validator

from vtrial.model import BLOOD, RELEASED
from vtrial.policy.form import refuse
from vtrial.policy.regimen import Regimen
from vtrial.spec import Duration, Quantity, Spec


class Route(Spec):
    """From when to when the doses of a drug are given in another form, and how much of each."""

    drug: str
    """Drug that is given so."""
    form: Literal["bolus", "infusion", "extended"]
    """`bolus`: at once into the blood. `infusion`: into the blood at a constant rate, by vein or by a patch, of which
    the dose is what it delivers. `extended`: by mouth, released at a constant rate; what is released is absorbed at
    once, as much of it as of the tablets, after their lag."""
    over: Duration | None = None
    """How long an infusion runs, or the release goes on, whatever is given in the meantime."""
    at: Annotated[float, Quantity("h", low=0)] = 0.0
    """From when on, after the patient's first dose of any drug; a dose at that very time is given so."""
    until: Duration | None = None
    """Until when; absent: to the end."""
    dose: Annotated[float, Quantity("percent", above=0, high=1000)] = 100.0
    """What is given, of the dose that the arm would give by mouth."""

    @model_validator(mode="after")
    def _complete(self):
        wrong = []
        if self.form == "bolus" and self.over is not None:
            wrong.append("'over' does not belong to 'bolus', which is given at once")
        if self.form != "bolus" and self.over is None:
            wrong.append(f"'{self.form}' needs 'over'")
        if self.until is not None and self.until <= self.at:
            wrong.append(f"'until' {self.until:g} h is not after 'at' {self.at:g} h")
        if wrong:
            raise refuse("; ".join(wrong))
        return self

    def __str__(self) -> str:
        """How a drug is given, in words.

        Examples
        --------
        >>> str(Route(drug="baclofen", form="infusion", over="1 h", at="24 h", dose="80 %"))
        'baclofen from 24 h on: infusion over 1 h, 80% of the dose'
        """
        end = " on" if self.until is None else f" to {self.until:g} h"
        over = f" over {self.over:g} h" if self.over is not None else ""
        dose = f", {self.dose:g}% of the dose" if self.dose != 100 else ""
        return f"{self.drug} from {self.at:g} h{end}: {self.form}{over}{dose}"

    def given(self, regimen: Regimen, first: float) -> Regimen:
        """The doses of a patient whose first dose of any drug is at `first`, h from the start.

        Examples
        --------
        >>> bid = Regimen("baclofen", [0.0, 12.0, 24.0], np.full(3, 10.0))
        >>> drip = Route(drug="baclofen", form="infusion", over="1 h", at="12 h", dose="80 %").given(bid, 0.0)
        >>> drip.amt.tolist(), drip.way.tolist(), drip.tinf.tolist()
        ([10.0, 8.0, 8.0], [0, 2, 2], [0.0, 1.0, 1.0])
        """
        since = regimen.time - first
        mine = (since >= self.at) & (since < (np.inf if self.until is None else self.until))
        way = RELEASED if self.form == "extended" else BLOOD
        return Regimen(
            regimen.drug,
            regimen.time,
            np.where(mine, regimen.amt * (self.dose / 100), regimen.amt),
            np.where(mine, self.over or 0.0, regimen.tinf),
            np.where(mine, way, regimen.way),
        )
