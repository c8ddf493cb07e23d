"""The course of sedation in a result, by time: cumulative incidence of a first onset, and who has not recovered."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtrial.report import digits
from vtrial.report.facts import Facts, spaced

_ONSET = re.compile(r"onset(\d+)_([0-9.]+[hd])$")
_UNRECOVERED = re.compile(r"unrecovered((\d+)to(\d+)_([0-9.]+[hd]))_([0-9.]+[hd])$")


@dataclass(frozen=True)
class Curve:
    """Outcomes that are one probability at several times.

    Parameters
    ----------
    title, axis : str
        What it is, and what its times are.
    hours : tuple of float
    outcomes : tuple of str
        One for each time.
    further : tuple of (str, str)
        What else its table holds: heading, and outcome.
    """

    title: str
    axis: str
    hours: tuple[float, ...]
    outcomes: tuple[str, ...]
    further: tuple[tuple[str, str], ...]

    @property
    def names(self) -> list[str]:
        """All outcomes that its table shows."""
        return [*self.outcomes, *(outcome for _, outcome in self.further)]


def curves_of(facts: Facts) -> list[Curve]:
    """The curves of a result, onsets by level first."""
    onsets, recoveries = dict[str, list[str]](), dict[str, list[str]]()
    for outcome in facts.outcomes:
        if found := _ONSET.match(outcome):
            onsets.setdefault(found[1], []).append(outcome)
        elif found := _UNRECOVERED.match(outcome):
            recoveries.setdefault(found[1], []).append(outcome)
    return [
        *(_onset(facts, *item) for item in onsets.items()),
        *(_recovery(facts, *item) for item in recoveries.items()),
    ]


def recovers(facts: Facts) -> bool:
    """Whether a result tells of recovery, and not of onset alone."""
    return any(_UNRECOVERED.match(outcome) for outcome in facts.outcomes)


def _onset(facts: Facts, level: str, outcomes: list[str]) -> Curve:
    windows = [outcome.rsplit("_", 1)[-1] for outcome in outcomes]
    last = windows[-1]
    further = (
        (f"mean time free within {spaced(last)}, h", f"free{level}_{last}"),
        ("median onset of those, h", f"median_onset{level}_{last}"),
    )
    title = f"First onset of {_level(facts, level)}"
    return Curve(title, "time since the first dose, h", tuple(map(_hours, windows)), tuple(outcomes), further)


def _recovery(facts: Facts, tag: str, outcomes: list[str]) -> Curve:
    found = _UNRECOVERED.match(outcomes[0])
    assert found is not None
    at = spaced(found[4])
    title = f"Not below {_level(facts, found[3])} for good, of those at {_level(facts, found[2])} within {at}"
    further = ((f"{_level(facts, found[2])} within {at}", f"reached{tag}"),)
    windows = [outcome.rsplit("_", 1)[-1] for outcome in outcomes]
    return Curve(title, f"time after {at}, h", tuple(map(_hours, windows)), tuple(outcomes), further)


def _level(facts: Facts, k: str) -> str:
    deeper = "" if int(k) == len(facts.levels) - 1 else " or deeper"
    return f"{facts.levels[int(k)]}{deeper} (level {k})"


def _hours(window: str) -> float:
    return float(window[:-1]) * (24 if window.endswith("d") else 1)


def course_tables(facts: Facts) -> list[dict[str, Any]]:
    """Tables of the curves of a result.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    list of dict
        ``title``; ``columns``: headings; ``blocks``: by stratum its name, and rows of an arm and its ``cells``, mean
        (MCSE) as text. Empty if no endpoint asks for them.
    """
    tables = []
    for curve in curves_of(facts):
        windows = [spaced(outcome.rsplit("_", 1)[-1]) for outcome in curve.outcomes]
        blocks = [
            {
                "name": facts.name_of(stratum),
                "rows": [
                    {"arm": arm, "cells": [_cell(facts, arm, stratum, name) for name in curve.names]}
                    for arm in facts.arms
                ],
            }
            for stratum in facts.telling
        ]
        columns = [*windows, *(heading for heading, _ in curve.further)]
        tables.append({"title": curve.title, "axis": curve.axis, "columns": columns, "blocks": blocks})
    return tables


def _cell(facts: Facts, arm: str, stratum: str, outcome: str) -> str:
    stats = facts.stats("value", arm, stratum, outcome)
    percent = facts.unit(outcome) == "1"
    if not math.isfinite(stats["mean"]):
        return "–"
    write = digits.probability if percent else digits.number
    return f"{write(stats['mean'], stats['mcse'])} ({digits.error(stats['mcse'], percent=percent)})"


def mean_and_error(facts: Facts, curve: Curve, arm: str, stratum: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Means of a curve under an arm in a stratum, and their MCSE."""
    each = [facts.stats("value", arm, stratum, outcome) for outcome in curve.outcomes]
    return np.array([stats["mean"] for stats in each]), np.array([stats["mcse"] for stats in each])
