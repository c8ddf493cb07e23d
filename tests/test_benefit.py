"""Exposure within a window, utility, and arms that no other beats: by hand and by theory."""

import csv
import io
import re

import numpy as np
import pytest

from vtrial import InputError, draw_parameters, draw_patients, load_scenario, simulate
from vtrial.endpoint import UTILITY, utility_of
from vtrial.estimand import Estimands, Outcome, Sums, estimate
from vtrial.frontier import efficient
from vtrial.report import estimates_csv
from vtrial.report.facts import Facts
from vtrial.report.page import render_html, render_markdown
from vtrial.report.worth import frontier, worth_blocks, worth_columns
from vtrial.treatment import expose_reference
from vtrial.trial import run

AUC, PRIMARY = "  - {kind: auc, within: 72 h}", "  primary: level3_72h"
ASKED = (
    (AUC, f"{AUC}\n  - {{kind: in_window, ratio: [0.5, 2], within: 72 h}}"),
    (PRIMARY, f"{PRIMARY}\n  benefit: in_window_all_72h\n  utility: {{level3_72h: -50, in_window_all_72h: 1}}"),
)


def test_efficient_arms_by_hand():
    risk = np.array([0.01, 0.02, 0.02, 0.03, 0.05, np.nan])
    benefit = np.array([0.3, 0.6, 0.5, 0.6, 0.9, 1.0])
    assert efficient(risk, benefit).tolist() == [True, True, False, False, True, False]
    assert efficient(np.zeros(3), np.ones(3)).all()  # equal ones beat nobody


def test_efficient_arms_are_those_of_the_definition():
    rng = np.random.default_rng(2)
    risk, benefit = rng.integers(0, 5, (2, 6, 40)) / 5  # many ties
    found = efficient(risk, benefit)
    for d in range(risk.shape[1]):
        for a in range(len(risk)):
            beaten = any(
                risk[b, d] <= risk[a, d] and benefit[b, d] >= benefit[a, d]
                and (risk[b, d] < risk[a, d] or benefit[b, d] > benefit[a, d])
                for b in range(len(risk))
            )  # fmt: skip
            assert found[a, d] == (not beaten)


def test_utility_is_the_weighted_sum_of_means_and_the_best_arm_has_most_of_it():
    rng = np.random.default_rng(1)
    mean = rng.uniform(size=(3, 1, 2, 500))
    sums = Sums(mean, np.zeros_like(mean), np.zeros_like(mean), np.ones((3, 1, 1, 500)))
    spec = Estimands(reference="A", primary="risk", benefit="gain", utility={"risk": -2.0, "gain": 3.0})
    found = estimate(
        sums, spec, arms=["A", "B", "C"], strata=["all"], drugs=["x"], weight=np.ones(1),
        outcomes=[Outcome("risk", "1", "risk"), Outcome("gain", "1", "gain")], derived=[utility_of(spec.utility)],
    )  # fmt: skip
    worth = 3.0 * mean[:, 0, 1] - 2.0 * mean[:, 0, 0]
    value = found["value"].sel(stratum="all", outcome=UTILITY)
    assert value.sel(stat="mean").values == pytest.approx(worth.mean(-1), rel=1e-12)
    assert value.sel(stat="mcse").values == pytest.approx(worth.std(-1, ddof=1) / 500**0.5, rel=1e-12)
    best = np.bincount(worth.argmax(0), minlength=3) / 500
    assert found["p_best"].sel(stratum="all").values == pytest.approx(best)
    over = found["difference"].sel(stratum="all", outcome=UTILITY, stat="mean").values
    assert over == pytest.approx(worth.mean(-1) - worth[0].mean(), abs=1e-12)
    on = np.array([efficient(mean[:, 0, 0, d], mean[:, 0, 1, d]) for d in range(500)])
    assert found["p_efficient"].sel(stratum="all").values == pytest.approx(on.mean(0))


def test_who_is_in_the_window_is_told_by_the_ratio_of_auc(scenario):
    loaded = scenario(*ASKED)
    theta = draw_parameters(loaded.model, loaded.draws, 7)
    cohort = draw_patients(loaded, theta, patients=8)
    found = simulate(loaded, cohort, "ARM1_GUIDELINE", expose_reference(loaded, theta))
    inside = {}
    for drug in ("baclofen", "pregabalin"):
        ratio = found[f"auc_ratio_{drug}_72h"].values
        inside[drug] = ((ratio >= 0.5) & (ratio <= 2)).astype(float)
        assert 0 < inside[drug].mean() < 1
        assert (found[f"in_window_{drug}_72h"].values == inside[drug]).all()
    both = inside["baclofen"] * inside["pregabalin"]
    assert (found["in_window_all_72h"].values == both).all()


def test_a_drug_that_the_reference_lacks_is_not_asked_for(scenario):
    only = (("reference: ARM1_GUIDELINE", "reference: ARM10_BAC_ONLY"),)
    loaded = scenario(*ASKED, *only)
    theta = draw_parameters(loaded.model, loaded.draws, 7)
    cohort = draw_patients(loaded, theta, patients=4)
    found = simulate(loaded, cohort, "ARM1_GUIDELINE", expose_reference(loaded, theta))
    assert np.isnan(found["in_window_pregabalin_72h"].values).all()
    assert (found["in_window_all_72h"].values == found["in_window_baclofen_72h"].values).all()


def test_the_report_tells_risk_and_benefit(scenario):
    result = run(scenario(*ASKED), threads=1)
    facts = Facts(result)
    assert facts.benefit == "in_window_all_72h"
    blocks = worth_blocks(facts)
    assert all(len(row["cells"]) == len(worth_columns(facts)) for block in blocks for row in block["rows"])
    figure = frontier(facts)
    names = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert any("GUIDELINE" in name for name in names)
    for page in (render_html(result, []), render_markdown(result, [])):
        assert "Risk and benefit" in page
        assert "they are the modeller's" in page
    rows = list(csv.DictReader(io.StringIO(estimates_csv(result))))
    assert {"p_efficient", "p_best"} <= {row["estimand"] for row in rows}
    assert {row["arm"] for row in rows if row["outcome"] == UTILITY} == {*facts.arms}


def test_without_a_benefit_nothing_is_told(scenario):
    facts = Facts(run(scenario(), threads=1))
    assert worth_blocks(facts) == []
    assert frontier(facts) is None


WRONG = {
    "nothing inside": ("ratio: [0.5, 2]", "ratio: [2, 0.5]", "'ratio': 2 is not below 0.5"),
    "unknown": ("benefit: in_window_all_72h", "benefit: in_windw_all_72h", "did you mean 'in_window_all_72h'?"),
    "weight": ("utility: {level3_72h: -50", "utility: {level3_27h: -50", "no endpoint gives 'level3_27h'"),
    "the risk": (
        "benefit: in_window_all_72h",
        "benefit: level3_72h",
        "the primary outcome, of which less is better",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said(write, old, new, message):
    edits = tuple((place, text.replace(old, new)) for place, text in ASKED)
    with pytest.raises(InputError, match=re.escape(message)):
        load_scenario(write(*edits))
