"""How sensitivity may be distributed among patients: the candidates that the calibration compares.

Each is a function of omega_S and of parameters of its own that gives ``reach(x, extra)``: the probability that the log
sensitivity exceeds -x, with an independent normal spread `extra` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor
from numpy.typing import NDArray

from vtrial.model import Beta, LogNormal, Prior
from vtrial.model.posterior import SIMULATES

pt: Any = pytensor.tensor  # typed there as if everything might be a plain Variable, or None


type Reach = Callable[..., Any]


class Sensitivity(NamedTuple):
    """A distribution of sensitivity."""

    reach: Callable[..., Reach]
    """Called with omega_S and its own parameters by name."""
    own: Mapping[str, Prior] = {}


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


def susceptible(omega_S: Any, susceptible_share: Any, susceptible_fold: Any) -> Reach:
    """Log-normal, and a share of patients (dementia, other depressants) in whom the drive counts some fold."""

    def reach(x: Any, extra: Any = 0.0) -> Any:
        spread = (omega_S**2 + extra**2) ** 0.5
        beyond = (x + pt.log(susceptible_fold)) / spread
        return (1.0 - susceptible_share) * _normal(x / spread) + susceptible_share * _normal(beyond)

    return reach


SENSITIVITIES: dict[str, Sensitivity] = {
    SIMULATES: Sensitivity(log_normal),
    "one spread": Sensitivity(one_spread),
    "Student-t": Sensitivity(student),
    "susceptible share": Sensitivity(
        susceptible, {"susceptible_share": Beta(1.0, 19.0), "susceptible_fold": LogNormal(4.0, 0.5)}
    ),
}


def share_beyond(name: str, x: NDArray[np.float64], **own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that the log sensitivity exceeds -x, under one of SENSITIVITIES.

    Parameters
    ----------
    name : str
        Of SENSITIVITIES.
    x : array, shape (draw, patient)
    **own : array, shape (draw,)
        omega_S and the sensitivity's own parameters.

    Returns
    -------
    array, shape (draw, patient)

    Examples
    --------
    >>> share_beyond("Student-t", np.zeros((1, 1)), omega_S=np.ones(1))
    array([[0.5]])
    """
    reach = SENSITIVITIES[name].reach(**{key: values[:, None] for key, values in own.items()})
    return reach(pt.as_tensor(x)).eval()
