"""The report: a pure function of a result, whose numbers are the result's, and which injects nothing."""

from __future__ import annotations

import csv
import hashlib
import html.parser
import io
import json
import math
import re

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from vtrial import load_scenario, run
from vtrial.estimand import carried
from vtrial.report import Risk, digits, estimates_csv, print_risks, risk_table, write_report
from vtrial.report.course import course_tables
from vtrial.report.explore import allowed, scripts
from vtrial.report.facts import HELD, SIGN_NOTE, Facts, short_arms
from vtrial.report.figures import PLOTS, draw_figures
from vtrial.report.page import _chance, render_html, render_markdown
from vtrial.report.plot_exposure import exposure
from vtrial.report.summary import _times, people, summarise
from vtrial.report.tables import COLUMNS, contrast_of, nnh

TITLE = "Doses <script>alert('x')</script> | & co"

STANDARD = f"""
title: "{TITLE}"
question: How likely? <img src=x onerror=alert(1)>
model: {{name: baclofen_pregabalin, draws_from: prior}}
population:
  model: us_adults
  strata: ["65-74 G2 75-89", "75-84 G4"]
treatment:
  arms: [ARM1_GUIDELINE, ARM0_INDEX, ARM9_BEERS]
  start: "08:00"
  horizon: 24 h
endpoints:
  - {{kind: level_reached, level: [1, 3], within: [24 h]}}
  - {{kind: cmax, within: 24 h}}
  - {{kind: auc, within: 24 h}}
  - {{kind: in_window, ratio: [0.5, 2], within: 24 h}}
  - {{kind: peak_clock, within: 24 h}}
  - {{kind: onset, level: [1, 3], times: [6 h, 24 h]}}
  - {{kind: recovery, from_level: 2, to_level: 1, at: 8 h, times: [2 h, 8 h], until: 24 h}}
estimands:
  reference: ARM1_GUIDELINE
  primary: level3_24h
  interval: 0.9
  limits: [{{outcome: level3_24h, below: 0.001}}]
  benefit: in_window_all_24h
simulation: {{seed: 7, draws: 20, patients: 5}}
reference_patient: {{name: reference, age: 40 year, sex: M, height: 176 cm, weight: 70 kg, scr: 0.9 mg/dL}}
examples:
  patient: {{name: case, age: 68 year, sex: F, height: 154 cm, weight: 65 kg, scr: 0.713 mg/dL}}
  arms: [ARM0_INDEX]
dose_risk: {{arm: ARM1_GUIDELINE, strata: ["75-84 G4"], multiples: [0.5, 1, 2]}}
dose_surface:
  strata: ["75-84 G4"]
  drugs: {{baclofen: {{freq: TID, doses: [5 mg, 10 mg]}}, pregabalin: {{freq: BID, doses: [75 mg, 150 mg]}}}}
sensitivities: {{arms: [ARM1_GUIDELINE], strata: ["75-84 G4"], cases: {{no tolerance: {{fix: {{tolerance_fold: 1}}}}}}}}
"""

PATIENTS = """
title: Two patients
question: Who?
model: {name: baclofen_pregabalin, draws_from: prior, fix: {alpha: 0}}
population:
  patient:
    - {name: "one", age: 68 year, sex: F, height: 154 cm, weight: 65 kg, scr: 0.713 mg/dL}
    - {name: "two", age: 80 year, sex: M, height: 170 cm, weight: 75 kg, scr: 5 mg/dL, dialysis: true}
treatment: {arms: [ARM1_GUIDELINE, ARM0_INDEX], start: "08:00", horizon: 24 h}
endpoints:
  - {kind: level_reached, level: [3], within: [24 h]}
estimands: {reference: ARM1_GUIDELINE, primary: level3_24h}
simulation: {seed: 8, draws: 20, patients: 5}
reference_patient: {name: reference, age: 40 year, sex: M, height: 176 cm, weight: 70 kg, scr: 0.9 mg/dL}
"""


def _run(text, folder, name):
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return run(load_scenario(path), threads=2)


