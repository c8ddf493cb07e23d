"""Sedation: from effect-site concentrations to a drive, from a drive to the probability of a level.

Structure of `models/evidence/sedation.yaml`. Drug d contributes u_d = Ce_d / C50_d; a surface combines the
contributions into U; age, uraemia (both in A) and tolerance scale it; a patient of sensitivity S = exp(omega_S z)
is at level k or deeper when S * A * U / Tol >= r_k. Sensitivity integrates out in closed form:
P(level >= k) = Phi((log(max A U / Tol) - log r_k) / omega_S).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy  # not its functions: scipy.special is read when one is first called, which takes a third of a second
from numpy.typing import NDArray

from vtrial.compiled import inlined, plain
from vtrial.model import Surface

type Array = NDArray[np.float64]


@inlined
def accumulate(total, product, u):
    """Add a drug's contribution to the running sum and to the running sum of pairwise products."""
    return total + u, product + total * u


@inlined
def greco(total, product, alpha):
    """Combined drive U = sum u_d + alpha * sum of pairwise products; alpha = 0 is Loewe additivity.

    Reduced form of Greco's surface for agents of equal slope; with drugs b and p: u_b + u_p + alpha u_b u_p. Of three
    or more drugs every pair has the same alpha, and no term holds three at once: with o beside them,
    u_b + u_p + u_o + alpha (u_b u_p + u_b u_o + u_p u_o), which is that of two where u_o is 0.
    """
    return total + alpha * product


@inlined
def tolerance(elapsed_fraction, fold):
    """Tol = 1 + (fold - 1) (1 - 2^(-t / t_half)); `elapsed_fraction` is 2^(-t / t_half)."""
    return 1.0 + (fold - 1.0) * (1.0 - elapsed_fraction)


@inlined
def tolerance_slope(elapsed_fraction, fold, rate):
    """Slope of Tol in time, 1/h; `rate` is log(2) / t_half."""
    return (fold - 1.0) * rate * elapsed_fraction


def drive(contributions: Sequence[Any], surface: Surface, alpha: Any) -> list[Any]:
    """Combine the drugs' contributions into the channels of a surface.

    Parameters
    ----------
    contributions : sequence of arrays
        u_d = Ce_d / C50_d of each drug, any broadcasting shape.
    surface : {"greco", "loewe", "bliss"}
    alpha : array
        Interaction of the Greco surface; the other surfaces ignore it.

    Returns
    -------
    list of arrays
        One combined drive, or under Bliss one per drug (each with a sensitivity of its own).

    Examples
    --------
    >>> drive([0.2, 0.3], "greco", 1.0)
    [0.56]
    >>> drive([0.2, 0.3, 0.5], "greco", 1.0)  # 1 + 0.06 + 0.10 + 0.15
    [1.31]
    """
    if surface == "bliss":
        return list(contributions)
    total, product = 0.0, 0.0
    for u in contributions:
        total, product = plain(accumulate)(total, product, u)
    return [plain(greco)(total, product, alpha if surface == "greco" else 0.0)]


def level_probability(peaks: Sequence[Any], r: Any, omega_S: Any) -> Any:
    """Probability that the sedation level whose threshold is `r` is reached, sensitivity integrated out.

    Parameters
    ----------
    peaks : sequence of arrays
        Maximum of A U / Tol in the window for each channel of the surface.
    r : array
        Threshold of the level relative to level 3, in (0, 1].
    omega_S : array
        SD of log sensitivity.

    Returns
    -------
    array
        Phi((log peak - log r) / omega_S); with several channels (Bliss) 1 - prod(1 - P_channel).

    Examples
    --------
    >>> float(level_probability([0.5], 0.5, 0.6))
    0.5
    """
    with np.errstate(divide="ignore"):  # log 0 = -inf: an untreated patient has probability exactly 0
        each = [scipy.special.ndtr((np.log(peak) - np.log(r)) / omega_S) for peak in peaks]
    return _union(each)


def level_probabilities(peaks: Array, draw: NDArray[np.integer], r: Array, omega_S: Array) -> Array:
    """`level_probability` of several levels, of patients from several draws.

    Parameters
    ----------
    peaks : array, shape (channel, n)
        Maximum of A U / Tol in the window.
    draw : array of int, shape (n,)
        Which draw a patient belongs to.
    r, omega_S : arrays, shape (draw, level) and (draw,)
        Thresholds, and SD of log sensitivity.

    Returns
    -------
    array, shape (level, n)

    Examples
    --------
    >>> few = level_probabilities(np.array([[0.5, 1.0]]), np.array([0, 0]), np.array([[0.5, 1.0]]), np.array([0.6]))
    >>> float(few[0, 0]), float(few[1, 1])
    (0.5, 0.5)
    """
    out = np.empty((r.shape[1], len(draw)))
    log_r, own_omega = np.log(r), omega_S[draw]
    with np.errstate(divide="ignore"):  # log 0 = -inf, as above
        logs = np.log(peaks)
        for level, union in enumerate(out):
            own_r = log_r[draw, level]
            scipy.special.ndtr((logs[0] - own_r) / own_omega, out=union)
            for log in logs[1:]:
                union += scipy.special.ndtr((log - own_r) / own_omega) * (
                    1.0 - union
                )  # 1 - prod(1 - p) without its cancellation
    return out


def both_levels(early: Sequence[Any], late: Sequence[Any], r_early: Any, r_late: Any, omega_S: Any) -> Any:
    """Probability that one level is reached in one window and another level in another, by the same sensitivity.

    Parameters
    ----------
    early, late : sequences of arrays
        Maximum of A U / Tol in each of the windows for each channel of the surface.
    r_early, r_late : arrays
        Threshold of the level that belongs to each window.
    omega_S : array
        SD of log sensitivity.

    Returns
    -------
    array
        Phi of the smaller of the two standardised logs. With several channels (Bliss), each of a sensitivity of its
        own, P(first) + P(second) - P(any): in a channel both are missed if the more likely one is.

    Examples
    --------
    >>> round(float(both_levels([1.0], [0.5], 1.0, 0.5, 0.6)), 3), round(float(both_levels([1.0], [1e-9], 1, 1, 1)), 3)
    (0.5, 0.0)
    """
    with np.errstate(divide="ignore"):  # log 0 = -inf, as above
        first = [(np.log(peak) - np.log(r_early)) / omega_S for peak in early]
        second = [(np.log(peak) - np.log(r_late)) / omega_S for peak in late]
    if len(first) == 1:
        return scipy.special.ndtr(np.minimum(first[0], second[0]))
    either = [np.maximum(a, b) for a, b in zip(first, second, strict=True)]
    one, other, any_ = (_union([scipy.special.ndtr(x) for x in each]) for each in (first, second, either))
    return np.maximum(one + other - any_, 0.0)


def _union(each: Sequence[Any]) -> Any:
    """1 - prod(1 - p) without its cancellation."""
    union = each[0]
    for p in each[1:]:
        union = union + p * (1.0 - union)
    return union


def level_reached(peaks: Sequence[Any], r: Any, omega_S: Any, z: Sequence[Any]) -> Any:
    """Whether a patient of sensitivity exp(omega_S z) reaches the level: what `level_probability` integrates.

    Parameters
    ----------
    peaks, r, omega_S
        As for `level_probability`.
    z : sequence of arrays
        Standard normal deviation of log sensitivity, one per channel.

    Returns
    -------
    bool array
    """
    hit = np.zeros((), bool)
    for peak, deviation in zip(peaks, z, strict=True):
        hit = hit | (np.exp(omega_S * deviation) * peak >= r)
    return hit
