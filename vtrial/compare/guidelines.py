"""Guidelines side by side: what arms give to the same people on the first day, by stratum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vtrial.policy import Arm, Policies, arm_regimens, daily_totals
from vtrial.population import Population
from vtrial.problem import InputError, Problem
from vtrial.scheme import Plain

PEOPLE = 500
"""People of each stratum."""
DAY = 24.0


def compare_guidelines(
    arms: Sequence[Arm], policies: Policies, population: Population, *, start: float = 8.0, seed: int = 0
) -> pd.DataFrame:
    """Daily starting doses of arms, and for whom they differ.

    Parameters
    ----------
    arms : sequence of Arm
        Two or more, none of them a mixture.
    policies : Policies
    population : Population
    start : float
        Clock time at which the trial starts, h.
    seed : int
        Of the people: `PEOPLE` of each stratum.

    Returns
    -------
    pandas.DataFrame
        One row for each arm but the first, drug and stratum, the population last: mean daily doses ``first`` and
        ``other`` in mg, ``untreated`` and ``other_untreated`` (shares), and of the people the shares to whom the other
        gives ``more``, ``less`` and the ``same``.

    Raises
    ------
    InputError
        If an arm is a mixture.

    Notes
    -----
    The doses are those of the first 24 h from the start of the trial, of who is given doses then.
    """
    problems = [Problem(f"{arm.id} is a mixture: name the arms that it is made of") for arm in arms if arm.mix]
    if problems:
        raise InputError(problems)
    daily: dict[tuple[str, str], list[np.ndarray]] = {}
    drugs = list({drug: None for one in arms for drug in one.drugs})
    for stratum in population.strata:
        people = population.draw(stratum.name, Plain(seed), range(1), range(PEOPLE))
        for arm in arms:
            given = arm_regimens(arm, policies, people, start=start, horizon=DAY)
            for drug, total in zip(drugs, daily_totals(given, drugs, PEOPLE), strict=True):
                daily.setdefault((arm.id, drug), []).append(total)
    weight = np.array([stratum.weight for stratum in population.strata])
    names = [*(stratum.name for stratum in population.strata), "population"]
    rows = []
    for arm in arms[1:]:
        for drug in drugs:
            a, b = (np.array(daily[one.id, drug]) for one in (arms[0], arm))
            for s, name in enumerate(names):
                share = weight if name == "population" and s == len(weight) else np.eye(len(weight))[s]
                rows.append({"arm": arm.id, "drug": drug, "stratum": name} | _between(a, b, share))
    return pd.DataFrame(rows)


def _between(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> dict[str, Any]:
    """Doses of people (stratum, person), strata counting by their share."""

    def mean(values: np.ndarray) -> float:
        return float(share @ values.mean(1))

    return {
        "first": mean(a), "other": mean(b), "untreated": mean(a == 0), "other_untreated": mean(b == 0),
        "more": mean(b > a), "less": mean(b < a), "same": mean(a == b),
    }  # fmt: skip


def dominance(table: pd.DataFrame) -> dict[str, str]:
    """Which arm gives less, in words, by the name of the other.

    Examples
    --------
    >>> row = {"arm": "B", "drug": "x", "stratum": "population", "more": 0.0, "less": 0.25, "same": 0.75}
    >>> dominance(pd.DataFrame([row]))
    {'B': 'x: less to 25% of the people, more to 0%: never more'}
    """
    found = {}
    whole = [row for row in table.to_dict("records") if row["stratum"] == "population"]
    for arm in dict.fromkeys(row["arm"] for row in whole):
        parts = []
        for one in (row for row in whole if row["arm"] == arm):
            text = f"{one['drug']}: less to {one['less']:.0%} of the people, more to {one['more']:.0%}"
            if one["more"] == one["less"] == 0:
                text = f"{one['drug']}: the same"
            elif not one["more"] or not one["less"]:
                text += ": never more" if not one["more"] else ": never less"
            parts.append(text)
        found[str(arm)] = "; ".join(parts)
    return found
