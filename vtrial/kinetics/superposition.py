"""Closed-form concentrations by superposition of exponentials: the independent oracle of the stepper.

Bateman functions of the eigenvalues (Gibaldi and Perrier 1982, Pharmacokinetics, 2nd ed., chapters 1 and 2), by
partial fractions of the Laplace transform. Equal rates are a singularity of this form, not of the stepper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtrial.model import Drug


def superposition(
    drug: Drug, par: Mapping[str, Any], dose_time: Any, amt: Any, time: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Plasma and effect-site concentration of one patient.

    Parameters
    ----------
    drug : Drug
    par : mapping
        Individual parameters named as in `vtrial.model.Drug`, scalars.
    dose_time, amt : arrays, shape (dose,)
        In h and mg.
    time : array, shape (time,)
        In h.

    Returns
    -------
    tuple of ndarray, shape (time,)
        conc and Ce in mg/L.

    Raises
    ------
    ZeroDivisionError
        If two rates are equal.

    Examples
    --------
    >>> par = {"x.CL": 5.0, "x.V": 50.0, "x.ka": 1.0, "x.tlag": 0.0, "x.F": 1.0, "x.ke0": 0.5}
    >>> conc, _ = superposition(Drug("x", 1), par, [0.0], [100.0], [1.0])
    >>> round(float(conc[0]), 6)  # 100 * 1 / (50 * 0.9) * (exp(-0.1) - exp(-1))
    1.19324
    """
    get = {p: float(par[f"{drug.name}.{p}"]) for p in ("CL", "V", "ka", "tlag", "F", "ke0")}
    k10 = get["CL"] / get["V"]
    if drug.compartments == 1:
        poles, zeros = [k10], []
    else:
        k12, k21 = (
            float(par[f"{drug.name}.Q"]) / get["V"],
            float(par[f"{drug.name}.Q"]) / float(par[f"{drug.name}.V2"]),
        )
        middle, root = (k10 + k12 + k21) / 2, np.sqrt(((k10 + k12 + k21) / 2) ** 2 - k10 * k21)
        poles, zeros = [middle + root, middle - root], [k21]
    scale = get["F"] * get["ka"] / get["V"]
    plasma = _residues([*poles, get["ka"]], zeros, scale)
    effect = _residues([*poles, get["ka"], get["ke0"]], zeros, scale * get["ke0"])
    since = np.asarray(time, float)[:, None] - np.asarray(dose_time, float) - get["tlag"]
    dose = np.where(since >= 0, np.asarray(amt, float), 0.0)
    since = np.maximum(since, 0.0)
    return tuple((dose * sum(c * np.exp(-k * since) for k, c in terms)).sum(1) for terms in (plasma, effect))  # type: ignore[return-value]


def _residues(poles: list[float], zeros: list[float], scale: float) -> list[tuple[float, float]]:
    """Pairs (rate, coefficient) of scale * prod(s + zeros) / prod(s + poles) in the time domain."""
    terms = []
    for j, pole in enumerate(poles):
        numerator = scale * np.prod([zero - pole for zero in zeros])
        denominator = np.prod([other - pole for m, other in enumerate(poles) if m != j])
        if denominator == 0:
            raise ZeroDivisionError("equal rates: the closed form is singular there")
        terms.append((pole, float(numerator / denominator)))
    return terms
