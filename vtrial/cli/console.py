"""The two consoles of the command line, and how a command ends that cannot go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps

import typer
from rich.console import Console

from vtrial.problem import InputError

out, err = Console(), Console(stderr=True)


def guarded[**P](command: Callable[P, None]) -> Callable[P, None]:
    """Turn unusable input into messages and exit code 2, an interruption into exit code 130."""

    @wraps(command)
    def inner(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except InputError as error:
            for problem in error.problems:
                err.print(f"[red]error:[/] {plain(str(problem))}", soft_wrap=True)
            count = len(error.problems)
            err.print(f"{count} problem{'s' if count != 1 else ''}; nothing was written.")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            err.print("interrupted; nothing was written.")
            raise typer.Exit(130) from None

    return inner


def fail(what: str, lines: Sequence[str]) -> None:
    """Say in what the result that was written falls short, and end with exit code 3; go on if it does not."""
    for line in lines:
        err.print(f"[red]{what}:[/] {plain(line)}", soft_wrap=True)
    if lines:
        raise typer.Exit(3)


def plain(text: str) -> str:
    """Text from a file, safe from being read as markup."""
    from rich.markup import escape

    return escape(text)
