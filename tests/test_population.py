"""The virtual population: gates against NHANES, cells, streams of numbers, user rows, and strict errors."""

import doctest
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import vtrial.population as door
from vtrial.library import MODELS
from vtrial.population import COVARIATES, PopulationSpec, Stratum, resolve, sources, strata
from vtrial.population.compare import (
    allowed_difference,
    bootstrap_se,
    compare_to_csv,
    people_of_model,
    statistics,
)
from vtrial.population.covariates import cell_of, expand, fill, load_population_model, tables_of
from vtrial.population.fit import fit_population, write
from vtrial.population.narrow import METRICS, creatinine_ends
from vtrial.population.renal import derive
from vtrial.population.strata import AGE_BANDS, EGFR_CATEGORIES, STANDARD
from vtrial.sample import key, uniforms
from vtrial.scheme import Plain, Sobol
from vtrial.spec import InputError, parse, read_yaml

CSV = Path(__file__).parents[2] / "shared" / "evidence" / "nhanes_adults_2013_2018.csv"
needs_csv = pytest.mark.skipif(not CSV.exists(), reason="the survey rows are not part of the repository")
MODEL = MODELS / "population" / "us_adults.yaml"

# Statistic -> band -> (value of population.md table A3, bootstrap standard error). The errors were printed by
#   python -c "from vtrial.population.compare import bootstrap_se as b; print(b(CSV))"
# A3 prints its correlations for 18-79 years. "share female" is that of the rows (A3 has none).
GATES: dict[str, dict[str, tuple[float, float]]] = {
    "eGFR p5": {
        "18-29": (87, 0.8),
        "30-39": (80, 0.76),
        "40-49": (73, 1),
        "50-59": (63, 1.1),
        "60-64": (59, 1.1),
        "65-69": (52, 1.9),
        "70-74": (46, 1.9),
        "75-79": (39, 1.3),
        "80+": (34, 2.4),
    },
    "eGFR p50": {
        "18-29": (121, 0.38),
        "30-39": (111, 0.61),
        "40-49": (103, 0.74),
        "50-59": (96, 0.81),
        "60-64": (88, 1),
        "65-69": (82, 1.5),
        "70-74": (78, 1.1),
        "75-79": (74, 1.2),
        "80+": (66, 1.8),
    },
    "eGFR p95": {
        "18-29": (134, 0.36),
        "30-39": (125, 0.36),
        "40-49": (117, 0.41),
        "50-59": (110, 0.42),
        "60-64": (105, 0.63),
        "65-69": (100, 0.82),
        "70-74": (97, 0.67),
        "75-79": (93, 0.46),
        "80+": (89, 0.48),
    },
    "share G1": {
        "18-49": (84.7, 0.57),
        "50-64": (57.1, 1.3),
        "65-74": (31, 1.6),
        "75-79": (17.3, 1.9),
        "80+": (2.3, 0.72),
    },
    "share G2": {
        "18-49": (14.7, 0.57),
        "50-64": (38.8, 1.3),
        "65-74": (54.9, 1.8),
        "75-79": (53.1, 2.6),
        "80+": (57.9, 3.2),
    },
    "share G3a": {
        "18-49": (0.48, 0.091),
        "50-64": (3.02, 0.38),
        "65-74": (10.4, 0.94),
        "75-79": (19, 2.4),
        "80+": (23.6, 2.7),
    },
    "share G3b": {
        "18-49": (0.04, 0.015),
        "50-64": (0.6, 0.12),
        "65-74": (2.67, 0.44),
        "75-79": (9.18, 1.5),
        "80+": (13.3, 2),
    },
    "share G4": {
        "18-49": (0.05, 0.023),
        "50-64": (0.28, 0.11),
        "65-74": (0.65, 0.17),
        "75-79": (1.15, 0.42),
        "80+": (2.57, 0.94),
    },
    "share G5": {
        "18-49": (0.07, 0.024),
        "50-64": (0.21, 0.07),
        "65-74": (0.45, 0.13),
        "75-79": (0.2, 0.12),
        "80+": (0.32, 0.31),
    },
    "mean WT": {
        "F 18-29": (73.8, 0.62),
        "F 40-49": (79.7, 0.75),
        "F 60-64": (79.3, 1.1),
        "F 65-69": (76.5, 1),
        "F 70-74": (75.4, 1.1),
        "F 75-79": (72.7, 1.2),
        "M 18-29": (84.3, 0.7),
        "M 40-49": (93.4, 0.88),
        "M 60-64": (93.1, 1.3),
        "M 65-69": (90.2, 1.4),
        "M 70-74": (88.1, 1.1),
        "M 75-79": (86.1, 1.6),
    },
    "mean HT": {
        "F 18-29": (162.5, 0.19),
        "F 40-49": (162.4, 0.24),
        "F 60-64": (160.9, 0.35),
        "F 65-69": (160.3, 0.39),
        "F 70-74": (158.6, 0.39),
        "F 75-79": (158.2, 0.43),
        "M 18-29": (175.8, 0.22),
        "M 40-49": (176.3, 0.3),
        "M 60-64": (175.2, 0.47),
        "M 65-69": (174.2, 0.51),
        "M 70-74": (173.6, 0.41),
        "M 75-79": (173.1, 0.43),
    },
    "r age, ln WT": {"F 18-79": (0.05, 0.014), "M 18-79": (0.08, 0.017)},
    "r age, HT": {"F 18-79": (-0.16, 0.013), "M 18-79": (-0.08, 0.015)},
    "r ln WT, HT": {"F 18-79": (0.28, 0.013), "M 18-79": (0.42, 0.012)},
    "r ln WT, ln SCR": {"F 18-79": (0.08, 0.015), "M 18-79": (0.06, 0.015)},
    "r HT, ln SCR": {"F 18-79": (0.1, 0.014), "M 18-79": (0.08, 0.014)},
    "r age, ln SCR": {"F 18-79": (0.25, 0.013), "M 18-79": (0.15, 0.014)},
    "r age, ln eGFR": {"F 18-79": (-0.61, 0.013), "M 18-79": (-0.56, 0.014)},
    "share female": {"all": (51.6, 0.56)},
}


