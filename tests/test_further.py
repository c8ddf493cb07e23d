"""Beside the arms by strata: risk over two doses, where variance comes from, measures that disagree, the survey."""

import numpy as np
import pytest
from conftest import edited
from test_report import PATIENTS, STANDARD, standard  # noqa: F401

from vtrial import load_scenario, run
from vtrial.discordance import PEOPLE, discordance
from vtrial.moments import between, reduce_patients
from vtrial.population.compare import comparison_of, people_of_model, read_comparison, statistics
from vtrial.population.covariates import population_file, tables_of
from vtrial.report.facts import Facts
from vtrial.report.plot_population import categories, dose_changes, population_numbers
from vtrial.report.plot_uncertainty import _by_source, variances
from vtrial.scheme import Plain

STRATUM = "75-84 G4"


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    path = tmp_path_factory.mktemp("further") / "standard.yaml"
    path.write_text(STANDARD)
    return load_scenario(path)


def surface(result):
    return result["dose_surface"].to_dataset()["value"].sel(stratum=STRATUM)


def test_a_point_of_the_surface_is_the_arm_that_gives_these_doses(standard, tmp_path):  # noqa: F811
    """The same patients; other endpoints are asked for, so that sums may round otherwise."""
    mine = "{MINE: {drugs: {baclofen: {dose: 10 mg, freq: TID}, pregabalin: {dose: 75 mg, freq: BID}}}}"
    arms = "[ARM1_GUIDELINE, ARM0_INDEX, ARM9_BEERS]"
    text = edited(STANDARD[: STANDARD.index("examples:")], (arms, f"[ARM1_GUIDELINE, MINE]\n  define: {mine}"))
    (tmp_path / "mine.yaml").write_text(text)
    found = run(load_scenario(tmp_path / "mine.yaml"), threads=1)["estimates"].to_dataset()["value"]
    point = surface(standard).sel(first=30.0, second=150.0)
    for outcome in ("level1_24h", "level3_24h"):
        for stat in ("mean", "mcse", "lo", "hi"):
            expected = float(found.sel(arm="MINE", stratum=STRATUM, outcome=outcome, stat=stat))
            assert point.sel(outcome=outcome, stat=stat).item() == pytest.approx(expected, rel=1e-12)


def test_nothing_given_is_no_risk_and_more_is_never_less(standard):  # noqa: F811
    mean = surface(standard).sel(stat="mean").transpose("outcome", "first", "second").values
    assert (mean[:, 0, 0] == 0).all()
    assert (np.diff(mean, axis=1) > 0).all()
    assert (np.diff(mean, axis=2) > 0).all()


def test_axes_are_daily_doses_from_none_on(standard):  # noqa: F811
    found = standard["dose_surface"].to_dataset()
    assert found["first"].values.tolist() == [0.0, 15.0, 30.0]
    assert found["second"].values.tolist() == [0.0, 150.0, 300.0]
    assert list(found.attrs["drugs"]) == ["baclofen", "pregabalin"]


# ------------------------------------------------------------------------------------------------ variance


def moments_of(value, groups):
    """Moments of independent groups of patients of one arm, outcome and draw."""
    treated = np.ones((1, 1, 1, value.shape[1]), bool)
    item = np.arange(value.shape[1])[None, None]
    return between([reduce_patients(np.ascontiguousarray(one[:, None]), item, treated, 0) for one in value[:groups]])


def test_variance_between_patients_of_groups_is_unbiased():
    """Of independent patients it estimates their variance, 9, whatever groups they are put into."""
    rng = np.random.default_rng(3)
    found = np.array([moments_of(rng.normal(0.0, 3.0, (2, 8)), 2).spread.item() for _ in range(4000)])
    assert abs(found.mean() - 9.0) < 4 * found.std() / np.sqrt(len(found))


def test_variance_between_patients_of_a_plain_group_is_that_of_the_sample():
    value = np.array([1.0, 4.0, 9.0])
    one = reduce_patients(value[:, None], np.arange(3)[None, None], np.ones((1, 1, 1, 3), bool), 0)
    assert one.spread.item() == pytest.approx(np.var(value, ddof=1))


def test_sources_of_variance_by_hand():
    mean = np.array([[1.0, 3.0], [5.0, 7.0]])  # two cases, two draws: variance 2 between draws, 4 between cases
    assert _by_source(mean, np.array([0.25, 0.75]), np.array([4.0, 6.0])).tolist() == [5.0, 1.5, 4.0]


