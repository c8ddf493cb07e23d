"""From the exposure of a patient to one number: the endpoints that a scenario can name.

| module | holds |
|---|---|
| `seen` | what an endpoint may look at, and the names of windows |
| `window` | endpoints of windows from the first dose: levels, exposures, time of the peak, time at a level |
| `course` | endpoints of the course of sedation: onset and recovery |
| `rebound` | the endpoint of withdrawal |
| `benefit` | exposure within a window of the reference's; utility |

A new endpoint is one class: a spec with its keys, the ends of its windows, the outcomes it gives, and how to evaluate
them; `derived` if it also gives numbers of many patients together, such as a median.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from vtrial.endpoint.benefit import UTILITY, InWindow, utility_of
from vtrial.endpoint.course import Onset, Recovery
from vtrial.endpoint.rebound import Rebound
from vtrial.endpoint.seen import Array, Exposed, Seen, window_name
from vtrial.endpoint.window import Auc, Cmax, LevelReached, PeakClock, TimeAtLevel
from vtrial.estimand import Derived, Outcome
from vtrial.model import Model

__all__ = [
    "UTILITY", "Auc", "Cmax", "Endpoint", "Exposed", "InWindow", "LevelReached", "Onset", "PeakClock", "Rebound",
    "Recovery", "Seen", "TimeAtLevel", "concentration_windows", "counted", "derived", "evaluate", "levels_named",
    "levels_timed", "outcomes", "restarts", "utility_of", "window_name", "windows",
]  # fmt: skip

type Endpoint = Annotated[
    LevelReached | Cmax | Auc | PeakClock | TimeAtLevel | Onset | Recovery | Rebound | InWindow,
    Field(discriminator="kind"),
]


def windows(endpoints: Sequence[Any]) -> tuple[float, ...]:
    """All windows that endpoints name, increasing."""
    return tuple(sorted({window for endpoint in endpoints for window in endpoint.windows}))


def restarts(endpoints: Sequence[Any]) -> tuple[float, ...]:
    """Windows at whose ends maxima start anew, increasing: for maxima of later times."""
    return tuple(
        sorted({start for endpoint in endpoints if isinstance(endpoint, Recovery) for start in endpoint.starts})
    )


def outcomes(endpoints: Sequence[Any], model: Model) -> list[Outcome]:
    """All outcomes of the endpoints, in their order."""
    return [outcome for endpoint in endpoints for outcome in endpoint.outcomes(model)]


def derived(endpoints: Sequence[Any], model: Model) -> list[Derived]:
    """What endpoints derive from the means of their outcomes, in their order."""
    courses = (endpoint for endpoint in endpoints if isinstance(endpoint, Onset | Recovery))
    return [number for endpoint in courses for number in endpoint.derived(model)]


def levels_named(endpoint: Any) -> dict[str, int]:
    """The deepest level that each key of an endpoint names."""
    found = {name: getattr(endpoint, name, None) for name in ("level", "from_level", "to_level")}
    return {name: max(level) if isinstance(level, tuple) else level for name, level in found.items() if level}


def levels_timed(endpoints: Sequence[Any]) -> tuple[int, ...]:
    """Levels whose time a scenario asks for (at most one endpoint of this kind)."""
    return next((e.level for e in endpoints if isinstance(e, TimeAtLevel)), ())


def concentration_windows(endpoints: Sequence[Any], every: Sequence[float]) -> int:
    """How many windows, from the first, need maxima of concentrations."""
    return max((every.index(e.within) + 1 for e in endpoints if isinstance(e, Cmax)), default=0)


def counted(endpoints: Sequence[Any]) -> bool:
    """Whether an endpoint looks at a patient's own sensitivity."""
    return any(isinstance(e, LevelReached) and e.estimator == "counting" for e in endpoints)


def evaluate(endpoints: Sequence[Any], seen: Seen) -> list[Array]:
    """Evaluate endpoints for all patients: arrays of shape (n,), in the order of `outcomes`."""
    return [value for endpoint in endpoints for value in endpoint.evaluate(seen)]
