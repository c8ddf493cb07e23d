"""The main scenario at any size, each run in a process of its own: patient-trajectories per second, peak memory.

    python tests/bench/main_scenario.py --draws 300 --patients 16 --threads 1,2

Tables alone are timed; --extras adds the examples, the dose-risk curves and the sensitivities of the scenario,
whose trajectories do not count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from time import perf_counter

import w1

from vtrial import load_scenario, run
from vtrial.library import SCENARIOS
from vtrial.scenario import Scenario


def scenario(draws: int, patients: int, *, extras: bool = False) -> Scenario:
    """Load the main scenario and set its size."""
    found = replace(load_scenario(SCENARIOS / "starting_dose.yaml"), draws=draws, patients=patients)
    own = {"model": found.spec.model.model_copy(update={"draws_from": "prior"})}  # of any number, and always the same
    none = {} if extras else dict.fromkeys(("examples", "dose_risk", "sensitivities"))
    return replace(found, spec=found.spec.model_copy(update=own | none))


def trajectories(asked: Scenario) -> int:
    """Arms x strata x draws x patients."""
    return len(asked.arms) * len(asked.population.strata) * asked.draws * asked.patients


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Run it here, after a tiny run that loads the compiled code."""
    run(scenario(2, 2), threads=1)
    asked = scenario(args.draws, args.patients, extras=args.extras)
    before, start = w1.peak_memory(), perf_counter()
    run(asked, threads=args.threads[0])
    seconds = perf_counter() - start
    return {"trajectories": trajectories(asked), "seconds": seconds, "before": before, "peak": w1.peak_memory()}


def main() -> None:
    """Run a child process for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--patients", type=int, default=10)
    parser.add_argument("--threads", type=lambda text: [int(one) for one in text.split(",")], default=[1, 2])
    parser.add_argument("--extras", action="store_true", help="with examples, dose-risk curves and sensitivities")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args)))
        return
    for threads in args.threads:
        child = [sys.executable, __file__, "--child", "--draws", str(args.draws), "--patients", str(args.patients)]
        child += ["--threads", str(threads)] + ["--extras"] * args.extras
        start = perf_counter()
        done = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
        process, found = perf_counter() - start, json.loads(done.stdout)
        print(
            f"{found['trajectories']:,} trajectories, {threads} thread(s): {found['seconds']:.2f} s, "
            f"{found['trajectories'] / found['seconds']:,.0f}/s; whole process {process:.2f} s; "
            f"peak memory {found['peak']:.0f} MiB ({found['before']:.0f} before the run)"
        )


if __name__ == "__main__":
    main()