@pytest.fixture(scope="session")
def standard(tmp_path_factory):
    return _run(STANDARD, tmp_path_factory.mktemp("report"), "standard")


@pytest.fixture(scope="session")
def patients(tmp_path_factory):
    return _run(PATIENTS, tmp_path_factory.mktemp("report"), "patients")


@pytest.fixture(scope="session")
def figures(standard):
    return draw_figures(standard)


@pytest.fixture(scope="session")
def page(standard, figures):
    return render_html(standard, figures)


@pytest.fixture(scope="session")
def told(standard):
    """The standard result, with doses, a text on the population, a control, and sensitivity cases."""
    same = {"baclofen": "5 mg at 08:00, 14:00, 20:00 (15 mg/day)", "pregabalin": "75 mg at 08:00, 20:00 (150 mg/day)"}
    other = {"baclofen": "avoid", "pregabalin": "not given"}
    arms = json.loads(standard.attrs["arms"])
    for arm, case in zip(arms, (same, same, other), strict=True):
        arm["doses"] = {"reference": same, "case": case}
    arms[2]["role"] = "control"
    value = standard["estimates"]["value"].sel(outcome="level3_24h").drop_vars(["outcome", "unit", "label", "weight"])
    value = value.sel(arm=["ARM1_GUIDELINE", "ARM0_INDEX"], stratum=["population", "75-84 G4"])
    value = xr.concat([value, 2 * value], xr.DataArray(["as in the scenario", "no | tolerance"], dims="case"))
    cases = value.to_dataset(name="value").assign_coords(change=("case", ["", "tolerance_fold 1"]))
    cases["mean"] = value.sel(stat="mean", drop=True) * xr.DataArray(np.linspace(0.9, 1.1, 20), dims="draw")
    groups = {name: node.to_dataset() for name, node in _groups(standard).items()}
    groups["/"] = groups["/"].assign_attrs(arms=json.dumps(arms), population_text="Adults of <nowhere>.")
    groups["/sensitivity"] = cases.assign_attrs(outcome="level3_24h")
    return xr.DataTree.from_dict(groups)


def _groups(result):
    return {node.path: node for node in result.subtree if "sensitivity" not in node.path}


@pytest.fixture(scope="session")
def old(standard):
    """The standard result, as written before doses, population_text and sensitivity were."""
    groups = {name: node.to_dataset() for name, node in _groups(standard).items()}
    arms = [{k: v for k, v in arm.items() if k != "doses"} for arm in json.loads(standard.attrs["arms"])]
    attrs = {k: v for k, v in standard.attrs.items() if k != "population_text"} | {"arms": json.dumps(arms)}
    groups["/"] = xr.Dataset(attrs=attrs)
    return xr.DataTree.from_dict(groups)


# ------------------------------------------------------------------------------------------------ digits


@pytest.mark.parametrize(
    ("value", "mcse", "text"),
    [
        (0.0046, 0.0014, "0.5%"),
        (0.0046, 0.00001, "0.460%"),
        (0.847, 0.034, "85%"),
        (3.2e-6, 9e-7, "0.00032%"),
        (3.2e-6, 0.01, "0.0003%"),
        (0.0, 0.0, "0"),
        (1.0, 0.0, "100%"),
        (0.996, 0.01, "100%"),
        (0.0996, 0.003, "10.0%"),
        (1e-30, 1e-31, "<0.0001%"),
        (9e-7, 1e-9, "<0.0001%"),
        (1e-6, 1e-9, "0.000100%"),
        (math.nan, 0.1, "–"),
        (0.5, math.nan, "50.0%"),
    ],
)
def test_a_probability_shows_the_digits_its_error_supports(value, mcse, text):
    assert digits.probability(value, mcse) == text


