"""Policies: what the arms give, the clock, titration, strictness, and equality with the source."""

import doctest
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vtrial.policy
from vtrial.library import POLICIES
from vtrial.policy import (
    DIALYSED,
    FREQUENCIES,
    METRICS,
    arm_regimens,
    check_arm,
    dose_times,
    load_policies,
    unavailable_doses,
)
from vtrial.spec import InputError

HOUSE = load_policies()
WITH_TIERS = [policy for policy in HOUSE.policies.values() if policy.renal]
SOURCE = Path(__file__).parents[2] / "shared" / "evidence" / "policies.yaml"


def ckd_epi_2021(scr, age):
    """Equation of a woman (population.md A1)."""
    return 142 * min(scr / 0.7, 1) ** -0.241 * max(scr / 0.7, 1) ** -1.2 * 0.9938**age * 1.012


def cockcroft_gault(scr, age, weight):
    """Equation of a woman, actual weight (population.md A1)."""
    return (140 - age) * weight / (72 * scr) * 0.85


# The four women of the table: S1, S2, and two given by CG and eGFR directly.
WOMEN = {
    "AGE": np.array([68.0, 68.0, 78.0, 75.0]),
    "SEX": np.array([1, 1, 1, 1]),
    "CRCL": np.array([cockcroft_gault(0.713, 68, 65), cockcroft_gault(0.825, 68, 65), 41.0, 20.0]),
    "EGFR": np.array([ckd_epi_2021(0.713, 68), ckd_epi_2021(0.825, 68), 54.0, 22.0]),
}

# Day-1 mg of baclofen | pregabalin; evidence/population.md, "What the arms give, for tests". None: avoid.
TABLE = {
    "ARM0_INDEX": [(30, 300), (30, 300), (30, 300), (30, 300)],
    "ARM1_GUIDELINE": [(15, 150), (15, 150), (15, 150), (15, 150)],
    "ARM2_LABEL_RENAL": [(15, 150), (15, 150), (15, 75), (15, 25)],
    "ARM3_VLAV_SPC": [(10, 150), (10, 150), (7.5, 75), (5, 25)],
    "ARM4_AJKD_SPC": [(15, 150), (10, 150), (7.5, 75), (None, 25)],
    "ARM5_ICES": [(15, 150), (15, 150), (10, 75), (10, 75)],
    "ARM6_HALF_BOTH": [(7.5, 75), (7.5, 75), (7.5, 75), (7.5, 75)],
    "ARM7_EVENING": [(10, 75), (10, 75), (7.5, 25), (5, 25)],
    "ARM8_GERI": [(10, 50), (10, 50), (10, 25), (10, 25)],
    "ARM9_BEERS": [(15, 150), (15, 150), (None, 75), (None, 25)],
    "ARM13_UK": [(15, 150), (15, 150), (5, 75), (5, 25)],
}


def metric(policy, values, age=70.0):
    """Patients with `values` of the policy's own renal metric."""
    values = np.asarray(values, dtype=float)
    name = METRICS[policy.renal.metric] if policy.renal else None
    return {"AGE": np.broadcast_to(np.asarray(age, dtype=float), values.shape), name or "CRCL": values}


def by_day(regimens, days):
    """Daily mg of the first patient."""
    return [round(float(regimens.total(24 * d, 24 * d + 24).flat[0]), 4) for d in range(days)]


def daily(name, value, days, *, start=8.0, titrate=True, age=70.0):
    policy = HOUSE.policies[name]
    given = policy.regimens(metric(policy, [value], age), start=start, horizon=24.0 * days, titrate=titrate)
    return by_day(given, days)


# ------------------------------------------------------------------------------------------------ arms


def test_metrics_of_the_index_patient_are_those_of_the_table():
    assert WOMEN["CRCL"][:2] == pytest.approx([77.5, 67.0], abs=0.05)
    assert WOMEN["EGFR"][:2] == pytest.approx([92.1, 77.3], abs=0.05)


@pytest.mark.parametrize("start", [8.0, 14.0, 20.0])
@pytest.mark.parametrize("name", TABLE)
def test_arms_give_the_table(name, start):
    given = arm_regimens(HOUSE.arms[name], HOUSE, WOMEN, start=start, horizon=48.0)
    for k, drug in enumerate(["baclofen", "pregabalin"]):
        expected = [row[k] for row in TABLE[name]]
        assert given[drug].treated.tolist() == [amount is not None for amount in expected]
        # 3 x 3.333 mg of the AJKD fractions are printed as 10 mg
        got = given[drug].total(0, 24)
        assert got == pytest.approx([amount or 0 for amount in expected], abs=0.0011 if "AJKD" in name else 1e-9)


def test_remaining_arms():
    def first_day(name):
        given = arm_regimens(HOUSE.arms[name], HOUSE, WOMEN, start=8.0, horizon=24.0)
        return given["baclofen"].total(0, 24).tolist(), given["pregabalin"].total(0, 24).tolist()

    assert first_day("ARM10_BAC_ONLY") == ([30] * 4, [0] * 4)
    assert first_day("ARM11_PGB_ONLY") == ([0] * 4, [300] * 4)
    assert first_day("ARM12_STAGGERED") == ([0] * 4, [150, 150, 75, 25])
    assert first_day("ARM14_JP") == ([15, 15, 10, 5], [150, 150, 75, 25])
    assert first_day("ARM15_CHEONG_FDA") == ([15, 15, 15, 7.5], [50] * 4)


