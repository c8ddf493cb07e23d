"""Narrow a cell before rejection: which creatinine can possibly satisfy ranges on other renal metrics.

Every renal metric falls with creatinine and does not fall with height or weight. So the smallest and the
largest body of an age and sex bound the creatinine that a range on the metric allows. The bound only saves
proposals: nobody whom the range accepts is cut off. For EGFR_2009 and MDRD, which ignore the body, it is
the range itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vtrial.population.covariates import EGFR_CLIP, EGFR_HINGE, SCR_DEVIATION, Tables
from vtrial.population.renal import derive

type Floats = NDArray[np.float64]
type Ends = tuple[float, float]

METRICS = ("EGFR_2009", "MDRD", "EGFR_ABS", "CRCL", "CRCL_IBW", "CRCL_ADJ")
_HALVINGS = 60


def creatinine_ends(tables: Tables, ranges: Mapping[str, Ends]) -> Floats:
    """Bound creatinine, for each row of the tables, by ranges on renal metrics.

    Parameters
    ----------
    tables : Tables
        The covariate model.
    ranges : mapping of str to (float, float)
        Half-open ranges; those not of `METRICS` are ignored.

    Returns
    -------
    ndarray, shape (row, 2)
        ln creatinine (mg/dL) below and above which nobody satisfies the ranges.
    """
    ends = np.tile([-np.inf, np.inf], (len(tables.age), 1))
    smallest, largest = _bodies(tables, ranges)
    for name in METRICS:
        low, high = ranges.get(name, (-np.inf, np.inf))
        if high < np.inf:
            ends[:, 0] = np.maximum(ends[:, 0], _reaching(tables, name, high, smallest)[0])
        if low > -np.inf:
            ends[:, 1] = np.minimum(ends[:, 1], _reaching(tables, name, low, largest)[1])
    return ends


def _bodies(tables: Tables, ranges: Mapping[str, Ends]) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Smallest and largest height (cm) and weight (kg) of each age and sex, in the model and the ranges."""
    sex = tables.female.astype(int)
    mean, slope = tables.height.T
    spread = np.abs(slope) * SCR_DEVIATION
    heights = mean - spread + tables.height_residual[sex, 0], mean + spread + tables.height_residual[sex, -1]
    mean, power, slope, scale = tables.weight.T
    low = np.sort(np.outer(slope, [0.0, np.log(EGFR_HINGE / EGFR_CLIP)]), axis=1)
    bodies = []
    for i, height in enumerate(heights):
        residual = tables.weight_residual[sex, -i]
        weight = np.exp(mean + power * np.log(height / 165) + low[:, i] + scale * residual)
        limits = (ranges.get(name, (-np.inf, np.inf)) for name in ("HT", "WT"))
        bodies.append(tuple(np.clip(size, *ends) for size, ends in zip((height, weight), limits, strict=True)))
    return bodies[0], bodies[1]


def _reaching(tables: Tables, name: str, bound: float, body: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Bracket the ln creatinine at which a metric of such a body reaches a bound, by bisection."""
    low, high = tables.log_scr[:, 0].copy(), tables.log_scr[:, -1].copy()
    people = {"AGE": tables.age, "SEX": tables.female, "HT": body[0], "WT": body[1]}
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = derive(people | {"SCR": np.exp(middle)})[name] >= bound
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    # one margin for rounding; the sampler checks the range itself
    return low - 1e-9, high + 1e-9
