"""Strict YAML: quantities with units, unknown and duplicate keys refused, every problem at once.

A *spec* is a frozen pydantic model read from YAML. What a modeller typed is never repaired: it is
accepted, or reported with file, line, what was given, what is allowed and the nearest match.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_cache_path
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from vtrial.problem import InputError, Problem, Where, in_order, nearest


class Spec(BaseModel):
    """Base of everything read from YAML: immutable, and no key beyond the declared ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)


def choose(given: str, allowed: Iterable[str], what: str) -> str:
    """Return `given` if it is one of `allowed`; otherwise raise a spec error with the nearest match."""
    allowed = list(allowed)
    if given not in allowed:
        raise PydanticCustomError("choice", "{text}", {"text": f"unknown {what} '{given}'; {nearest(given, allowed)}"})
    return given


# ---------------------------------------------------------------------------------------------- units


@cache
def _units():
    import pint  # a third of a second: only when the first quantity is read

    return pint.UnitRegistry(cache_folder=":auto:")


def magnitude(given: object, unit: str) -> float:
    """Convert a quantity written as text into a number in `unit`.

    Parameters
    ----------
    given : object
        A string such as ``"10 mg"``; a bare number is refused.
    unit : str
        The unit wanted, e.g. ``"mg"``.

    Raises
    ------
    PydanticCustomError
        If there is no unit, or one of another dimension, or no number.

    Examples
    --------
    >>> magnitude("0.5 day", "h")
    12.0
    """

    def refuse(reason: str):
        return PydanticCustomError("quantity", "{text}", {"text": f"{reason}; write e.g. '10 {unit}'"})

    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        raise refuse(f"given {given!r}, expected a quantity in {unit}")
    if not isinstance(given, str) or not re.search(r"[A-Za-zµ%]", given):
        raise refuse(f"bare number {given}: a unit is due here")
    match = re.fullmatch(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.+?)\s*", given)
    if not match:
        raise refuse(f"'{given}' is not a number followed by a unit")
    number, symbol = match.groups()
    import pint

    try:
        return float(_units().Quantity(float(number), symbol).to(unit).magnitude)
    except pint.UndefinedUnitError:
        raise refuse(f"'{symbol}' is not a known unit") from None
    except pint.DimensionalityError:
        raise refuse(f"'{given}' is not a quantity in {unit}: '{symbol}' has another dimension") from None
    except Exception:  # pint raises assorted errors on malformed unit expressions
        raise refuse(f"'{given}' cannot be read as a quantity") from None


@dataclass(frozen=True)
class Quantity:
    """Field annotation: a number in `unit`, written in YAML as text with any unit of that dimension.

    Parameters
    ----------
    unit : str
        Unit of the number that the program sees.
    above, low, high : float
        Exclusive lower, inclusive lower and inclusive upper bound, in `unit`.

    Examples
    --------
    >>> class Dose(Spec):
    ...     amt: Annotated[float, Quantity("mg", above=0)]
    >>> Dose(amt="0.01 g").amt
    10.0
    """

    unit: str
    above: float | None = None
    low: float = float("-inf")
    high: float = float("inf")

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[-+0-9.eE]+ *[A-Za-zµ%].*$", "examples": [f"10 {self.unit}"]}

    def read(self, given: Any) -> float:
        """Convert what was written, and hold it against the bounds."""
        value = magnitude(given, self.unit)
        if value - value != 0:
            raise PydanticCustomError("range", "{text}", {"text": f"given '{given}': not a finite number"})
        low = self.low if self.above is None else self.above
        if value > self.high or value < low or (self.above is not None and value == low):
            text = f"given '{given}': must be {'at least' if self.above is None else 'more than'} {low:g} {self.unit}"
            text += f" and at most {self.high:g} {self.unit}" if self.high < float("inf") else ""
            raise PydanticCustomError("range", "{text}", {"text": text})
        return value


def _clock(given: Any) -> float:
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", given) if isinstance(given, str) else None
    if not match:
        text = f"given {given!r}: write a clock time between '00:00' and '23:59', in quotes"
        raise PydanticCustomError("clock", "{text}", {"text": text})
    return int(match[1]) + int(match[2]) / 60


type Amount = Annotated[float, Quantity("mg", above=0)]
type Duration = Annotated[float, Quantity("h", above=0)]
type Clock = Annotated[float, BeforeValidator(_clock), WithJsonSchema({"type": "string", "pattern": r"^\d?\d:\d\d$"})]
"""Hours after midnight, written ``"14:00"``."""


# ----------------------------------------------------------------------------------------------- YAML


@dataclass(frozen=True)
class Document:
    """A parsed YAML file: plain data, and the line of every key."""

    data: Any
    lines: dict[Where, int]
    file: Path
    text: str

    def problem(self, where: Where, message: str) -> Problem:
        """Place a message at the line of the nearest key that the file has."""
        known = where
        while known and known not in self.lines:
            known = known[:-1]
        return Problem(message, where, self.file, self.lines.get(known, 1))


LONG = 5_000
"""Characters of a file that is worth keeping."""


