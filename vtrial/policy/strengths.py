"""What a pharmacy holds of a drug, and the doses that can be made of it."""

from __future__ import annotations

from math import gcd
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtrial.policy.form import Concentration, Grade
from vtrial.spec import Amount, Spec

type Rounding = Literal["down", "nearest"]

_GRAINS = 10**6
"""In a mg. Amounts that differ by no more than one are the same: what is left of rounding in the computer."""


class Strengths(Spec):
    """What a pharmacy holds of a drug."""

    tablet: tuple[Amount, ...] = ()
    """Tablets. They can be halved down to `smallest_part`."""
    smallest_part: Amount | None = None
    """Least half of a tablet that is practical; absent: tablets are not halved."""
    capsule: tuple[Amount, ...] = ()
    """Capsules, swallowed whole."""
    granules: tuple[Amount, ...] = ()
    """Sachets of granules, taken whole."""
    liquid: tuple[Concentration, ...] = ()
    """Liquids; they give any dose."""
    grade: Grade
    """How it is known."""

    @property
    def units(self) -> tuple[float, ...]:
        """Amounts, mg, of which a solid dose can be put together."""
        part = float("inf") if self.smallest_part is None else self.smallest_part
        halves = [tablet / 2 for tablet in self.tablet if tablet / 2 >= part]
        return tuple(sorted({*self.tablet, *self.capsule, *self.granules, *halves}))

    def rounded(self, amt: ArrayLike, how: Rounding) -> NDArray[np.float64]:
        """Round amounts to what whole solid units and halves of tablets make up, however many it takes.

        Parameters
        ----------
        amt : array_like
            mg, of any shape.
        how : {"down", "nearest"}
            To the largest dose that is not above the amount, or to the nearest one, of two as near to the lower. Less
            than the smallest unit may come to no dose.

        Returns
        -------
        ndarray
            mg, of the shape of `amt`; what a dose makes up exactly stays as it is.

        Raises
        ------
        ValueError
            If there is no solid unit.

        Examples
        --------
        >>> baclofen = Strengths(tablet=["5 mg", "10 mg"], smallest_part="2.5 mg", grade="B")
        >>> baclofen.rounded([1.0, 1.25, 1.26, 8.9, 12.5], "nearest").tolist()
        [0.0, 0.0, 2.5, 10.0, 12.5]
        >>> baclofen.rounded([1.0, 8.9, 12.5], "down").tolist()
        [0.0, 7.5, 12.5]
        """
        if not self.units:
            raise ValueError("no solid unit is given: nothing to round to")
        amt = np.asarray(amt, float)
        made, grain = self._made(float(amt.max(initial=0.0))), 1 / _GRAINS
        above = np.clip(np.searchsorted(made, amt - grain, side="left"), 1, None)
        lower, upper = made[above - 1], made[above]
        if how == "down":
            return np.where(upper <= amt + grain, upper, lower)
        return np.where(amt - lower <= upper - amt + grain, lower, upper)

    def _made(self, most: float) -> NDArray[np.float64]:
        """All doses, mg, up to the first one that is larger than `most`, from none on."""
        grains = [round(unit * _GRAINS) for unit in self.units]
        size = gcd(*grains)
        steps, reach = [grain // size for grain in grains], int(most * _GRAINS // size) + max(grains) // size + 1
        possible = np.zeros(reach + 1, bool)
        possible[0] = True
        for total in range(1, reach + 1):
            possible[total] = any(step <= total and possible[total - step] for step in steps)
        return np.asarray(np.flatnonzero(possible) * size / _GRAINS, np.float64)
