"""Where the time and the memory of a run go: `stage` marks a piece of work, a `Profile` adds up what is marked.

As a rule nobody watches, and a stage costs a function call. While a profile is open, a thread books its processor
time to the stage it is in; the wall clock and the growth of memory are shared among the threads that are in a stage,
so that the stages sum to the whole. A stage inside another is a part of it.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ContextDecorator, contextmanager
from dataclasses import dataclass, field
from threading import Lock, get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

OTHER = "other"
"""What no stage claims."""


@dataclass
class Cost:
    """What a stage took."""

    wall: float = 0.0
    """Its share of the wall clock, s."""
    cpu: float = 0.0
    """Processor time of all threads, s."""
    memory: float = 0.0
    """Its share of the growth of peak memory (resident), MiB."""


@dataclass
class _Thread:
    stages: list[str] = field(default_factory=list)
    """Stages it is in, the outermost first."""
    cpu: float = 0.0
    """Its processor time when last booked."""


class Profile:
    """Costs by stage, in the order in which the stages began.

    What happened before, since the process began, is booked to `before`: an interpreter that starts has one thread and
    computes, so that its processor time stands for the wall clock, which nobody read.
    """

    def __init__(self, before: str = "start-up") -> None:
        self.costs: dict[str, Cost] = defaultdict(Cost)
        self._lock, self._threads, self._alone = Lock(), defaultdict[int, _Thread](_Thread), list[str]()
        cpu, self._peak, self._clock = time.process_time(), _peak_memory(), time.perf_counter()
        self.costs[before] = Cost(cpu, cpu, self._peak)

    def enter(self, name: str, *, alone: bool = False) -> None:
        """Take the calling thread into a stage; while one goes on `alone`, the clock is its own: others wait for it."""
        with self._lock:
            thread = self._book()
            within = thread.stages[-1] if thread.stages and not alone else name
            thread.stages.append(within)
            self.costs[within]  # stands in line from now on
            self._alone += [name] if alone else []

    def leave(self, *, alone: bool = False) -> None:
        """Take the calling thread out of the stage that it entered last."""
        with self._lock:
            self._book().stages.pop()
            del self._alone[len(self._alone) - alone :]

    def finish(self) -> None:
        """Book what is left."""
        with self._lock:
            self._book()
            left = time.process_time() - sum(cost.cpu for cost in self.costs.values())
            self.costs[OTHER] = self.costs.pop(OTHER, Cost())  # last
            self.costs[OTHER].cpu += max(left, 0.0)

    def _book(self) -> _Thread:
        """Book what happened since the last event; return the calling thread's entry."""
        thread, cpu = self._threads[get_ident()], time.thread_time()
        if thread.stages:
            self.costs[thread.stages[-1]].cpu += cpu - thread.cpu
        thread.cpu = cpu
        clock, peak = time.perf_counter(), _peak_memory()
        at_work = self._alone[-1:] or [t.stages[-1] for t in self._threads.values() if t.stages] or [OTHER]
        for name in at_work:
            self.costs[name].wall += (clock - self._clock) / len(at_work)
            self.costs[name].memory += (peak - self._peak) / len(at_work)
        self._clock, self._peak = clock, peak
        return thread


_open: Profile | None = None


class stage(ContextDecorator):
    """Mark what is done inside a `with`, or by a decorated function, as a stage.

    Parameters
    ----------
    name : str
    alone : bool
        All other threads wait for it.

    Examples
    --------
    >>> with profiled() as profile, stage("kinetics"):
    ...     pass
    >>> list(profile.costs)
    ['start-up', 'kinetics', 'other']
    """

    def __init__(self, name: str, *, alone: bool = False) -> None:
        self._name, self._alone, self._profile = name, alone, None

    def __enter__(self) -> None:
        self._profile = _open
        if self._profile is not None:
            self._profile.enter(self._name, alone=self._alone)

    def __exit__(self, *error: object) -> None:
        if self._profile is not None:
            self._profile.leave(alone=self._alone)

    def _recreate_cm(self) -> stage:  # for each call of a decorated function: threads share none
        return stage(self._name, alone=self._alone)


@contextmanager
def profiled() -> Iterator[Profile]:
    """Open a profile of the whole process."""
    global _open
    _open = profile = Profile()
    try:
        yield profile
    finally:
        _open = None
        profile.finish()


def _peak_memory() -> float:
    """Peak of the process's resident memory so far, MiB; nan where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def print_profile(profile: Profile, trajectories: int, console: Console) -> None:
    """Print the costs by stage, and the patient-trajectories per second of the whole process."""
    from rich.table import Table

    every = list(profile.costs.values())
    wall, cpu = sum(cost.wall for cost in every), sum(cost.cpu for cost in every)
    memory = sum(cost.memory for cost in every)
    table = Table(title="Profile", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    for head in ("wall s", "share", "CPU s", "memory MiB"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, cost in profile.costs.items():
        table.add_row(name, f"{cost.wall:.3f}", f"{cost.wall / wall:.1%}", f"{cost.cpu:.3f}", f"{cost.memory:+.1f}")
    table.add_section()
    table.add_row("all", f"{wall:.3f}", "", f"{cpu:.3f}", f"{memory:.1f}")
    console.print(table)
    console.print(
        "Wall: shared among the threads at work. CPU: all threads. Memory: growth of the peak of resident memory.\n"
        f"{trajectories:,} patient-trajectories in {wall:.2f} s, start to report: {trajectories / wall:,.0f}/s",
        style="dim",
        soft_wrap=True,
    )
