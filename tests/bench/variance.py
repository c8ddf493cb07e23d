"""What each way of saving variance is worth: the ratio of variances at equal time.

    python tests/bench/variance.py --draws 256 --patients 64

Integrated against counted sensitivity, paired against independent cohorts, Sobol and Latin hypercube against plain
patients: at fixed parameters, where all variance is patients, and over uncertain ones, where most of it is draws of
the parameters, which no way of choosing patients can save. Then a risk of one in a million at fixed parameters.

A variance is MCSE^2, known to a factor 1 +- sqrt(2 / draws), less well where few patients carry a risk; time is that
of the processor over the whole run in one thread, for the risk of one in a million it is that of the clock in two.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields, replace
from time import perf_counter, process_time

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vtrial import load_scenario, run
from vtrial.endpoint import LevelReached
from vtrial.estimand import Estimands
from vtrial.library import SCENARIOS
from vtrial.sample import key, uniforms
from vtrial.scenario import Scenario
from vtrial.scheme import REPLICATES, Plain, Scheme

REFERENCE, ARM, ALONE = "ARM1_GUIDELINE", "ARM0_INDEX", "ARM10_BAC_ONLY"
STRATA = ("18-49 G1", "75-84 G4")
LEVELS = (1, 2, 3)


@dataclass(frozen=True)
class Latin:
    """Latin hypercube: the patients of each half of a draw, one in each of equal intervals, in random order."""

    seed: int
    patients: int
    replicates = REPLICATES

    def uniforms(
        self, kind: str, stratum: str, name: str, draws: range, patients: range, *, attempt: int = 0
    ) -> NDArray[np.float64]:
        plain = Plain(self.seed).uniforms(kind, stratum, name, draws, patients, attempt=attempt)
        if attempt:
            return plain
        order = uniforms(key(self.seed, "order", kind, stratum, name), draws, range(self.patients))
        count = self.patients // REPLICATES
        rank = order.reshape(len(draws), REPLICATES, count).argsort(-1).argsort(-1).reshape(order.shape)
        return (rank[:, patients.start : patients.stop] + plain) / count


class InLatin(Scenario):
    """A scenario whose patients are spread by Latin hypercubes."""

    def scheme(self, patients: int) -> Scheme:
        return Latin(self.spec.simulation.seed, patients)


def scenario(sampling: str, parameters: str, size: tuple[int, int], *, estimator: str = "integrated") -> Scenario:
    """The main scenario's model and population, in two strata, two arms and three levels."""
    found = load_scenario(SCENARIOS / "starting_dose.yaml")
    spec = found.spec
    endpoint = LevelReached.model_validate(
        {"kind": "level_reached", "level": LEVELS, "within": ("24 h",), "estimator": estimator}
    )
    changes = {
        "model": spec.model.model_copy(update={"parameters": parameters, "draws_from": "prior"}),
        "simulation": spec.simulation.model_copy(update={"sampling": "sobol" if sampling == "sobol" else "plain"}),
        "endpoints": (endpoint,),
        "estimands": Estimands(reference=REFERENCE, primary=endpoint.outcomes(found.model)[0].name),
        "accept": (),
        **dict.fromkeys(("examples", "dose_risk", "sensitivities")),
    }
    population = replace(found.population, strata=tuple(s for s in found.population.strata if s.name in STRATA))
    arms = found.arm(REFERENCE), found.arm(ARM)
    found = replace(
        found, spec=spec.model_copy(update=changes), arms=arms, population=population, draws=size[0], patients=size[1]
    )
    return InLatin(**{f.name: getattr(found, f.name) for f in fields(found)}) if sampling == "latin" else found


def measured(asked: Scenario, threads: int = 1) -> tuple[xr.Dataset, float]:
    """Estimates, and the seconds that they took, the best of three, after a tiny run that loads the compiled code."""
    clock = process_time if threads == 1 else perf_counter  # others may share the machine
    run(replace(asked, draws=2), threads=threads)
    seconds = []
    for _ in range(3):
        start = clock()
        result = run(asked, threads=threads)
        seconds.append(clock() - start)
    return result["estimates"].to_dataset(), min(seconds)


