"""Assessment by ICH M15: what the scenario says, what the result adds, and "not done" for what nobody did."""

import re
from pathlib import Path

import pandas as pd
import pytest
from test_report import PATIENTS, STANDARD, _run, standard  # noqa: F401 (a fixture)

from vtrial import load_scenario
from vtrial.library import SCENARIOS
from vtrial.report.credibility import NOT_DONE, _assumption, assessment
from vtrial.report.facts import Facts
from vtrial.report.page import render_html, render_markdown
from vtrial.spec import InputError

REPO = Path(__file__).parent.parent
RATING = "{rating: high, because: <b>so</b>}"
SAID = f"""
assessment:
  context_of_use: To rank, not to dose
  model_influence: {RATING}
  consequence: {{rating: medium, because: it can}}
  model_risk: {RATING}
  model_impact: {{rating: low, because: nobody asked}}
  applicability: adults
  assumptions:
    - {{statement: nothing interacts, because: why not, grade: B, case: none}}
    - {{statement: all is well, because: hope, grade: B}}
sensitivities:
  arms: [ARM1_GUIDELINE, ARM0_INDEX]
  strata: ["75-84 G4"]
  cases:
    none: {{fix: {{alpha: 0}}}}
accept:
  - {{arm: ARM0_INDEX, outcome: level3_24h, stratum: "75-84 G4", stat: mcse, below: 1.0}}
"""


@pytest.fixture(scope="module")
def assessed(tmp_path_factory):
    return _run(STANDARD[: STANDARD.index("sensitivities:")] + SAID, tmp_path_factory.mktemp("assessed"), "assessed")


def test_what_the_scenario_says_is_in_the_table_and_on_the_page(assessed):
    told = assessment(Facts(assessed))
    table = dict(told["table"])
    assert told["done"]
    assert table["context of use"] == "To rank, not to dose"
    assert table["consequence of a wrong decision"] == "medium: it can"
    page = render_html(assessed, [])
    assert "high: &lt;b&gt;so&lt;/b&gt;" in page
    assert "nothing interacts" in page
    assert "To rank, not to dose" in render_markdown(assessed, [])


def test_the_effect_of_an_assumption_is_the_ratio_of_the_risks_that_were_run(assessed):
    told = assessment(Facts(assessed))
    mean = assessed["sensitivity"]["value"].sel(stat="mean", stratum="75-84 G4")
    ratios = sorted((mean.isel(case=1) / mean.isel(case=0)).values)
    effect, untested = (one["effect"] for one in told["assumptions"])
    low, high = (float(word) for word in effect.removeprefix("mean risk times ").split(" to "))
    assert (low, high) == pytest.approx(ratios, rel=0.06)  # two digits
    assert untested == "not tested"


def test_criteria_are_told_with_what_came_out(assessed):
    facts = Facts(assessed)
    mcse = facts.stats("value", "ARM0_INDEX", "75-84 G4", "level3_24h")["mcse"]
    text = assessment(facts)["criteria"]
    assert text == f"mcse of level3_24h, ARM0_INDEX, 75-84 G4, below 1: {mcse:.2g}, met"


def test_refits_that_the_main_scenario_quotes_are_those_of_the_calibration():
    """Factors on the mean risk over the four cells of `vtrial criticise`, one decimal or two figures."""
    found = pd.read_csv(REPO / "reports/calibration/refit_risks.csv", index_col=0)["mean"]
    kind, cell = (found.index.str.split(": ").str[k] for k in (0, 1))
    table = found.set_axis(pd.MultiIndex.from_arrays([kind, cell])).unstack()
    factor = table / table.loc["log-normal"]
    assumptions = load_scenario(SCENARIOS / "starting_dose.yaml").spec.assessment.assumptions
    said = " ".join(one.elsewhere or "" for one in assumptions)
    for name, words in {
        "baclofen.ke0 = 0.3, pregabalin.ke0 = 0.15": "slow, with the rest calibrated again, {} to {}",
        "S Student-t": "Student-t {} to {}",
        "S one spread": "one spread of reports and coma {} to {}",
        "S susceptible share": "a susceptible share {} to {}",
        "tolerance_fold = 1": "calibrated again, {} to {}",
    }.items():
        low, high = factor.loc[name].min(), factor.loc[name].max()
        assert words.format(f"{low:.1f}", f"{high:.1f}") in " ".join(said.split()), name
    assert "calibrated again, {:.2f} to {:.2f}".format(*factor.loc["b_age = 0"].agg(["min", "max"])) in said
    assert (factor.loc[["S Student-t", "S one spread", "S susceptible share"]] >= 1).all(axis=None)  # "none lowers it"


def test_several_cases_and_another_place_are_told(assessed):
    one = {"statement": "s", "because": "b", "grade": "B", "case": ["none", "none"], "elsewhere": "twice, in a thesis"}
    told = _assumption(Facts(assessed), one)
    assert told["case"] == "none, none, elsewhere"
    assert re.fullmatch(r"(mean risk times [^;]+; ){2}elsewhere: twice, in a thesis", told["effect"])


def test_what_was_not_done_says_so(standard):  # noqa: F811
    told = assessment(Facts(standard))
    assert not told["done"]
    assert {text for term, text in told["table"][1:6]} == {NOT_DONE}
    assert told["criteria"] == "none set"
    evaluation = dict(told["evaluation"])
    assert evaluation["external validation"] == NOT_DONE
    assert evaluation["validation against the data of the calibration"].startswith(NOT_DONE)  # priors
    assert "what only its modeller can say was not done" in render_html(standard, [])


def test_a_result_of_before_is_still_told(standard):  # noqa: F811
    old = standard.copy()
    old.attrs = {name: value for name, value in standard.attrs.items() if name not in ("assessment", "accept")}
    assert not assessment(Facts(old))["done"]


def test_a_case_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(PATIENTS + SAID.replace("case: none", "case: nome").replace('["75-84 G4"]', "[one]"))
    with pytest.raises(InputError) as error:
        load_scenario(path)
    assert "no case 'nome' among the sensitivities; did you mean 'none'?" in str(error.value)