@pytest.mark.parametrize("seed", range(200))
def test_rounding_moves_a_value_by_half_its_error_at_most_and_keeps_no_digit_below_it(seed):
    rng = np.random.default_rng(seed)
    value, mcse = 10 ** rng.uniform(-8, 3), 10 ** rng.uniform(-10, 2)
    first, place = math.floor(math.log10(value)), digits.last_place(value, mcse)
    moved = abs(float(digits.number(value, mcse)) - value)
    assert moved <= 0.5001 * 10.0 ** max(first - 2, min(math.log10(mcse), first))
    assert place >= min(first, max(first - 2, math.floor(math.log10(mcse))))


def test_the_error_of_a_quantile_is_that_of_repeated_samples():
    rng = np.random.default_rng(1)
    samples = rng.lognormal(size=(400, 500))
    observed = np.quantile(samples, 0.9, axis=1).std()
    reported = np.mean([digits.quantile_error(sample, 0.9) for sample in samples])
    assert 0.9 < reported / observed < 1.1


# ------------------------------------------------------------------------------------------------ tables


def test_every_estimate_is_in_the_csv_to_the_last_bit(standard):
    rows = list(csv.DictReader(io.StringIO(estimates_csv(standard))))
    assert tuple(rows[0]) == COLUMNS
    found = standard["estimates"].to_dataset()
    for name in ("value", "difference"):
        mine = {(r["arm"], r["stratum"], r["outcome"]): r for r in rows if r["estimand"] == name}
        for key, row in mine.items():
            cell = found[name].sel(arm=key[0], stratum=key[1], outcome=key[2])
            for stat in ("mean", "median", "lo", "hi", "mcse", "inner_share"):
                value = float(cell.sel(stat=stat))
                assert (row[stat] == "" and math.isnan(value)) or float(row[stat]) == value
        assert len(mine) == found[name].isel(stat=0).size
    assert {"treated", "p_safest_all", "p_safest_treating", "p_below", "ratio"} <= {r["estimand"] for r in rows}


def test_nnh_is_given_only_where_the_interval_excludes_zero(standard):
    facts = Facts(standard)
    given = {
        (r["arm"], r["stratum"], r["outcome"])
        for r in csv.DictReader(io.StringIO(estimates_csv(standard)))
        if r["estimand"] == "nnh"
    }
    assert given
    for arm in facts.arms:
        for stratum in facts.strata:
            d = facts.stats("difference", arm, stratum, "level3_24h")
            clear = (d["lo"] > 0 or d["hi"] < 0) and min(abs(d["lo"]), abs(d["hi"])) >= 1e-5
            assert ((arm, stratum, "level3_24h") in given) == clear
            assert (contrast_of(facts, arm, stratum).nnh == "–") != clear
    assert nnh(0.1, 0.1, -0.01, 0.2) is None
    assert nnh(-0.1, -0.1, -0.2, -0.05) == (-10, -10, -20, -5)
    assert nnh(0.1, 0.1, 0.9e-5, 0.2) is None
    assert nnh(-0.1, -0.1, -0.2, -0.9e-5) is None


def test_the_table_has_population_and_telling_strata_in_the_order_of_the_arms(standard):
    risks = risk_table(standard)
    assert all(isinstance(risk, Risk) for risk in risks)
    assert list(dict.fromkeys(risk.stratum for risk in risks)) == ["population", "65-74 G2 75-89", "75-84 G4"]
    assert [risk.arm for risk in risks[:3]] == ["ARM1_GUIDELINE", "ARM0_INDEX", "ARM9_BEERS"]
    assert risks[-1].without == ("baclofen",)
    assert {risk.stratum for risk in risk_table(standard, ["75-84 G4"])} == {"75-84 G4"}


def test_the_population_of_the_draws_is_that_of_the_estimates(standard):
    facts = Facts(standard)
    for arm in facts.arms:
        mean = facts.stats("value", arm, "population", facts.primary)["mean"]
        assert facts.draws_of(arm, "population", facts.primary).mean() == pytest.approx(mean, rel=1e-12)