def test_noise_of_few_patients_is_not_taken_for_parameters():
    """Draws that differ by their patients alone: their variance is that of the mean of n patients."""
    rng = np.random.default_rng(4)
    value = rng.normal(0.0, 1.0, (5000, 6))
    _, parameters, _ = _by_source(value.mean(1)[None], value.var(1, ddof=1) / 6, value.var(1, ddof=1))
    assert parameters < 4 * (1 / 6) * np.sqrt(2 / 5000)


def test_shares_sum_to_one_and_errors_are_told(standard):  # noqa: F811
    table = variances(Facts(standard))
    assert table["share"].to_numpy().sum() == pytest.approx(1.0)  # of the one arm and stratum
    own = table.set_index("source")
    case = standard["sensitivity"].to_dataset().sel(arm="ARM1_GUIDELINE", stratum=STRATUM)
    assert own.loc["patients", "sd"] == pytest.approx(float(case["spread"].mean()) ** 0.5)
    between_patients = case["spread"].values
    known = between_patients.std(ddof=1) / np.sqrt(len(between_patients)) / (2 * own.loc["patients", "sd"])
    assert 0.5 * known < own.loc["patients", "mcse"] < 2 * known  # the delta method


# ---------------------------------------------------------------------------------------------- discordance


def test_who_is_dosed_otherwise_is_whose_label_tier_differs(scenario):
    """The US label of pregabalin starts at 150, 75 and, below 30 mL/min, 25 mg a day: by these ends, not the policy."""
    found = discordance(scenario).sel(stratum=STRATUM)
    people = scenario.population.draw(STRATUM, Plain(7), range(1), range(PEOPLE))
    own, other = (np.digitize(people[name], [30.0, 60.0]) for name in ("CRCL", "EGFR"))
    told = found["changed"].sel(arm="ARM9_BEERS", drug="pregabalin")
    assert float(told.sel(change="less")) == pytest.approx((other < own).mean())
    assert float(told.sel(change="more")) == pytest.approx((other > own).mean())
    assert (found["changed"].sel(arm="ARM0_INDEX", change="same") == 1).all()  # the same dose for everyone


def test_categories_of_a_stratum_are_its_own(scenario):
    found = discordance(scenario)["share"].sel(stratum=STRATUM)
    assert float(found.sel(egfr="G4").sum()) == pytest.approx(1.0)
    people = scenario.population.draw(STRATUM, Plain(7), range(1), range(PEOPLE))
    assert float(found.sel(crcl="G3b").sum()) == ((people["CRCL"] >= 30) & (people["CRCL"] < 45)).mean()


def test_figure_of_measures_shows_rows_that_sum_to_one_and_no_fixed_dose(standard):  # noqa: F811
    facts = Facts(standard)
    rows = categories(facts).sum(axis=1)
    assert rows[rows > 0].tolist() == pytest.approx([1.0] * (rows > 0).sum())
    assert set(dose_changes(facts)["arm"]) == {"ARM9_BEERS"}


# --------------------------------------------------------------------------------------------------- survey


def test_shipped_comparison_is_of_the_shipped_covariate_model():
    held = read_comparison(population_file("us_adults"))
    assert held is not None
    found = statistics(people_of_model(tables_of("us_adults")))
    keys = zip(held["statistic"].values, held["band"].values, strict=True)
    again = np.array([found[key] for key in keys])
    np.testing.assert_allclose(held["model"].values, again, rtol=1e-5)
    assert comparison_of(population_file("us_adults")).name == "us_adults_survey.csv"


def test_people_of_the_comparison_are_many_enough_for_what_the_caption_says():
    """The root mean square of their Monte Carlo error is about a tenth of the survey's standard error."""
    held = read_comparison(population_file("us_adults"))
    assert held is not None
    other = statistics(people_of_model(tables_of("us_adults"), seed=2))
    again = np.array([other[key] for key in zip(held["statistic"].values, held["band"].values, strict=True)])
    apart = (again - held["model"].values) / held["se"].values / np.sqrt(2)
    assert 0.05 < np.sqrt(np.mean(apart**2)) < 0.15


def test_population_without_a_comparison_has_no_figure_of_it(tmp_path):
    assert read_comparison(tmp_path / "mine.yaml") is None


def test_panels_hold_each_number_once(standard):  # noqa: F811
    numbers = population_numbers(Facts(standard))
    assert not numbers.duplicated(["panel", "statistic", "band"]).any()
    assert len(set(numbers["panel"])) == 4


def test_named_patients_are_no_population(tmp_path):
    (tmp_path / "two.yaml").write_text(PATIENTS)
    result = run(load_scenario(tmp_path / "two.yaml"), threads=1)
    assert not {"survey", "discordance"} & set(result.children)