@pytest.fixture(scope="module")
def everyone():
    return statistics(people_of_model(tables_of("us_adults"), 1_000_000))


@pytest.mark.parametrize("statistic", GATES)
def test_gates_against_nhanes(everyone, statistic):
    for band, (value, se) in GATES[statistic].items():
        gap = abs(everyone[statistic, band] - value)
        # A3 prints eGFR to the unit and weight to 0.1
        rounding = 0.5 if statistic.startswith("eGFR") else 0.05 if statistic.startswith("mean") else 0.0
        assert gap <= allowed_difference(statistic, value, se) + rounding, band


def test_body_size_is_within_two_standard_errors_or_two_percent(everyone):
    for statistic in ("mean WT", "mean HT"):
        for band, (value, se) in GATES[statistic].items():
            assert abs(everyone[statistic, band] - value) <= max(0.02 * value, 2 * se), (statistic, band)


@pytest.mark.slow
@needs_csv
def test_gates_recomputed_from_the_rows():
    table = compare_to_csv(CSV, load_population_model(MODEL))
    assert table.passed.all(), table[~table.passed].to_string()
    se = bootstrap_se(CSV)
    for statistic, bands in GATES.items():
        for band, (_, printed) in bands.items():
            assert se[statistic, band] == pytest.approx(printed, rel=0.06), (statistic, band)


@needs_csv
def test_the_shipped_numbers_are_those_of_the_fit(tmp_path):
    # least squares differ in their last bits between processors: a number may be rounded the other way
    write(fit_population(CSV), tmp_path / "again.yaml")
    again, shipped = (path.read_text().split() for path in (tmp_path / "again.yaml", MODEL))
    assert len(again) == len(shipped)
    for one, other in zip(again, shipped, strict=True):
        if one != other:
            number, same = (text.strip("[],") for text in (one, other))
            last = 10.0 ** -max(len(text.partition(".")[2]) for text in (number, same))
            assert float(number) == pytest.approx(float(same), abs=1.01 * last, rel=0)


def test_the_shipped_file_is_small_and_says_where_it_comes_from():
    assert MODEL.stat().st_size < 60_000
    model = load_population_model(MODEL)
    assert model.rows == 15284
    assert re.fullmatch("[0-9a-f]{64}", model.csv_sha256)
    assert "fit-population" in model.command


