"""What the draws of a parameter say beside its prior."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vtrial.report.facts import Facts
from vtrial.result import QUANTILES


def learnt(facts: Facts, param: dict[str, Any]) -> dict[str, str]:
    """A parameter before and after its calibration.

    Parameters
    ----------
    facts : Facts
    param : dict
        Of the result's ``params``: ``name``; ``quantiles``, those of its prior at `QUANTILES`, all the same
        where it is fixed. Results of earlier versions lack them.

    Returns
    -------
    dict
        ``before``, ``after``: median and 95% interval of the prior and of the draws; ``shrinkage``: one minus the ratio
        of the widths of their middle halves, in percent. A dash where there is nothing to tell.
    """
    draws = facts.result["theta"].to_dataset()[param["name"]].values
    after = np.quantile(draws, QUANTILES)
    before = np.array(param.get("quantiles", [math.nan] * len(QUANTILES)))
    width, prior_width = after[3] - after[1], before[3] - before[1]
    told = prior_width > 0 and width > 0
    return {
        "before": _interval(before),
        "after": _interval(after),
        "shrinkage": f"{round(100 * (1 - width / prior_width))}%" if told else "–",
    }


def _interval(found: np.ndarray) -> str:
    low, _, middle, _, high = found
    if not math.isfinite(middle):
        return "–"
    return f"{middle:.3g}" if low == high else f"{middle:.3g} ({low:.3g} to {high:.3g})"