def test_staggered_arm_starts_baclofen_on_day_4():
    arm = HOUSE.arms["ARM12_STAGGERED"]
    given = arm_regimens(arm, HOUSE, WOMEN, start=14.0, horizon=96.0 + 12.0)
    assert given["baclofen"].table[given["baclofen"].index[0]].time.tolist() == [72, 78, 84, 96, 102]
    short = arm_regimens(arm, HOUSE, WOMEN, start=14.0, horizon=72.0)["baclofen"]
    assert short.total(0, 72).tolist() == [0] * 4
    assert short.treated.all()
    # titration counts from the drug's own start
    assert by_day(arm_regimens(arm, HOUSE, WOMEN, start=8.0, horizon=192.0, titrate=True)["baclofen"], 8) == [
        *[0, 0, 0],
        *[15, 15, 15],
        *[30, 30],
    ]


@pytest.mark.parametrize("name", ["ARM8_GERI", "ARM9_BEERS"])
def test_below_65_the_label_arm_treats(name):
    patients = {"AGE": np.array([64.9, 65.0]), "CRCL": np.array([45.0, 45.0]), "EGFR": np.array([45.0, 45.0])}
    clock = {"start": 8.0, "horizon": 96.0, "titrate": True}
    given = arm_regimens(HOUSE.arms[name], HOUSE, patients, **clock)
    label = arm_regimens(HOUSE.arms["ARM2_LABEL_RENAL"], HOUSE, patients, **clock)
    for drug in given:
        assert given[drug].total(0, 96)[0] == label[drug].total(0, 96)[0]
        young, old = (given[drug].table[row] for row in given[drug].index)
        assert young.time.tolist() == label[drug].table[label[drug].index[0]].time.tolist()
        assert young.time.tolist() != old.time.tolist()


def test_a_drug_that_is_not_given():
    given = arm_regimens(HOUSE.arms["ARM10_BAC_ONLY"], HOUSE, WOMEN, start=8.0, horizon=24.0)["pregabalin"]
    assert not given.treated.any()
    assert given.table[given.index[2]].time.size == 0


# ------------------------------------------------------------------------------------------------ clock


@pytest.mark.parametrize(
    ("freq", "start", "times"),
    [
        ("TID", 8.0, [0, 6, 12, 24, 30]),
        ("TID", 14.0, [0, 6, 12, 24, 30]),
        ("TID", 20.0, [0, 6, 12, 24, 30]),
        ("QD", 20.0, [0, 24]),
        ("BID", 14.0, [0, 12, 24]),
        ("QID", 8.0, [0, 4, 8, 12, 24, 28, 32]),
        ("EVENING", 8.0, [12]),
        ("EVENING", 14.0, [6, 30]),
        ("EVENING", 20.0, [0, 24]),
        ("QHS", 8.0, [14]),
        ("QHS", 14.0, [8, 32]),
        ("QHS", 20.0, [2, 26]),
        ("QHS", 23.0, [23]),
    ],
)
def test_clock(freq, start, times):
    assert dose_times(FREQUENCIES[freq], start=start, horizon=36.0).tolist() == times


def test_started_at_08_00_the_clock_is_that_of_the_source():
    printed = {
        "QD": [8],
        "BID": [8, 20],
        "TID": [8, 14, 20],
        "QID": [8, 12, 16, 20],
        "EVENING": [20],
        "QHS": [22],
    }
    assert {f: (dose_times(v, start=8, horizon=24) + 8).tolist() for f, v in FREQUENCIES.items()} == printed


def test_clock_ends():
    assert dose_times(FREQUENCIES["QD"], start=0.0, horizon=24.0).tolist() == [0]
    assert dose_times(FREQUENCIES["QD"], start=0.0, horizon=-5.0).size == 0
    with pytest.raises(InputError, match="from 0 to below 24"):
        dose_times(FREQUENCIES["QD"], start=24.0, horizon=24.0)
    with pytest.raises(InputError, match="finite"):
        dose_times(FREQUENCIES["QD"], start=1.0, horizon=float("nan"))


# -------------------------------------------------------------------------------------------- titration


