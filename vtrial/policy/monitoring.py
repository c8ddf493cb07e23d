"""Therapeutic drug monitoring: concentrations are measured, with error, and doses follow them in proportion."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, Field, model_validator

from vtrial.policy.form import Elapsed, refuse
from vtrial.spec import Duration, Quantity, Spec

type _Concentration = Annotated[float, Quantity("mg/L", low=0)]


def _window(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] >= pair[1]:
        raise refuse(f"the target runs from {pair[0]:g} to {pair[1]:g} mg/L: write the lower end first")
    return pair


class Monitoring(Spec):
    """When a drug's concentration is measured, and what is done about it.

    A concentration within the target changes nothing. Outside, all further doses are multiplied by what would bring it
    to the `aim`, in a steady state of linear kinetics; `at_most` limits how far one result goes. New doses are rounded
    to what tablets, capsules and sachets make up.
    """

    drug: str
    """Drug that is measured."""
    at: Annotated[tuple[Duration, ...], Field(min_length=1)]
    """When blood is drawn, from the patient's first dose of any drug; a dose of that time is given after it."""
    target: Annotated[tuple[_Concentration, _Concentration], AfterValidator(_window)]
    """Concentrations between which doses stay; from 0 mg/L, doses are never raised."""
    aim: Annotated[float, Quantity("mg/L", above=0)] | None = None
    """Concentration, within the target, that doses are to lead to; absent: the geometric middle of the target."""
    delay: Elapsed
    """From the sample to when doses can follow its result; a dose of that time follows it."""
    cv: Annotated[float, Quantity("percent", low=0, high=100)]
    """Coefficient of variation of the assay: errors are log-normal, and independent."""
    at_most: Annotated[float, Field(gt=1, strict=True)] = 2.0
    """By which factor one result raises or lowers doses at most."""

    @model_validator(mode="after")
    def _aimed(self):
        low, high = self.target
        if self.aim is None and low == 0:
            raise refuse("a target from 0 mg/L has no geometric middle: give an 'aim'")
        if self.aim is not None and not low <= self.aim <= high:
            raise refuse(f"the aim of {self.aim:g} mg/L is not within the target of {low:g} to {high:g} mg/L")
        return self

    def __str__(self) -> str:
        """What is measured and aimed at, in words.

        Examples
        --------
        >>> who = {"drug": "baclofen", "at": ["3 d"], "target": ["0.08 mg/L", "0.4 mg/L"], "delay": "24 h"}
        >>> str(Monitoring(**who, cv="10 %"))
        'baclofen measured (CV 10%) at 72 h, doses to 0.08-0.4 mg/L after 24 h'
        """
        times, (low, high) = ", ".join(f"{time:g}" for time in self.at), self.target
        measured = f"{self.drug} measured (CV {self.cv:g}%) at {times} h"
        return f"{measured}, doses to {low:g}-{high:g} mg/L after {self.delay:g} h"

    def factor(self, conc: ArrayLike, z: ArrayLike) -> NDArray[np.float64]:
        """By what doses are multiplied.

        Parameters
        ----------
        conc : array_like
            True concentrations, mg/L.
        z : array_like
            Standard normal numbers, of the same shape: the errors of the assay.

        Returns
        -------
        ndarray
            1 where the measured concentration lies within the target.

        Examples
        --------
        >>> who = {"drug": "baclofen", "at": ["3 d"], "target": ["0.1 mg/L", "0.4 mg/L"], "delay": "24 h"}
        >>> Monitoring(**who, cv="0 %").factor([0.0, 0.05, 0.1, 0.3, 0.4001, 1.0], 0.0).round(3).tolist()
        [2.0, 2.0, 1.0, 1.0, 0.5, 0.5]
        """
        low, high = self.target
        aim = np.sqrt(low * high) if self.aim is None else self.aim
        measured = np.asarray(conc, float) * np.exp(np.sqrt(np.log1p((self.cv / 100) ** 2)) * np.asarray(z, float))
        with np.errstate(divide="ignore"):
            wanted = np.clip(aim / measured, 1 / self.at_most, self.at_most)
        return np.where((measured >= low) & (measured <= high), 1.0, wanted)