def test_what_a_few_draws_carry():
    assert carried(np.array([1.0] * 10 + [0.0] * 190)) == 1.0
    assert carried(np.ones(200)) == pytest.approx(0.05)
    assert math.isnan(carried(np.zeros(5)))
    assert carried(np.array([[1.0, 3.0], [2.0, 2.0]])).tolist() == [0.75, 0.5]


def test_the_result_itself_says_what_a_few_draws_carry(standard):
    stored = standard["estimates"]["top5_share"]
    for risk in risk_table(standard):
        cell = stored.sel(arm=risk.arm, stratum=risk.stratum, outcome=Facts(standard).primary)
        assert float(cell) == pytest.approx(risk.top5_share, rel=1e-12, nan_ok=True)


def test_a_result_at_fixed_parameters_says_that_its_intervals_are_no_uncertainty(standard):
    told = standard.copy()
    told.attrs["parameters"] = "prior median"
    console = Console(width=200, file=io.StringIO(), record=True)
    print_risks(told, console)
    for text in (console.export_text(), render_markdown(told, []), render_html(told, [])):
        assert HELD in text
        assert "PRIOR" in text
    assert HELD not in render_markdown(standard, [])


def test_printed_risks_say_what_they_are(standard):
    console = Console(width=120, file=io.StringIO(), record=True)
    print_risks(standard, console)
    text = console.export_text()
    for words in (
        "ARM1_GUIDELINE (reference)",
        "MCSE",
        "median",
        "90% interval",
        "PRIOR",
        "without baclofen",
        "75-84 G4",
    ):
        assert words in text


def test_short_names_stay_different():
    names = ["ARM1_" + "A" * 40 + "x" + "B" * 20, "ARM1_" + "A" * 40 + "y" + "B" * 20]
    assert len(set(short_arms(names).values())) == 2


# ------------------------------------------------------------------------------------------------ the whole


