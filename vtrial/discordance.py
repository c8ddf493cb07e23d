"""Where two measures of renal function disagree, and what a dosing rule makes of it.

Labels dose by Cockcroft-Gault, laboratories print CKD-EPI. The same people are put into the categories of both; then
every arm doses them as its rules say, and once more with the two exchanged, as where a prescriber reads the one that is
printed for the one that the rule means.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vtrial.decision import decide
from vtrial.policy import Arm, daily_totals
from vtrial.population.compare import KDIGO
from vtrial.scenario import Scenario
from vtrial.scheme import Plain

PEOPLE = 2_000
"""People of each stratum."""
CHANGES = ("less", "same", "more")


def discordance(scenario: Scenario) -> xr.Dataset:
    """Hold eGFR (CKD-EPI 2021) against creatinine clearance (Cockcroft-Gault, actual weight) in a population.

    Parameters
    ----------
    scenario : Scenario

    Returns
    -------
    xarray.Dataset
        ``share`` (stratum, egfr, crcl): share of a stratum in each pair of categories; ``changed`` (arm, drug, stratum,
        change): share given less, the same, or more on the first day with the two measures exchanged; both from
        ``PEOPLE`` people of each stratum; ``weight`` (stratum) its share of the population. Arms that are mixtures have
        no rule of their own and are left out.

    Examples
    --------
    >>> from vtrial import load_scenario
    >>> from vtrial.library import SCENARIOS
    >>> found = discordance(load_scenario(SCENARIOS / "index_patient.yaml"))
    >>> bool(np.allclose(found["share"].sum(["egfr", "crcl"]), 1.0))
    True
    """
    strata, arms = [one.name for one in scenario.population.strata], [arm for arm in scenario.arms if not arm.mix]
    share = np.zeros((len(strata), len(KDIGO), len(KDIGO)))
    changed = np.zeros((len(arms), len(scenario.drugs), len(strata), len(CHANGES)))
    scheme = Plain(scenario.spec.simulation.seed)
    for s, stratum in enumerate(strata):
        people = scenario.population.draw(stratum, scheme, range(1), range(PEOPLE))
        where = _category(people["EGFR"]) * len(KDIGO) + _category(people["CRCL"])
        share[s] = np.bincount(where.ravel(), minlength=share[s].size).reshape(share[s].shape) / PEOPLE
        exchanged = people | {"EGFR": people["CRCL"], "CRCL": people["EGFR"]}
        for a, arm in enumerate(arms):
            own, other = (_daily(scenario, arm, stratum, who) for who in (people, exchanged))
            changed[a, :, s] = np.stack([(other < own).mean(-1), (other == own).mean(-1), (other > own).mean(-1)], -1)
    return xr.Dataset(
        {
            "share": (("stratum", "egfr", "crcl"), share),
            "changed": (("arm", "drug", "stratum", "change"), changed),
        },
        {
            "stratum": strata, "egfr": list(KDIGO), "crcl": list(KDIGO), "arm": [arm.id for arm in arms],
            "drug": scenario.drugs, "change": list(CHANGES),
            "weight": ("stratum", [one.weight for one in scenario.population.strata]),
        },
        {"people": PEOPLE},
    )  # fmt: skip


def _category(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Place in `KDIGO`, of eGFR in mL/min/1.73 m2, and with the same ends of clearance in mL/min."""
    ends = np.array([low for low, _ in KDIGO.values()][:-1])
    return (values[..., None] < ends).sum(-1)


def _daily(scenario: Scenario, arm: Arm, stratum: str, people: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Total of the first day of each drug, mg, shape (drug, person); 0 where the arm gives none."""
    clock = {"start": scenario.spec.treatment.start, "horizon": 24.0, "titrate": False}
    after = None if scenario.population.stratum(stratum).condition.sessions is None else ()
    given = decide(arm, scenario.policies, people, None, 0.0, **clock, after=after)
    return daily_totals(given, scenario.drugs, PEOPLE)
