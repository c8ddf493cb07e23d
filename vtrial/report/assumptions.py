"""Tables of what was put in: doses of the arms on day 1, and risks under other named assumptions."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import xarray as xr

from vtrial.report import digits
from vtrial.report.facts import Facts, is_probability, short_outcome


def dose_table(facts: Facts) -> dict[str, Any]:
    """What the arms give the named patients on day 1.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    dict
        ``patients``: names; ``rows``: arm, for each patient a list of texts, and the other arms with the same
        doses on day 1 for all of them; what else is done or happens. No rows if the result does not tell doses.
    """
    doses = facts.doses
    acts = {arm["id"]: arm.get("acts", []) for arm in facts.json("arms")}
    patients = list(dict.fromkeys(patient for of in doses.values() for patient in of))
    rows = []
    for arm, given in doses.items():
        cells = [[f"{drug}: {text}" for drug, text in given.get(patient, {}).items()] for patient in patients]
        same = [other for other, of in doses.items() if other != arm and of == given]
        rows.append({"arm": arm, "cells": cells, "same": same, "acts": acts.get(arm, [])})
    return {"patients": patients, "rows": rows}


def sensitivity_table(facts: Facts) -> dict[str, Any] | None:
    """Risks under other named assumptions.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    dict or None
        ``what``: the outcome; ``blocks``: by stratum its name, arms, and rows of case, what was changed, and for
        each arm mean (MCSE) and median as text. None if the result has none.
    """
    if "sensitivity" not in facts.result.children:
        return None
    found = facts.result["sensitivity"].to_dataset()
    value = found["value"].transpose("case", "arm", "stratum", "stat")
    outcome, arms = str(found.attrs["outcome"]), [str(arm) for arm in found["arm"].values]
    blocks = []
    for stratum in (str(name) for name in found["stratum"].values):
        rows = [
            {
                "case": str(case),
                "change": str(change) or "nothing",
                "cells": [_cell(value.sel(case=case, arm=arm, stratum=stratum), outcome) for arm in arms],
            }
            for case, change in zip(found["case"].values, found["change"].values, strict=True)
        ]
        means = value.sel(stratum=stratum, stat="mean").values
        blocks.append({"name": facts.name_of(stratum), "arms": arms, "rows": rows, "lowest": _lowest(means, arms)})
    return {"what": short_outcome(facts, outcome), "blocks": blocks}


def _lowest(means: Any, arms: list[str]) -> str:
    """Which arm has the lowest mean, by the number of cases in which it has; empty of one arm."""
    if len(arms) < 2:
        return ""
    count = Counter(arms[int(a)] for a in means.argmin(1))
    return ", ".join(f"{arm} in {n} of {len(means)} cases" for arm, n in count.most_common())


def _cell(value: xr.DataArray, outcome: str) -> dict[str, str]:
    """Mean with MCSE, and median, whose error is taken as twice the mean's: its draws were not kept."""
    percent = is_probability(outcome)
    write = digits.probability if percent else digits.number
    mean, median, mcse = (float(value.sel(stat=name)) for name in ("mean", "median", "mcse"))
    if not math.isfinite(mean):
        return {"mean": "–", "median": "–"}
    return {
        "mean": f"{write(mean, mcse)} ({digits.error(mcse, percent=percent)})",
        "median": write(median, 2 * mcse),
    }
