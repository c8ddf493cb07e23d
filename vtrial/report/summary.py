"""A plain summary in sentences, every one of them made from the numbers of the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtrial.estimand import POPULATION
from vtrial.report import digits
from vtrial.report.facts import Facts, is_probability, short_outcome
from vtrial.report.tables import risk_of

MANY = 10_000
"""People of whom it is said how many come to harm."""
MOST_TOLD = 1_000
"""A ratio beyond this, or its inverse, is not told as a number."""
RARE = 0.001
"""Strata of less than this share of the population do not make the headline."""


def summarise(facts: Facts) -> list[str]:
    """Say in a few sentences what a result says.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    list of str
        One paragraph each: the population, the telling strata, the extremes, cautions.
    """
    paragraphs = [_stratum(facts, stratum) for stratum in facts.telling]
    if len(facts.strata) > 2:
        paragraphs += _extremes(facts)
    if len(facts.arms) > 1:
        paragraphs.append("Ranks are of risk alone and ignore benefit.")
    return [*paragraphs, *_cautions(facts)]


def people(facts: Facts) -> dict[str, Any] | None:
    """How many people of `MANY` come to harm: under the reference, and at the ends of the arms that treat everyone.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    dict or None
        ``what``: the primary outcome; ``many``; ``rows``: by telling stratum what it is in words, and pairs of arm and
        number with its interval, of the reference, the highest and the lowest mean. None if it is no probability.
    """
    if not is_probability(facts.primary):
        return None
    rows = []
    for stratum in facts.telling:
        means = {arm: facts.stats("value", arm, stratum, facts.primary)["mean"] for arm in facts.arms}
        treating = [arm for arm in facts.arms if facts.treats_all(arm, stratum)] or facts.arms
        some = facts.reference, max(treating, key=means.__getitem__), min(treating, key=means.__getitem__)
        rows.append((_in_words(facts, stratum), [(arm, _people(facts, arm, stratum)) for arm in some]))
    return {"what": short_outcome(facts, facts.primary), "many": f"{MANY:,}", "rows": rows}


def _in_words(facts: Facts, stratum: str) -> str:
    row, column = facts.place(stratum) if stratum != POPULATION else ("", "")
    return f"age {row}, eGFR {column}" if row and column else facts.name_of(stratum)


def _people(facts: Facts, arm: str, stratum: str) -> str:
    value = facts.stats("value", arm, stratum, facts.primary)
    mean = MANY * value["mean"]
    count = "fewer than 1" if 0 < mean < 1 else digits.number(mean, MANY * value["mcse"])
    return f"{count} ({MANY * value['lo']:.0f} to {MANY * value['hi']:.0f})"


def _mean_and_more(facts: Facts, arm: str, stratum: str) -> str:
    text = risk_of(facts, arm, stratum).text
    return (
        f"{text['mean']} (MCSE {text['mcse']}; median {text['median']}; {facts.interval:.0%} interval "
        f"{text['lo']} to {text['hi']})"
    )


def _stratum(facts: Facts, stratum: str) -> str:
    where = f"the {facts.whole}" if stratum == POPULATION else stratum
    what = short_outcome(facts, facts.primary)
    text = f"{facts.population_text} " if stratum == POPULATION and facts.population_text else ""
    text += f"In {where}, the risk of {what} under the reference arm {facts.reference} is "
    text += f"{_mean_and_more(facts, facts.reference, stratum)}."
    if len(facts.arms) == 1:
        return text
    means = {arm: facts.stats("value", arm, stratum, facts.primary)["mean"] for arm in facts.arms}
    text += " " + _against(facts, "highest", max(means.values()), means, stratum)
    text += " " + _against(facts, "lowest", min(means.values()), means, stratum)
    treating = {arm: mean for arm, mean in means.items() if facts.treats_all(arm, stratum)}
    low = [arm for arm, mean in means.items() if mean == min(means.values())]
    if treating and not any(arm in treating for arm in low):
        best = min(treating, key=lambda arm: treating[arm])
        text += " That leaves patients without a drug; among arms that treat everyone the lowest is "
        text += f"{best} with {_mean_and_more(facts, best, stratum)}."
    return text + _lowest(facts, list(treating), stratum)


def _lowest(facts: Facts, arms: list[str], stratum: str) -> str:
    """Which of the arms that treat everyone has the lowest mean, the lowest median, the highest P(rank 1)."""
    if len(arms) < 2:
        return ""
    values = {arm: facts.stats("value", arm, stratum, facts.primary) for arm in arms}
    first = facts.estimates["p_safest"].sel(contest="treating", stratum=stratum)
    by = {
        "the lowest mean": {arm: values[arm]["mean"] for arm in arms},
        "the lowest median": {arm: values[arm]["median"] for arm in arms},
        "the highest P(rank 1)": {arm: -float(first.sel(arm=arm)) for arm in arms},
    }
    best = {what: _joined([arm for arm in arms if of[arm] == min(of.values())]) for what, of in by.items()}
    if len(set(best.values())) == 1:
        return f" Among arms that treat everyone, {best['the lowest mean']} has {_joined(list(by))}."
    told = _joined([f"{what} is that of {arm}" for what, arm in best.items()])
    return f" Among arms that treat everyone, {told}: no one arm is the lowest by every measure."


def _joined(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _against(facts: Facts, which: str, value: float, means: dict[str, float], stratum: str) -> str:
    """The arm (or arms) of highest or lowest mean, and its ratio to the reference."""
    arms = [arm for arm, mean in means.items() if mean == value]
    names = arms[0] if len(arms) == 1 else f"{_joined(arms)} alike"
    if facts.reference in arms:
        return f"The {which} mean is that of {names}."
    ratio = facts.stats("ratio", arms[0], stratum, facts.primary)
    text = f"The {which} mean is that of {names}, {_mean_and_more(facts, arms[0], stratum)}"
    if not np.isfinite(ratio["mean"]):
        return f"{text}."
    return (
        f"{text}: {digits.number(ratio['mean'], ratio['mcse'])} times the reference (ratio of means, MCSE "
        f"{digits.error(ratio['mcse'], percent=False)}; within draws {_times(ratio['median'])}, "
        f"{_times(ratio['lo'])} to {_times(ratio['hi'])})."
    )


def _times(ratio: float) -> str:
    """A ratio within draws: beyond a thousandfold it says nothing but that."""
    if not MOST_TOLD > ratio > 1 / MOST_TOLD:
        return f">{MOST_TOLD:,}" if ratio > 1 else f"<{1 / MOST_TOLD:g}"
    return f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}"


def _extremes(facts: Facts) -> list[str]:
    """The highest and lowest mean of all arms and strata, rare strata left out."""
    weight = facts.estimates["weight"].values[:-1]
    kept = {*facts.telling}
    own = [stratum for stratum, w in zip(facts.strata, weight, strict=False) if w >= RARE or stratum in kept]
    if len(own) < 2:
        return []
    rare = len(weight) - len(own)
    which = f" that hold at least {RARE:.1%} of the {facts.whole} each or are told above" if rare else ""
    found = facts.estimates["value"].sel(outcome=facts.primary, stat="mean", stratum=own)
    means = found.transpose("arm", "stratum").values
    (a, s), (b, t) = (np.unravel_index(f(means), means.shape) for f in (np.nanargmax, np.nanargmin))
    high, low = (facts.arms[a], own[s]), (facts.arms[b], own[t])
    return [
        f"Over all arms and the {len(own)} strata{which} the mean ranges from {risk_of(facts, *low).text['mean']} "
        f"({low[0]} in {low[1]}) to {risk_of(facts, *high).text['mean']} ({high[0]} in {high[1]})."
    ]


def _cautions(facts: Facts) -> list[str]:
    risks = [risk_of(facts, arm, stratum) for stratum in facts.telling for arm in facts.arms]
    cautions = []
    if skewed := sum(risk.skewed for risk in risks):
        cautions.append(
            f"In {skewed} of the {len(risks)} risks of the main table the top 5% of draws carry more than half of "
            "the mean: whether such a risk is rare or not depends on a few values of the parameters that the "
            "evidence does not exclude. Read the median beside the mean: the MCSE of such a mean tends to be too "
            "small, and the median too low where a draw has few patients (run it with more to see)."
        )
    if noisy := sum(risk.noisy for risk in risks):
        cautions.append(
            f"In {noisy} of them more than a tenth of the interval's variance is patient noise, which more patients "
            "would remove."
        )
    return cautions
