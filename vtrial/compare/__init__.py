"""Results, or guidelines, side by side: where they differ, for whom, by how much, and which one dominates.

| module | holds |
|---|---|
| `results` | results of runs: what was changed between them, and what that does to the risk of each arm and stratum |
| `guidelines` | arms: the daily doses that they give to the same people, without a simulation |
"""

from vtrial.compare.guidelines import compare_guidelines
from vtrial.compare.results import changed, compare_results

__all__ = ["changed", "compare_guidelines", "compare_results"]
