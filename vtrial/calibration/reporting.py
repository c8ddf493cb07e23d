"""What differs between trials, and the share of somnolence that they record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor

from vtrial.calibration.evidence import Count, Trial
from vtrial.calibration.variable import shifted_beta

pt: Any = pytensor.tensor  # typed there as if everything might be a plain Variable, or None

REPORTING = 0.7
"""Scale of the half-normal prior of omega_report."""
RECORDED = (4.0, 4.0)
"""Beta prior of the share of patients at level 1 whose somnolence is recorded (sedation.yaml)."""
SOFT = 0.3
"""How far below the share observed, in shares of it, the shift of the share recorded bends; any value is exact."""


class Nuisances(NamedTuple):
    """What differs between trials, shape (trial,), and between their patients."""

    background: Any
    taking: Any
    """Share that takes what the trial names as beside; 0 where it names nothing."""
    shift: Any
    omega_report: Any
    between: Any
    """Where events between two levels lie, from 0 at the lower to 1 at the higher."""

    @classmethod
    def of(cls, trials: Sequence[Trial], tau: Any) -> Nuisances:
        """Random variables of the PyMC model at work; `tau` is the SD of the log drive between trials."""
        shapes = np.array([t.background for t in trials])
        background = pm.Beta("background", *shapes.T, dims="trial")
        taking, some = pt.zeros(len(trials)), [k for k, t in enumerate(trials) if t.beside is not None]
        if some:
            shapes = np.array([t.beside.share for t in trials if t.beside is not None])
            taking = pt.set_subtensor(taking[some], pm.Beta("taking_beside", *shapes.T, shape=len(some)))
        shift = tau * pm.Normal("xi_trial", dims="trial")
        # half-normal; its square alone counts, so that a sampler passes through 0 and is not led to -inf by its log
        omega_report = pm.Deterministic("omega_report", REPORTING * abs(pm.Normal("z omega_report")))
        some = any(isinstance(t.level, tuple) for t in trials)
        between = pm.Uniform("between_levels", 0.0, 1.0) if some else pt.constant(0.0)
        return cls(background, taking, shift, omega_report, between)


def priors_recorded(trials: Sequence[Trial]) -> dict[str, tuple[Any, Any]]:
    """Beta priors of the shares recorded, by variable: that which trials have in common, and their own in order."""
    own = [trial.recorded for trial in trials if trial.recorded != "common"]
    common = {"recorded": RECORDED}
    return common | {"recorded_own": tuple(np.array(own, float).T)} if own else common


def shares_recorded(trials: Sequence[Trial], arms: Sequence[tuple[int, Count]], reached: Any, events: Any) -> Any:
    """Share recorded, of the PyMC model at work.

    A trial of many patients tells the product of the share that reaches the level and of the share recorded, and
    neither alone. The sampler sees how far the share recorded is from what would give, with the share that reaches the
    level, as many events over placebo as were counted.

    Parameters
    ----------
    trials : sequence of Trial
    arms : sequence of (int, Count)
        With the place of their trial.
    reached : tensor, shape (arm,)
        Share that reaches the level.
    events : tensor, shape (arm,)
        Counted.

    Returns
    -------
    tensor, shape (trial,)
    """
    counted, none = {place for place, _ in arms}, pt.constant(0.0)

    def shift(place: int) -> Any:
        return _shift(place, arms, reached, events) if place in counted else none

    common = [place for place, trial in enumerate(trials) if trial.recorded == "common" and place in counted]
    own = [place for place, trial in enumerate(trials) if trial.recorded != "common"]
    priors = priors_recorded(trials)
    one = shifted_beta("recorded", *priors["recorded"], by=shift(common[0]) if common else none)
    every = one * np.ones(len(trials))
    if not own:
        return every
    theirs = shifted_beta("recorded_own", *priors["recorded_own"], by=pt.stack([shift(place) for place in own]))
    return pt.set_subtensor(every[own], theirs)


def _shift(place: int, arms: Sequence[tuple[int, Count]], reached: Any, events: Any) -> Any:
    """Log of how far the share that reaches the level exceeds that of events beyond placebo, over the latter.

    Of a trial's largest arm. At no excess, no share recorded explains the events.
    """
    mine = [k for k, (at, _) in enumerate(arms) if at == place]
    observed = {k: events[k] / arms[k][1].n for k in mine}
    placebo = next((observed[k] for k in mine if arms[k][1].amt == 0), 0.0)
    largest = max((k for k in mine if arms[k][1].amt > 0), key=lambda k: arms[k][1].n)
    net = pt.maximum((observed[largest] - placebo) / (1.0 - placebo), 0.01)
    beyond = reached[largest] - net
    return pt.log(0.5 * (beyond + (beyond**2 + (SOFT * net) ** 2) ** 0.5) / net)  # of beyond if positive
