"""The whole path on one page: from a scenario to a result that explains itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import xarray as xr

from vtrial.block import MEMORY, SPLITS, Block, Prepared, blocks_of, memory_bytes, reduce_block
from vtrial.estimand import STATS, Sums, describe, estimate
from vtrial.policy import Arm
from vtrial.result import provenance
from vtrial.scenario import Scenario
from vtrial.stage import stage
from vtrial.treatment import trace_example

type Progress = Callable[[int, int], None]
"""Called with the patient-trajectories done and those to do."""


def run(
    scenario: Scenario,
    *,
    posterior: Path | str | None = None,
    threads: int | None = None,
    memory: str = MEMORY,
    progress: Progress = lambda done, total: None,
) -> xr.DataTree:
    """Run a scenario.

    Parameters
    ----------
    scenario : Scenario
        From `load_scenario`.
    posterior : path or "prior", optional
        Draws of the population parameters instead of those that the scenario asks for (``model.draws_from``).
    threads : int, optional
        Threads over blocks; all processors by default. The result is the same, to the bit.
    memory : str
        Memory that the patients at work in all threads may take together, e.g. ``"2 GiB"``; program, draws and
        result come on top, with Sobol sampling also the set of each stratum (4 bytes for each patient of a draw and
        dimension). The result is the same, to the bit.
    progress : callable
        Called with patient-trajectories done and to do.

    Returns
    -------
    xarray.DataTree
        ``Result``: groups ``estimates`` (see `vtrial.estimand.estimate`), ``risk`` (the risk of each level by
        arm, stratum and draw), ``theta`` (the draws), ``examples``, ``dose_risk``; attributes hold the provenance.

    Raises
    ------
    InputError
        If `memory` or the posterior cannot be used, or the kinetics of a patient cannot be solved.

    Examples
    --------
    >>> from vtrial import load_scenario
    >>> from vtrial.library import SCENARIOS
    >>> result = run(load_scenario(SCENARIOS / "index_patient.yaml", size="small"))
    >>> float(result["estimates"]["value"].sel(arm="ARM0_INDEX", outcome="level1_7d", stat="mean")[0]) > 0.1
    True
    """
    within = {"memory": memory_bytes(memory), "threads": threads or os.cpu_count() or 1}
    spec = scenario.spec
    with stage("draw parameters"):
        posterior = scenario.draws_from() if posterior is None else posterior
        draws = scenario.parameters(posterior)
    strata = [stratum.name for stratum in scenario.population.strata]
    sums = _treat_all(scenario, draws, strata, progress, **within)
    with stage("estimate"):
        estimates = estimate(
            sums, spec.estimands, weight=np.array([stratum.weight for stratum in scenario.population.strata]),
            outcomes=scenario.outcomes, strata=strata, arms=[arm.id for arm in scenario.arms], drugs=scenario.drugs,
            derived=scenario.derived,
        )  # fmt: skip
    groups = {"/estimates": estimates, "/risk": _risk(scenario, sums, strata), "/theta": draws}
    for arm in spec.examples.arms if spec.examples else ():
        with stage("examples"):
            groups[f"/examples/{arm}"] = trace_example(scenario, draws, arm)
    if spec.dose_risk:
        groups["/dose_risk"] = _dose_risk(scenario, draws, **within)
    if spec.sensitivities:
        groups["/sensitivity"] = _sensitivity(scenario, posterior, **within)
    with stage("provenance"):
        groups["/"] = xr.Dataset(attrs=provenance(scenario, draws))
    return xr.DataTree.from_dict(groups)


def _treat_all(
    scenario: Scenario, draws: xr.Dataset, strata: list[str], progress: Progress, *, memory: float, threads: int
) -> Sums:
    """Treat every stratum by every arm."""
    with stage("reference patient"):
        prepared = Prepared.of(scenario, draws)
    arms = scenario.arms
    reference = [arm.id for arm in arms].index(scenario.spec.estimands.reference)
    sums = Sums.empty(len(arms), len(strata), len(scenario.outcomes), len(scenario.drugs), scenario.draws)
    of_draw = len(arms) * scenario.patients
    total, done = len(strata) * scenario.draws * of_draw, 0

    def tell(trajectories: int) -> None:
        nonlocal done
        done += trajectories
        progress(done, total)

    def treat(block: Block) -> int:
        (moments,) = reduce_block(prepared, block, arms, reference)
        sums.put(moments, arms=slice(None), stratum=strata.index(block.stratum), draws=block.of_draws)
        return len(block.draws) * of_draw

    many = _treatments(scenario, arms)
    _in_threads(threads, treat, blocks_of(scenario, strata, arms=many, memory=memory, threads=threads), tell)
    return sums


def _treatments(scenario: Scenario, arms: Sequence[Arm]) -> int:
    """Arms, the components of those that are mixtures, and what one that reacts splits its patients into."""
    parts = [one for arm in arms for one, _ in scenario.components(arm)]
    mixed = sum(len(scenario.components(arm)) for arm in arms if arm.mix)
    return len(arms) + mixed + SPLITS * sum(one.feedback for one in parts)


def _in_threads[Job, Done](
    threads: int, work: Callable[[Job], Done], jobs: Iterable[Job], tell: Callable[[Done], None] = lambda done: None
) -> None:
    """Do jobs, and tell what each gave, in the order in which they end; the first error ends them all."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(work, job) for job in jobs]
        try:
            for finished in as_completed(waiting):
                tell(finished.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _risk(scenario: Scenario, sums: Sums, strata: list[str]) -> xr.Dataset:
    """The risk of each level by arm, stratum and draw."""
    found = scenario.population.strata
    risks = [o for o, outcome in enumerate(scenario.outcomes) if outcome.risk]
    return xr.Dataset(
        {"mean": (("arm", "stratum", "outcome", "draw"), sums.mean[:, :, risks])},
        {
            "arm": [arm.id for arm in scenario.arms],
            "stratum": strata,
            "outcome": [scenario.outcomes[o].name for o in risks],
            "draw": np.arange(scenario.draws),
            "row": ("stratum", [stratum.row or "" for stratum in found]),
            "column": ("stratum", [stratum.column or "" for stratum in found]),
            "dialysis": ("stratum", [stratum.dialysis for stratum in found]),
        },
    )


def _dose_risk(scenario: Scenario, draws: xr.Dataset, *, memory: float, threads: int) -> xr.Dataset:
    """Risk by multiple of an arm's doses: value (stratum, multiple, outcome, stat)."""
    asked = scenario.spec.dose_risk
    assert asked is not None
    scenario = scenario.asking_for(lambda outcome: outcome.risk)
    risks = [o for o, outcome in enumerate(scenario.outcomes) if outcome.risk]
    arms, multiples, strata = [scenario.arm(asked.arm)], asked.multiples, list(asked.strata)
    with stage("dose risk"):
        prepared = Prepared.of(scenario, draws)
    sums = Sums.empty(len(multiples), len(strata), len(scenario.outcomes), len(scenario.drugs), scenario.draws)

    @stage("dose risk")
    def treat(block: Block) -> None:
        for m, moments in enumerate(reduce_block(prepared, block, arms, 0, multiples=multiples)):
            sums.put(moments, arms=slice(m, m + 1), stratum=strata.index(block.stratum), draws=block.of_draws)

    many = _treatments(scenario, arms)
    _in_threads(threads, treat, blocks_of(scenario, strata, arms=many, memory=memory, threads=threads))
    mean, noise = (np.swapaxes(values[:, :, risks], 0, 1) for values in (sums.mean, sums.noise))
    return xr.Dataset(
        {
            "value": (
                ("stratum", "multiple", "outcome", "stat"),
                describe(mean, noise, scenario.spec.estimands.interval),
            )
        },
        {
            "stratum": strata,
            "multiple": list(multiples),
            "outcome": [scenario.outcomes[o].name for o in risks],
            "stat": list(STATS),
        },
        {"arm": asked.arm, "interval": scenario.spec.estimands.interval},
    )


def _sensitivity(scenario: Scenario, posterior: Path | str, *, memory: float, threads: int) -> xr.Dataset:
    """Primary outcome under named assumptions: value (case, arm, stratum, stat), on the same patients."""
    asked, estimands = scenario.spec.sensitivities, scenario.spec.estimands
    assert asked is not None
    scenario = scenario.asking_for(lambda outcome: outcome.name == estimands.primary)
    cases = {"as in the scenario": scenario} | {name: scenario.varied(case) for name, case in asked.cases.items()}
    arms, strata = [scenario.arm(name) for name in asked.arms], list(asked.strata)
    shape = len(arms), len(strata), len(scenario.outcomes), len(scenario.drugs), scenario.draws
    sums = [Sums.empty(*shape) for _ in cases]

    @stage("sensitivities")
    def prepare(varied: Scenario) -> Prepared:
        return Prepared.of(varied, varied.parameters(posterior))

    @stage("sensitivities")
    def treat(job: tuple[Prepared, Sums, Block]) -> None:
        prepared, into, block = job
        (moments,) = reduce_block(prepared, block, arms, 0)
        into.put(moments, arms=slice(None), stratum=strata.index(block.stratum), draws=block.of_draws)

    blocks = blocks_of(scenario, strata, arms=_treatments(scenario, arms), memory=memory, threads=threads)
    prepared = [prepare(varied) for varied in cases.values()]
    _in_threads(threads, treat, [(p, s, block) for p, s in zip(prepared, sums, strict=True) for block in blocks])
    primary = [outcome.name for outcome in scenario.outcomes].index(estimands.primary)
    mean, noise = (np.stack([getattr(s, name)[:, :, primary] for s in sums]) for name in ("mean", "noise"))
    changes = [case.model_dump(exclude_defaults=True) for case in asked.cases.values()]
    texts = [", ".join(f"{key} {value}" for key, value in {**c.pop("fix", {}), **c}.items()) for c in changes]
    return xr.Dataset(
        {
            "value": (("case", "arm", "stratum", "stat"), describe(mean, noise, estimands.interval)),
            "mean": (("case", "arm", "stratum", "draw"), mean),
        },
        {
            "case": list(cases), "arm": list(asked.arms), "stratum": list(asked.strata), "stat": list(STATS),
            "change": ("case", ["", *texts]),
        },
        {"outcome": estimands.primary, "interval": estimands.interval},
    )  # fmt: skip
