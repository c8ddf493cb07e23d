"""What the page says of the evidence itself: assessment by ICH M15, assumptions and what they carry, evaluation."""

from __future__ import annotations

import json
import math
from typing import Any

from vtrial.report import digits
from vtrial.report.facts import Facts, is_probability, short_outcome

NOT_DONE = "not done"
RATED = {
    "model_influence": "model influence",
    "consequence": "consequence of a wrong decision",
    "model_risk": "model risk",
    "model_impact": "model impact",
}


def assessment(facts: Facts) -> dict[str, Any]:
    """Assessment and evaluation of the evidence.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    dict
        ``table``: pairs of term and text, in the terms of ICH M15, of what the scenario says and "not done" of what it
        does not; ``criteria``: what the simulation had to fulfil, and did; ``assumptions``: rows of statement, reason,
        grade, the case that drops it, and what follows; ``evaluation``: pairs of what is evaluated and what was found.
    """
    told = json.loads(facts.result.attrs.get("assessment") or "{}")
    rated = [(words, _rating(told.get(name))) for name, words in RATED.items()]
    return {
        "done": bool(told),
        "table": [
            ("question of interest", str(facts.result.attrs["question"])),
            ("context of use", _text(told, "context_of_use")),
            *rated,
        ],
        "criteria": _criteria(facts),
        "assumptions": [_assumption(facts, one) for one in told.get("assumptions", [])],
        "evaluation": [
            (
                "verification of the program",
                f"tests of vtrial {facts.json('versions')['vtrial']}, not part of this run",
            ),
            ("verification of this run", _noise(facts)),
            ("validation against the data of the calibration", _calibration(facts)),
            ("external validation", NOT_DONE),
            ("applicability", _text(told, "applicability")),
        ],
    }


def _text(told: dict[str, Any], name: str) -> str:
    return " ".join(told[name].split()) if name in told else NOT_DONE


def _rating(given: dict[str, str] | None) -> str:
    return NOT_DONE if given is None else f"{given['rating']}: {' '.join(given['because'].split())}"


def _criteria(facts: Facts) -> str:
    """The conditions that the scenario sets, with what came out."""
    found = []
    for one in json.loads(facts.result.attrs.get("accept") or "[]"):
        value = facts.stats("value", one["arm"], one["stratum"], one["outcome"])[one["stat"]]
        what = f"{one['stat']} of {one['outcome']}, {one['arm']}, {one['stratum']}"
        found.append(f"{what}, below {one['below']:g}: {value:.2g}, {'met' if value < one['below'] else 'missed'}")
    return "; ".join(found) or "none set"


def _noise(facts: Facts) -> str:
    """The largest simulation error of the primary outcome, over its mean."""
    worst = (0.0, "", "")
    for arm in facts.arms:
        for stratum in facts.telling:
            value = facts.stats("value", arm, stratum, facts.primary)
            if value["mean"] > 0 and math.isfinite(value["mcse"]):
                worst = max(worst, (value["mcse"] / value["mean"], arm, stratum))
    text, (share, arm, stratum) = "MCSE beside every estimate", worst
    if not arm:
        return text
    what = short_outcome(facts, facts.primary)
    return f"{text}; of {what} at most {share:.0%} of the mean in the strata told ({arm}, {facts.name_of(stratum)})"


def _calibration(facts: Facts) -> str:
    if facts.prior:
        return f"{NOT_DONE}: parameters are draws from the priors"
    told = facts.posterior
    rhat, ess = (told.get(name, math.nan) for name in ("worst_rhat", "least_ess"))
    return (
        f"posterior {told.get('file', '')}: R-hat at most {rhat:.3f}, ESS at least {ess:,.0f}, "
        f"{told.get('divergences', '?')} divergences; fit to every number of the evidence, studies left out, refits: "
        "the report of vtrial criticise"
    )


def _assumption(facts: Facts, one: dict[str, Any]) -> dict[str, Any]:
    """An assumption with the cases that drop it, and what follows here and elsewhere."""
    case = one["case"]
    cases = [case] if isinstance(case, str) else list(case or ())
    elsewhere = " ".join((one.get("elsewhere") or "").split())
    effects = [_effect(facts, name) for name in cases] or ([] if elsewhere else ["not tested"])
    tested = [*cases, *(["elsewhere"] if elsewhere else [])]
    effect = "; ".join([*effects, *([f"elsewhere: {elsewhere}"] if elsewhere else [])])
    return one | {"case": ", ".join(tested), "effect": effect}


def _effect(facts: Facts, case: str) -> str:
    """By what the risk is multiplied where an assumption is dropped, over the arms and strata that were tried."""
    if "sensitivity" not in facts.result.children:
        return "not tested"
    found = facts.result["sensitivity"].to_dataset()
    value = found["value"].sel(stat="mean")
    base, changed = value.isel(case=0), value.sel(case=case)
    ratios = sorted(float(x) for x in (changed / base).values.ravel() if math.isfinite(x))
    if not ratios:
        return "not tested"
    low, high = (digits.number(x, x / 10) for x in (ratios[0], ratios[-1]))
    what = "risk" if is_probability(str(found.attrs["outcome"])) else "outcome"
    return f"mean {what} times {low}" + (f" to {high}" if high != low else "")
