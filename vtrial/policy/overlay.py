"""What is changed beside a policy's doses when kidneys fail: an overlay of all drugs of an arm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from vtrial.policy.form import Grade, Percent
from vtrial.spec import Spec

WITHIN = 48.0
"""Window of the least absolute rise of creatinine that counts as injury, h (KDIGO 2012, Kidney Int Suppl 2:1-138)."""


def kdigo_stage(scr: ArrayLike, before: ArrayLike, own: ArrayLike) -> NDArray[np.int64]:
    """Stage of acute kidney injury by creatinine.

    Parameters
    ----------
    scr, before : array_like
        Creatinine now and 48 h ago, mg/dL.
    own : array_like
        Creatinine before the injury, mg/dL, presumed to be that of the last 7 days.

    Returns
    -------
    ndarray of int
        0 where there is none, to 3. Urine output and renal replacement, the other criteria, are not looked at.

    Notes
    -----
    KDIGO 2012, Kidney Int Suppl 2:1-138: 1 from 1.5 times the own one, or a rise by 0.3 mg/dL within 48 h; 2 from
    twice; 3 from three times, or 4.0 mg/dL where there is injury.

    Examples
    --------
    >>> kdigo_stage([1.1, 1.3, 1.4, 2.0, 3.0, 4.2], 1.0, 1.0).tolist()
    [0, 1, 1, 2, 3, 3]
    >>> kdigo_stage([3.9, 4.1], [3.7, 3.7], [3.7, 3.7]).tolist()  # a chronic one
    [0, 3]
    """
    scr, before, own = (np.asarray(value, float) for value in (scr, before, own))
    fold = np.round(scr / own, 9)  # an exact multiple counts as reached
    risen = np.round(scr - before, 9) >= 0.3
    stage = np.select([fold >= 3.0, fold >= 2.0, (fold >= 1.5) | risen], [3, 2, 1], 0)
    return np.where((stage >= 1) & (scr >= 4.0), 3, stage)


class AkiOverlay(Spec):
    """What to change when acute kidney injury appears."""

    text: str
    """The rule in words."""
    kdigo_stage_min: int = Field(ge=1, le=3, strict=True)
    """Least KDIGO stage of acute kidney injury."""
    kinetic_egfr_fall_min: Percent
    """Least fall of the kinetic eGFR below the value used for dosing."""
    hold: tuple[str, ...]
    """Drugs that are held."""
    tier_of_kinetic_egfr: tuple[str, ...]
    """Drugs that are given at the tier of the kinetic eGFR."""
    grade: Grade
    """How it is known."""
    analyst_choice: bool = False
    """True where the rule is an analyst's."""
    sources: tuple[str, ...]
    """Where it stands."""

    def applies(
        self, *, scr: ArrayLike, before: ArrayLike, own: ArrayLike, kinetic: ArrayLike, used: ArrayLike
    ) -> NDArray[Any]:
        """Who has an injury in the sense of the rule.

        Parameters
        ----------
        scr, before, own
            As for `kdigo_stage`.
        kinetic, used : array_like
            eGFR now, by two creatinines, and that by which doses were chosen, in one unit.

        Returns
        -------
        ndarray of bool

        Examples
        --------
        >>> from vtrial.policy import load_policies
        >>> rule = load_policies().aki_overlay
        >>> rule.applies(scr=[1.1, 1.1, 1.5], before=1.0, own=1.0, kinetic=[80, 60, 80], used=80).tolist()
        [False, True, True]
        """
        fallen = np.asarray(kinetic, float) <= (1 - self.kinetic_egfr_fall_min / 100) * np.asarray(used, float)
        return (kdigo_stage(scr, before, own) >= self.kdigo_stage_min) | fallen
