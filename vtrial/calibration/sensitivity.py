"""How sensitivity may be distributed among patients: the candidates that the calibration compares.

Each is a function of omega_S that adds its own parameters to the PyMC model at work, and gives ``reach(x, extra)``: the
probability that the log sensitivity exceeds -x, with an independent normal spread `extra` beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pymc as pm
import pytensor.tensor

pt: Any = pytensor.tensor  # typed there as if everything might be a plain Variable, or None


type Reach = Callable[..., Any]


def _normal(x: Any) -> Any:
    return 0.5 * pt.erfc(-x / 2**0.5)


def _student(x: Any) -> Any:
    """Distribution function of Student's t with 4 degrees of freedom (Shaw 2006, J Comput Finance 9:37-73)."""
    scaled = x**2 / (4.0 + x**2)
    return 0.5 + 0.75 * x / (4.0 + x**2) ** 0.5 * (1.0 - scaled / 3.0)


def log_normal(omega_S: Any) -> Reach:
    """Log-normal, and what is reported as somnolence varies beside it: what simulates, and what is kept."""
    return lambda x, extra=0.0: _normal(x / (omega_S**2 + extra**2) ** 0.5)


def one_spread(omega_S: Any) -> Reach:
    """Log-normal, with the same spread for reports of somnolence and for coma."""
    return lambda x, extra=0.0: _normal(x / omega_S)


def student(omega_S: Any) -> Reach:
    """Student-t of 4 degrees of freedom on the log scale, omega_S its scale: more patients far from the middle."""
    return lambda x, extra=0.0: _student(x / (omega_S**2 + extra**2) ** 0.5)


def susceptible(omega_S: Any) -> Reach:
    """Log-normal, and a share of patients (dementia, other depressants) in whom the drive counts some fold."""
    share = pm.Beta("susceptible_share", 1.0, 19.0)
    fold = pm.LogNormal("susceptible_fold", 1.3863, 0.5)  # median 4 (sedation.yaml)

    def reach(x: Any, extra: Any = 0.0) -> Any:
        spread = (omega_S**2 + extra**2) ** 0.5
        return (1.0 - share) * _normal(x / spread) + share * _normal((x + pt.log(fold)) / spread)

    return reach


SENSITIVITIES: dict[str, Callable[[Any], Reach]] = {
    "log-normal": log_normal,
    "one spread": one_spread,
    "Student-t": student,
    "susceptible share": susceptible,
}
