"""The consoles of the command line, what every command can be asked, and how one ends that cannot go on."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any

import typer
from rich.console import Console

from vtrial.problem import InputError

out, err, notes = Console(), Console(stderr=True), Console(stderr=True)
"""What was found; what is wrong; how far the work is."""

_Json = Annotated[bool, typer.Option("--json", help="Print what was found as JSON, and nothing else.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and warnings.")]


class _Asked:
    """Whether the command at hand is to speak JSON."""

    json = False


def tell(found: Callable[[], Any]) -> None:
    """Print what a command has found as JSON, if that was asked for; numbers that are none become null."""
    if _Asked.json:
        from pydantic_core import to_json

        text = to_json(found(), indent=1, inf_nan_mode="null", fallback=_plain_value)
        sys.stdout.write(text.decode() + "\n")


def _plain_value(value: Any) -> Any:
    """A number or array of NumPy, or a path, as plain Python."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def guarded[**P](command: Callable[P, None]) -> Callable[P, None]:
    """Turn unusable input into messages and exit code 2, an interruption into exit code 130.

    And let the command be asked for --json, which is what it tells, and --quiet.
    """

    @wraps(command)
    def inner(*args: P.args, **kwargs: P.kwargs) -> None:
        _Asked.json, quiet = bool(kwargs.pop("json")), bool(kwargs.pop("quiet"))
        out.quiet, notes.quiet = _Asked.json or quiet, quiet
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

    own, more = inspect.signature(command, eval_str=True), {"json": _Json, "quiet": _Quiet}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in more.items()
    ]
    inner.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    inner.__annotations__ = {name: one.annotation for name, one in own.parameters.items()} | more
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