def read_yaml(path: Path | str) -> Document:
    """Read a YAML 1.2 file into plain data, keeping line numbers.

    Long files, such as policies and evidence, are kept in the user's cache once they were read without problems, under
    the hash of their text and of this module: reading YAML takes a second for a few thousand lines.

    Raises
    ------
    InputError
        If the file cannot be read, is not YAML, is empty, or has duplicate keys (all of them listed).
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError([Problem(f"cannot be read: {reason}", file=path)]) from None
    if len(text) < LONG:
        return Document(*_compose(text, path), path, text)
    digest = hashlib.sha256(Path(__file__).read_bytes() + text.encode()).hexdigest()
    kept = user_cache_path("vtrial") / f"yaml-{digest[:32]}.json"
    with suppress(OSError, ValueError):  # not yet kept, or not whole
        data, lines = json.loads(kept.read_text(encoding="utf-8"))
        return Document(data, {tuple(where): line for where, line in lines}, path, text)
    data, lines = _compose(text, path)
    with suppress(OSError):  # a cache that cannot be written is none
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f".{kept.name}.{os.getpid()}")
        part.write_text(json.dumps([data, [*lines.items()]]), encoding="utf-8")
        part.replace(kept)
    return Document(data, lines, path, text)


def _compose(text: str, path: Path) -> tuple[Any, dict[Where, int]]:
    """Plain data of a YAML text, and the line of every key."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        reason = getattr(error, "problem", None) or str(error)
        raise InputError([Problem(f"not YAML: {reason}", file=path, line=line)]) from None
    if tree is None:
        raise InputError([Problem("the file is empty", file=path, line=1)])
    lines: dict[Where, int] = {}
    problems: list[Problem] = []
    data = _plain(tree, (), lines, problems, path)
    if problems:
        raise InputError(problems)
    return data, lines


def _plain(node: Any, where: Where, lines: dict[Where, int], problems: list[Problem], file: Path) -> Any:
    lines.setdefault(where, node.start_mark.line + 1)
    if node.id == "sequence":
        return [_plain(item, (*where, i), lines, problems, file) for i, item in enumerate(node.value)]
    if node.id == "mapping":
        data: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in data:
                first = lines[(*where, key)]
                problems.append(Problem(f"duplicate key '{key}', first given in line {first}", where, file, line))
                continue
            lines[(*where, key)] = line
            data[key] = _plain(value_node, (*where, key), lines, problems, file)
        return data
    return _scalar(node)


def _scalar(node: Any) -> Any:
    kind = str(node.tag).rsplit(":", 1)[-1]
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() == "true"
    if kind == "int":
        text = node.value.replace("_", "")
        return int(text, 0 if re.match(r"[-+]?0[xo]", text) else 10)
    if kind == "float":
        return float(node.value.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    return node.value


def parse[S: Spec](spec: type[S], document: Document, *, at: Where = (), context: dict[str, Any] | None = None) -> S:
    """Turn the part of a document at the keys `at` into a spec, or report everything that is wrong.

    Raises
    ------
    InputError
        With one problem per offending key: file, line, path of keys, reason and nearest match.
    """
    data = document.data
    for key in at:
        data = data[key]
    try:
        return spec.model_validate(data, context=context)
    except ValidationError as error:
        problems = [_explain(spec, document, at, detail) for detail in error.errors()]
        raise InputError(in_order(problems)) from None


def _explain(spec: type[Spec], document: Document, at: Where, detail: Any) -> Problem:
    # pydantic adds the tags of unions and function validators to the location: keep what the file has
    where = at
    for key in detail["loc"]:
        if (*where, key) in document.lines:
            where = (*where, key)
    if detail["type"] == "missing":
        where = (*where, detail["loc"][-1])
    match detail["type"]:
        case "extra_forbidden":
            allowed = _allowed_keys(spec, detail["loc"][:-1])
            message = f"unknown key '{where[-1]}'; {nearest(str(where[-1]), allowed)}" if allowed else "unknown key"
        case "missing":
            message = f"the key '{where[-1]}' is missing"
        case "union_tag_invalid":
            allowed = re.findall(r"'([^']*)'", detail["ctx"]["expected_tags"])
            tag = str(detail["ctx"]["tag"])
            message = f"unknown {detail['ctx']['discriminator'].strip(chr(39))} '{tag}'; {nearest(tag, allowed)}"
        case "literal_error" | "enum":
            allowed = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
            message = f"given {detail['input']!r}; {nearest(str(detail['input']), allowed)}"
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            if message.startswith("Input should be"):
                message = f"given {detail['input']!r}: must be{message.removeprefix('Input should be')}"
    return document.problem(where, message)


def _allowed_keys(spec: type[Spec], loc: tuple[str | int, ...]) -> list[str]:
    """Keys that the (sub)spec at a pydantic location declares, following lists, unions and optionals."""
    current: list[type[Spec]] = [spec]
    for key in loc:
        following: list[type[Spec]] = []
        for candidate in current:
            if isinstance(key, str) and key in candidate.model_fields:
                following += _specs_in(candidate.model_fields[key].annotation)
            elif isinstance(key, str):  # the tag of a union member: its class, or the value that selects it
                following += [candidate] if _is_tag(candidate, key) else []
            else:
                following.append(candidate)
        current = following or current
    return sorted({name for candidate in current for name in candidate.model_fields})


def _is_tag(candidate: type[Spec], key: str) -> bool:
    values = (getattr(field.annotation, "__args__", ()) for field in candidate.model_fields.values())
    return candidate.__name__ == key or any(key in args for args in values)


def _specs_in(annotation: Any) -> list[type[Spec]]:
    if hasattr(annotation, "__value__"):
        return _specs_in(annotation.__value__)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]  # type: ignore[list-item]
    return [found for part in getattr(annotation, "__args__", ()) for found in _specs_in(part)]