@pytest.mark.parametrize(
    ("name", "value", "doses"),
    [
        ("BAC_US_LABEL", 90, [15] * 3 + [30] * 3 + [45] * 3 + [60] * 5),  # 5, 10, 15, 20 mg TID, then held
        ("BAC_CA_LABEL", 90, [15] * 3 + [30] * 3 + [45] * 3 + [60] * 3 + [75] * 3 + [80] * 5),
        ("BAC_CA_LABEL", 30, [10] * 3 + [20] * 3 + [30] * 3),
        ("BAC_JP_LABEL", 90, [15] * 2 + [25] * 2 + [30] * 4),
        ("BAC_JP_LABEL", 45, [10] * 2 + [20] * 2 + [30] * 4),
        ("BAC_JP_LABEL", 20, [5] * 2 + [15] * 2 + [25] * 2 + [30] * 2),
        ("BAC_FR_LIORESAL", 90, [15] * 3 + [30] * 3 + [45] * 3),
        ("BAC_AUD_ADDOLORATO", 90, [15] * 3 + [30] * 3 + [60] * 3),
        ("BAC_VLAVONOU_EXACT", 45, [7.5] * 3 + [15] * 3 + [22.5] * 3),  # steps of 5 x 0.5 mg per dose
        ("BAC_VLAVONOU_EXACT", 20, [5.001] * 3 + [10.0005] * 3 + [15.0] * 3),  # 1.667 + 5 x 0.3333 mg, thrice
        ("BAC_VLAVONOU_TABLET", 20, [5] * 3 + [10] * 3 + [15] * 3),
        ("BAC_GERI", 90, [10] * 7 + [20] * 7 + [30] * 7 + [40] * 14),
        ("BAC_INDEX", 90, [30] * 10),
        ("BAC_LT20_MUANDA", 45, [10] * 40),
        ("BAC_UK_SPC_BNF", 10, [5] * 3 + [10] * 3),
        ("PGB_US_LABEL", 70, [150] * 7 + [300] * 14 + [600] * 9),
        ("PGB_US_LABEL", 45, [75] * 7 + [300] * 23),
        ("PGB_US_LABEL", 20, [25] * 7 + [150] * 23),
        ("PGB_US_LABEL", 10, [25] * 7 + [75] * 23),
        ("PGB_EU_SPC", 70, [150] * 3 + [300] * 7 + [600] * 4),
        ("PGB_EU_SPC", 20, [25] * 3 + [150] * 11),
        ("PGB_JP_LABEL", 45, [75] * 7 + [300] * 20),
        ("PGB_CN_LABEL", 70, [150] * 7 + [300] * 14 + [600] * 4),
        ("PGB_CN_LABEL", 45, [75] * 7 + [300] * 14 + [600] * 4),
        ("PGB_EVENING_FIRST", 70, [75] * 3 + [150] * 6),
        ("PGB_GERI", 70, [50] * 7 + [75] * 7 + [100] * 7),
        ("PGB_HALF", 70, [75] * 7 + [150] * 7 + [225] * 7 + [300] * 14),
    ],
)
def test_titration(name, value, doses):
    assert daily(name, value, len(doses)) == doses
    assert daily(name, value, len(doses), titrate=False) == [doses[0]] * len(doses)


@pytest.mark.parametrize(("start", "morning"), [(8.0, 72.0), (14.0, 90.0), (20.0, 84.0)])
def test_evening_first_adds_the_morning_at_08_00_from_day_4(start, morning):
    policy = HOUSE.policies["PGB_EVENING_FIRST"]
    given = policy.regimens(metric(policy, [70.0]), start=start, horizon=120.0, titrate=True)
    row = given.table[given.index[0]]
    clock = (row.time + start) % 24
    assert row.time[clock == 8].tolist() == np.arange(morning, 120, 24).tolist()
    assert row.time[clock == 20].tolist() == np.arange((20 - start) % 24, 120, 24).tolist()
    assert set(row.amt) == {75.0}
    assert (np.diff(row.time) > 0).all()


def test_a_new_frequency_begins_with_its_day():
    policy = HOUSE.policies["PGB_CN_LABEL"]
    given = policy.regimens(metric(policy, [45.0]), start=8.0, horizon=192.0, titrate=True)
    row = given.table[given.index[0]]
    assert row.time[-3:].tolist() == [156, 168, 180]  # 20:00 of day 7, then 08:00 and 20:00
    assert row.amt[-3:].tolist() == [75, 150, 150]


CEILINGS = """
drug: x
policies:
  LIMITED:
    title: a ceiling by age and renal function
    kind: analyst
    grade: B
    sources: [test]
    renal:
      metric: egfr_ckdepi2021
      tiers:
        - {low: "0 mL/min", high: "60 mL/min", dose: "5 mg", freq: BID, max_daily: "30 mg", grade: B}
        - {low: "60 mL/min", dose: "5 mg", freq: TID, grade: B}
    titration: {grade: B, as_printed: x, increments: [{day: 2, every: "1 d", step: "5 mg", per: dose}]}
    max_daily_if:
      - {metric: egfr_ckdepi2021, high: "60 mL/min", age_min: "66 year", max_daily: "19.99 mg"}
      - {metric: none, age_min: "80 year", max_daily: "15 mg"}
    max_daily: "40 mg"
"""


def test_ceilings_by_age_and_renal_function(tmp_path):
    (tmp_path / "x.yaml").write_text(CEILINGS)
    policy = load_policies(tmp_path).policies["LIMITED"]
    patients = {"AGE": [65.9, 66.0, 66.0, 66.0, 80.0, 80.0], "EGFR": [59.0, 59.0, 60.0, 59.9, 90.0, 10.0]}
    given = policy.regimens(patients, start=8.0, horizon=240.0, titrate=True)
    assert given.total(216, 240) == pytest.approx([30, 19.99, 40, 19.99, 15, 15])
    assert given.total(0, 24).tolist() == [10, 10, 15, 10, 15, 10]
    assert policy.covariates == ("AGE", "EGFR")


# --------------------------------------------------------------------------------------------- dialysis


