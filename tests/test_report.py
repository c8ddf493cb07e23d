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
from rich.console import Console

from vtrial import load_scenario, run
from vtrial.report import Risk, digits, estimates_csv, print_risks, risk_table, write_report
from vtrial.report.facts import Facts, carried, short_arms
from vtrial.report.figures import PLOTS, draw_figures
from vtrial.report.page import render_html, render_markdown
from vtrial.report.tables import COLUMNS, contrast_of, nnh

TITLE = "Doses <script>alert('x')</script> | & co"

STANDARD = f"""
title: "{TITLE}"
question: How likely? <img src=x onerror=alert(1)>
model: {{name: baclofen_pregabalin}}
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
  - {{kind: peak_clock, within: 24 h}}
estimands:
  reference: ARM1_GUIDELINE
  primary: level3_24h
  interval: 0.9
  limits: [{{outcome: level3_24h, below: 0.001}}]
simulation: {{seed: 7, draws: 20, patients: 5}}
reference_patient: {{name: reference, age: 40 year, sex: M, height: 176 cm, weight: 70 kg, scr: 0.9 mg/dL}}
examples:
  patient: {{name: case, age: 68 year, sex: F, height: 154 cm, weight: 65 kg, scr: 0.713 mg/dL}}
  arms: [ARM0_INDEX]
dose_risk: {{arm: ARM1_GUIDELINE, strata: ["75-84 G4"], multiples: [0.5, 1, 2]}}
"""

PATIENTS = """
title: Two patients
question: Who?
model: {name: baclofen_pregabalin, fix: {alpha: 0}}
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


# ------------------------------------------------------------------------------------------------ digits


@pytest.mark.parametrize(
    ("value", "mcse", "text"),
    [
        (0.0046, 0.0014, "0.5%"),
        (0.0046, 0.00001, "0.460%"),
        (3.2e-6, 9e-7, "3e-6"),
        (3.2e-6, 0.01, "3e-6"),
        (0.0, 0.0, "0"),
        (1.0, 0.0, "100%"),
        (0.996, 0.01, "100%"),
        (0.0996, 0.003, "10.0%"),
        (1e-30, 1e-31, "<1e-9"),
        (math.nan, 0.1, "–"),
        (0.5, math.nan, "50.0%"),
    ],
)
def test_a_probability_shows_the_digits_its_error_supports(value, mcse, text):
    assert digits.probability(value, mcse) == text


@pytest.mark.parametrize("seed", range(200))
def test_the_last_digit_is_worth_a_third_of_the_error_or_it_is_the_first(seed):
    rng = np.random.default_rng(seed)
    value, mcse = 10 ** rng.uniform(-8, 3), 10 ** rng.uniform(-10, 2)
    place = digits.last_place(value, mcse)
    assert mcse <= 3.001 * 10.0**place or place == math.floor(math.log10(value))
    assert abs(float(digits.number(value, mcse)) - value) <= 0.5001 * 10.0 ** math.floor(math.log10(value))


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
            clear = d["lo"] > 0 or d["hi"] < 0
            assert ((arm, stratum, "level3_24h") in given) == clear
            assert (contrast_of(facts, arm, stratum).nnh == "–") != clear
    assert nnh(0.1, 0.1, -0.01, 0.2) is None
    assert nnh(-0.1, -0.1, -0.2, -0.05) == (-10, -10, -20, -5)


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
    for figure in figures:
        for words in ("20 draws", "5 patients", "seed 7", "MCSE", "not calibrated", "not for dosing decisions"):
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
    assert not {"script", "iframe", "object", "link"} & set(parsed.tags)
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
