"""What kinetic studies print, from the parameters of a typical patient: one function for each statistic.

All functions work on NumPy and PyTensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from vtrial.calibration.closed_form import disposition, highest, once, side_by_side
from vtrial.model import Drug

type Par = Mapping[str, Any]
NORMAL_CRCL = 105.0
"""mL/min, of young healthy people: where a study prints none (pk 1.45)."""


class People(NamedTuple):
    """Typical people of some studies, shape (study,): parameters as they are, without kidneys, with normal ones."""

    own: Par
    anuric: Par
    normal: Par
    crcl: Any
    """mL/min."""
    amt: Any
    """Dose in mg."""


def taken(par: Par, where: Any) -> Par:
    """Parameters at some places of their arrays; those that are one number for all stay as they are."""
    return {name: value[where] if getattr(value, "ndim", 0) else value for name, value in par.items()}


class Printed(NamedTuple):
    """A statistic: its unit, and how it follows from typical people."""

    unit: str
    of: Callable[[Drug, People], Any]


def _apparent(parameter: str) -> Callable[[Drug, People], Any]:
    return lambda drug, who: who.own[f"{drug.name}.{parameter}"] / who.own[f"{drug.name}.F"]


def _own(parameter: str) -> Callable[[Drug, People], Any]:
    return lambda drug, who: who.own[f"{drug.name}.{parameter}"]


def _renal(drug: Drug, who: People) -> Any:
    return who.own[f"{drug.name}.CL"] - who.anuric[f"{drug.name}.CL"]


def _excreted(drug: Drug, who: People) -> Any:
    return who.own[f"{drug.name}.F"] * _renal(drug, who) / who.own[f"{drug.name}.CL"]


def _cmax(drug: Drug, who: People) -> Any:
    """Largest concentration after one dose, among moments that lie 27% apart."""
    par = taken(who.own, np.s_[None, :, None, None])
    return who.amt * highest(side_by_side([once()]), lambda c: c.concentration(drug, par, effect=False))[0]


STATISTICS: dict[str, Printed] = {
    "CL/F": Printed("L/h", _apparent("CL")),
    "V/F": Printed("L", _apparent("V")),
    "CLr": Printed("L/h", _renal),
    "CLr/CrCL": Printed("1", lambda drug, who: _renal(drug, who) / (0.06 * who.crcl)),
    "fe": Printed("1", _excreted),
    "F": Printed("1", _own("F")),
    "ka": Printed("1/h", _own("ka")),
    "t1/2": Printed("h", lambda drug, who: np.log(2) / disposition(drug, who.own)[-1][0]),
    "alpha": Printed("1/h", lambda drug, who: disposition(drug, who.own)[0][0]),
    "Cmax": Printed("mg/L", _cmax),
    "AUC ratio": Printed("1", lambda drug, who: who.normal[f"{drug.name}.CL"] / who.own[f"{drug.name}.CL"]),
}
"""Fraction excreted unchanged (fe) is of the oral dose; the half-life is the terminal one; alpha is the fast rate of
disposition; the AUC ratio is over that of a person whose creatinine clearance is normal."""
