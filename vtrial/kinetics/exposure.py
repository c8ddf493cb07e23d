"""What the kinetics are asked, and what they answer: the grid, the sedation of each patient, exposure, trajectories."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtrial.model import Surface

type Array = NDArray[np.float64]

LONGEST_STEP = 0.5
"""Longest step of the kinetics, h: their results do not depend on it, but a longer one needs more searching."""


@dataclass(frozen=True)
class Grid:
    """Time axis of a run: steps of `step` hours from the patient's first dose, reductions per segment.

    Parameters
    ----------
    step : float
        Step in h of a trace, and of the time at level of who goes step by step. Concentrations and maxima do not
        depend on it, nor does the time at level of who goes by modes (`vtrial.kinetics.modal`).
    windows : tuple of float
        Ends of the endpoint windows in h, increasing; each starts at the patient's first dose.
    restarts : tuple of float
        Those of the windows at whose ends the search for the highest drive starts anew, for maxima of later times.

    Raises
    ------
    ValueError
        If a window is not a whole number of steps, or a restart is no window.
    """

    step: float
    windows: tuple[float, ...]
    restarts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        steps = np.asarray(self.windows) / self.step
        if not np.allclose(steps, np.round(steps), atol=1e-9) or np.any(np.diff(steps) <= 0):
            raise ValueError(f"windows {self.windows} h are not increasing multiples of the step {self.step} h")
        if strange := set(self.restarts) - set(self.windows):
            raise ValueError(
                f"maxima start anew at {sorted(strange)} h, which are not among the windows {self.windows} h"
            )

    @property
    def anew(self) -> NDArray[np.int64]:
        """Per window, 1 if the search for the highest drive starts anew at its end."""
        return np.array([int(window in self.restarts) for window in self.windows], np.int64)

    @property
    def stride(self) -> int:
        """Steps of the kinetics in one step of the grid."""
        return math.ceil(self.step / LONGEST_STEP - 1e-9)

    @property
    def h(self) -> float:
        """Step of the kinetics in h."""
        return self.step / self.stride

    @property
    def points(self) -> NDArray[np.int64]:
        """Step of the grid at which each window ends."""
        return np.round(np.asarray(self.windows) / self.step).astype(np.int64)

    @property
    def ends(self) -> NDArray[np.int64]:
        """Step of the kinetics at which each window ends."""
        return self.points * self.stride


@dataclass(frozen=True)
class Sedation:
    """Sedation of each patient, for the drive and for time at level.

    Parameters
    ----------
    surface : {"greco", "loewe", "bliss"}
    A, alpha, tolerance_fold, tolerance_t_half : arrays, shape (n,)
        Patient factor, interaction, tolerance (half-time in h).
    draw : ndarray of int, shape (n,)
        Which row of the tables a patient uses.
    r, omega : arrays, shape (draw, level) and (draw,)
        Thresholds of the levels whose time is wanted (none to skip), and SD of log sensitivity.
    share : tuple of arrays, shape (n,)
        Which part of the distribution of sensitivity a patient stands for in the time at level: from and to which
        probability that sensitivity is greater. 0 to 1, by default, is all of it.
    """

    surface: Surface
    A: Array
    alpha: Array
    tolerance_fold: Array
    tolerance_t_half: Array
    draw: NDArray[np.int64]
    r: Array
    omega: Array
    share: tuple[Array, Array] = (np.zeros(1), np.ones(1))


@dataclass(frozen=True)
class Exposure:
    """What the kinetics leave of each patient: one value per window of the grid.

    Parameters
    ----------
    grid : Grid
    peak, peak_time : arrays, shape (channel, window, n)
        Maximum of A U / Tol from the first dose to the end of the window, and its time in h.
    cmax : array, shape (drug, window, n)
        Maximum concentration, mg/L; 0 in windows where it was not wanted.
    auc : array, shape (drug, window, n)
        Area under the concentration, mg h/L, by mass balance (not known without clearance).
    time_at : array, shape (level, window, n)
        Expected time at the level or deeper, h, sensitivity integrated out (over `Sedation.share`).
    since : array, shape (channel, window, n)
        Maximum of A U / Tol from the last restart of the grid, or else from the first dose, to the end of the window.
    last : array, shape (channel, window, n)
        A U / Tol at the end of the window.
    conc : array, shape (drug, window, n)
        Concentration at the end of the window, mg/L; 0 in windows where `cmax` was not wanted.
    """

    grid: Grid
    peak: Array
    peak_time: Array
    cmax: Array
    auc: Array
    time_at: Array
    since: Array
    last: Array
    conc: Array


def running(since: Array, time: Array) -> tuple[Array, Array]:
    """Maxima from the first dose, and their times, of those since the last restart; shape (channel, window, n)."""
    peak, when = since.copy(), time.copy()
    for w in range(1, peak.shape[1]):
        earlier = peak[:, w - 1] >= peak[:, w]
        peak[:, w] = np.where(earlier, peak[:, w - 1], peak[:, w])
        when[:, w] = np.where(earlier, when[:, w - 1], when[:, w])
    return peak, when


@dataclass(frozen=True)
class Trace:
    """Whole trajectories of a few patients: arrays of shape (time, drug, n) and (time, channel, n)."""

    time: Array
    conc: Array
    Ce: Array
    drive: Array
