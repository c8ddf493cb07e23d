"""W1 on every engine, interleaved in one process: C, NumPy and vtrial, with ratios of medians and how time grows.

    python tests/bench/side_by_side.py --patients 1e3,1e4,1e5,1e6 --threads 1,2 --repeats 5
    python tests/bench/side_by_side.py --memory

Machines differ and are shared: quote the ratios, not the times.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import w1
from rich.console import Console
from rich.table import Table

type Engine = Callable[[w1.Patients, w1.Workload, int], tuple[float, w1.Array]]
REFERENCE = "C modal"
SHORT = 0.05
"""A run shorter than this, in s, is repeated at once."""
FACTORS = (1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Doses, or length of the horizon, in multiples of W1."""


def engines(lanes: int) -> dict[str, Engine]:
    """Return what is compared, the reference first."""
    c = {REFERENCE: w1.C("modal", lanes), "C propagator": w1.C("propagator", lanes)}
    return c | {"NumPy": w1.run_numpy, "vtrial": w1.run_vtrial}


def interleave[Key: Hashable](jobs: dict[Key, Callable[[], object]], repeats: int) -> dict[Key, list[float]]:
    """Time all jobs in turn, A B C A B C ...: what else the machine does then falls on all alike; in s.

    Short jobs run twice and the second run counts, or the first to follow a long one would find the caches cold.
    """
    times: dict[Key, list[float]] = {key: [] for key in jobs}
    for _ in range(repeats):
        for key, job in jobs.items():
            taken = _time(job)
            times[key].append(taken if taken > SHORT else _time(job))
    return times


def _time(job: Callable[[], object]) -> float:
    start = perf_counter()
    job()
    return perf_counter() - start


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Exponent of y ~ x^slope, by least squares on logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0]) if len(x) > 1 else np.nan


def check(compared: dict[str, Engine], lanes: int, console: Console) -> None:
    """Compile everything, and see that all engines give the same answer.

    Raises
    ------
    SystemExit
        If concentrations differ from DOP853 by more than 1e-9, or a maximum is not what it must be.
    """
    few = w1.draw(10_000)
    for kind in ("modal", "propagator"):
        error = w1.errors(w1.C(kind, lanes), few)
        console.print(f"C {kind}: concentrations within {error:.1e} of DOP853 (rtol 1e-12)")
        if not error < 1e-9:
            raise SystemExit("the reference is wrong")
    found = {name: engine(few, w1.W1, 1)[1] for name, engine in compared.items()}
    seen = w1.agreement(found["vtrial"], few)
    console.print(f"vtrial: {seen}", soft_wrap=True)
    same = all(np.allclose(found[name], found[REFERENCE], rtol=1e-9, atol=0) for name in ("C propagator", "NumPy"))
    if not (same and seen.good):
        raise SystemExit("the engines disagree")


