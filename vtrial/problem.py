"""What is wrong with an input: every reason at once, each with its place in a file and the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

type Where = tuple[str | int, ...]
"""Path of keys."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file: `where` is the path of keys that leads to it."""

    message: str
    where: Where = ()
    file: Path | str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        keys = ".".join(str(key) for key in self.where)
        return ": ".join(part for part in (place, keys, self.message) if part)


class InputError(Exception):
    """What the user gave cannot be used; `problems` holds every reason, in the order of the file.

    The command line prints them and exits with code 2, without a traceback.
    """

    def __init__(self, problems: Iterable[Problem | str]):
        self.problems: list[Problem] = [Problem(p) if isinstance(p, str) else p for p in problems]
        super().__init__("\n".join(str(p) for p in self.problems))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort problems of one file by line."""
    return sorted(problems, key=lambda problem: problem.line or 0)


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Say what is allowed, and which of it is nearest to what was given.

    Examples
    --------
    >>> nearest("lowe", ["loewe", "bliss"])
    "did you mean 'loewe'? Allowed: bliss, loewe"
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Allowed: {', '.join(names)}"