def test_the_same_result_gives_the_same_bytes(patients, tmp_path):
    found = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_report(patients, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        found.append({p.relative_to(tmp_path / name): hashlib.sha256(p.read_bytes()).hexdigest() for p in files})
    assert found[0] == found[1]
    names = {path.as_posix() for path in found[0]}
    assert {"report.html", "report.md", "estimates.csv", "figures/forest.svg", "figures/forest.png"} <= names
    assert "figures/heatmap.svg" not in names
    assert "figures/fans.svg" not in names


def test_a_result_with_everything_has_every_figure(figures):
    assert {figure.name for figure in figures} == set(PLOTS)
    assert all(figure.svg.startswith(b"<?xml") and figure.png.startswith(b"\x89PNG") for figure in figures)


def test_captions_say_draws_patients_seed_and_error(figures):
    of_people = {
        "population": ("One million people", "MCSE"),
        "discordance": ("2,000 people of each stratum", "seed 7", "MCSE"),
    }
    for figure in figures:
        for words in of_people.get(figure.name) or (
            "20 draws",
            "5 patients",
            "seed 7",
            "MCSE",
            "not calibrated",
            "not for dosing decisions",
        ):
            assert words in figure.caption, figure.name


class _Page(html.parser.HTMLParser):
    """Collects tags, and checks that they close in order."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.loads, self.links = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [values[key] for key in ("src", "srcset", "data", "poster") if key in values]
        self.links += [values["href"]] if "href" in values else []
        assert not any(key.startswith("on") for key in values)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_injects_nothing_and_loads_nothing(page):
    parsed = _Page()
    parsed.feed(page)
    assert parsed.open == []
    assert not {"iframe", "object", "link"} & set(parsed.tags)
    own = dict(zip(("library", "script"), scripts(), strict=True))
    assert parsed.tags.count("script") == 1 + len(own)  # the data, which no browser runs, and these
    for script in own.values():
        assert page.count(script) == 1
        assert allowed(script) in page
        page = page.replace(script, "")
    assert "unsafe-eval" not in page
    assert "&lt;script&gt;" in page
    assert all(source.startswith("data:image/svg+xml;base64,") for source in parsed.loads)
    assert len(parsed.loads) == len(PLOTS)
    assert all(re.match(r"#|https?://", link) for link in parsed.links)
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= ids
    assert "@import" not in page
    assert "url(" not in page


def test_the_page_holds_the_numbers_of_the_result(standard, page):
    for risk in risk_table(standard):
        text = {name: value.replace("<", "&lt;") for name, value in risk.text.items()}
        row = f'<td class="n">{text["mean"]}</td><td class="n">{text["mcse"]}</td><td class="n">{text["median"]}</td>'
        assert re.search(rf"<th scope=\"row\">{risk.arm}</th>{re.escape(row)}", page)
    for words in ("scenario_sha256", "model_sha256", "policies_sha256"):
        assert standard.attrs[words] in page
    assert "vtrial run scenarios/standard.yaml" in page
    assert "Parameters: PRIOR." in page
    for limit in json.loads(standard.attrs["limits"]):
        assert limit in page


def test_the_summary_names_the_arm_of_highest_risk(standard, page):
    facts = Facts(standard)
    means = {arm: facts.stats("value", arm, "population", facts.primary)["mean"] for arm in facts.arms}
    assert f"The highest mean is that of {max(means, key=means.__getitem__)}" in page
    assert "That leaves patients without a drug" in page


def test_onset_and_recovery_are_tables_of_what_the_result_holds(standard, page):
    facts = Facts(standard)
    onset, coma, recovery = course_tables(facts)
    assert onset["columns"] == ["6 h", "24 h", "mean time free within 24 h, h", "median onset of those, h"]
    assert coma["title"] == "First onset of coma (level 3)"
    assert recovery["title"] == (
        "Not below somnolent or deeper (level 1) for good, of those at stuporous or deeper (level 2) within 8 h"
    )
    assert recovery["columns"] == ["2 h", "8 h", "stuporous or deeper (level 2) within 8 h"]
    value = standard["estimates"]["value"].sel(arm="ARM0_INDEX", stratum="75-84 G4", outcome="unrecovered2to1_8h_2h")
    block = next(block for block in recovery["blocks"] if block["name"] == "75-84 G4")
    cells = next(row["cells"] for row in block["rows"] if row["arm"] == "ARM0_INDEX")
    mean, mcse = (float(value.sel(stat=stat)) for stat in ("mean", "mcse"))
    assert cells[0] == f"{digits.probability(mean, mcse)} ({digits.error(mcse, percent=True)})"
    assert all(table["title"] in page for table in (onset, coma, recovery))


def test_people_are_counted_out_of_ten_thousand(standard, page):
    """Under the reference, and the arms of the highest and lowest mean that treat everyone, by hand."""
    told = people(Facts(standard))
    who, cells = told["rows"][-1]
    assert who == "age 75-84, eGFR G4"
    assert [arm for arm, _ in cells] == ["ARM1_GUIDELINE", "ARM0_INDEX", "ARM1_GUIDELINE"]  # ARM9 leaves baclofen out
    value = standard["estimates"].to_dataset()["value"].sel(arm="ARM0_INDEX", stratum="75-84 G4", outcome="level3_24h")
    mean, low, high, mcse = (float(value.sel(stat=stat)) for stat in ("mean", "lo", "hi", "mcse"))
    assert cells[1][1] == f"{digits.number(1e4 * mean, 1e4 * mcse)} ({1e4 * low:.0f} to {1e4 * high:.0f})"
    assert f"<td>{cells[1][1]}<br>" in page


def test_markdown_is_plain_and_points_to_figures_beside_it(standard, figures):
    text = render_markdown(standard, figures)
    assert "<script" not in text
    assert set(re.findall(r"\]\((figures/[^)]+)\)", text)) == {f"figures/{f.name}.svg" for f in figures}


def test_dialysis_fixed_parameters_and_calibration_are_told(patients):
    page = render_html(patients, [])
    assert "Patients on dialysis" in page
    assert "held at 0.0 in this scenario" in page
    calibrated = patients.copy()
    calibrated.attrs = {**patients.attrs, "parameters": "posterior abc"}
    page = render_html(calibrated, [])
    assert "PRIOR" not in page
    assert "posterior abc" in page


def test_a_single_arm_in_a_single_stratum_has_a_report(tmp_path):
    text = PATIENTS.replace("[ARM1_GUIDELINE, ARM0_INDEX]", "[ARM1_GUIDELINE]").replace("draws: 20", "draws: 5")
    text = "\n".join(line for line in text.splitlines() if '"two"' not in line)
    result = _run(text, tmp_path, "single")
    write_report(result, tmp_path)
    assert not (tmp_path / "figures" / "forest.svg").exists()
    assert "Differences and ratios" not in (tmp_path / "report.html").read_text()


# ------------------------------------------------------------------------------------------------ what was put in


def test_doses_of_named_patients_are_a_table_that_says_which_arms_are_alike(told):
    page, text = render_html(told, []), render_markdown(told, [])
    dose = "baclofen: 5 mg at 08:00, 14:00, 20:00 (15 mg/day)"
    assert page.count(dose) == 5
    assert "<td>same as ARM0_INDEX</td>" in page
    assert "<td>same as ARM1_GUIDELINE</td>" in page
    assert "same as ARM9_BEERS" not in page
    assert "baclofen: avoid<br>pregabalin: not given" in page
    assert "| arm | reference | case | note |\n|---|---|---|---|\n" in text
    assert "same as ARM0\\_INDEX" in text


def test_sensitivity_cases_are_a_table_the_base_first(told):
    page, text = render_html(told, []), render_markdown(told, [])
    for words in (page, text):
        assert "named assumptions that no data identify" in words
        assert "Not done." not in words
        assert words.index("as in the scenario") < words.index("tolerance", words.index("named assumptions"))
        assert "75-84 G4" in words
    mean = told["sensitivity"]["value"].sel(arm="ARM0_INDEX", stratum="75-84 G4", case="no | tolerance")
    mean, mcse = (float(mean.sel(stat=stat)) for stat in ("mean", "mcse"))
    assert f"{digits.probability(mean, mcse)} ({digits.error(mcse, percent=True)}); " in page
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert all(len({line.replace("\\|", "").count("|") for line in t.splitlines()}) == 1 for t in tables)


def test_an_old_result_has_a_report_without_what_it_lacks(old):
    page, text = render_html(old, []), render_markdown(old, [])
    for words in (page, text):
        assert "What the arms give" not in words
        assert "Not done." in words
    assert summarise(Facts(old))[0].startswith("In the population, the risk of")


def test_the_population_is_told_where_it_is_first_mentioned(told):
    assert summarise(Facts(told))[0].startswith("Adults of <nowhere>. In the population, the risk of")
    assert "Adults of &lt;nowhere&gt;." in render_html(told, [])
    console = Console(width=120, file=io.StringIO(), record=True)
    print_risks(told, console)
    assert "Adults of <nowhere>." in console.export_text()


def test_an_average_of_patients_is_not_called_a_population(patients):
    figures = draw_figures(patients)
    page, text = render_html(patients, figures), render_markdown(patients, figures)
    console = Console(width=120, file=io.StringIO(), record=True)
    print_risks(patients, console)
    for words in (page, text, console.export_text()):
        assert "Average of the patients" in words
        assert "In the population" not in words
        assert "% of the population" not in words
    assert "In the average of the patients, the risk of" in page


def test_the_summary_compares_lowest_arms_and_passes_over_rare_strata(standard):
    facts = Facts(standard)
    text = "\n".join(summarise(facts))
    assert "Ranks are of risk alone and ignore benefit." in text
    assert re.search("Among arms that treat everyone, .*the lowest mean.*the lowest median.*P\\(rank 1\\)", text)
    assert "within draws" in text


def test_the_headline_passes_over_rare_strata_that_are_not_told(standard):
    """Of a common stratum, the two that are told though one is rare, and a rare one that is not."""
    names = ["50-64 G1", "65-74 G2 75-89", "75-84 G4", "85+ G5", "population"]
    parts = {path: node.to_dataset(inherit=False) for path, node in standard.subtree_with_keys}
    found = parts["estimates"]
    order = [0, 0, found["stratum"].values.tolist().index("75-84 G4"), 0, -1]
    parts["estimates"] = found.isel(stratum=order).assign_coords(
        stratum=names, weight=("stratum", [0.97, 0.0295, 0.0004, 0.0001, 1.0])
    )
    parts["risk"] = parts["risk"].isel(stratum=order[:-1]).assign_coords(stratum=names[:-1])
    rare = xr.DataTree.from_dict({"/" if path == "." else path: data for path, data in parts.items()})
    text = "\n".join(summarise(Facts(rare)))
    assert "Over all arms and the 3 strata that hold at least 0.1% of the population each or are told above" in text
    assert "85+ G5" not in text


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.5, "0.5"), (38.4, "38"), (605.2, "605"), (1e4, ">1,000"), (2e-9, "<0.001"), (0.0, "<0.001")]
)
def test_a_ratio_beyond_a_thousandfold_is_told_as_that(ratio, text):
    assert _times(ratio) == text


def test_shares_of_draws_without_a_dissenter_are_limits(standard):
    """Three over the number of draws: the 95% limit where none of so many did."""
    assert (_chance(0.0, 0.0, 1000), _chance(1.0, 0.0, 1000)) == ("<0.3%", ">99.7%")
    assert _chance(0.25, 0.01, 1000) == "25% (1.0%)"


def test_ratios_and_signs_say_what_they_are(standard, figures, page):
    text = render_markdown(standard, figures)
    ratio = Facts(standard).stats("ratio", "ARM0_INDEX", "75-84 G4", "level3_24h")
    contrast = contrast_of(Facts(standard), "ARM0_INDEX", "75-84 G4")
    assert float(contrast.ratio_within.split(" [")[0]) == pytest.approx(ratio["median"], rel=0.6)
    for words in (page, text):
        assert "ratio of means" in words
        assert "median ratio within draws [90% interval]" in words
        assert contrast.ratio_within in words.replace("\\", "")
        assert SIGN_NOTE in words
    assert SIGN_NOTE in next(figure.caption for figure in figures if figure.name == "forest")


def test_captions_tell_windows_controls_and_sensitivity(told, figures):
    captions = {figure.name: figure.caption for figure in draw_figures(told)}
    assert "a patient of median sensitivity" in captions["fans"]
    assert all("only part of the first 24 h" in captions[n] for n in ("exposure", "peak_clock", "risk_by_arm"))
    assert "ARM9_BEERS (baclofen: 5 mg at 08:00" in captions["forest"]
    assert "though their doses may differ" in captions["forest"]
    assert all("though their doses may differ" not in figure.caption for figure in figures)


@pytest.mark.parametrize(("kind", "value"), [("cmax", 0.01), ("auc", 40.0)])
def test_every_ratio_of_exposure_is_within_its_axes(standard, kind, value):
    """Panels of a column share an axis: what is far out in one of them widens it for all."""
    groups = {name: node.to_dataset() for name, node in _groups(standard).items()}
    estimates = groups["/estimates"].copy(deep=True)
    outcome = next(o for o in estimates["outcome"].values.tolist() if o.startswith(f"{kind}_ratio_"))
    estimates["value"].loc[{"outcome": outcome}] = value
    groups["/estimates"] = estimates
    figure = exposure(Facts(xr.DataTree.from_dict(groups)))
    drawn = [
        (axes, x) for axes in figure.axes for line in axes.lines for x in line.get_xdata() if len(line.get_xdata()) == 1
    ]
    assert value in [x for _, x in drawn]
    assert all(axes.get_xlim()[0] < x < axes.get_xlim()[1] for axes, x in drawn)


def test_markdown_explains_its_marks(standard):
    text = render_markdown(standard, [])
    assert len(re.findall(r"^- (?:draws|interval|MCSE|inner share|‡)", text, re.MULTILINE)) == 5
