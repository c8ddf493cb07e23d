"""Time the start of the command line: whole processes, warm (bytecode cached), median and fastest of repeats.

python tests/bench/startup.py [REPEATS]

Python's bytecode goes to a folder of this script's own, so that the numbers are those of an installation that keeps
bytecode, whatever PYTHONDONTWRITEBYTECODE says here; `cold` is the first process, which compiles it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).parents[2]
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "vtrial --help": ["-m", "vtrial", "--help"],
    "vtrial check": ["-m", "vtrial", "check", "scenarios/starting_dose.yaml"],
}
LIMITS = {"vtrial --help": 0.5, "vtrial check": 1.5}


def main(repeats: int) -> None:
    print(f"{'':18} {'median s':>9} {'fastest s':>10} {'cold s':>7} {'limit s':>8}")
    with tempfile.TemporaryDirectory() as bytecode:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        for name, args in COMMANDS.items():
            times = []
            for _ in range(repeats + 1):
                begin = time.perf_counter()
                subprocess.run(
                    [sys.executable, *args],
                    cwd=REPO, env=kept | {"PYTHONPYCACHEPREFIX": bytecode}, stdout=subprocess.DEVNULL, check=True,
                )  # fmt: skip
                times.append(time.perf_counter() - begin)
            cold, *warm = times
            limit = f"{LIMITS[name]:8.1f}" if name in LIMITS else ""
            print(f"{name:18} {statistics.median(warm):9.3f} {min(warm):10.3f} {cold:7.3f} {limit}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
