"""W1 as a whole process, from its start to the result: imports, compiled code from the cache, patients, mean.

python tests/bench/process.py --patients 1e4 --repeats 7
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter


def seconds(command: list[str]) -> float:
    """Wall-clock time of a command, in s, with the bytecode that Python keeps."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=kept)
    return perf_counter() - start


def main() -> None:
    """Time several processes; the first, which may compile, does not count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=float, default=1e4)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--once", action="store_true", help="be such a process: run W1, print the mean")
    args = parser.parse_args()
    n = round(args.patients)
    if args.once:
        import w1

        print(w1.run_vtrial(w1.draw(n))[0])
        return
    here = str(Path(__file__).parent)
    importing = f"import sys; sys.path.insert(0, {here!r}); import w1"
    commands = {
        f"W1, {n:,} patients": [sys.executable, __file__, "--once", "--patients", str(n)],
        "W1, 1 patient": [sys.executable, __file__, "--once", "--patients", "1"],
        "imports only": [sys.executable, "-c", importing],
        "bare Python": [sys.executable, "-c", ""],
    }
    first = {name: seconds(command) for name, command in commands.items()}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(args.repeats):
        for name, command in commands.items():
            times[name].append(seconds(command))
    for name, seen in times.items():
        print(f"{name:22s} median {median(seen):.3f} s, min {min(seen):.3f} s (first {first[name]:.3f} s)")


if __name__ == "__main__":
    main()
