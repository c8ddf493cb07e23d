"""What a scenario asks for beside its arms by strata: risk against dose, over two doses, under other assumptions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from vtrial.block import Block, Prepared, blocks_of, in_threads, reduce_block, treatments
from vtrial.estimand import STATS, Sums, describe
from vtrial.policy import FREQUENCIES, Arm
from vtrial.scenario import Scenario
from vtrial.stage import stage


def dose_risk(scenario: Scenario, draws: xr.Dataset, *, memory: float, threads: int) -> xr.Dataset:
    """Risk by multiple of an arm's doses: value (stratum, multiple, outcome, stat)."""
    asked = scenario.spec.dose_risk
    assert asked is not None
    found = _over_doses(
        scenario, draws, [scenario.arm(asked.arm)], asked.strata, "dose risk",
        multiples=asked.multiples, memory=memory, threads=threads,
    )  # fmt: skip
    found = found.rename(dose="multiple").assign_coords(multiple=list(asked.multiples))
    return found.assign_attrs(arm=asked.arm, interval=scenario.spec.estimands.interval)


def dose_surface(scenario: Scenario, draws: xr.Dataset, *, memory: float, threads: int) -> xr.Dataset:
    """Risk over the doses of two drugs: value (stratum, first, second, outcome, stat), doses in mg a day, from none on.

    Every combination treats the same patients.
    """
    asked = scenario.spec.dose_surface
    assert asked is not None
    axes = asked.drugs.values()
    given = [[None, *({"dose": f"{dose!r} mg", "freq": axis.freq} for dose in axis.doses)] for axis in axes]
    arms = [Arm.model_validate({"drugs": dict(zip(asked.drugs, pair, strict=True))}) for pair in product(*given)]
    found = _over_doses(scenario, draws, arms, asked.strata, "dose surface", memory=memory, threads=threads)
    daily = [[0.0, *(FREQUENCIES[axis.freq].n * dose for dose in axis.doses)] for axis in axes]
    pairs = pd.MultiIndex.from_product(daily, names=["first", "second"])
    found = found.assign_coords(xr.Coordinates.from_pandas_multiindex(pairs, "dose")).unstack("dose")
    found = found.transpose("stratum", "first", "second", "outcome", "stat")
    return found.assign_attrs(drugs=list(asked.drugs), freq=[axis.freq for axis in axes])


def _over_doses(
    scenario: Scenario,
    draws: xr.Dataset,
    arms: Sequence[Arm],
    strata: Sequence[str],
    what: str,
    *,
    multiples: Sequence[float] = (1.0,),
    memory: float,
    threads: int,
) -> xr.Dataset:
    """Risk of the same patients under arms at each multiple of their doses: value (stratum, dose, outcome, stat)."""
    scenario = scenario.asking_for(lambda outcome: outcome.risk)
    risks = [o for o, outcome in enumerate(scenario.outcomes) if outcome.risk]
    with stage(what):
        prepared = Prepared.of(scenario, draws)
    doses = len(multiples) * len(arms)
    sums = Sums.empty(doses, len(strata), len(scenario.outcomes), len(scenario.drugs), scenario.draws)

    @stage(what)
    def treat(block: Block) -> None:
        for m, moments in enumerate(reduce_block(prepared, block, arms, 0, multiples=multiples)):
            own = slice(m * len(arms), (m + 1) * len(arms))
            sums.put(moments, arms=own, stratum=strata.index(block.stratum), draws=block.of_draws)

    many = treatments(scenario, arms)
    in_threads(threads, treat, blocks_of(scenario, list(strata), arms=many, memory=memory, threads=threads))
    mean, noise = (np.swapaxes(values[:, :, risks], 0, 1) for values in (sums.mean, sums.noise))
    return xr.Dataset(
        {"value": (("stratum", "dose", "outcome", "stat"), describe(mean, noise, scenario.spec.estimands.interval))},
        {
            "stratum": list(strata),
            "outcome": [scenario.outcomes[o].name for o in risks],
            "stat": list(STATS),
        },
    )


def sensitivity(scenario: Scenario, posterior: Path | str, *, memory: float, threads: int) -> xr.Dataset:
    """Primary outcome under named assumptions: value (case, arm, stratum, stat), on the same patients.

    Of each draw also its mean in each case; as the scenario is also the variance of that mean due to the number of
    patients (``noise``), and the variance between patients (``spread``).
    """
    asked, estimands = scenario.spec.sensitivities, scenario.spec.estimands
    assert asked is not None
    scenario = scenario.asking_for(lambda outcome: outcome.name == estimands.primary)
    cases = {"as in the scenario": scenario} | {name: scenario.varied(case) for name, case in asked.cases.items()}
    arms, strata = [scenario.arm(name) for name in asked.arms], list(asked.strata)
    shape = len(arms), len(strata), len(scenario.outcomes), len(scenario.drugs), scenario.draws
    sums = [Sums.empty(*shape) for _ in cases]
    spread = np.full((*shape[:3], scenario.draws), np.nan)

    @stage("sensitivities")
    def prepare(varied: Scenario) -> Prepared:
        return Prepared.of(varied, varied.parameters(posterior))

    @stage("sensitivities")
    def treat(job: tuple[Prepared, Sums, Block]) -> None:
        prepared, into, block = job
        (moments,) = reduce_block(prepared, block, arms, 0)
        into.put(moments, arms=slice(None), stratum=strata.index(block.stratum), draws=block.of_draws)
        if into is sums[0]:
            spread[:, strata.index(block.stratum), :, block.of_draws] = moments.spread

    blocks = blocks_of(scenario, strata, arms=treatments(scenario, arms), memory=memory, threads=threads)
    prepared = [prepare(varied) for varied in cases.values()]
    in_threads(threads, treat, [(p, s, block) for p, s in zip(prepared, sums, strict=True) for block in blocks])
    primary = [outcome.name for outcome in scenario.outcomes].index(estimands.primary)
    mean, noise = (np.stack([getattr(s, name)[:, :, primary] for s in sums]) for name in ("mean", "noise"))
    changes = [case.model_dump(exclude_defaults=True) for case in asked.cases.values()]
    texts = [", ".join(f"{key} {value}" for key, value in {**c.pop("fix", {}), **c}.items()) for c in changes]
    return xr.Dataset(
        {
            "value": (("case", "arm", "stratum", "stat"), describe(mean, noise, estimands.interval)),
            "mean": (("case", "arm", "stratum", "draw"), mean),
            "noise": (("arm", "stratum", "draw"), noise[0]),
            "spread": (("arm", "stratum", "draw"), spread[:, :, primary]),
        },
        {
            "case": list(cases), "arm": list(asked.arms), "stratum": list(asked.strata), "stat": list(STATS),
            "change": ("case", ["", *texts]),
            "structural": ("case", [True, *(not case.fix for case in asked.cases.values())]),
        },
        {"outcome": estimands.primary, "interval": estimands.interval},
    )  # fmt: skip
