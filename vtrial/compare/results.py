"""Results of runs side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from ruamel.yaml import YAML

from vtrial.problem import InputError, Problem
from vtrial.spec import nearest

type Array = NDArray[np.float64]

TOLD = (
    "scenario_sha256", "model", "model_sha256", "policies_sha256", "population", "surface", "food", "fixed",
    "parameters", "seed", "sampling", "draws", "patients", "step",
)  # fmt: skip
"""Attributes of a result that say what it was made from."""
CERTAIN = 0.975
"""Probability over draws from which on an arm is said to have less risk."""


def changed(results: Mapping[str, xr.DataTree]) -> pd.DataFrame:
    """What results were made from, where that is not the same.

    Parameters
    ----------
    results : dict of str to xarray.DataTree

    Returns
    -------
    pandas.DataFrame
        Index: what differs; columns: the results. Empty if nothing does.
    """
    rows: dict[str, dict[str, str]] = {}
    scenarios = {name: YAML(typ="safe").load(str(r.attrs.get("scenario", ""))) or {} for name, r in results.items()}
    for name, result in results.items():
        own = {key: str(result.attrs.get(key, "")) for key in TOLD}
        own["posterior"] = json.loads(result.attrs.get("posterior", "{}")).get("sha256", "")
        own |= {f"version of {k}": v for k, v in json.loads(result.attrs.get("versions", "{}")).items()}
        own["keys of the scenario"] = ", ".join(_keys(scenarios, name))
        own |= {"arms": ", ".join(_names(result, "arm")), "strata": ", ".join(_names(result, "stratum"))}
        for key, value in own.items():
            rows.setdefault(key, {})[name] = value
    differ = {key: own for key, own in rows.items() if len({own.get(name, "") for name in results}) > 1}
    return pd.DataFrame(differ).T.reindex(columns=[*results]).fillna("")


def _keys(scenarios: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Keys of the scenario of that name that have another value in some other one, or that some other lacks."""
    own = scenarios[name]
    return [str(key) for key in own if any(own[key] != other.get(key) for other in scenarios.values())]


def compare_results(results: Mapping[str, xr.DataTree], outcome: str | None = None) -> pd.DataFrame:
    """The risk of each arm and stratum in the first result and in the others.

    Parameters
    ----------
    results : dict of str to xarray.DataTree
        Two or more, from `vtrial.load_result`, by name.
    outcome : str, optional
        Default: the primary outcome of the first.

    Returns
    -------
    pandas.DataFrame
        One row for each other result, arm and stratum that both have: ``first`` and ``other``, means; ``difference``
        (other less first) with ``mcse``, ``lo`` and ``hi``; ``ratio`` of the means; ``p_lower``, the probability over
        draws that the other's risk is lower; ``paired``, whether the draws of both are the same patients and
        parameters: then these are draw by draw, or else of independent draws.

    Raises
    ------
    InputError
        If a result does not have the outcome, or has no arm and stratum in common with the first.
    """
    first_name, *others = results
    first = results[first_name]
    outcome = outcome or str(first["estimates"].attrs["primary"])
    problems = [
        Problem(f"{name}: no outcome '{outcome}'; {nearest(outcome, _names(result, 'outcome'))}")
        for name, result in results.items()
        if outcome not in _names(result, "outcome")
    ]
    rows = []
    for name in others if not problems else ():
        arms, strata = (_common(first, results[name], dim) for dim in ("arm", "stratum"))
        if not arms or not strata:
            text = f"{name}: no {'stratum' if arms else 'arm'} in common with {first_name}"
            what = "stratum" if arms else "arm"
            problems.append(Problem(f"{text}, which has {', '.join(_names(first, what))}"))
        paired = _paired(first, results[name])
        for stratum in strata:
            for arm in arms:
                a, b = (_risk(one, arm, stratum, outcome) for one in (first, results[name]))
                rows.append({"result": name, "arm": arm, "stratum": stratum} | _contrast(a, b, paired=paired))
    if problems:
        raise InputError(problems)
    return pd.DataFrame(rows)


def _names(result: xr.DataTree, dim: str) -> list[str]:
    return [str(name) for name in result["risk"].to_dataset()[dim].values]


def _common(first: xr.DataTree, other: xr.DataTree, dim: str) -> list[str]:
    theirs = _names(other, dim)
    return [name for name in _names(first, dim) if name in theirs]


def _risk(result: xr.DataTree, arm: str, stratum: str, outcome: str) -> Array:
    return result["risk"].to_dataset()["mean"].sel(arm=arm, stratum=stratum, outcome=outcome).to_numpy()


def _paired(first: xr.DataTree, other: xr.DataTree) -> bool:
    """Whether both simulate the same people under the same parameters, draw by draw."""
    same = all(first.attrs.get(key) == other.attrs.get(key) for key in ("seed", "sampling", "population", "patients"))
    a, b = (one["theta"].to_dataset() for one in (first, other))
    drawn = [str(name) for name, v in a.data_vars.items() if v.dims == ("draw",) and name in b]
    fixed = {*json.loads(first.attrs.get("fixed", "{}")), *json.loads(other.attrs.get("fixed", "{}"))}
    return (
        same
        and a.sizes.get("draw") == b.sizes.get("draw")
        and all(np.array_equal(a[name].values, b[name].values) for name in drawn if name not in fixed)
    )


def _contrast(first: Array, other: Array, *, paired: bool) -> dict[str, Any]:
    """Statistics of one arm and stratum; draws that are not paired come beside each other in a fixed random order."""
    a, b = first.mean(), other.mean()
    if paired:
        difference = other - first
        mcse = _error(difference)
    else:
        n = min(len(first), len(other))
        difference = np.random.default_rng(0).permutation(other)[:n] - first[:n]
        mcse = float(np.hypot(_error(first), _error(other)))
    lo, hi = np.quantile(difference, [0.025, 0.975])
    lower = float(np.mean(difference < 0) + 0.5 * np.mean(difference == 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(b, a))
    return {
        "first": a, "other": b, "difference": b - a, "mcse": mcse, "lo": lo, "hi": hi, "ratio": ratio,
        "p_lower": lower, "paired": paired,
    }  # fmt: skip


def _error(values: Array) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else np.nan


def dominance(table: pd.DataFrame) -> dict[str, str]:
    """Which result has the lower risks, in words, by the name of the other.

    Parameters
    ----------
    table : pandas.DataFrame
        From `compare_results`.

    Examples
    --------
    >>> old = {"result": "B", "arm": "A1", "stratum": "old", "difference": -0.1, "p_lower": 1.0}
    >>> dominance(pd.DataFrame([old, old | {"stratum": "young", "difference": 0.0, "p_lower": 0.5}]))
    {'B': 'lower in 1 of 2, higher in 0 (with a probability of 97.5% or more): it dominates'}
    """
    found = {}
    for name, own in table.groupby("result", sort=False):
        p_lower, difference = own["p_lower"].to_numpy(float), own["difference"].to_numpy(float)
        lower, higher = int((p_lower >= CERTAIN).sum()), int((p_lower <= 1 - CERTAIN).sum())
        if not difference.any():
            found[str(name)] = "the same everywhere"
            continue
        text = f"lower in {lower} of {len(own)}, higher in {higher} (with a probability of {CERTAIN:.1%} or more)"
        if (difference <= 0).all() and lower:
            text += ": it dominates"
        elif (difference >= 0).all() and higher:
            text += ": the first one dominates"
        found[str(name)] = text
    return found
