"""Which change did it: the first of two runs again, with each change of its scenario by itself, and with all of them.

A result holds the text of its scenario. What else may have changed, the program, a model file, the policies or the
posterior, cannot be run as it was: it shows as the difference between the first result and the same scenario run now.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import xarray as xr
from ruamel.yaml import YAML

from vtrial.compare.results import compare_results
from vtrial.problem import InputError
from vtrial.scenario import Scenario, load_scenario

type Place = tuple[str, ...]

BESIDE = ("examples", "dose_risk", "dose_surface", "sensitivities", "optimise", "assessment", "accept")
"""What a scenario asks for that cannot move the risk of an arm."""
WORDS = ("title", "question", "endpoints", "estimands", "reference_patient", *BESIDE)
AGAIN, ALL, OTHER = "the first, run now", "all changes of the scenario", "the other result"
_ABSENT = object()


def changes(first: str, other: str) -> dict[Place, Any]:
    """What the text of a scenario has otherwise than another, and may move a risk.

    Parameters
    ----------
    first, other : str
        YAML.

    Returns
    -------
    dict of tuple to object
        Place of a key to its value in `other`; places that `other` lacks hold a value of their own. Which arms are
        run is no change; how one is defined is.

    Examples
    --------
    >>> changes("model: {name: a, food: fed}", "model: {name: a, food: fasted}\\ntitle: x")
    {('model', 'food'): 'fasted'}
    """
    old, new = (_leaves(YAML(typ="safe").load(text)) for text in (first, other))
    places = [place for place in {**old, **new} if place[0] not in WORDS and place != ("treatment", "arms")]
    return {p: new.get(p, _ABSENT) for p in places if old.get(p, _ABSENT) != new.get(p, _ABSENT)}


def _leaves(value: Any, at: Place = ()) -> dict[Place, Any]:
    if not isinstance(value, dict) or not value:
        return {at: value}
    return {place: leaf for key, below in value.items() for place, leaf in _leaves(below, (*at, str(key))).items()}


def why(
    results: Mapping[str, xr.DataTree],
    outcome: str | None,
    run: Callable[[Scenario], xr.DataTree],
) -> pd.DataFrame:
    """Run the first scenario again with each change of the other's by itself, and with all of them.

    Parameters
    ----------
    results : dict of str to xarray.DataTree
        Two, from `vtrial.load_result`, by name.
    outcome : str, optional
        Default: the primary outcome of the first.
    run : callable
        From a scenario to its result, e.g. `vtrial.run`.

    Returns
    -------
    pandas.DataFrame
        As `compare_results` gives it, of the first result against: itself, run now; each change by itself; all changes;
        the other result. If the changes multiply, the ratios of single ones multiply to that of all.

    Raises
    ------
    InputError
        If there are not two, or the scenario with a change is no scenario.
    """
    if len(results) != 2:
        raise InputError([f"--why takes two results; given {len(results)}: {', '.join(results)}"])
    first, other = results.values()
    texts = [str(result.attrs["scenario"]) for result in (first, other)]
    single = changes(*texts)
    wanted = {AGAIN: {}} | {_named(place, value): {place: value} for place, value in single.items()} | {ALL: single}
    ours, theirs = ([str(arm) for arm in one["risk"].to_dataset()["arm"].values] for one in (first, other))
    arms = [arm for arm in ours if arm in theirs]
    size, name = str(first.attrs["size"]), str(first.attrs["scenario_name"])
    found = {"first": first}
    for what, some in wanted.items():
        if what == ALL and len(single) < 2:
            continue
        found[what] = run(_scenario(_edited(texts[0], some, arms), name, size))
    return compare_results(found | {OTHER: other}, outcome)


def _named(place: Place, value: Any) -> str:
    return f"{'.'.join(place)}: {'left out' if value is _ABSENT else value}"


def _edited(text: str, some: Mapping[Place, Any], arms: list[str]) -> str:
    """The YAML with some places changed, of the arms that both have, and without what is beside them."""
    yaml, out = YAML(), io.StringIO()
    document = yaml.load(text)
    for (*above, last), value in some.items():
        at = document
        for key in above:
            at = at.setdefault(key, {})
        if value is _ABSENT:
            at.pop(last, None)
        else:
            at[last] = value
    for key in BESIDE:
        document.pop(key, None)
    reference = document["estimands"]["reference"]
    document["treatment"]["arms"] = list(dict.fromkeys([reference, *arms]))
    yaml.dump(document, out)
    return out.getvalue()


def _scenario(text: str, name: str, size: Any) -> Scenario:
    """Check a text as the scenario of that name; files that it names are looked for where the program runs."""
    with tempfile.NamedTemporaryFile("w", dir=".", prefix=f".{name}-", suffix=".yaml", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        return load_scenario(file.name, size=size)