def test_expanded_tables_are_monotone_bounded_and_sum_to_one():
    t = expand(load_population_model(MODEL))
    assert t.share.sum() == pytest.approx(1, abs=1e-12)
    assert (np.diff(t.log_scr, axis=1) >= 0).all()
    people = resolve(PopulationSpec(model="us_adults", strata=["everyone"])).draw(
        "everyone", Plain(3), range(1), range(300_000)
    )
    assert people["EGFR"].min() >= 4 * (1 - 1e-9)
    assert people["BMI"].min() > 10
    assert people["HT"].min() > 125
    assert people["AGE"].max() <= 104


def test_eighty_plus_is_split_evenly_with_an_exponential_excess():
    t = tables_of("us_adults")
    old = t.share[(t.age >= 80) & (t.age < 85)].sum(), t.share[t.age >= 85].sum()
    assert old[0] == pytest.approx(old[1], rel=2e-3)
    excess = np.average(t.age[t.age >= 85] + 0.5 - 85, weights=t.share[t.age >= 85])
    assert excess == pytest.approx(4, rel=0.05)


# ------------------------------------------------------------------------------------------------ cells


@pytest.fixture(scope="module")
def standard():
    return resolve(PopulationSpec(model="us_adults"))


@pytest.mark.parametrize("name", STANDARD)
def test_everybody_lies_inside_the_cell(standard, name):
    people = standard.draw(name, Plain(1), range(20), range(500))
    for covariate, (low, high) in STANDARD[name].ranges().items():
        assert (people[covariate] >= low).all()
        assert (people[covariate] < high).all()
    assert set(people) == {*COVARIATES, "DIALYSIS"}
    assert all(values.shape == (20, 500) for values in people.values())
    assert np.isin(people["SEX"], [0, 1]).all()
    assert (people["AGE"] == np.floor(people["AGE"])).all()
    # plausible even where the survey has a handful of rows
    assert (people["EGFR"] >= 4 * (1 - 1e-9)).all()
    assert ((people["BMI"] > 10) & (people["BMI"] < 100)).all()


def test_standard_strata_have_labels_and_weights_of_the_population(standard):
    assert [s.name for s in standard.strata] == list(STANDARD)
    assert sum(s.weight for s in standard.strata) == pytest.approx(1, abs=1e-12)
    assert {(s.row, s.column) for s in standard.strata} == {(a, g) for a in AGE_BANDS for g in EGFR_CATEGORIES}
    assert all(s.weight > 0 for s in standard.strata)
    whole = resolve(PopulationSpec(model="us_adults", strata=["everyone"])).draw(
        "everyone", Plain(1), range(1), range(10**6)
    )
    for stratum in standard.strata:
        share = 1 - sources.outside(whole, STANDARD[stratum.name].ranges()).mean()
        assert share == pytest.approx(stratum.weight, abs=4 * (stratum.weight / 1e6) ** 0.5 + 1e-6), stratum.name


def test_a_cell_is_the_population_cut_to_it(standard):
    """The truncated sampler against its oracle: drawing everybody and throwing away who is outside."""
    whole = resolve(PopulationSpec(model="us_adults", strata=["everyone"])).draw(
        "everyone", Plain(5), range(4), range(10**6)
    )
    for name in ("75-84 G3b", "65-74 G4"):
        keep = ~sources.outside(whole, STANDARD[name].ranges())
        cell = standard.draw(name, Plain(6), range(1), range(200_000))
        for covariate in ("AGE", "SEX", "WT", "HT", "SCR", "EGFR", "CRCL"):
            kept = whole[covariate][keep]
            se = kept.std() / len(kept) ** 0.5
            assert cell[covariate].mean() == pytest.approx(kept.mean(), abs=4.5 * se), (name, covariate)
            assert cell[covariate].std() == pytest.approx(kept.std(), rel=0.06), (name, covariate)


def test_lower_egfr_goes_with_higher_weight_at_a_given_age(standard):
    for sex in (0, 1):
        means = []
        for category in ("G3b", "G1"):
            people = standard.draw(f"65-74 {category}", Plain(2), range(1), range(50_000))
            means.append(people["WT"][people["SEX"] == sex].mean())
        assert means[0] > 1.03 * means[1]


