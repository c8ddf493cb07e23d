"""Long work: how far it is, and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from vtrial.cli.console import notes
from vtrial.problem import InputError
from vtrial.stage import stage


def compiling() -> Callable[[], AbstractContextManager[None]]:
    """Mark compilations, and announce the first: a run that no cache helps looks as if it hung."""
    said = False

    def around() -> AbstractContextManager[None]:
        nonlocal said
        if not said:
            notes.print(
                "Compiling the kernels for this machine (once, about a minute; longer if it is busy) ...",
                soft_wrap=True,
            )
        said = True
        return stage("compile", alone=True)

    return around


@contextmanager
def progress_bar(what: str = "patient-trajectories") -> Iterator[Callable[[int, int], None]]:
    """A bar with rate and time left on a terminal; silence elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=notes.quiet or not notes.is_terminal) as bar:
        task = bar.add_task(what, total=None, rate="")

        def update(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "")

        yield update


@contextmanager
def sampling_bar() -> Iterator[Callable[[int, int, int], None]]:
    """A bar with draws done, divergences and time left on a terminal; silence elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    told = TextColumn("{task.fields[told]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), told, TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=notes.quiet or not notes.is_terminal) as bar:
        task = bar.add_task("draws", total=None, told="")

        def update(done: int, total: int, divergences: int) -> None:
            bar.update(task, completed=done, total=total, told=f"{divergences:,} divergences")

        yield update


OURS = {"result.nc", "report.html", "report.md", "report.pdf", "estimates.csv", "figures"}
CALIBRATION = {"report.html", "figures", *(f"{name}.csv" for name in (
    "fit", "parameters", "power_scaling", "without_targets", "by_study", "assumptions", "diagnostics", "refits",
    "refit_risks",
))}  # fmt: skip
"""What the report of a calibration consists of."""
DOSES = {"doses.csv", "doses.nc", "report.md", "figures"}
"""What a dose table consists of."""


MARKS = {"report.html", "report.md", "result.nc"}
"""One of these is in every folder of ours: without it, what has a name of ours is somebody else's."""


def refuse_foreign(folder: Path, ours: set[str] = OURS) -> None:
    """Refuse to replace a folder that holds anything but what is ours: names, beside a report or a result."""
    if folder.exists() and not folder.is_dir():
        raise InputError([f"{folder}: is not a folder"])
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    foreign = sorted(names - ours) if names & MARKS else sorted(names)
    if foreign:
        raise InputError([f"{folder}: holds other files ({', '.join(foreign[:3])}); choose another folder with -o"])


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of `folder` when all is written, and vanishes if anything fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    part.chmod(0o755)  # mkdtemp keeps it to its owner; a report is to be read
    try:
        yield part
        if folder.exists():
            old = part.with_name(f"{part.name}-old")
            folder.rename(old)
            part.rename(folder)
            shutil.rmtree(old)
        else:
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def refuse_unwritable(path: Path) -> None:
    """Refuse a netCDF file that could not be written, before hours of work for it."""
    if path.suffix != ".nc" or path.is_dir():
        raise InputError([f"{path}: not the name of a netCDF file; end it in .nc"])
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        where = "choose another file with -o, or work in a folder made by vtrial init"
        raise InputError([f"{path}: {folder} cannot be written to; {where}"])