def compare_sizes(compared: dict[str, Engine], args: argparse.Namespace, console: Console) -> None:
    """Time all engines at each number of patients and threads."""
    table = Table(title="W1", title_justify="left", title_style="bold", box=None)
    for column in ("patients", "threads", "engine", "median s", "min s", "patients/s", "time / C", "efficiency"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    medians: dict[tuple[str, int], dict[int, float]] = {}
    for n in args.patients:
        patients = w1.draw(n)
        jobs = {
            (name, threads): partial(engine, patients, w1.W1, threads)
            for threads in args.threads
            for name, engine in compared.items()
            if _expected(medians.get((name, threads), {}), n) < args.limit
        }
        times = interleave(jobs, args.repeats)
        middle = {key: median(value) for key, value in times.items()}
        for (name, threads), value in middle.items():
            medians.setdefault((name, threads), {})[n] = value
            ratio = f"{value / middle[REFERENCE, threads]:.2f}" if (REFERENCE, threads) in middle else ""
            alone = middle.get((name, 1))
            efficiency = f"{alone / (threads * value):.2f}" if alone and threads > 1 else ""
            table.add_row(
                f"{n:,}", str(threads), name, f"{value:.4g}", f"{min(times[name, threads]):.4g}", f"{n / value:,.0f}",
                ratio, efficiency,
            )  # fmt: skip
        table.add_section()
    console.print(table)
    if len(args.patients) > 1:
        console.print("Time grows with patients to the power of")
        for (name, threads), seen in medians.items():
            console.print(f"  {name}, {threads} thread(s): {slope(list(seen), list(seen.values())):.2f}")


def _expected(seen: dict[int, float], n: int) -> float:
    """Seconds that a run of n should take, from the largest size so far."""
    return max(seen.items())[1] * n / max(seen) if seen else 0.0


def compare_lengths(compared: dict[str, Engine], args: argparse.Namespace, console: Console) -> None:
    """Time all engines with more doses on the same grid, and with a longer horizon at the same pace of doses."""
    patients = w1.draw(args.at)
    variants = {
        "doses": {w.n_doses: w for w in (w1.Workload(every=(8 / f, 12 / f)) for f in FACTORS)},
        "horizon, h": {w.horizon: w for w in (w1.Workload(horizon=168 * f) for f in FACTORS)},
    }
    for what, workloads in variants.items():
        jobs = {
            (name, x): partial(engine, patients, workload, 1)
            for x, workload in workloads.items()
            for name, engine in compared.items()
        }
        middle = {key: median(value) for key, value in interleave(jobs, args.repeats).items()}
        title = f"{args.at:,} patients, 1 thread: median ms by {what}"
        table = Table(title=title, title_justify="left", title_style="bold", box=None)
        table.add_column("engine")
        for x in [*workloads, "exponent"]:
            table.add_column(f"{x:g}" if isinstance(x, (int, float)) else x, justify="right")
        for name in compared:
            y = [middle[name, x] for x in workloads]
            table.add_row(name, *(f"{1e3 * value:.4g}" for value in y), f"{slope(list(workloads), y):.2f}")
        console.print(table)


def compare_memory(args: argparse.Namespace, console: Console) -> None:
    """Stream more and more patients through vtrial, a child process for each number: the peak should stay flat."""
    table = Table(title="Peak memory of a stream", title_justify="left", title_style="bold", box=None)
    for column in ("patients", "threads", "peak MiB", "s", "mean"):
        table.add_column(column, justify="right")
    for threads in args.threads:
        for n in args.patients:
            child = [sys.executable, __file__, "--stream", str(n), "--threads", str(threads)]
            done = subprocess.run(child, check=True, capture_output=True, text=True)
            peak, seconds, mean = map(float, done.stdout.split())
            table.add_row(f"{n:,}", str(threads), f"{peak:.0f}", f"{seconds:.3g}", f"{mean:.6f}")
    console.print(table)


def stream(n: int, threads: int) -> None:
    """Print peak memory, time and mean of a stream: what a child of `compare_memory` does."""
    start = perf_counter()
    mean = w1.stream(n, threads=threads)
    print(w1.peak_memory(), perf_counter() - start, mean)


def whole(text: str) -> int:
    """Read a whole number as people write large ones: 1e6."""
    return round(float(text))


def numbers(text: str) -> list[int]:
    """Read whole numbers separated by commas."""
    return [whole(one) for one in text.split(",")]


def main() -> None:
    """Parse the arguments and run what they ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog=Path(__file__).name
    )
    parser.add_argument("--patients", type=numbers, help="default 1e3,1e4,1e5,1e6; with --memory 1e5,1e6,1e7")
    parser.add_argument("--threads", type=numbers, default=sorted({1, min(2, os.cpu_count() or 1)}))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--at", type=whole, default=10_000, help="patients where doses and horizon vary; 0 to skip")
    parser.add_argument("--limit", type=float, default=30.0, help="skip runs expected to take longer, s")
    parser.add_argument("--lanes", type=int, default=4, help="patients per vector of the C, 4 or 8")
    parser.add_argument("--memory", action="store_true", help="peak memory of streams of patients instead")
    parser.add_argument("--stream", type=whole, help=argparse.SUPPRESS)
    args = parser.parse_args()
    console = Console(width=110, highlight=False)
    args.patients = args.patients or ([10**5, 10**6, 10**7] if args.memory else [10**3, 10**4, 10**5, 10**6])
    if args.stream:
        stream(args.stream, args.threads[0])
    elif args.memory:
        compare_memory(args, console)
    else:
        compared = engines(args.lanes)
        check(compared, args.lanes, console)
        compare_sizes(compared, args, console)
        if args.at:
            compare_lengths(compared, args, console)


if __name__ == "__main__":
    main()
