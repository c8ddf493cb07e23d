"""Captions of the figures: what is shown, and the numbers that the result itself supplies."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtrial.report import digits
from vtrial.report.course import curves_of, recovers
from vtrial.report.facts import NOTICE, SIGN_NOTE, Facts, is_probability, short_outcome
from vtrial.report.plot_ranks import sensitivity_arms
from vtrial.report.plot_uncertainty import variances


def caption_of(facts: Facts, name: str) -> tuple[str, str]:
    """Title and caption of a figure that the result has the data for."""
    title, text = _words(facts, name)
    return title, f"{text} {_numbers(facts, name)} {NOTICE}"


def _numbers(facts: Facts, name: str) -> str:
    """The part of a caption that every figure has: size, seed, what an interval means, Monte Carlo error."""
    attrs = facts.result.attrs
    if name == "population":
        return "One million people of the covariate model; MCSE: about a tenth of the survey's SE."
    if name == "discordance":
        people = int(facts.result["discordance"].attrs["people"])
        most = 50 / np.sqrt(people)
        return f"{people:,} people of each stratum, seed {attrs['seed']}. MCSE: at most {most:.1f}% of a stratum."
    source = "prior draws, not calibrated" if facts.prior else "posterior draws"
    source = "all held at their medians" if facts.held else source
    text = f"{attrs['draws']} draws of the parameters ({source}), {attrs['patients']} patients for each draw and "
    text += f"stratum, seed {attrs['seed']}. "
    if name in ("risk_by_arm", "forest", "dose_risk"):
        text += f"Intervals: equal-tailed, {facts.interval:.0%}, over draws. "
    if name == "fans":
        return text + "MCSE: not estimated for trajectories."
    if name == "sensitivity":
        return text + f"MCSE of a correlation near 0: {1 / np.sqrt(attrs['draws'] - 1):.2f}."
    if name == "uncertainty":
        mcse = variances(facts)["mcse"].to_numpy()
        return f"{text}MCSE of the SDs, by a jackknife over draws: {_range(mcse, percent=True)}."
    return f"{text}MCSE: {_mcse_range(facts, name)}."


def _mcse_range(facts: Facts, name: str) -> str:
    found, percent = facts.estimates, True
    if name == "heatmap":
        mcse = found["value"].sel(outcome=facts.primary, stat="mcse", stratum=facts.strata[:-1])
    elif name == "forest":
        mcse = found["difference"].sel(outcome=facts.primary, stat="mcse", stratum=facts.telling)
    elif name == "dose_risk":
        data = facts.result["dose_risk"].to_dataset()
        mcse = data["value"].sel(stat="mcse", outcome=facts.primary_levels())
    elif name == "dose_surface":
        mcse = facts.result["dose_surface"].to_dataset()["value"].sel(stat="mcse", outcome=facts.primary)
    elif name == "tornado":
        mcse = facts.result["sensitivity"].to_dataset()["value"].sel(stat="mcse")
    elif name == "exposure":
        names = [o for o in facts.outcomes if "_ratio_" in o]
        mcse, percent = found["value"].sel(outcome=names, stat="mcse", stratum=facts.strata[:-1]), False
    elif name == "peak_clock":
        names = [o for o in facts.outcomes if o.startswith("peak_clock_")]
        mcse = found["value"].sel(outcome=names, stat="mcse", stratum=facts.telling)
    elif name == "course":
        names = [outcome for curve in curves_of(facts) for outcome in curve.outcomes]
        return _range(found["value"].sel(outcome=names, stat="mcse", stratum=facts.telling).values, percent=True)
    elif name == "ranks":
        mcse = (found["p_rank"] * (1 - found["p_rank"]) / facts.result.attrs["draws"]) ** 0.5
    else:
        mcse = found["value"].sel(outcome=facts.primary, stat="mcse", stratum=facts.telling)
    if facts.primary not in facts.primary_levels() or not is_probability(facts.primary):
        percent = percent and name in ("peak_clock", "ranks")
    return _range(mcse.values, percent=percent)


def _range(values: np.ndarray, *, percent: bool) -> str:
    values = values[np.isfinite(values)]
    if not values.size:
        return "not known"
    low, high = (digits.error(float(x), percent=percent) for x in (values.min(), values.max()))
    return f"{low} to {high}"


def _words(facts: Facts, name: str) -> tuple[str, str]:
    """Title and first words of the caption of a figure."""
    what = short_outcome(facts, facts.primary)
    arms = " and ".join(sensitivity_arms(facts))
    title, text = WORDS["onset" if name == "course" and not recovers(facts) else name]
    surface = str(facts.result.attrs["surface"])
    bend = "What bends an isobole inwards is alpha, which no data identify." if surface == "greco" else ""
    words = {"what": what, "arms": arms, "reference": facts.reference, "whole": facts.whole}
    text = text.format(**words, surface=surface, bend=bend)
    return title, " ".join(filter(None, [text, _window_note(facts, name), _control_note(facts, name)]))


def _window_note(facts: Facts, name: str) -> str:
    """What a window means to an arm with evening doses, for captions of exposure and of the first 24 h."""
    windows = {o.rsplit("_", 1)[-1] for o in facts.outcomes if o.startswith("peak_clock_")}
    of_primary = "_24h" in facts.primary and name not in ("fans", "exposure", "peak_clock")
    if name == "exposure" or of_primary or (name == "peak_clock" and "24h" in windows):
        return WINDOW_NOTE
    return ""


def _control_note(facts: Facts, name: str) -> str:
    """The control arms and what they give, for the forest."""
    controls = [arm for arm in facts.json("arms") if arm["role"] == "control" and arm["id"] != facts.reference]
    if name != "forest" or not controls:
        return ""
    told = "; ".join(_gives(facts, arm) for arm in controls)
    ours = next(_gives(facts, arm) for arm in facts.json("arms") if arm["id"] == facts.reference)
    return f"Controls are compared with the reference arm though their doses may differ: {told}; the reference {ours}."


def _gives(facts: Facts, arm: dict[str, Any]) -> str:
    """An arm with its doses for the first named patient; with its policies where the result tells no doses."""
    if arm["id"] not in facts.doses:
        return f"{arm['id']} ({', '.join(f'{drug}: {p["title"]}' for drug, p in arm['drugs'].items())})"
    patient, doses = next(iter(facts.doses[arm["id"]].items()))
    return f"{arm['id']} ({', '.join(f'{drug}: {text}' for drug, text in doses.items())}, for patient {patient})"


WINDOW_NOTE = (
    "Windows start at the first dose of any drug: an evening arm has had its evening drug for only part of the first "
    "24 h."
)


WORDS: dict[str, tuple[str, str]] = {
    "population": (
        "The population beside its survey",
        "Quantiles of eGFR, share of each eGFR category, weight and height by age, as the survey records it (80 is "
        "80 or older). Bars: two bootstrap standard errors. Means by sex; people inside a trial keep their own age.",
    ),
    "discordance": (
        "Two measures of renal function",
        "Left: of the people in each category of eGFR, percent in each category of creatinine clearance (actual "
        "weight) with the same cut points; below 0.5% blank. Right: percent whose dose on day 1 would fall or rise "
        "if the other of the two were read for the one that the rule means, where being given none counts as 0 mg; "
        "arms and drugs whose rules ask for renal function.",
    ),
    "risk_by_arm": (
        "Risk by arm",
        "Risk of {what} by arm. Dot with bar: mean over draws ± MCSE; diamond: median; line: interval, ending in "
        "an arrow where it leaves the axis. Where mean and median lie far apart, a few draws carry the mean.",
    ),
    "course": (
        "Onset and recovery",
        "Probability over time: of having reached a level since the first dose, and of not yet being below another for "
        "good after the time that the scenario names, of those who had reached the first. Dots with bars: mean over "
        "draws ± MCSE; lines join them, time on a logarithmic axis; so is probability, if no arm comes to 5% in some "
        "stratum. Intervals are in estimates.csv.",
    ),
    "onset": (
        "Cumulative incidence",
        "Probability of having reached a level since the first dose. Dots with bars: mean over draws ± MCSE; lines "
        "join them. Time is on a logarithmic axis; so is probability, if no arm comes to 5% in some stratum. Arms "
        "that coincide hide each other. Intervals are in estimates.csv.",
    ),
    "heatmap": (
        "Risk by age and renal function",
        "Mean risk of {what}, in percent, by age band and eGFR category, one panel for each arm, one colour "
        "scale. Hatched: the arm leaves out one of its drugs for all patients of the cell; orange corner: for "
        "some. Cells print the digits that their MCSE supports, one at least; <.01 is below 0.005%.",
    ),
    "forest": (
        "Difference to the reference arm",
        "Difference in risk of {what} to {reference}, on the same patients; the axis is linear near 0, "
        "logarithmic beyond. Filled dot: the interval excludes 0. " + SIGN_NOTE,
    ),
    "ranks": (
        "Ranks of the arms",
        "Probability over draws of each rank by risk of {what}, rank 1 the lowest, ties split; the number is the "
        "probability of rank 1, from 10% up. Left: all arms. Right: only arms that give everyone in the "
        "stratum the drugs they are about, since leaving a drug out wins this contest without treating anyone. "
        "Ranks are of risk alone and ignore benefit.",
    ),
    "frontier": (
        "Risk and benefit",
        "Mean risk of {what} against the mean benefit that the scenario names, bars: ± MCSE. Blue: arms on the "
        "efficient frontier, which no other arm beats on both; grey: arms that another beats. No dot: no risk at all.",
    ),
    "dose_risk": (
        "Risk against dose",
        "Risk of each sedation level against the multiple of all doses of the arm. Line with dots: mean ± MCSE; "
        "dotted: median; band: interval; cut off below the axis.",
    ),
    "dose_surface": (
        "Isoboles",
        "Mean risk of {what} over the daily doses of two drugs, given to everyone, under surface {surface}. Lines: "
        "doses of equal risk; dotted: the straight line between the doses of each drug alone that carry the same "
        "risk, where each reaches it. {bend} Peaks at different times, kinetics of their own, and the mean over "
        "patients and draws, whose potencies differ, bend it outwards: no isobole of a mean measures an "
        "interaction. Dots: doses that were run; between them the logarithm of the risk is taken as linear, and no "
        "isobole is drawn below the risk of the lowest doses.",
    ),
    "fans": (
        "Trajectories of the example patient",
        "Concentration and effect-site concentration of each drug, and the sedation drive of a patient of median "
        "sensitivity: median, 50% and 90% of copies of the example patient, one for each draw, each with "
        "deviations of its own. Dashed: thresholds of the levels (medians over draws).",
    ),
    "exposure": (
        "Exposure",
        "Mean Cmax and AUC over those of the typical reference patient under the reference arm (ratio 1), by eGFR "
        "category, standardised over age, or by stratum where there are no categories. Patients of an arm that are "
        "not given the drug count as 0; no dot: given to no one. "
        "Intervals are in estimates.csv.",
    ),
    "peak_clock": (
        "Time of day of the peak",
        "Share of patients whose sedation drive peaks in each quarter of the day; diamond: share at night, 22:00 "
        "to 07:00. A bar ends early where some are given no drug.",
    ),
    "tornado": (
        "What the named assumptions do",
        "Mean risk of {what} with each assumption changed, from that of the scenario (black line); whiskers: ± MCSE of "
        "the difference, on the same draws and patients. Not a range of likely values: no data tell them apart.",
    ),
    "uncertainty": (
        "Where the variance of a risk comes from",
        "Variance of the risk of {what} of one patient, whose sensitivity is averaged out: between patients of a "
        "draw, and between draws, less the noise of finitely many patients, as in the scenario; and between the "
        "means of the scenario and of the cases that choose another surface or food, each counted once. Cases "
        "that hold a parameter are left out, as the draws vary it; so is the shape of the spread of sensitivity. "
        "Numbers: SD. More patients or draws change none of them.",
    ),
    "sensitivity": (
        "What goes with the risk",
        "Spearman rank correlation over draws between each population parameter and the risk of {what} in the "
        "{whole}, for {arms}; the 12 largest. An association, not an effect: a parameter that does not enter this "
        "risk may be tied by the evidence to one that does. Fixed parameters do not vary and cannot show.",
    ),
}
"""Title and first words of the caption of every figure; "onset" is the course of a result without recovery."""