def drawn(population, stratum, seed=1, draws=range(8), patients=range(50)):
    return population.draw(stratum, Plain(seed), draws, patients)


def same(a, b):
    return all((a[name] == b[name]).all() for name in a)


HEAVY = {"name": "heavy", "WT": ["90 kg", "120 kg"], "CRCL": [None, "60 mL/min"]}


@pytest.mark.parametrize("name", ["65-74 G4", "heavy"])
def test_numbers_depend_on_seed_stratum_draw_and_patient_only(name):
    alone = resolve(
        PopulationSpec.model_validate({"model": "us_adults", "strata": [HEAVY if name == "heavy" else name]})
    )
    several = resolve(PopulationSpec.model_validate({"model": "us_adults", "strata": ["standard", HEAVY]}))
    first = drawn(alone, name)
    assert same(first, drawn(several, name))
    more = drawn(several, name, draws=range(30), patients=range(333))
    assert same(first, {key: values[:8, :50] for key, values in more.items()})
    block = drawn(several, name, draws=range(3, 6), patients=range(7, 20))
    assert same(block, {key: values[3:6, 7:20] for key, values in first.items()})
    assert not (drawn(alone, name, seed=2)["SCR"] == first["SCR"]).any()


@pytest.mark.parametrize("name", ["everyone", "heavy"])
def test_sobol_people_are_of_their_stratum_and_those_of_a_block_are_those_of_all(name):
    population = resolve(PopulationSpec.model_validate({"model": "us_adults", "strata": ["everyone", HEAVY]}))
    sobol = Sobol(1, 64, [("population", word) for word in population.words])
    people, plain = (population.draw(name, scheme, range(300), range(64)) for scheme in (sobol, Plain(1)))
    block = population.draw(name, sobol, range(30, 40), range(5, 60))
    assert same(block, {key: values[30:40, 5:60] for key, values in people.items()})
    if name == "heavy":  # by rejection: who is refused is proposed again by plain numbers
        assert not sources.outside(people, {"WT": (90, 120), "CRCL": (-np.inf, 60)}).any()
    for covariate in ("AGE", "SEX", "WT", "EGFR"):
        one, other = (x[covariate].mean(-1) for x in (people, plain))
        assert one.mean() == pytest.approx(other.mean(), abs=4 * np.hypot(one.std(), other.std()) / 300**0.5)
        if name == "everyone":
            assert one.std() < 0.7 * other.std(), covariate


def test_sobol_spreads_rows_drawn_by_weight(rows_csv):
    population = bootstrap(rows_csv, [{"name": "x", "AGE": ["18 year", None]}])
    dimensions = [("population", word) for word in population.words]
    assert dimensions[0] == ("population", "ROW")
    one, other = (population.draw("x", s, range(200), range(64)) for s in (Sobol(1, 64, dimensions), Plain(1)))
    one, other = (x["AGE"].mean(-1) for x in (one, other))
    assert one.mean() == pytest.approx(other.mean(), abs=4 * np.hypot(one.std(), other.std()) / 200**0.5)
    assert one.std() < 0.7 * other.std()


def test_threads_do_not_change_the_numbers(standard):
    names = [s.name for s in standard.strata]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda name: drawn(standard, name), names))
    assert all(same(drawn(standard, name), people) for name, people in zip(names, threaded, strict=True))


def test_ranges_on_other_covariates_are_the_population_cut_to_them():
    spec = {"model": "us_adults", "strata": ["everyone", HEAVY]}
    population = resolve(PopulationSpec.model_validate(spec))
    everyone, heavy = (population.draw(name, Plain(1), range(20), range(20_000)) for name in ("everyone", "heavy"))
    keep = ~sources.outside(everyone, {"WT": (90, 120), "CRCL": (-np.inf, 60)})
    assert not sources.outside(heavy, {"WT": (90, 120), "CRCL": (-np.inf, 60)}).any()
    weights = {s.name: s.weight for s in population.strata}
    assert weights["heavy"] / weights["everyone"] == pytest.approx(keep.mean(), rel=0.1)
    for covariate in ("AGE", "SEX", "WT", "EGFR"):
        kept = everyone[covariate][keep]
        assert heavy[covariate].mean() == pytest.approx(kept.mean(), abs=5 * kept.std() / len(kept) ** 0.5)