def test_dialysis():
    patients = {
        "EGFR": np.array([70.0, np.nan]),
        "CRCL": np.array([70.0, 8.0]),
        "DIALYSIS": np.array([False, True]),
    }

    def given(name):
        policy = HOUSE.policies[name]
        doses = policy.regimens(patients, start=8.0, horizon=24.0)
        return policy.dialysis_basis, doses.treated.tolist(), doses.total(0, 24).tolist()

    assert given("BAC_CA_LABEL") == ("entry", [True, True], [15, 5])
    assert given("BAC_CHEONG2020") == ("entry", [True, True], [15, 2.5])
    assert given("BAC_AJKD_2018")[:2] == ("entry", [True, False])
    assert given("PGB_US_LABEL") == ("entry", [True, True], [150, 25])
    assert given("PGB_EU_SPC") == ("lowest tier", [True, True], [150, 25])
    assert given("BAC_JP_LABEL") == ("lowest tier", [True, True], [15, 5])
    assert given("BAC_SEED001") == ("lowest tier", [True, False], [15, 0])
    assert HOUSE.policies["BAC_CA_LABEL"].tier_of(patients).tolist() == [2, DIALYSED]
    with pytest.raises(InputError, match="not on dialysis"):
        given("PGB_HD_POST")
    with pytest.raises(InputError, match="sessions"):
        HOUSE.policies["PGB_HD_POST"].regimens({"DIALYSIS": [True]}, start=8.0, horizon=24.0)


def test_both_supplement_tables_are_kept_with_their_grades():
    tables = HOUSE.policies["PGB_US_LABEL"].dialysis.supplements
    assert [table.grade for table in tables] == ["B", "A2"]
    assert [table.table[-1].supplement for table in tables] == [(100, 150), (75, 100)]
    assert HOUSE.policies["PGB_HD_POST"].dialysis.after_each_session.titrate_to == (50, 75)


# ------------------------------------------------------------------------------------------ unavailable


def test_unavailable_doses():
    def needing_liquid(name, titrate=False):
        policy = HOUSE.policies[name]
        return unavailable_doses(policy, HOUSE.strengths[policy.drug], titrate=titrate)

    found = {name: needing_liquid(name) for name in HOUSE.policies if needing_liquid(name)}
    assert found == {
        "BAC_VLAVONOU_EXACT": [1.667, 3.333],
        "BAC_AJKD_2018": [3.333],
        "BAC_SEED001": [4.0],
        "PGB_HALF": [37.5],
    }
    assert needing_liquid("BAC_JP_LABEL", titrate=True) == [pytest.approx(25 / 3, abs=1e-6)]
    assert needing_liquid("BAC_US_LABEL", titrate=True) == []


# ------------------------------------------------------------------------------------------ properties


@settings(deadline=None)
@given(st.sampled_from(WITH_TIERS), st.floats(0, 400), st.floats(0, 110))
def test_every_patient_has_exactly_one_tier(policy, value, age):
    patients = metric(policy, [value], age)
    tier = int(policy.tier_of(patients)[0])
    inside = [
        k for k, t in enumerate(policy.renal.tiers) if (t.low or 0) <= value and (t.high is None or value < t.high)
    ]
    assert inside == [tier]
    given = policy.regimens(patients, start=8.0, horizon=24.0)
    assert given.treated[0] == (policy.renal.tiers[tier].action != "avoid")
    assert given.total(0, 24)[0] == pytest.approx(policy.renal.tiers[tier].start_daily)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(WITH_TIERS), st.floats(0, 150), st.floats(18, 100), st.floats(0, 24, exclude_max=True))
def test_daily_dose_stays_within_the_ceiling_and_never_falls(policy, value, age, start):
    patients = metric(policy, [value], age)
    given = policy.regimens(patients, start=start, horizon=24.0 * 60, titrate=True)
    tier = policy.renal.tiers[int(policy.tier_of(patients)[0])]
    limits = [tier.max_daily, policy.max_daily]
    limits += [
        c.max_daily
        for c in policy.max_daily_if
        if age >= c.age_min and c.low <= value and (c.high is None or value < c.high)
    ]
    days = np.array([given.total(24 * d, 24 * d + 24)[0] for d in range(60)])
    assert (days <= min([limit for limit in limits if limit is not None], default=np.inf) * (1 + 1e-12)).all()
    assert (np.diff(days) >= -1e-9).all()
    row = given.table[given.index[0]]
    assert ((row.time >= 0) & (row.time < 24 * 60)).all()
    assert (np.diff(row.time) >= 0).all()


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(HOUSE.arms)), st.randoms(use_true_random=False))
def test_permuting_patients_permutes_the_answer(name, random):
    rng = np.random.default_rng(random.randrange(2**32))
    patients = {
        "AGE": rng.uniform(20, 95, 40),
        "EGFR": rng.uniform(5, 120, 40),
        "CRCL": rng.uniform(5, 120, 40),
    }
    patients["DIALYSIS"] = rng.uniform(size=40) < 0.2
    order = rng.permutation(40)
    clock = {"start": 8.0, "horizon": 240.0, "titrate": True}
    one = arm_regimens(HOUSE.arms[name], HOUSE, patients, **clock)
    other = arm_regimens(HOUSE.arms[name], HOUSE, {k: v[order] for k, v in patients.items()}, **clock)
    for drug in one:
        assert np.array_equal(one[drug].index[order], other[drug].index)
        assert np.array_equal(one[drug].treated[order], other[drug].treated)
        for a, b in zip(one[drug].table, other[drug].table, strict=True):
            assert np.array_equal(a.time, b.time)
            assert np.array_equal(a.amt, b.amt)


