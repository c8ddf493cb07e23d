"""The report as one HTML page, and in brief as Markdown."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from typing import Any

import jinja2
import xarray as xr

from vtrial.estimand import POPULATION
from vtrial.report import digits
from vtrial.report.assumptions import dose_table, sensitivity_table
from vtrial.report.captions import WORDS
from vtrial.report.course import course_tables, recovers
from vtrial.report.credibility import assessment
from vtrial.report.explore import explorer
from vtrial.report.facts import CARRIED_LIMIT, HELD, INNER_LIMIT, NOTICE, SIGN_NOTE, Facts, heading, short_outcome
from vtrial.report.figures import Drawn
from vtrial.report.learnt import learnt
from vtrial.report.markup import drawn_formula, escape_markdown, formula, inline, pieces
from vtrial.report.summary import people, summarise
from vtrial.report.tables import LARGE, contrast_of, risk_of
from vtrial.report.worth import worth_blocks, worth_columns

TITLES = {
    "summary": "Summary",
    "assessment": "Question of interest, context of use, assessment (ICH M15)",
    "plan": "Analysis plan",
    "data": "Data and evidence",
    "assumptions": "Assumptions",
    "model": "Model and parameters",
    "evaluation": "Evaluation: diagnostics, verification, validation",
    "population": "Population",
    "policies": "Arms and policies",
    "doses": "What the arms give",
    "untreated": "Who is not treated, and doses no tablet gives",
    "design": "Simulation design (ADEMP)",
    "look": "Look for yourself",
    "risks": "Risk",
    "course": WORDS["course"][0],
    "contrasts": "Differences and ratios",
    "chances": "Lowest risk, ranks, limits",
    "worth": "Risk and benefit",
    "figures": "Figures",
    "meaning": "What the numbers mean",
    "sensitivity": "Sensitivity to assumptions",
    "limits": "What the model cannot know",
    "again": "Reproducibility",
}
"""Sections of the page: those of ICH M15 for the reporting of model-informed drug development, then the findings."""

GRADED = {
    "A": "seen verbatim, some in a transcription: see the row", "A2": "seen on a secondary page",
    "C": "computed from sources seen", "D": "derived", "B": "recalled or assumed, for priors only",
}  # fmt: skip


def render_html(result: xr.DataTree, figures: list[Drawn], *, paper: bool = False) -> str:
    """Render the page, all in one file.

    Parameters
    ----------
    result : xarray.DataTree
    figures : list of Drawn
    paper : bool
        For a converter that runs no scripts and knows no MathML: nothing to choose from, equations are drawn.

    Returns
    -------
    str
    """
    facts = Facts(result)
    context = _context(facts, figures, None if paper else explorer(facts))
    made = environment(autoescape=True)
    made.filters["formula"] = drawn_formula if paper else formula
    return made.get_template("report.html.j2").render(context)


def render_markdown(result: xr.DataTree, figures: list[Drawn]) -> str:
    """Render the report in brief, with links to `figures/`.

    Parameters
    ----------
    result : xarray.DataTree
    figures : list of Drawn

    Returns
    -------
    str
    """
    return environment(autoescape=False).get_template("report.md.j2").render(_context(Facts(result), figures, None))


def environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vtrial", "report"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"pieces": pieces, "inline": inline, "md": escape_markdown}
    return environment


# ------------------------------------------------------------------------------------------------ context


def _context(facts: Facts, figures: list[Drawn], explore: dict[str, Any] | None) -> dict[str, Any]:
    context = _words(facts) | _tables(facts) | _provenance(facts) | {"figures": figures, "explore": explore}
    return context | {"titles": _titles(context)}


def _titles(context: dict[str, Any]) -> dict[str, str]:
    """Titles of the sections of the page, in their order, by what links to them."""
    absent = {
        "doses": not context["doses"]["rows"], "look": not context["explore"], "course": not context["courses"],
        "contrasts": not context["contrasts"], "worth": not context["worth"]["blocks"],
    }  # fmt: skip
    titles = TITLES | {
        "risks": context["heading"],
        "course": WORDS["course" if context["recovers"] else "onset"][0],
        "contrasts": f"Differences and ratios to {context['reference']}",
    }
    return {name: title for name, title in titles.items() if not absent.get(name)}


def _words(facts: Facts) -> dict[str, Any]:
    return {
        "attrs": dict(facts.result.attrs),
        "notice": NOTICE,
        "sign_note": SIGN_NOTE,
        "prior": facts.prior,
        "drawn_from": facts.drawn_from,
        "doubts": facts.doubts,
        "fixed_note": facts.fixed_note,
        "again": _command(facts),
        "held": HELD if facts.held else "",
        "heading": heading(facts, facts.primary),
        "primary": facts.primary,
        "primary_label": facts.label(facts.primary),
        "reference": facts.reference,
        "probability": f"{facts.interval:.0%}",
        "tails": f"{100 * facts.tail:g}% and {100 - 100 * facts.tail:g}%",
        "inner_limit": f"{INNER_LIMIT:g}",
        "carried_limit": f"{CARRIED_LIMIT:.0%}",
        "nnh_limit": f"{LARGE:,.0f}",
        "whole": facts.whole,
        "averaged": facts.averaged,
        "summary": summarise(facts),
        "people": people(facts),
    }


def _tables(facts: Facts) -> dict[str, Any]:
    return {
        "doses": dose_table(facts),
        "sensitivity": sensitivity_table(facts),
        "assessment": assessment(facts),
        "courses": course_tables(facts),
        "recovers": recovers(facts),
        "risks": _risk_blocks(facts),
        "contrasts": _contrast_blocks(facts),
        "chances": _chances(facts),
        "worth": {"columns": worth_columns(facts), "blocks": worth_blocks(facts)},
        "untreated": _untreated(facts),
        "oddities": _oddities(facts),
    }


def _provenance(facts: Facts) -> dict[str, Any]:
    fixed = facts.json("fixed")
    return {
        "levels": list(enumerate(facts.levels)),
        "limits": facts.json("limits"),
        "params": [p | {"fixed": fixed.get(p["name"])} | learnt(facts, p) for p in facts.json("params")],
        "equations": facts.json("equations") if "equations" in facts.result.attrs else [],
        "grades": _grades(facts),
        "fixed": fixed,
        "evidence": facts.json("evidence"),
        "arms": facts.json("arms"),
        "dialysis": bool(facts.result["risk"].to_dataset()["dialysis"].any()),
        "versions": facts.json("versions"),
        "posterior": _posterior(facts),
        "source": facts.json("population"),
        "source_text": _source(facts.json("population")),
        "outcomes": [{"name": o, "unit": facts.unit(o), "label": facts.label(o)} for o in facts.outcomes],
        "strata": facts.strata[:-1],
    }


def _source(population: dict[str, str]) -> str:
    """What people are made from, in words."""
    kinds = {"model": "the covariate model", "bootstrap": "the rows of", "patient": "named patients"}
    name = population.get("name", "")
    return " ".join(filter(None, [kinds.get(population.get("kind", ""), population.get("kind", "")), name]))


def _grades(facts: Facts) -> str:
    """How many rows of the evidence have each grade."""
    count = Counter(str(row["grade"]) for row in facts.json("evidence").values())
    return "; ".join(f"{n} {grade} ({GRADED.get(grade, 'see its row')})" for grade, n in sorted(count.items())) + "."


def _command(facts: Facts) -> str:
    """The command that gives the result again, wherever its draws were asked for."""
    attrs = facts.result.attrs
    size = " --size small" if attrs["size"] == "small" else ""
    source = "prior" if facts.prior else facts.posterior.get("file", "FILE")
    if source in (f"{attrs['model']}.nc", f"{facts.posterior.get('model')}.nc"):
        source = f"models/posteriors/{source}"
    return f"vtrial run scenarios/{attrs['scenario_name']}.yaml{size} --posterior {source}"


def _posterior(facts: Facts) -> dict[str, Any]:
    """What the file of the draws says of itself, in the words of a report."""
    told = facts.posterior
    if not told:
        return {}
    names = {
        "file": "file", "sha256": "sha256", "model": "calibrated model", "model_sha256": "sha256 of that model",
        "evidence_sha256": "sha256 of its evidence", "seed": "seed", "worst_rhat": "highest R-hat",
        "least_ess": "lowest ESS, bulk or tail", "divergences": "divergences",
    }  # fmt: skip
    forms = {"worst_rhat": ".3f", "least_ess": ",.0f", "divergences": ","}
    found = {words: format(told[key], forms.get(key, "")) for key, words in names.items() if key in told}
    for key, words in (("sampler", "sampler"), ("versions", "made with")):
        if key in told:
            found[words] = ", ".join(f"{name} {value}" for name, value in json.loads(told[key]).items())
    return found


def _head(facts: Facts, stratum: str) -> dict[str, Any]:
    weight = float(facts.estimates["weight"].values[facts.strata.index(stratum)])
    if stratum == POPULATION:
        weighted = "" if facts.averaged else ", strata weighted by their share"
        return {"stratum": stratum, "name": facts.name_of(stratum) + weighted, "share": ""}
    return {"stratum": stratum, "name": stratum, "share": f"{digits.probability(weight)} of the {facts.whole}"}


def _risk_blocks(facts: Facts) -> list[dict[str, Any]]:
    blocks = []
    for stratum in facts.telling:
        risks = [risk_of(facts, arm, stratum) for arm in facts.arms]
        rows = [
            asdict(risk) | {"marks": risk.marks, "noisy": risk.noisy, "skewed": risk.skewed,
                            "inner": f"{risk.inner_share:.2g}", "top": _percent(risk.top5_share)}
            for risk in risks
        ]  # fmt: skip
        blocks.append(_head(facts, stratum) | {"rows": rows})
    return blocks


def _percent(share: float) -> str:
    return f"{share:.0%}" if math.isfinite(share) else "–"


def _contrast_blocks(facts: Facts) -> list[dict[str, Any]]:
    others = [arm for arm in facts.arms if arm != facts.reference]
    if not others:
        return []
    return [
        _head(facts, stratum) | {"rows": [contrast_of(facts, arm, stratum) for arm in others]}
        for stratum in facts.telling
    ]


def _chances(facts: Facts) -> list[dict[str, Any]]:
    """By stratum and arm: probability of the lowest risk, mean rank, probability below each limit."""
    found, blocks, draws = facts.estimates, [], int(facts.result.attrs["draws"])
    for stratum in facts.telling:
        rows = []
        for arm in facts.arms:
            cell = found.sel(arm=arm, stratum=stratum)
            row: dict[str, Any] = {"arm": arm}
            for contest in ("all", "treating"):
                one = cell.sel(contest=contest)
                p_rank = one["p_rank"].values
                inside = p_rank.sum() > 0.5
                p, mcse = float(one["p_safest"]), float(one["p_safest_mcse"])
                row[contest] = _chance(p, mcse, draws) if inside else "not in"
                mean = float((p_rank * one["rank"].values).sum())
                row[f"{contest}_rank"] = f"{mean:.1f}" if inside else "–"
            row["below"] = [
                _chance(float(p), float(e), draws)
                for p, e in zip(cell["p_below"].values, cell["p_below_mcse"].values, strict=True)
            ]
            rows.append(row)
        limits = [_write_limit(facts, str(limit)) for limit in found["limit"].values]
        blocks.append(_head(facts, stratum) | {"rows": rows, "limits": limits})
    return blocks


def _chance(p: float, mcse: float, draws: int) -> str:
    """A share of draws with its error; if none, or all, the rule of three (95%) for independent draws."""
    if p in (0.0, 1.0):
        least = digits.probability(3 / draws, 1 / draws)
        return f"<{least}" if p == 0 else f">{digits.probability(1 - 3 / draws, 1 / draws)}"
    return f"{digits.probability(p, mcse)} ({digits.error(mcse, percent=True)})"


def _write_limit(facts: Facts, limit: str) -> str:
    outcome, _, below = limit.partition(" < ")
    return f"{short_outcome(facts, outcome)} below {below}"


def _untreated(facts: Facts) -> list[dict[str, str]]:
    """Arms, strata and drugs where not everyone is treated, though the arm gives the drug to someone."""
    treated = facts.estimates["treated"].transpose("arm", "stratum", "drug").values
    rows = []
    for a, arm in enumerate(facts.arms):
        for d, drug in enumerate(facts.drugs):
            by_share: dict[str, list[str]] = {}
            if treated[a, :, d].max() <= 0:
                continue
            for s, name in enumerate([*facts.strata[:-1], facts.whole]):
                if treated[a, s, d] < 1 - 1e-12:
                    by_share.setdefault(digits.probability(float(treated[a, s, d])), []).append(name)
            rows += [
                {"arm": arm, "drug": drug, "share": share, "strata": ", ".join(strata)}
                for share, strata in by_share.items()
            ]
    return rows


def _oddities(facts: Facts) -> list[dict[str, str]]:
    """Doses that no product gives."""
    return [
        {"arm": arm["id"], "drug": drug, "policy": policy["id"],
         "doses": ", ".join(f"{dose:g} mg" for dose in policy["unavailable"])}
        for arm in facts.json("arms")
        for drug, policy in arm["drugs"].items()
        if policy["unavailable"]
    ]  # fmt: skip