@pytest.mark.parametrize("ranges", [{}, {"WT": ["90 kg", "120 kg"]}])
def test_a_mix_of_sexes_asked_for_is_kept(ranges):
    item = {"name": "mix", "female": 0.3, "AGE": ["65 year", "75 year"], **ranges}
    mix = resolve(PopulationSpec.model_validate({"model": "us_adults", "strata": [item]}))
    assert mix.draw("mix", Plain(1), range(10), range(10_000))["SEX"].mean() == pytest.approx(0.3, abs=0.006)
    # within a sex, the same people as without the mix
    plain = resolve(PopulationSpec.model_validate({"model": "us_adults", "strata": [item | {"female": None}]}))
    a, b = (population.draw("mix", Plain(1), range(10), range(10_000)) for population in (mix, plain))
    for sex in (0, 1):
        found = [people["WT"][people["SEX"] == sex] for people in (a, b)]
        assert found[0].mean() == pytest.approx(found[1].mean(), abs=5 * found[1].std() / len(found[1]) ** 0.5)


@pytest.mark.parametrize("name", METRICS)
def test_narrowing_cuts_off_nobody(name):
    """Everybody whom ranges on a renal metric accept lies inside the narrowed creatinine."""
    t = tables_of("us_adults")
    u = (uniforms(key(1, name, word), range(1), range(200_000)) for word in "abcd")
    people = derive(fill(cell_of(t, (18, 200)), *u))
    for ends in ((-np.inf, 30.0), (30.0, 50.0), (80.0, np.inf)):
        ranges = {name: ends, "WT": (60.0, 100.0)}
        rows = np.where(people["SEX"] == 1, people["AGE"] - 18, people["AGE"] - 18 + len(t.age) // 2).astype(int)
        allowed = creatinine_ends(t, ranges)[rows]
        cut = (np.log(people["SCR"]) < allowed[..., 0]) | (np.log(people["SCR"]) > allowed[..., 1])
        assert not (cut & ~sources.outside(people, ranges)).any()
        assert cut.any()


def test_weights_given_are_scaled_to_sum_to_one():
    items = [
        {"name": "a", "weight": 3},
        {"name": "b", "weight": 1, "dialysis": True, "EGFR": [None, "15 mL/min"]},
    ]
    population = resolve(PopulationSpec.model_validate({"model": "us_adults", "strata": items}))
    assert [s.weight for s in population.strata] == [0.75, 0.25]
    assert drawn(population, "b")["DIALYSIS"].all()
    assert not drawn(population, "a")["DIALYSIS"].any()


def test_a_creatinine_range_may_be_in_umol():
    item = {"name": "x", "SCR": ["176.8 umol/L", "3 mg/dL"]}
    people = drawn(resolve(PopulationSpec.model_validate({"model": "us_adults", "strata": [item]})), "x")
    assert people["SCR"].min() >= 2
    assert people["SCR"].max() < 3


def test_cell_probabilities_add_up():
    t = tables_of("us_adults")
    parts = [cell_of(t, ages, egfr).probability for ages in AGE_BANDS.values() for egfr in EGFR_CATEGORIES.values()]
    assert sum(parts) == pytest.approx(1, abs=1e-12)
    assert cell_of(t, (120, 130)).probability == 0
    assert cell_of(t, (18, 50), (0, 3.9)).probability == 0


# --------------------------------------------------------------------------------------- rows, patients


@pytest.fixture
def rows_csv(tmp_path):
    rows = pd.DataFrame(
        {
            "years": [40, 50, 60, 70],
            "sex": ["F", "M", "F", "M"],
            "kg": [60.0, 80.0, 70.0, 90.0],
            "cm": [160.0, 178.0, 165.0, 172.0],
            "scr": [0.7, 1.0, 0.9, 2.2],
            "w": [1.0, 2.0, 3.0, 4.0],
        }
    )
    rows.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path


COLUMNS = {"AGE": "years", "SEX": "sex", "WT": "kg", "HT": "cm", "SCR": "scr", "weight": "w"}


def bootstrap(folder, strata, jitter=None, **columns):
    rows = {"csv": "rows.csv", "columns": COLUMNS | columns} | ({"jitter": jitter} if jitter else {})
    return resolve(PopulationSpec.model_validate({"bootstrap": rows, "strata": strata}), folder=folder)


def test_rows_are_drawn_by_weight(rows_csv):
    population = bootstrap(rows_csv, ["everyone"])
    people = population.draw("everyone", Plain(1), range(10), range(10_000))
    for age, share in zip((40, 50, 60, 70), (0.1, 0.2, 0.3, 0.4), strict=True):
        assert (people["AGE"] == age).mean() == pytest.approx(share, abs=0.006)
    assert population.provenance["kind"] == "bootstrap"


def test_jitter_stays_inside_the_stratum_and_keeps_the_weights(rows_csv):
    jitter = {"WT": "5%", "HT": "1 cm", "SCR": "5%"}
    items = [
        {"name": "g", "EGFR": ["80 mL/min", "120 mL/min"]},
        {"name": "rest", "EGFR": [None, "80 mL/min"]},
    ]
    population = bootstrap(rows_csv, items, jitter)
    people = population.draw("g", Plain(1), range(10), range(10_000))
    assert people["EGFR"].min() >= 80
    assert people["EGFR"].max() < 120
    egfr_of_rows = {"40": 1.0, "50": 2.0}
    share = (people["AGE"] == 50).mean()
    assert share == pytest.approx(egfr_of_rows["50"] / sum(egfr_of_rows.values()), abs=0.008)
    one = people["WT"][people["AGE"] == 50]
    assert np.log(one).std() == pytest.approx(0.05, rel=0.05)
    assert people["HT"][people["AGE"] == 50].std() == pytest.approx(1, rel=0.05)
    assert same(drawn(population, "g"), {key: values[:8, :50] for key, values in people.items()})
    assert {s.name: round(s.weight, 12) for s in population.strata} == {"g": 0.3, "rest": 0.7}


def test_a_mix_of_sexes_among_rows(rows_csv):
    people = bootstrap(rows_csv, [{"name": "x", "female": 0.8}]).draw("x", Plain(1), range(10), range(10_000))
    assert people["SEX"].mean() == pytest.approx(0.8, abs=0.006)
    women = people["AGE"][people["SEX"] == 1]
    assert (women == 60).mean() == pytest.approx(0.75, abs=0.01)


def test_what_is_wrong_with_rows_is_said(rows_csv):
    with pytest.raises(InputError, match="unknown CSV column 'yeers'; did you mean 'years'"):
        bootstrap(rows_csv, ["everyone"], AGE="yeers")
    with pytest.raises(InputError, match="4 rows of 'kg' are missing or impossible"):
        bootstrap(rows_csv, ["everyone"], SEX="kg")
    with pytest.raises(InputError) as caught:
        bootstrap(rows_csv, ["65-74 G3b", "85+ G1", "18-49 G5"])
    assert [p.where for p in caught.value.problems] == [("strata", 1), ("strata", 2)]
    with pytest.raises(InputError, match="cannot be read as CSV"):
        bootstrap(rows_csv / "nowhere", ["everyone"])


PATIENT = {"age": "68 year", "sex": "F", "height": "154 cm", "weight": "65 kg", "scr": "0.713 mg/dL"}


def test_one_patient_is_the_same_every_time():
    population = resolve(PopulationSpec.model_validate({"patient": PATIENT}))
    people = drawn(population, "patient")
    assert [(s.name, s.weight) for s in population.strata] == [("patient", 1.0)]
    assert people["CRCL"].shape == (8, 50)
    assert np.ptp(people["CRCL"]) == 0
    assert people["EGFR"][0, 0] == pytest.approx(92.1, abs=0.05)


def test_several_patients_are_strata():
    two = [PATIENT | {"name": "S1"}, PATIENT | {"name": "S2", "scr": "0.825 mg/dL"}]
    population = resolve(PopulationSpec.model_validate({"patient": two}))
    assert [(s.name, s.weight) for s in population.strata] == [("S1", 0.5), ("S2", 0.5)]
    assert drawn(population, "S2")["EGFR"][0, 0] == pytest.approx(77.3, abs=0.05)


# ----------------------------------------------------------------------------------------------- errors

STRICT = [
    ("{}", ["exactly one of model, bootstrap, patient; given: none"]),
    ("{model: us_adultz}", ["unknown covariate model 'us_adultz'; did you mean 'us_adults'"]),
    ("{model: us_adults, strata: standrad}", ["unknown stratum 'standrad'; did you mean 'standard'"]),
    ("{model: us_adults, starta: standard}", ["unknown key 'starta'; did you mean 'strata'"]),
    ("{model: us_adults, strata: []}", ["at least 1 item"]),
    ("{model: us_adults, strata: [standard, 65-74 G4]}", ["given twice: 65-74 G4"]),
    ("{model: us_adults, strata: [{name: a, WTT: [1 kg, 2 kg]}]}", ["unknown key 'WTT'; did you mean 'WT'"]),
    ("{model: us_adults, strata: [{name: a, AGE: [65, null]}]}", ["bare number 65"]),
    ("{model: us_adults, strata: [{name: a, AGE: [9 year, 9 year]}]}", ["is not below"]),
    ("{model: us_adults, strata: [{name: a, AGE: [null, null]}]}", ["both ends are null"]),
    ("{model: us_adults, strata: [{name: a, AGE: 65 year}]}", ["write a range as [low, high]"]),
    ("{model: us_adults, strata: [{name: a, EGFR: [1 kg, null]}]}", ["'kg' has another dimension"]),
    ("{model: us_adults, strata: [{name: a, weight: 0}]}", ["greater than 0"]),
    ("{model: us_adults, strata: [{name: a, weight: true}]}", ["valid number"]),
    (
        "{model: us_adults, strata: [{name: a, female: 1.5, weight: -1}]}",
        ["less than or equal to 1", "greater than 0"],
    ),
    ("{patient: {age: 68 year, sex: X, height: 1 m}}", ["F, M", "'weight' is missing", "'scr' is missing"]),
    ("{patient: {age: 7 year, sex: F, height: 1.5 m, weight: 60 kg, scr: 1 mg/dL}}", ["at least 18 year"]),
    (
        "{bootstrap: {csv: a, columns: {AGE: a, SEX: a, WT: a, HT: a, SCR: a}, jitter: {WT: x%, HT: 1 kg, SCR: 60%}}}",
        ["'x%' is not a percentage", "'kg' has another dimension", "at most 50%"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), STRICT)
def test_strict_errors(tmp_path, text, expected):
    (tmp_path / "s.yaml").write_text(f"population: {text}\n")
    with pytest.raises(InputError) as caught:
        parse(PopulationSpec, read_yaml(tmp_path / "s.yaml"), at=("population",))
    assert len(caught.value.problems) == len(expected)
    for part in expected:
        assert part in str(caught.value)


def test_every_empty_stratum_is_reported():
    items = [
        "everyone",
        {"name": "too old", "AGE": ["120 year", None]},
        {"name": "between birthdays", "AGE": ["65.5 year", "66 year"]},
        {"name": "giants", "WT": ["400 kg", None]},
        {"name": "super kidneys", "EGFR": ["300 mL/min/1.73 m2", None]},
    ]
    with pytest.raises(InputError) as caught:
        resolve(PopulationSpec.model_validate({"model": "us_adults", "strata": items}))
    assert [p.where for p in caught.value.problems] == [("strata", i) for i in (1, 2, 3, 4)]
    assert all("empty" in p.message for p in caught.value.problems)


def test_the_door_refuses_an_unknown_stratum(standard):
    with pytest.raises(KeyError, match="did you mean '65-74 G4'"):
        standard.draw("65-74 G44", Plain(1), range(1), range(1))


def test_a_stratum_has_a_range_for_every_covariate_but_sex():
    assert set(COVARIATES) - {"SEX"} <= set(Stratum.model_fields)


@pytest.mark.parametrize("module", [door, strata])
def test_the_examples_in_the_docstrings(module):
    assert doctest.testmod(module).failed == 0