def test_shape_of_the_patients_is_kept():
    rng = np.random.default_rng(1)
    patients = {name: rng.uniform(10, 110, (3, 4, 5)) for name in ("AGE", "EGFR", "CRCL")}
    for arm in HOUSE.arms.values():
        for doses in arm_regimens(arm, HOUSE, patients, start=8.0, horizon=24.0).values():
            assert doses.index.shape == doses.treated.shape == doses.total(0, 24).shape == (3, 4, 5)


def test_regimens_cannot_be_written_to():
    row = HOUSE.policies["BAC_INDEX"].regimens({"AGE": [50.0]}, start=8.0, horizon=24.0).table[0]
    with pytest.raises(ValueError, match="read-only"):
        row.amt[0] = 1.0
    with pytest.raises(TypeError):
        HOUSE.policies["X"] = None


# ------------------------------------------------------------------------------------- wrong patients


def test_wrong_patients():
    policy = HOUSE.policies["PGB_US_LABEL"]
    with pytest.raises(InputError, match=r"PGB_US_LABEL needs the covariate 'CRCL'; did you mean 'CRCL_IBW'"):
        policy.tier_of({"CRCL_IBW": [30.0]})
    for bad in (-1.0, np.nan):
        with pytest.raises(InputError, match="negative or not a number"):
            policy.tier_of({"CRCL": [30.0, bad]})
    with pytest.raises(InputError, match="different shapes: CRCL"):
        policy.tier_of({"CRCL": [30.0, 20.0], "AGE": [1.0, 2.0, 3.0]})
    with pytest.raises(InputError, match="ARM8_GERI needs the covariate 'AGE'"):
        arm_regimens(HOUSE.arms["ARM8_GERI"], HOUSE, {"CRCL": [30.0]}, start=8.0, horizon=24.0)


# ---------------------------------------------------------------------------------------- strictness

GOOD = """\
drug: x
policies:
  ONE:
    title: one
    kind: label
    grade: A
    sources: [test]
    renal:
      metric: crcl_cg_actual
      tiers:
        - {low: "0 mL/min", high: "30 mL/min", action: avoid, grade: A}
        - {low: "30 mL/min", high: "60 mL/min", dose: "5 mg", freq: QD, grade: A}
        - {low: "60 mL/min", dose: "5 mg", freq: TID, grade: A}
    titration:
      grade: A
      as_printed: x
      increments:
        - {day: 4, every: "3 d", step: "5 mg", per: dose}
    max_daily: "80 mg"
"""
ARMS = "arms:\n  FIRST:\n    drugs: {x: ONE}\n    role: core\n"


