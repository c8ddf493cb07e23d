"""The largest start whose risk stays below a limit with a stated probability, stratum by stratum.

All starts are tried on the same patients and draws. That a start with more of a drug at each time carries at least the
risk of one with less is exact, patient by patient: so few of the starts need to be tried. The one that is chosen is
judged beside the arms on other patients, those of the next seed: of many the best is the luckiest too.

| module | holds |
|---|---|
| `candidates` | the starts that exist, their value and their order |
| `search` | the best that is allowed |
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vtrial.block import MEMORY, Prepared, blocks_of, memory_bytes, reduce_block
from vtrial.dose_table.candidates import Start, dominance, starts_that_exist
from vtrial.dose_table.search import best_allowed
from vtrial.estimand import STATS, describe
from vtrial.patients import one_patient
from vtrial.policy import Arm, arm_regimens
from vtrial.population.injury import visible
from vtrial.problem import InputError
from vtrial.scenario import Scenario

type Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Stratum:
    """What was found in a stratum: the best start, how many were tried, and risk and noise (arm, draw), the best's
    first."""

    best: int
    tried: int
    risk: Array
    noise: Array


def optimise(
    scenario: Scenario,
    *,
    posterior: Path | str | None = None,
    threads: int | None = None,
    memory: str = MEMORY,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> xr.Dataset:
    """Find the largest allowed start of each stratum, and its risk beside those of the scenario's arms.

    Parameters
    ----------
    scenario : Scenario
        With `optimise`.
    posterior : path or "prior", optional
        Draws of the population parameters instead of those that the scenario asks for.
    threads : int, optional
        Threads over strata; all processors by default. The result is the same, to the bit.
    memory : str
        Memory that the patients at work in all threads may take together.
    progress : callable
        Called with strata done and to do.

    Returns
    -------
    xarray.Dataset
        amt (stratum, drug), mg; freq (stratum, drug); daily (stratum, drug), mg/day; value (stratum), the least of the
        drugs' daily doses relative to those that the reference arm gives the reference patient; risk (arm, stratum,
        stat), of the start (arm "start") and of the scenario's arms; allowed (arm, stratum), the probability over draws
        that the risk is below the limit, of the start too on other patients than it was chosen by; tried (stratum),
        how many of the starts were; candidates, how many there are.

    Raises
    ------
    InputError
        If the scenario does not say what is allowed, or its reference arm does not give the reference patient a drug.

    Examples
    --------
    >>> from vtrial import load_scenario
    >>> from vtrial.library import SCENARIOS
    >>> found = optimise(load_scenario(SCENARIOS / "dose_table.yaml", size="small"))
    >>> found["value"].sel(stratum="18-49 G1").item() > found["value"].sel(stratum="75-84 G5").item()
    True
    """
    asked = scenario.spec.optimise
    if asked is None:
        raise InputError([f"{scenario.file}: says nothing of 'optimise': outcome, below, probability"])
    within = {"memory": memory_bytes(memory), "threads": threads or os.cpu_count() or 1}
    scenario = scenario.asking_for(lambda outcome: outcome.name == asked.outcome)
    place = [outcome.name for outcome in scenario.outcomes].index(asked.outcome)
    draws = scenario.parameters(posterior)
    prepared = Prepared.of(scenario, draws)
    judged = replace(prepared, scheme=scenario.scheme(scenario.patients, others=True))
    usual = usual_daily(scenario, draws)
    starts = starts_that_exist(scenario.drugs, scenario.policies, asked.most, usual)
    worse = dominance(starts, scenario.spec.treatment.start)
    strata = [stratum.name for stratum in scenario.population.strata]
    done = 0

    def risks(patients: Prepared, stratum: str, arms: list[Arm]) -> tuple[Array, Array]:
        """Mean over patients, and its noise: (arm, draw)."""
        blocks = blocks_of(scenario, [stratum], arms=len(arms), **within)
        found = [reduce_block(patients, block, arms, 0)[0] for block in blocks]
        mean, noise = (np.concatenate([getattr(one, of)[:, place] for one in found], 1) for of in ("mean", "noise"))
        return mean, noise

    def solve(stratum: str) -> _Stratum:
        nonlocal done

        def allowed(number: int) -> bool:
            risk, _ = risks(prepared, stratum, [starts[number].arm()])
            return bool(np.mean(risk < asked.below) >= asked.probability)

        best, tried = best_allowed(worse, allowed)
        arms = [starts[best].arm(), *scenario.arms] if best else list(scenario.arms)
        mean, noise = risks(judged, stratum, arms)
        if not best:  # nothing is given to anyone: no risk
            mean, noise = (np.concatenate([np.zeros((1, scenario.draws)), one]) for one in (mean, noise))
        done += 1
        progress(done, len(strata))
        return _Stratum(best, tried, mean, noise)

    with ThreadPoolExecutor(within["threads"]) as pool:
        found = list(pool.map(solve, strata))
    table = _result(scenario, starts, found)
    given = np.array([usual[drug] for drug in scenario.drugs])
    table["value"] = ("stratum", (table["daily"].values / given).min(1), {"units": "1"})
    return table.assign_attrs(usual=given, parameters=draws.attrs["source"])


def usual_daily(scenario: Scenario, draws: xr.Dataset) -> dict[str, float]:
    """What the reference arm gives the reference patient of each drug on the first day, mg: it counts as 1."""
    arm = scenario.arm(scenario.spec.estimands.reference)
    own = one_patient(scenario, draws.isel(draw=slice(0, 1)), scenario.spec.reference_patient, vary=False).own
    seen = visible(own, scenario.spec.reference_patient.injury, 0.0)
    given = arm_regimens(arm, scenario.policies, seen, start=scenario.spec.treatment.start, horizon=48.0)
    # an evening drug starts on the first day too
    usual = {drug: float(given[drug].total(0, 24).flat[0]) if drug in given else 0.0 for drug in scenario.drugs}
    if none := [drug for drug, amt in usual.items() if not amt]:
        raise InputError(
            [f"optimise: the reference arm {arm.id} gives the reference patient no {' and no '.join(none)}"]
        )
    return usual


def _result(scenario: Scenario, starts: list[Start], found: list[_Stratum]) -> xr.Dataset:
    asked = scenario.spec.optimise
    assert asked is not None
    risk, noise = (np.stack([getattr(one, name) for one in found], 1) for name in ("risk", "noise"))
    chosen = [starts[one.best].doses for one in found]
    arm_dims = ("arm", "stratum")
    return xr.Dataset(
        {
            "amt": (("stratum", "drug"), [[d.amt for d in doses] for doses in chosen], {"units": "mg"}),
            "freq": (("stratum", "drug"), [[d.freq for d in doses] for doses in chosen]),
            "daily": (("stratum", "drug"), [[d.daily for d in doses] for doses in chosen], {"units": "mg/day"}),
            "risk": ((*arm_dims, "stat"), describe(risk, noise, scenario.spec.estimands.interval), {"units": "1"}),
            "allowed": (arm_dims, (risk < asked.below).mean(-1), {"units": "1"}),
            "tried": ("stratum", [one.tried for one in found]),
        },
        {
            "arm": ["start", *(arm.id for arm in scenario.arms)],
            "stratum": [stratum.name for stratum in scenario.population.strata],
            "drug": scenario.drugs,
            "stat": list(STATS),
            "row": ("stratum", [stratum.row or "" for stratum in scenario.population.strata]),
            "column": ("stratum", [stratum.column or "" for stratum in scenario.population.strata]),
        },
        {
            "title": scenario.spec.title, "question": " ".join(scenario.spec.question.split()),
            "scenario_sha256": scenario.sha256, "outcome": asked.outcome, "below": asked.below,
            "probability": asked.probability, "candidates": len(starts), "interval": scenario.spec.estimands.interval,
            "seed": scenario.spec.simulation.seed, "draws": scenario.draws, "patients": scenario.patients,
        },
    )  # fmt: skip
