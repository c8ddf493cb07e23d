"""Results and guidelines side by side: by hand, by theory, and as the command line tells them."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from vtrial import InputError, save_result
from vtrial.cli import app
from vtrial.compare import changed, compare_guidelines, compare_results
from vtrial.compare.guidelines import PEOPLE
from vtrial.compare.results import dominance
from vtrial.policy import load_policies
from vtrial.population import PopulationSpec, resolve
from vtrial.report.comparison import guideline_rows, plot_guidelines, plot_results, result_rows
from vtrial.trial import run

HOUSE = load_policies()


@pytest.fixture(scope="module")
def pair(scenario):
    """The tiny scenario, and the same without interaction: the same patients."""
    edits = {"one": (), "two": (("surface: greco", "surface: loewe"),)}
    return {name: run(scenario(*given), threads=1) for name, given in edits.items()}


def test_a_result_and_itself_are_the_same(pair):
    twice = {"a": pair["one"], "b": pair["one"]}
    table = compare_results(twice)
    assert (table["difference"] == 0).all()
    assert (table["mcse"] == 0).all()
    assert table["paired"].all()
    assert dominance(table) == {"b": "the same everywhere"}
    assert changed(twice).empty


def test_differences_of_the_same_patients_are_draw_by_draw(pair):
    table = compare_results(pair, "level3_72h").set_index(["arm", "stratum"])
    a, b = (one["risk"].to_dataset()["mean"].sel(outcome="level3_72h") for one in pair.values())
    for (arm, stratum), row in table.iterrows():
        x, y = (one.sel(arm=arm, stratum=stratum).to_numpy() for one in (a, b))
        assert row["paired"]
        assert row["difference"] == pytest.approx((y - x).mean(), rel=1e-9, abs=1e-15)
        assert row["mcse"] == pytest.approx((y - x).std(ddof=1) / len(x) ** 0.5, rel=1e-9, abs=1e-15)
        assert row["p_lower"] == np.mean(y < x) + 0.5 * np.mean(y == x)
        assert row["ratio"] == pytest.approx(y.mean() / x.mean())
    both = table.loc["ARM0_INDEX"]
    assert (both["difference"] < 0).all()  # without interaction there is less
    assert "surface" in changed(pair).index


def test_independent_results_have_the_error_of_both(pair):
    other = xr.DataTree.from_dict({node.path: node.to_dataset() for node in pair["one"].subtree})
    other.attrs = {**pair["one"].attrs, "seed": 99}
    table = compare_results({"a": pair["one"], "b": other}, "level1_24h")
    assert not table["paired"].any()
    risk = pair["one"]["risk"].to_dataset()["mean"].sel(outcome="level1_24h", arm="ARM0_INDEX")
    own = table[table["arm"] == "ARM0_INDEX"].set_index("stratum")
    for stratum in own.index:
        x = risk.sel(stratum=stratum).to_numpy()
        assert own.loc[stratum, "mcse"] == pytest.approx(2**0.5 * x.std(ddof=1) / len(x) ** 0.5)
        assert own.loc[stratum, "difference"] == 0.0


def test_what_is_not_in_common_is_refused(pair):
    with pytest.raises(InputError, match="no outcome 'level3_27h'; did you mean 'level3_72h'"):
        compare_results(pair, "level3_27h")
    cut = xr.DataTree.from_dict({node.path: node.to_dataset() for node in pair["two"].subtree})
    cut["risk"] = cut["risk"].to_dataset().assign_coords(arm=["X", "Y", "Z"])
    with pytest.raises(InputError, match="no arm in common with one, which has ARM0_INDEX"):
        compare_results({"one": pair["one"], "cut": cut})


def test_doses_of_guidelines_by_hand():
    """5 mg three times a day for all, against a dose that falls with the renal function; and who is left out."""
    arms = [HOUSE.arms[name] for name in ("ARM1_GUIDELINE", "ARM9_BEERS")]
    population = resolve(PopulationSpec(model="us_adults"))
    table = compare_guidelines(arms, HOUSE, population).set_index(["drug", "stratum"])
    old = table.loc["baclofen", "75-84 G4"]
    assert (old["first"], old["other"], old["untreated"], old["other_untreated"]) == (15.0, 0.0, 0.0, 1.0)
    assert (old["more"], old["less"], old["same"]) == (0.0, 1.0, 0.0)
    young = table.loc["baclofen", "18-49 G1"]
    assert young["same"] == 1.0
    weight = {stratum.name: stratum.weight for stratum in population.strata}
    by_hand = sum(weight[name] * table.loc["baclofen", name]["other"] for name in weight)
    assert table.loc["baclofen", "population"]["other"] == pytest.approx(by_hand)
    whole = table.loc["pregabalin", "population"]
    assert whole["more"] + whole["less"] + whole["same"] == pytest.approx(1.0)
    assert PEOPLE * table["same"].loc["pregabalin", "75-84 G3b"] == pytest.approx(
        round(PEOPLE * table["same"].loc["pregabalin", "75-84 G3b"])
    )


def test_figures_and_tables_show_what_they_are_given(pair):
    table = compare_results(pair, "level1_24h")
    rows = result_rows(table, "level1_24h")
    assert len(rows) == len(table)
    axes = plot_results(table).axes[0]
    drawn = {round(float(line.get_xdata()[0]), 12) for line in axes.lines if len(line.get_xdata()) == 1}
    assert drawn == {round(x, 12) for x in [*table["first"], *table["other"]]}
    doses = compare_guidelines([HOUSE.arms["ARM1_GUIDELINE"], HOUSE.arms["ARM0_INDEX"]], HOUSE,
                               resolve(PopulationSpec(model="us_adults", strata=["65-74 G5"])))  # fmt: skip
    assert guideline_rows(doses)["this, mg/day"].tolist() == ["30", "300"] * 2
    assert [axes.get_xlabel() for axes in plot_guidelines(doses).axes] == ["baclofen, mg/day", "pregabalin, mg/day"]


def test_command_line(pair, tmp_path):
    for name, result in pair.items():
        (tmp_path / name).mkdir()
        save_result(result, tmp_path / name / "result.nc")
    one, two = (str(tmp_path / name) for name in pair)
    told = CliRunner().invoke(app, ["compare", one, two, "-o", str(tmp_path / "out")])
    assert told.exit_code == 0, told.output
    assert "surface" in told.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.csv", "changed.csv", "report.md", "figures",
    }  # fmt: skip
    numbers = pd.read_csv(tmp_path / "out" / "comparison.csv")
    printed = CliRunner().invoke(app, ["compare", one, two, "--json"])
    assert len(json.loads(printed.output)) == len(numbers)
    caused = CliRunner().invoke(app, ["compare", one, two, "--why", "--json"])
    assert caused.exit_code == 0, caused.output
    assert "model.surface: loewe" in {row["result"] for row in json.loads(caused.stdout)}
    again = CliRunner().invoke(app, ["compare", "ARM1_GUIDELINE", "PGB_US_LABEL"])
    assert again.exit_code == 0
    assert "PGB_US_LABEL" in again.output


WRONG = {
    "one": (["ARM1_GUIDELINE"], "name two or more to compare"),
    "twice": (["ARM1_GUIDELINE", "ARM1_GUIDELINE"], "given twice: ARM1_GUIDELINE"),
    "unknown": (["ARM1_GUIDELINE", "ARM1_GUIDELIN"], "did you mean 'ARM1_GUIDELINE'?"),
    "no file": (["a.nc", "b.nc"], "a.nc: no such file"),
    "mixed": (["a.nc", "ARM1_GUIDELINE"], "results are compared with results alone"),
    "why": (["ARM1_GUIDELINE", "ARM0_INDEX", "--why"], "--why is of results"),
    "outcome": (["ARM1_GUIDELINE", "ARM0_INDEX", "--outcome", "x"], "--outcome is of results"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said(given, message):
    told = CliRunner().invoke(app, ["compare", *given])
    assert told.exit_code == 2
    assert re.search(re.escape(message), " ".join(told.output.split())), told.output