def refused(tmp_path, text, arms=None):
    (tmp_path / "x.yaml").write_text(text)
    if arms is not None:
        (tmp_path / "arms.yaml").write_text(arms)
    with pytest.raises(InputError) as error:
        load_policies(tmp_path)
    return str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('high: "30 mL/min", action', 'high: "25 mL/min", action', 10, "gap between tiers 1 and 2.*25 to 30"),
        (
            'high: "30 mL/min", action',
            'high: "40 mL/min", action',
            10,
            "overlap of tiers 1 and 2 from 30 to 40",
        ),
        ('{low: "0 mL/min"', '{low: "5 mL/min"', 10, "first tier must have low"),
        (
            '- {low: "60 mL/min"',
            '- {low: "60 mL/min", high: "99 mL/min"',
            10,
            "last tier must have no 'high'",
        ),
        ('high: "60 mL/min", dose', "dose", 10, "tiers 2 and 3 need"),
        (
            "metric: crcl_cg_actual",
            "metric: crcl_cg",
            9,
            "unknown renal metric 'crcl_cg'; did you mean 'crcl_cg_",
        ),
        ("metric: crcl_cg_actual", "metric: none", 10, "'none' has one tier without bounds"),
        ('dose: "5 mg", freq: QD', 'dose: "-5 mg", freq: QD', 12, "must be more than 0 mg"),
        ('dose: "5 mg", freq: QD', 'dose: "0 mg", freq: QD', 12, "must be more than 0 mg"),
        ('dose: "5 mg", freq: QD', "dose: 5, freq: QD", 12, "bare number 5"),
        ('dose: "5 mg", freq: QD', 'dose: "10 mL", freq: QD', 12, "another dimension"),
        (
            'dose: "5 mg", freq: QD',
            'dose: "5 mg", freq: QDD',
            12,
            "unknown frequency 'QDD'; did you mean 'QD'",
        ),
        ('dose: "5 mg", freq: QD', 'dose: "5 mg"', 12, "needs 'dose' and 'freq'"),
        ("action: avoid", 'action: avoid, dose: "5 mg", freq: QD', 11, "gives no dose"),
        ("action: avoid", "action: avoidd", 11, "did you mean 'avoid'"),
        ('low: "30 mL/min"', 'low: "30 mL/min/1.73m2"', 12, "cannot be read as a quantity"),
        ("    max_daily:", "    max_dayly:", 19, "unknown key 'max_dayly'; did you mean 'max_daily'"),
        ("    kind: label", "    kind: label\n    kind: study", 6, "duplicate key 'kind'"),
        ('    max_daily: "80 mg"\n', "", 3, "titrated without an end"),
        ('max_daily: "80 mg"', 'max_daily: "10 mg"', 3, "tier 3 starts with 15 mg a day, above 10 mg"),
        (
            "      as_printed: x",
            "      as_printed: x\n      scaled_by_factor: true",
            3,
            "tier 2 needs a 'factor'",
        ),
        ('step: "5 mg"', 'step: "5 mg", to: "9 mg"', 18, "either 'step' or 'to'"),
        ('every: "3 d"', "every: 3", 18, "bare number 3"),
        ("day: 4", 'day: "4"', 18, "integer"),
        ("    grade: A\n    sources", "    sources", 3, "the key 'grade' is missing"),
        ("    grade: A\n    sources", "    grade: Z\n    sources", 6, "Allowed: A, A2, B, D"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_line(tmp_path, old, new, line, message):
    assert old in GOOD
    text = refused(tmp_path, GOOD.replace(old, new, 1))
    assert text.count("\n") == 0, text
    assert re.search(rf"x\.yaml:{line}: .*{message}", text), text


@pytest.mark.parametrize(
    ("arms", "line", "message"),
    [
        (ARMS.replace("ONE", "ON"), 3, "unknown policy 'ON' of x; did you mean 'ONE'"),
        (ARMS.replace("{x:", "{y:"), 3, "there are no policies of this drug"),
        (ARMS.replace("ONE", "null"), 3, "no drug at all"),
        (ARMS + "    otherwise: FRIST\n", 5, "unknown arm 'FRIST'; did you mean 'FIRST'"),
        (ARMS + "    start_day: {z: 3}\n", 5, "unknown drug 'z'"),
        (ARMS + "    start_day: {x: 0}\n", 5, "greater than or equal to 1"),
        (ARMS + "  FIRST: {}\n", 5, "duplicate key 'FIRST'"),
        (ARMS + '    start_clock: "25:00"\n', 5, "clock time"),
    ],
)
def test_a_wrong_arm_is_refused_with_its_line(tmp_path, arms, line, message):
    text = refused(tmp_path, GOOD, arms)
    assert text.count("\n") == 0, text
    assert re.search(rf"arms\.yaml:{line}: .*{message}", text), text


def test_ages_and_otherwise_belong_together(tmp_path):
    aged = GOOD.replace("    renal:", '    applies: {age_min: "65 year", grade: A}\n    renal:')
    second = "  SECOND:\n    drugs: {x: ONE}\n    otherwise: FIRST\n"
    assert "give 'otherwise'" in refused(tmp_path, aged, ARMS)
    assert "leads back" in refused(tmp_path, aged, ARMS + "    otherwise: SECOND\n" + second)
    assert "leads back" in refused(tmp_path, aged, ARMS + "    otherwise: FIRST\n")
    assert "nobody is left" in refused(tmp_path, GOOD, ARMS + second)


def test_all_problems_of_all_files_at_once(tmp_path):
    bad = GOOD.replace('"80 mg"', "80").replace('high: "30 mL/min", action', 'high: "25 mL/min", action')
    bad = bad.replace("title: one", "titel: one")
    (tmp_path / "y.yaml").write_text(GOOD.replace("drug: x", "drug: y").replace("ONE", "TWO"))
    text = refused(tmp_path, bad, ARMS.replace("{x: ONE}", "{x: ONE, y: TWWO}"))
    for part in (
        "x.yaml:10: ",
        "x.yaml:19: ",
        "gap",
        "bare number 80",
        "unknown key 'titel'",
        "unknown policy 'TWWO'",
    ):
        assert part in text
    assert "unknown policy 'ONE'" not in text  # it exists, although it cannot be read


def test_a_policy_in_two_files(tmp_path):
    (tmp_path / "y.yaml").write_text(GOOD)
    assert re.search(r"y\.yaml:3: policies\.ONE: the policy 'ONE' is also in x\.yaml", refused(tmp_path, GOOD))


def test_no_files(tmp_path):
    with pytest.raises(InputError, match="no policy files"):
        load_policies(tmp_path)


def test_files_are_read_once_until_they_change(tmp_path):
    (tmp_path / "x.yaml").write_text(GOOD)
    first = load_policies(tmp_path)
    assert load_policies(tmp_path) is first
    (tmp_path / "x.yaml").write_text(GOOD + "\n# changed\n")
    assert load_policies(tmp_path) is not first


def test_policies_travel_to_workers():
    there = pickle.loads(pickle.dumps(HOUSE))
    assert there.policies == HOUSE.policies
    assert there.policies["BAC_INDEX"].drug == "baclofen"


def test_check_arm_serves_arms_of_a_scenario():
    arm = HOUSE.arms["ARM8_GERI"].model_copy(update={"otherwise": "ARM2"})
    (problem,) = check_arm(arm, HOUSE)
    assert problem[0] == ("otherwise",)
    assert "did you mean 'ARM" in problem[1]


# ------------------------------------------------------------------------------ equality with the source


@pytest.fixture(scope="module")
def source():
    if not SOURCE.exists():
        pytest.skip("the source of the rules is not part of the repository")
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(SOURCE.read_text(encoding="utf-8"))


def rules(source):
    return [(rule, HOUSE.policies[rule["id"]]) for drug in ("baclofen", "pregabalin") for rule in source[drug]]


def test_source_every_rule_and_arm_is_here(source):
    for drug, n in (("baclofen", 18), ("pregabalin", 12)):
        ids = [rule["id"] for rule in source[drug]]
        assert len(ids) == n
        here = [name for name, policy in HOUSE.policies.items() if policy.drug == drug]
        assert set(here) - set(ids) == ({"PGB_FIXED_75_BID"} if drug == "pregabalin" else set())
    assert [arm["id"] for arm in source["arms"]] == list(HOUSE.arms)


def test_source_tiers(source):
    for rule, policy in rules(source):
        if "renal" not in rule:
            assert policy.renal is None
            continue
        assert policy.renal.metric == rule["renal"]["metric"]
        theirs = sorted(rule["renal"]["tiers"], key=lambda tier: tier["lo"])
        for tier, theirs_tier in zip(policy.renal.tiers, theirs, strict=True):
            action = theirs_tier.get("action", "give")
            dose = None if action == "avoid" else (theirs_tier["dose_mg"], theirs_tier["freq"])
            assert (tier.low or 0, tier.high or 999) == (theirs_tier["lo"], theirs_tier["hi"]), policy.id
            assert (tier.action, tier.grade) == (action, theirs_tier["evidence"])
            assert (None if tier.dose is None else (tier.dose, tier.freq)) == dose
            assert tier.analyst_choice == theirs_tier.get("op", False)
            assert tier.factor == theirs_tier.get("factor")
            spread = theirs_tier.get("daily_range_mg", [None, theirs_tier.get("max_daily_mg")])
            if "maximum" not in theirs_tier:
                assert [tier.min_daily, tier.max_daily] == spread
            start = theirs_tier.get("start_range_daily_mg", theirs_tier.get("range_daily_mg"))
            assert tier.start_range_daily == (start and tuple(start))
            assert tier.doses_per_day == (
                tuple(theirs_tier["doses_per_day"]) if "doses_per_day" in theirs_tier else None
            )
            words = {"note": "note", "alt": "alternative", "regimen": "split", "maintenance": "maintenance"}
            words |= {"maximum": "maximum", "fallback": "fallback"}
            assert {k: getattr(tier, v) for k, v in words.items()} == {k: theirs_tier.get(k) for k in words}


def test_source_daily_maximum_of_the_japanese_label_is_the_sum_of_its_words(source):
    for tier in HOUSE.policies["PGB_JP_LABEL"].renal.tiers:
        sums = {int(mg) * FREQUENCIES[freq].n for mg, freq in re.findall(r"(\d+) ([A-Z]+)", tier.maximum)}
        assert sums == {tier.max_daily}


def test_source_policies(source):
    for rule, policy in rules(source):
        assert (policy.title, policy.kind, policy.grade) == (rule["title"], rule["class"], rule["evidence"])
        assert list(policy.sources) == rule["source"]
        assert policy.caution == rule.get("caution")
        assert policy.max_daily == rule.get("max_daily_mg")
        assert policy.usual_max_daily == rule.get("usual_max_daily_mg")
        assert list(policy.usual_range_daily or ()) == rule.get("usual_range_daily_mg", [])
        assert list(policy.observed_dose_times) == rule.get("observed_dose_times_h", [])
        age = rule.get("age", {})
        applies = (policy.applies.age_min, policy.applies.grade) if policy.applies else None
        assert applies == ((age["min"], age["evidence"]) if "min" in age else None)
        assert (policy.elderly.grade if policy.elderly else None) == (age["evidence"] if "rule" in age else None)
        conditional = [(c.metric, c.low, c.high, c.age_min, c.max_daily) for c in policy.max_daily_if]
        keys = ("metric", "lo", "hi", "age_min", "max_daily_mg")
        assert conditional == [tuple(c[k] for k in keys) for c in rule.get("max_daily_mg_if", [])]
        indications = [v for k, v in rule.items() if k in ("max_daily_mg_dpn", "max_daily_mg_fibromyalgia")]
        assert list(policy.max_daily_indication.values()) == indications
        sensitive = rule.get("sensitive_patients")
        assert (policy.sensitive_patients is None) == (sensitive is None)
        assert sensitive is None or list(policy.sensitive_patients.daily) == sensitive["daily_mg"]


BY_HAND = {  # written in the source in words or as a schedule: (day, every, step, to, per)
    "BAC_AUD_ADDOLORATO": [(4, None, None, 10, "dose"), (7, None, None, 20, "dose")],
    "PGB_CN_LABEL": [(8, None, None, 150, "dose"), (22, None, None, 300, "dose")],
    "PGB_EVENING_FIRST": [(4, None, 75, None, "day")],
}


def least(value):
    return min(value) if isinstance(value, list) else value


def greatest(value):
    return max(value) if isinstance(value, list) else value


def increments_of(rule):
    """The faster end of every range of the source."""
    words = rule["titration"]
    for key, per in (("step_mg_per_dose", "dose"), ("step_mg_per_day", "day")):
        if key in words:
            every, step = least(words["every_d"]), greatest(words[key])
            return [(1 + every, 24 * every, step, None, per)] if step else []
    if rule["id"] in BY_HAND:
        return BY_HAND[rule["id"]]
    wait = next(least(words[key]) for key in ("within_d", "after_d", "over_at_least_d") if key in words)
    found = [(1 + wait, None, None, words["to_daily_mg"], "day")]
    if "then_daily_mg" in words:
        more = words.get("after_additional_d") or 7 * least(words["after_weeks"])
        found.append((1 + wait + more, None, None, words["then_daily_mg"], "day"))
    return found


def test_source_titration(source):
    for rule, policy in rules(source):
        if rule.get("titration") is None:
            assert policy.titration is None
            continue
        ours = [(i.day, i.every, i.step, i.to, i.per) for i in policy.titration.increments]
        assert ours == increments_of(rule), policy.id
        words = rule["titration"]
        assert policy.titration.grade == words["evidence"]
        assert policy.titration.scaled_by_factor == words.get("scaled_by_factor", False)
        ends = [i.up_to for i in policy.titration.increments if i.up_to is not None]
        schedule = words.get("schedule_mg_tid") if policy.id == "BAC_US_LABEL" else None
        target = [max(schedule)] if schedule else [words[k] for k in ("target_daily_mg",) if k in words]
        assert ends == target


def numbers(node):
    """Every amount in mg below a node of the source, without prose."""
    if isinstance(node, dict):
        prose = ("evidence", "grade", "note", "basis", "freq", "when", "action")
        return set().union(*(numbers(v) for k, v in node.items() if k not in prose))
    if isinstance(node, (list, tuple)):
        return set().union(*(numbers(v) for v in node))
    return {float(n) for n in re.findall(r"[\d.]+", str(node))}


def test_source_dialysis(source):
    for rule, policy in rules(source):
        assert (policy.dialysis is None) == ("dialysis" not in rule)
        if policy.dialysis is None:
            continue
        data = policy.dialysis.model_dump(exclude_none=True)
        for supplement in data["supplements"]:
            supplement.pop("session", None)
        assert numbers(data) == numbers(rule["dialysis"]), policy.id
        assert (policy.dialysis.action == "avoid") == (rule["dialysis"].get("action") == "avoid")
    theirs = next(rule for rule in source["pregabalin"] if rule["id"] == "PGB_US_LABEL")["dialysis"]
    ours = HOUSE.policies["PGB_US_LABEL"].dialysis.supplements
    for table, key in zip(ours, ("supplement_after_4h_HD", "supplement_secondary_page"), strict=True):
        assert table.grade == theirs[key]["evidence"]
        assert [list(row.supplement) for row in table.table] == [row["supp_mg"] for row in theirs[key]["table"]]
        assert [numbers(row.base) for row in table.table] == [numbers(row["base"]) for row in theirs[key]["table"]]


def test_source_strengths(source):
    bac, pgb = source["strengths"]["baclofen"], source["strengths"]["pregabalin"]
    ours = HOUSE.strengths
    assert list(ours["baclofen"].tablet) == bac["tablet_mg"]
    assert ours["baclofen"].smallest_part == bac["min_practical_mg"]
    assert list(ours["baclofen"].liquid) == bac["liquid_mg_per_mL"]
    assert list(ours["baclofen"].granules) == bac["granules_mg"]
    assert list(ours["pregabalin"].capsule) == pgb["capsule_mg"]
    assert list(ours["pregabalin"].liquid) == [pgb["liquid_mg_per_mL"]]


def test_source_arms(source):
    for theirs in source["arms"]:
        arm = HOUSE.arms[theirs["id"]]
        pregabalin = theirs["pregabalin"]
        if isinstance(pregabalin, dict):
            tier = HOUSE.policies["PGB_FIXED_75_BID"].renal.tiers[0]
            assert pregabalin == {"fixed": {"dose_mg": tier.dose, "freq": tier.freq}}
            pregabalin = "PGB_FIXED_75_BID"
        assert arm.drugs == {"baclofen": theirs["baclofen"], "pregabalin": pregabalin}
        assert (arm.role, arm.grade) == (theirs["role"], theirs.get("evidence"))
        offset = {k.removesuffix("_start_day"): v for k, v in theirs.get("offset", {}).items()}
        assert arm.start_day == offset
        assert arm.start_clock == (14.0 if "start_clock" in theirs else None)
        if "applies" in theirs:
            assert theirs["applies"] == f"age>={arm.age_min(HOUSE.policies):g}, else {arm.otherwise[:4]}"
        else:
            assert arm.otherwise is None
    overlay, modifiers = source["aki_overlay"], source["policy_modifiers"]
    assert (HOUSE.aki_overlay.text, HOUSE.aki_overlay.grade) == (overlay["rule"], overlay["evidence"])
    assert list(HOUSE.aki_overlay.sources) == overlay["source"]
    assert {m["id"]: (m["text"], m["evidence"], m["source"]) for m in modifiers} == {
        name: (m.text, m.grade, list(m.sources)) for name, m in HOUSE.modifiers.items()
    }


# --------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("name", ["regimen", "titration", "form", "rule", "arm", "load"])
def test_examples_in_docstrings(name):
    module = getattr(vtrial.policy, name)
    assert doctest.testmod(module).failed == 0


def test_the_files_say_that_they_are_for_research_only():
    for file in sorted(POLICIES.glob("*.yaml")):
        assert "RESEARCH" in file.read_text(encoding="utf-8")[:400]
