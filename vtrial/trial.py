"""The whole path on one page: from a scenario to a result that explains itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from vtrial.block import MEMORY, Block, Prepared, blocks_of, in_threads, memory_bytes, reduce_block, treatments
from vtrial.discordance import discordance
from vtrial.estimand import Sums, estimate
from vtrial.further import dose_risk, dose_surface, sensitivity
from vtrial.population.compare import read_comparison
from vtrial.population.covariates import population_file
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
        arm, stratum and draw), ``theta`` (the draws), and what the scenario asks for beside: ``examples``,
        ``dose_risk``, ``dose_surface``, ``sensitivity``; of a population also ``discordance`` and, of a covariate
        model, ``survey``; attributes hold the provenance.

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
        groups["/dose_risk"] = dose_risk(scenario, draws, **within)
    if spec.dose_surface:
        groups["/dose_surface"] = dose_surface(scenario, draws, **within)
    if spec.sensitivities:
        groups["/sensitivity"] = sensitivity(scenario, posterior, **within)
    groups |= _of_population(scenario)
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

    many = treatments(scenario, arms)
    in_threads(threads, treat, blocks_of(scenario, strata, arms=many, memory=memory, threads=threads), tell)
    return sums


def _of_population(scenario: Scenario) -> dict[str, xr.Dataset]:
    """Where measures of renal function disagree in it, and what its covariate model gives beside the survey."""
    source = scenario.population.provenance
    if source["kind"] == "patient":
        return {}
    with stage("discordance"):
        found = {"/discordance": discordance(scenario)}
    if source["kind"] == "model" and (held := read_comparison(population_file(source["name"]))) is not None:
        found["/survey"] = held
    return found


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
