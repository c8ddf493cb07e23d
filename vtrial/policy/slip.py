"""Doses that are not what was ordered: missed, doubled, or a factor off, as a named intercurrent event of an arm."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vtrial.policy.form import Percent
from vtrial.policy.regimen import Regimen
from vtrial.spec import Spec


class Slip(Spec):
    """Doses of an arm that go wrong; the prescriber does not know.

    Examples
    --------
    >>> bid = Regimen("baclofen", [0.0, 12.0, 24.0], [5.0, 5.0, 5.0])
    >>> slip = Slip(drug="baclofen", doses=[2], times=10)
    >>> slip.taken(bid, np.full(3, True)).amt.tolist()
    [5.0, 50.0, 5.0]
    """

    drug: str
    """Drug whose doses go wrong."""
    times: Annotated[float, Field(ge=0, le=100)]
    """What is taken, over what was ordered: 0 a missed dose, 2 a double one, 5 where 5 mg/mL is taken for 1 mg/mL, 10 a
    slipped decimal point."""
    doses: Annotated[tuple[Annotated[int, Field(ge=1, strict=True)], ...], Field(min_length=1)] | None = None
    """Which doses of the drug may go wrong, counted from 1; absent: every dose."""
    chance: Percent = 100.0
    """Probability for each of these doses, independently of the others."""

    def __str__(self) -> str:
        """What goes wrong, in words.

        Examples
        --------
        >>> str(Slip(drug="baclofen", doses=[1, 2], times=0, chance="20 %"))
        'doses 1, 2 of baclofen 0 times what was ordered, each with a probability of 20%'
        """
        which = "every dose" if self.doses is None else f"doses {', '.join(map(str, self.doses))}"
        chance = "" if self.chance == 100 else f", each with a probability of {self.chance:g}%"
        return f"{which} of {self.drug} {self.times:g} times what was ordered{chance}"

    def taken(self, regimen: Regimen, wrong: NDArray[np.bool_]) -> Regimen:
        """The doses that are taken where some that may go wrong do: `wrong`, one for each dose of the regimen."""
        number = np.arange(1, len(regimen.amt) + 1)
        may = np.full(len(number), True) if self.doses is None else np.isin(number, self.doses)
        return regimen.giving(np.where(may & wrong, self.times * regimen.amt, regimen.amt))
