"""Figures as objects: each with a table of what it shows, in whatever format, of some arms and strata."""

import csv
import io
import json

import numpy as np
import pytest
from test_report import standard  # noqa: F401 (a fixture)
from typer.testing import CliRunner

from vtrial.cli import app
from vtrial.report import estimates_csv
from vtrial.report.facts import Facts
from vtrial.report.figures import PLOTS, draw_figure
from vtrial.report.shown import DATA, of_some, shown
from vtrial.result import save_result
from vtrial.spec import InputError


@pytest.fixture(scope="module")
def saved(standard, tmp_path_factory):  # noqa: F811
    path = tmp_path_factory.mktemp("figure") / "result.nc"
    save_result(standard, path)
    return path


def call(*args):
    done = CliRunner().invoke(app, ["figure", *map(str, args)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_every_figure_has_its_table():
    assert set(DATA) == set(PLOTS)


@pytest.mark.parametrize("name", PLOTS)
def test_the_table_of_a_figure_holds_the_numbers_of_the_result(standard, name):  # noqa: F811
    table = shown(Facts(standard), name)
    assert len(table)
    if "outcome" not in table or name == "dose_risk":
        return  # their numbers are no estimates: see below, and tests/test_further.py
    estimand = "difference" if name == "forest" else "value"
    rows = csv.DictReader(io.StringIO(estimates_csv(standard)))
    known = {(r["arm"], r["stratum"], r["outcome"]): r for r in rows if r["estimand"] == estimand}
    for row in table.to_dict("records"):
        own = known[row["arm"], row["stratum"], row["outcome"]]
        for stat in ("mean", "median", "lo", "hi", "mcse"):
            assert row[stat] == pytest.approx(float(own[stat] or "nan"), rel=1e-12, nan_ok=True)


def test_fans_are_quantiles_over_the_copies_of_the_patient(standard):  # noqa: F811
    table = shown(Facts(standard), "fans")
    trace = standard["examples/ARM0_INDEX"].to_dataset()
    own = table[(table["what"] == "conc") & (table["drug"] == "baclofen")]
    values = trace["conc"].sel(drug="baclofen").transpose("draw", "time").values
    assert own["q50"].to_numpy() == pytest.approx(np.median(values, axis=0))
    assert own["time_h"].to_numpy() == pytest.approx(trace["time"].values)


def test_ranks_sum_to_one_over_arms_and_dose_risk_rises(standard):  # noqa: F811
    ranks = shown(Facts(standard), "ranks")
    all_arms = ranks[ranks["contest"] == "all"].groupby(["stratum", "rank"])["probability"].sum()
    assert all_arms.to_numpy() == pytest.approx(1.0)
    risk = shown(Facts(standard), "dose_risk")
    assert (risk[risk["outcome"] == "level3_24h"].sort_values("multiple")["mean"].diff().dropna() > 0).all()


def test_tornado_and_isoboles_hold_what_was_run(standard):  # noqa: F811
    table = shown(Facts(standard), "tornado")
    value = standard["sensitivity"].to_dataset()["value"]
    for row in table.to_dict("records"):
        assert row["mean"] == float(value.sel(arm=row["arm"], stratum=row["stratum"], case=row["case"], stat="mean"))
    points = shown(Facts(standard), "dose_surface")
    assert len(points) == 9
    assert {"baclofen_mg_a_day", "pregabalin_mg_a_day", "mean", "mcse"} <= set(points)


def test_some_arms_and_strata_beside_reference_and_population(standard):  # noqa: F811
    some, whole = Facts(of_some(standard, ["ARM9_BEERS"], ["75-84 G4"])), Facts(standard)
    assert some.arms == ["ARM1_GUIDELINE", "ARM9_BEERS"]
    assert some.strata == ["75-84 G4", "population"]
    where = "ARM9_BEERS", "75-84 G4", whole.primary
    assert some.stats("difference", *where) == whole.stats("difference", *where)
    assert all(draw_figure(some.result, name) is not None for name in PLOTS)
    with pytest.raises(InputError) as error:
        of_some(standard, ["ARM9_BERS"], ["75-84"])
    assert "did you mean 'ARM9_BEERS'?" in str(error.value)
    assert "no stratum '75-84'" in str(error.value)


@pytest.mark.parametrize(("suffix", "magic"), [(".svg", b"<?xml"), (".pdf", b"%PDF"), (".png", b"\x89PNG")])
def test_the_command_writes_the_figure_its_numbers_and_its_caption(saved, tmp_path, suffix, magic):
    target = tmp_path / f"risk{suffix}"
    code, text, _ = call(saved, "risk_by_arm", "-o", target, "--arm", "ARM9_BEERS")
    assert code == 0
    first = target.read_bytes()
    assert first.startswith(magic)
    assert "Dot with bar: mean over draws" in " ".join(text.split())
    rows = list(csv.DictReader(target.with_suffix(".csv").read_text().splitlines()))
    assert {row["arm"] for row in rows} == {"ARM1_GUIDELINE", "ARM9_BEERS"}
    call(saved, "risk_by_arm", "-o", target, "--arm", "ARM9_BEERS")
    assert target.read_bytes() == first


def test_without_a_name_the_figures_are_listed(saved):
    code, text, _ = call(saved, "--json")
    assert code == 0
    assert [one["figure"] for one in json.loads(text)] == [*PLOTS]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("heatmapp",), "no figure 'heatmapp'; did you mean 'heatmap'?"),
        (("heatmap", "-o", "x.jpg"), "given '.jpg', allowed are .svg, .pdf, .png"),
        (("heatmap", "-o", "nowhere/x.svg"), "there is no folder"),
        (("heatmap", "--arm", "ARM9"), "no arm 'ARM9' in the result"),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(saved, tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    code, _, error = call(saved, *args)
    assert code == 2
    assert said in " ".join(error.split())
    assert list(tmp_path.iterdir()) == []
