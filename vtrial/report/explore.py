"""The interactive part of the page: choose stratum, outcome and arm, and see the risk; by Vega-Lite, without a network.

The library (vega, vega-lite, vega-embed) comes whole with vl-convert and is put into the page. Expressions of the
specification are walked as a tree, not compiled: the page's policy allows the scripts that it carries, by their hashes,
and no other.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from vtrial.estimand import POPULATION
from vtrial.report import digits
from vtrial.report.explore_fans import fans
from vtrial.report.facts import Facts, is_probability, short_outcome
from vtrial.report.style import BLUE, GREY, ORANGE

FLOOR = 1e-6
"""Least risk that the log axis shows."""
NUMBERS = ("mean", "mcse", "median", "lo", "hi", "difference", "difference_lo", "difference_hi")
"""Columns of numbers, in the order of the table."""


@lru_cache(maxsize=1)
def scripts() -> tuple[str, str]:
    """The library, and the explorer's own script."""
    import vl_convert  # 30 MB: who writes no page does without

    library = vl_convert.javascript_bundle()  # type: ignore[reportCallIssue] (its stub forgets the default)
    return library, files("vtrial.report").joinpath("explore.js").read_text(encoding="utf-8")


def allowed(script: str) -> str:
    """A script's hash, as a content security policy names it.

    Examples
    --------
    >>> allowed("")
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def explorer(facts: Facts) -> dict[str, Any] | None:
    """What the page needs to explore a result.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    dict or None
        Scripts, their hashes, and the data; None if no outcome is a probability.
    """
    outcomes = [outcome for outcome in facts.outcomes if is_probability(outcome)]
    if not outcomes:
        return None
    library, own = scripts()
    choices = [
        ("stratum", "Stratum", [(s, facts.name_of(s)) for s in facts.strata], facts.telling[-1]),
        ("outcome", "Outcome", [(o, short_outcome(facts, o)) for o in outcomes],
         facts.primary if facts.primary in outcomes else outcomes[0]),
        ("arm", "Arm", [(arm, arm) for arm in facts.arms], facts.reference),
    ]  # fmt: skip
    trajectories = fans(facts)
    if trajectories is not None:
        trajectories["data"]["view"] = common("fan", ("label",)) | trajectories["data"]["view"]
    data = _data(facts, outcomes) | {"fans": None if trajectories is None else trajectories["data"]}
    return {
        "library": library, "script": own, "hashes": [allowed(library), allowed(own)], "choices": choices,
        "fans": trajectories, "heads": list(zip(NUMBERS, _heads(facts), strict=True)), "data": data,
    }  # fmt: skip


def _heads(facts: Facts) -> list[str]:
    """Headings of the columns of numbers."""
    part = f"{facts.interval:.0%}"
    return ["mean", "MCSE", "median", f"{part} from", f"{part} to", "difference", f"{part} from", f"{part} to"]


def _data(facts: Facts, outcomes: list[str]) -> dict[str, Any]:
    """What the script reads: names once, rows by their places, as there are thousands."""
    grid = facts.grid()
    places = {s: facts.place(s) if grid and s != POPULATION else ("", "") for s in facts.strata}
    return {
        "views": _views(facts),
        "arms": facts.arms, "reference": facts.reference, "interval": f"{facts.interval:.0%}",
        "strata": [{"name": s, "label": facts.name_of(s) if s == POPULATION else s, "row": row, "column": column}
                   for s, (row, column) in places.items()],
        "outcomes": [{"name": o, "label": short_outcome(facts, o)} for o in outcomes],
        "numbers": NUMBERS,
        "rows": [[a, s, o, *_numbers(facts, arm, stratum, outcome)]
                 for o, outcome in enumerate(outcomes)
                 for s, stratum in enumerate(facts.strata)
                 for a, arm in enumerate(facts.arms)],
    }  # fmt: skip


def _numbers(facts: Facts, arm: str, stratum: str, outcome: str) -> tuple[list[float], list[str]]:
    """The numbers of one arm, stratum and outcome, and how they are written, in the order of `NUMBERS`."""
    where = arm, stratum, outcome
    value, difference = facts.stats("value", *where), facts.stats("difference", *where)
    errors, apart = facts.errors("value", *where), facts.errors("difference", *where)
    numbers = [value[name] for name in NUMBERS[:5]] + [difference[name] for name in ("mean", "lo", "hi")]
    text = [
        digits.probability(value["mean"], value["mcse"]),
        digits.error(value["mcse"], percent=True),
        *(digits.probability(value[name], errors[name]) for name in NUMBERS[2:5]),
        digits.points(difference["mean"], difference["mcse"]),
        *(digits.points(difference[name], apart[name]) for name in ("lo", "hi")),
    ]
    return [float(f"{x:.6g}") if math.isfinite(x) else 0.0 for x in numbers], text


def _views(facts: Facts) -> list[dict[str, Any]]:
    """Specifications in Vega-Lite: risks by arm and, where strata have rows and columns, a heat map of one arm."""
    shared = common("risk", ("stratum", "outcome", "arm"))
    return [shared | _by_arm(facts), *([shared | _by_stratum(facts)] if facts.grid() else [])]


def common(data: str, params: Sequence[str]) -> dict[str, Any]:
    """What all views share: colours of the page, its width; by name the data and what is chosen."""
    ink = {"labelColor": "currentColor", "titleColor": "currentColor", "domainColor": GREY, "tickColor": GREY}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"name": data},
        "params": [{"name": name, "value": ""} for name in params],
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
        "config": {
            "background": None, "font": "system-ui, sans-serif", "view": {"stroke": None}, "legend": ink,
            "axis": ink | {"gridColor": "#8884"}, "title": {"color": "currentColor", "anchor": "start"},
        },
    }  # fmt: skip


def _percent() -> dict[str, Any]:
    return {"labelExpr": "format(datum.value, '~%')", "tickCount": 6}


def _by_arm(facts: Facts) -> dict[str, Any]:
    scale = {"type": "log", "domain": [FLOOR, 1], "clamp": True}
    y = {"field": "arm", "type": "nominal", "sort": facts.arms, "axis": {"title": None, "labelLimit": 160}}
    tip = {"field": "said", "type": "nominal", "title": " "}

    def x(field: str) -> dict[str, Any]:
        title = ["risk: mean (dot) and its MCSE (bar),", f"median (diamond), {facts.interval:.0%} interval"]
        return {"field": field, "type": "quantitative", "scale": scale, "axis": _percent() | {"title": title}}

    def shown(field: str, sum_: str) -> dict[str, str]:
        return {"calculate": f"max({sum_}, {FLOOR})", "as": field}

    return {
        "height": 24 * len(facts.arms),
        "transform": [
            {"filter": "datum.stratum === stratum && datum.outcome === outcome"},
            shown("from", "datum.lo"), shown("to", "datum.hi"), shown("at", "datum.mean"),
            shown("middle", "datum.median"), shown("less", "datum.mean - datum.mcse"),
            shown("more", "datum.mean + datum.mcse"),
        ],
        "layer": [
            {"mark": {"type": "rule", "color": GREY}, "encoding": {"y": y, "x": x("from"), "x2": {"field": "to"}}},
            {"mark": {"type": "rule", "color": BLUE, "strokeWidth": 7, "opacity": 0.5},
             "encoding": {"y": y, "x": x("less"), "x2": {"field": "more"}}},
            {"mark": {"type": "point", "shape": "diamond", "color": ORANGE, "filled": False},
             "encoding": {"y": y, "x": x("middle"), "tooltip": tip}},
            {"mark": {"type": "point", "filled": True, "color": BLUE, "size": 60, "opacity": 1},
             "encoding": {"y": y, "x": x("at"), "tooltip": tip}},
        ],
    }  # fmt: skip


def _by_stratum(facts: Facts) -> dict[str, Any]:
    grid = facts.grid()
    assert grid is not None
    colour = {
        "field": "at", "type": "quantitative", "title": "mean risk",
        "scale": {"type": "log", "scheme": "cividis", "domain": [FLOOR, 1], "clamp": True},
        "legend": {"labelExpr": "format(datum.value, '~%')", "orient": "top", "gradientLength": 220},
    }  # fmt: skip
    return {
        "height": 30 * len(grid[0]),
        "title": {"text": {"expr": "'All strata under ' + arm"}},
        "transform": [
            {"filter": "datum.arm === arm && datum.outcome === outcome && datum.column !== ''"},
            {"calculate": f"max(datum.mean, {FLOOR})", "as": "at"},
        ],
        "mark": {"type": "rect", "stroke": "#8888"},
        "encoding": {
            "x": {"field": "column", "type": "ordinal", "sort": grid[1], "axis": {"title": None, "labelAngle": -40}},
            "y": {"field": "row", "type": "ordinal", "sort": grid[0], "axis": {"title": None}},
            "color": colour,
            "tooltip": {"field": "said", "type": "nominal", "title": " "},
        },
    }