def variance(estimates: xr.Dataset, what: str, arm: str) -> NDArray[np.float64]:
    """MCSE^2 of value or difference, (stratum, level)."""
    return np.square(estimates[what].sel(arm=arm, stratum=list(STRATA), stat="mcse").values)


def row(name: str, seconds: float, gain: NDArray[np.float64]) -> None:
    """Print one way with its gains; no gain is known where nothing was counted."""
    cells = "".join(f"{x:>10.3g}" if np.isfinite(x) and x > 0 else f"{'-':>10}" for x in gain.ravel())
    print(f"{name:44}{seconds:>7.2f} s{cells}")


def table(parameters: str, size: tuple[int, int]) -> None:
    """Gains of all ways, at fixed or over uncertain parameters."""
    draws, patients = size
    print(f"\n{parameters} parameters, {draws} draws of {patients} patients: ratios of variance x time")
    print(" " * 53 + "".join(f"{s:>30}" for s in STRATA))
    print(f"{'':44}{'time':>9}" + "".join(f"{f'level {k}':>10}" for k in LEVELS) * len(STRATA))
    base, seconds = measured(scenario("plain", parameters, size))
    cost = variance(base, "value", ARM) * seconds
    risk = base["value"].sel(arm=ARM, stratum=list(STRATA), stat="mean").values
    row(f"risk, {ARM}", seconds, risk)
    share = base["value"].sel(arm=ARM, stratum=list(STRATA), stat="inner_share").values
    row("its inner share", seconds, share)
    counted, other = measured(scenario("plain", parameters, size, estimator="counting"))
    # a binomial variance where all patients are of one parameter: it is known even where nobody was counted
    exact = risk * (1 - risk) / (draws * patients) if parameters == "median" else variance(counted, "value", ARM)
    row("integrated against counted", other, exact * other / cost)
    apart = variance(base, "value", ARM) + variance(base, "value", REFERENCE)
    row("paired against independent trials: difference", seconds, apart / variance(base, "difference", ARM))
    for sampling in ("sobol", "latin"):
        found, own = measured(scenario(sampling, parameters, size))
        row(f"{sampling} against plain: risk", own, cost / (variance(found, "value", ARM) * own))
        paired = variance(base, "difference", ARM) * seconds / (variance(found, "difference", ARM) * own)
        row(f"{sampling} against plain: paired difference", own, paired)


def one_in_a_million(draws: int = 64, patients: int = 256) -> None:
    """Baclofen alone, the young with good kidneys, coma within 24 h, at fixed parameters, two threads."""
    for sampling in ("plain", "sobol"):
        asked = scenario(sampling, "median", (draws, patients))
        strata = tuple(s for s in asked.population.strata if s.name == STRATA[0])
        alone = asked.spec.estimands.model_copy(update={"reference": ALONE})
        asked = replace(
            asked, arms=(asked.arm(ALONE),), population=replace(asked.population, strata=strata),
            spec=asked.spec.model_copy(update={"estimands": alone}),
        )  # fmt: skip
        found, seconds = measured(asked, threads=2)
        value = found["value"].sel(arm=ALONE, stratum=STRATA[0], outcome="level3_24h")
        mean, mcse = (float(value.sel(stat=stat)) for stat in ("mean", "mcse"))
        print(f"{sampling}: {mean:.3g}, relative MCSE {mcse / mean:.1%}, {draws} x {patients}, {seconds:.2f} s")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=256)
    parser.add_argument("--patients", type=int, nargs="+", default=[16, 64, 256])
    args = parser.parse_args()
    for parameters in ("median", "uncertain"):
        for patients in args.patients:
            table(parameters, (args.draws, patients))
    print(f"\none in a million: level 3 within 24 h, {ALONE}, {STRATA[0]}, two threads")
    one_in_a_million()


if __name__ == "__main__":
    main()
