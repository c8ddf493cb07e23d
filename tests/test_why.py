"""Which of several changes between two runs moved the risk."""

import numpy as np
import pytest
from conftest import edited

from vtrial import InputError, run
from vtrial.compare.why import AGAIN, ALL, OTHER, changes, why

ALPHA = "model.fix.alpha: 5"
FOOD = "model.food: fed"
EDITS = (
    ("  fix: {allometry_CL: 0.75}", "  fix: {allometry_CL: 0.75, alpha: 5}\n  food: fed"),
    ("arms: [ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]", "arms: [ARM1_GUIDELINE, ARM0_INDEX]"),
)


def once(scenario):
    return run(scenario, threads=1)


@pytest.fixture(scope="module")
def pair(scenario):
    return {"one": once(scenario()), "two": once(scenario(*EDITS))}


@pytest.fixture(scope="module")
def table(pair):
    return why(pair, None, once)


def test_each_change_is_run_by_itself_and_all_together(table):
    assert list(dict.fromkeys(table["result"])) == [AGAIN, ALPHA, FOOD, ALL, OTHER]
    assert set(table["arm"]) == {"ARM0_INDEX", "ARM1_GUIDELINE"}
    assert table["paired"].all()


def test_the_first_run_again_is_itself(table):
    own = table[table["result"] == AGAIN]
    assert (own[["difference", "mcse"]].to_numpy() == 0).all()


def test_all_changes_together_are_the_other_result(table):
    columns = ["first", "other", "difference", "mcse"]
    both = [table.loc[table["result"] == name, columns].to_numpy() for name in (ALL, OTHER)]
    np.testing.assert_array_equal(*both)


def test_a_single_change_is_the_run_with_it_alone(table, scenario):
    found = once(scenario(("surface: greco", "surface: greco\n  food: fed")))["risk"].to_dataset()["mean"]
    for one in table[table["result"] == FOOD].to_dict(orient="records"):
        mean = found.sel(arm=one["arm"], stratum=one["stratum"], outcome="level3_72h").mean()
        assert one["other"] == pytest.approx(float(mean), rel=1e-12)


def test_what_cannot_move_a_risk_is_no_change():
    text = "title: a\nmodel: {name: m}\ntreatment: {arms: [A], horizon: 7 d}"
    other = "title: b\nmodel: {name: m}\ntreatment: {arms: [B], horizon: 7 d}\nexamples: {arms: [B]}"
    assert changes(text, other) == {}


def test_a_key_that_is_left_out_is_a_change(pair, scenario):
    """Run back from the other: its two further keys go."""
    back = why({"two": pair["two"], "one": pair["one"]}, None, once)
    names = list(dict.fromkeys(back["result"]))
    assert names == [AGAIN, "model.fix.alpha: left out", "model.food: left out", ALL, OTHER]
    both = [back.loc[back["result"] == name, "other"].to_numpy() for name in (ALL, OTHER)]
    np.testing.assert_array_equal(*both)


def test_three_results_are_refused(pair):
    with pytest.raises(InputError, match="takes two results; given 3"):
        why(pair | {"three": pair["one"]}, None, once)


def test_edits_of_this_module_still_fit(write):
    assert edited(write().read_text(), *EDITS)
