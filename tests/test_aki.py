"""Kidney injury: creatinine and concentrations against ODE solvers, doses at first and at reviews by hand."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import SOBOL, edited
from scipy.integrate import solve_ivp
from scipy.special import ndtr
from scipy.stats import norm

from vtrial import draw_parameters, draw_patients, expose_reference, load_scenario, run, simulate
from vtrial.model.draw import following_gfr
from vtrial.patients import groups_of
from vtrial.policy import Arm, check_arm, load_policies
from vtrial.population.injury import Injury, creatinine, kinetic_share, visible
from vtrial.population.renal import cockcroft_gault, derive
from vtrial.spec import InputError
from vtrial.treatment import dose
from vtrial.treatment.course import _together

FALL = "injury: {onset: -12 h, gfr: 30 %, lasts: 36 h, recovery: 30 h, recovers_to: 80 %}"
HD = "sessions: {first: 20 h, every: [24 h], hours: 4 h}"


def stratum(*given):
    """Edit: the tiny scenario with a stratum of its own instead of one of the standard ones."""
    own = ", ".join(["name: AKI, AGE: [65 year, 75 year], EGFR: [60 mL/min, 90 mL/min], weight: 0.5", *given])
    return '["18-49 G1", "75-84 G4"]', f'["18-49 G1", {{{own}}}]'


MINE = "drugs: {baclofen: BAC_VLAVONOU_TABLET, pregabalin: PGB_US_LABEL}"
REVIEWED = (
    ("  start:", f"  define:\n    MINE: {{{MINE}}}\n    LOOKED: {{{MINE}, review: [24 h, 48 h]}}\n  start:"),
    ("[ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]", "[MINE, LOOKED, ARM1_GUIDELINE]"),
)


# ---------------------------------------------------------------------------------------------- creatinine

COURSES = {
    "to the end": {"onset": "-24 h", "gfr": "30 %"},
    "at once": {"onset": "6 h", "gfr": "5 %", "lasts": "40 h"},
    "in steps": {"onset": "-30 h", "gfr": "20 %", "lasts": "24 h", "recovery": "50 h", "recovers_to": "70 %"},
}


@pytest.mark.parametrize("given", COURSES.values(), ids=COURSES.keys())
def test_creatinine_is_that_of_an_ode_solver(given):
    injury, own, gfr, weight, nadir = Injury(**given), 0.9, 75.0, 62.0, Injury(**given).gfr[0]
    steps = injury.steps()

    def share(t):
        past = [recovered for begin, recovered in steps if begin <= t]
        return nadir + past[-1] * (injury.recovers_to / 100 - nadir) if past else 1.0

    volume, clearance = 0.6 * weight, 0.06 * gfr  # L, L/h
    made = clearance * own  # L/h mg/dL
    level, edges = own, [-40.0, *(begin for begin, _ in steps), 200.0]
    for begin, end in pairwise(edges):
        cleared = clearance * share(begin)
        found = solve_ivp(
            lambda t, c, cleared=cleared: (made - cleared * c) / volume, (begin, end), [level],
            rtol=1e-11, atol=1e-12, dense_output=True,
        )  # fmt: skip
        for t in np.linspace(begin, end, 7):
            assert creatinine(injury, t, nadir=nadir, scr=own, gfr=gfr, weight=weight) == pytest.approx(
                found.sol(t)[0], rel=1e-9
            )
        level = found.y[0, -1]


def test_creatinine_is_steady_before_and_where_nothing_changes_and_comes_to_a_new_balance():
    own = {"nadir": 0.25, "scr": 0.8, "gfr": 70.0, "weight": 60.0}
    for_ever = Injury(onset="12 h", gfr="25 %")
    assert float(creatinine(for_ever, 12.0, **own)) == 0.8
    assert float(creatinine(for_ever, 5000.0, **own)) == pytest.approx(3.2, rel=1e-12)
    whole = Injury(onset="-24 h", gfr="100 %", lasts="24 h", recovery="24 h")
    assert float(creatinine(whole, 30.0, **own | {"nadir": 1.0})) == 0.8
    passing = Injury(onset="-24 h", gfr="25 %", lasts="6 h", recovery="24 h")
    assert float(creatinine(passing, 5000.0, **own)) == pytest.approx(0.8, rel=1e-12)
    times = np.arange(-24.0, 200.0, 2.0)
    course = [float(creatinine(passing, t, **own)) for t in times]
    assert times[int(np.argmax(course))] > -18 + 6  # highest long after GFR has begun to recover
    assert max(course) < 3.2


def test_what_is_visible_follows_from_creatinine_alone():
    fixed = {"AGE": 68.0, "SEX": 1.0, "HT": 154.0, "WT": 65.0, "SCR": 0.713}
    people = derive({name: np.array([[value]]) for name, value in fixed.items()})
    people |= {"DIALYSIS": np.array([[False]]), "GFR": people["CRCL"] * 1.1, "NADIR": np.array([[0.3]])}
    injury = Injury(onset="-24 h", gfr="30 %")
    then = visible(people, injury, 0.0)
    scr = 0.713 / 0.3 + 0.713 * (1 - 1 / 0.3) * np.exp(-0.06 * 0.3 * people["GFR"] / 39 * 24)
    assert then["SCR"] == pytest.approx(scr)
    assert then["CRCL"] == pytest.approx(cockcroft_gault(scr, 68, True, 65))
    assert "GFR" not in then
    before = visible(people, injury, -24.0)
    assert all(before[name] is people[name] for name in before)


# -------------------------------------------------------------------------------------------------- kinetics


def test_two_courses_are_one():
    one, other = ([2.0, 6.0], [0, 1, 2]), ([4.0, 6.0], [0, 1, 0])
    assert _together(one, other) == ([2.0, 4.0, 6.0], [(0, 0), (1, 0), (1, 1), (2, 0)])
    assert _together(([], [0]), ([], [0])) == ([], [(0, 0)])


def by_lsoda(own, CL, doses, turns, horizon):
    """Dense times and states of a patient whose clearances `CL(t)` change at `turns`, from event to event.

    Depot, central, peripheral, effect site, area of baclofen; the same of pregabalin without a peripheral one.
    """
    b, p = ({k.split(".")[1]: v for k, v in own.items() if k.startswith(drug)} for drug in ("baclofen", "pregabalin"))
    late = {t + own[f"{drug}.tlag"] for drug, given in doses.items() for t, _ in given if t < horizon}
    x, times, states = np.zeros(9), [], []
    for start, stop in pairwise(sorted({0.0, horizon, *turns, *late})):
        for drug, entry in (("baclofen", 0), ("pregabalin", 5)):
            for t, amt in doses[drug]:
                x[entry] += own[f"{drug}.F"] * amt * (t + own[f"{drug}.tlag"] == start)
        CL_b, CL_p = CL(start)

        def slope(t, x, CL_b=CL_b, CL_p=CL_p):
            conc_b, conc_p, flow = x[1] / b["V"], x[6] / p["V"], b["Q"] * (x[1] / b["V"] - x[2] / b["V2"])
            into_b, into_p = b["ka"] * x[0], p["ka"] * x[5]
            return [
                -into_b, into_b - CL_b * conc_b - flow, flow, b["ke0"] * (conc_b - x[3]), conc_b,
                -into_p, into_p - CL_p * conc_p, p["ke0"] * (conc_p - x[7]), conc_p,
            ]  # fmt: skip

        done = solve_ivp(
            slope, (start, stop), x, "LSODA", np.linspace(start, stop, 400), rtol=1e-10, atol=1e-12, max_step=0.25
        )
        x = done.y[:, -1].copy()
        times.append(done.t)
        states.append(done.y)
    return np.concatenate(times), np.concatenate(states, 1)


def course_of(loaded, theta, group, d, i, hd):
    """Clearances of a patient in time, by the equations of the model file written out, and when they change."""
    par = {str(name): float(theta[name][d]) for name in theta}
    own = {name: float(values[d, i]) for name, values in group.own.items()}
    size, lean = (own["WT"] / 70) ** par["allometry_CL"], (own["IBW"] / 62) ** 0.354

    def typical(gfr):
        baclofen = 0.06 * par["baclofen.slope_CLr"] * gfr + par["baclofen.CL_nonrenal"] * size
        renal = par["pregabalin.slope_CL"] * min(gfr, par["pregabalin.CrCL_cap"])
        return np.array([baclofen, (renal + par["pregabalin.CL_nonrenal"]) * lean])

    # 30 % until 24 h, then in steps of 12, 12 and 6 h along a line to 80 %
    shares = {0: 0.3, 24: 0.3 + 0.5 * 6 / 30, 36: 0.3 + 0.5 * 18 / 30, 48: 0.3 + 0.5 * 27 / 30, 54: 0.8}
    etas = np.array([own["baclofen.CL"], own["pregabalin.CL"]]) / typical(own["GFR"])
    extra = np.array([own.get("baclofen.CL_HD", 0.0), own.get("pregabalin.CL_HD", 0.0)])
    sessions = [(20.0, 24.0), (44.0, 48.0), (68.0, 72.0)] if hd else []

    def CL(t):
        share = [value for begin, value in shares.items() if begin <= t][-1]
        return typical(share * own["GFR"]) * etas + extra * any(begin <= t < end for begin, end in sessions)

    return par, own, CL, {float(t) for t in shares} | {t for session in sessions for t in session}


@pytest.mark.parametrize("hd", [False, True], ids=["injury", "injury and sessions"])
def test_a_patient_whose_kidneys_fail_is_that_of_lsoda(scenario, hd):
    loaded = scenario(stratum(FALL, *([HD] if hd else [])))
    theta = draw_parameters(loaded.model, loaded.draws, 7)
    cohort = draw_patients(loaded, theta, strata=["AKI"], patients=2)
    found = simulate(loaded, cohort, "ARM1_GUIDELINE", expose_reference(loaded, theta)).isel(stratum=0)
    (group,) = groups_of(loaded, cohort)
    given = dose(loaded, group, [loaded.arm("ARM1_GUIDELINE")])
    for d, i in ((0, 0), (11, 1)):
        par, own, CL, turns = course_of(loaded, theta, group, d, i, hd)
        rows = [table[row[given.item[0, d, i]]] for table, row in zip(given.table, given.row, strict=True)]
        doses = {row.drug: list(zip(row.time, row.amt, strict=True)) for row in rows}
        t, x = by_lsoda(own, CL, doses, turns, 72.0)
        assert float(found["auc_baclofen_72h"][d, i]) == pytest.approx(x[4, -1], rel=1e-6)
        assert float(found["auc_pregabalin_72h"][d, i]) == pytest.approx(x[8, -1], rel=1e-6)
        first = t <= 24
        for drug, state in (("baclofen", 1), ("pregabalin", 6)):
            highest = (x[state] / own[f"{drug}.V"])[first].max()
            assert float(found[f"cmax_{drug}_24h"][d, i]) == pytest.approx(highest, rel=1e-4)
        u, v = x[3] / own["baclofen.C50"], x[7] / own["pregabalin.C50"]
        tolerance = 1 + (par["tolerance_fold"] - 1) * (1 - 2 ** (-t / (24 * par["tolerance_t_half"])))
        drive = (own["A"] * (u + v + par["alpha"] * u * v) / tolerance).max()
        expected = ndtr((np.log(drive) - np.log(par["r_1"])) / par["omega_S"])
        assert float(found["level1_72h"][d, i]) == pytest.approx(expected, rel=1e-4)


def test_an_injury_of_old_is_a_kidney_of_that_clearance(scenario):
    """GFR that fell long ago and for good: nothing changes within the trial, clearances are those of the lower GFR."""
    loaded = scenario(stratum("injury: {onset: -1000 h, gfr: 40 %}"))
    theta = draw_parameters(loaded.model, loaded.draws, 7)
    cohort = draw_patients(loaded, theta, strata=["AKI"], patients=3)
    reference = expose_reference(loaded, theta)
    found = simulate(loaded, cohort, "ARM1_GUIDELINE", reference)
    lower = cohort.assign(NADIR=cohort["NADIR"] * 0 + 1)
    for name in ("baclofen.CL", "pregabalin.CL"):
        own = {str(n): theta[n] for n in theta}
        people = {n: cohort[n] for n in (*loaded.model.covariates, "GFR") if n in cohort}
        people |= {"FED": 0.0 * cohort["GFR"]}
        was, now = (loaded.model.typical(own, people | {"GFR": people["GFR"] * s})[name] for s in (1.0, 0.4))
        lower[name] = (cohort[name] * now / was).transpose(*cohort[name].dims)
        assert (lower[name] < cohort[name]).all()
    plain = scenario(stratum())
    expected = simulate(plain, lower, "ARM1_GUIDELINE", reference)
    for name in ("auc_baclofen_72h", "cmax_pregabalin_24h", "level3_72h"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


def test_a_kidney_that_stays_whole_leaves_every_bit(scenario):
    plain = run(scenario(stratum(), *REVIEWED), threads=1)
    whole = "injury: {onset: 6 h, gfr: 100 %, lasts: 12 h, recovery: 24 h}"
    found = run(scenario(stratum(whole), *REVIEWED), threads=1)
    for name in ("value", "difference"):
        assert found["estimates"][name].values.tobytes() == plain["estimates"][name].values.tobytes()


@pytest.mark.parametrize("sampling", [(), SOBOL], ids=["plain", "sobol"])
def test_an_injured_stratum_leaves_the_others_to_the_bit(scenario, sampling):
    severe = FALL.replace("30 %", "[10 %, 50 %]", 1)
    runs = [run(scenario(*sampling, stratum(*given)), threads=1) for given in ((severe,), ())]
    ours, theirs = (tree["risk"]["mean"].sel(stratum="18-49 G1").values for tree in runs)
    assert ours.tobytes() == theirs.tobytes()


def test_severity_is_a_patients_own_and_within_its_range(scenario):
    loaded = scenario(stratum(FALL.replace("30 %", "[10 %, 50 %]", 1)))
    theta = draw_parameters(loaded.model, loaded.draws, 7)
    few, many = (draw_patients(loaded, theta, patients=n)["NADIR"] for n in (5, 60))
    assert np.array_equal(few, many[..., :5])
    assert (many.sel(stratum="18-49 G1") == 1).all()
    own = many.sel(stratum="AKI").values
    assert 0.1 <= own.min() < 0.11
    assert 0.49 < own.max() <= 0.5
    assert own.mean() == pytest.approx(0.3, abs=4 * 0.4 / np.sqrt(12 * own.size))


def test_threads_memory_and_order_leave_every_bit(scenario, monkeypatch):
    monkeypatch.setattr("vtrial.block.FEWEST", 16)
    turned = REVIEWED[1][0], "[ARM1_GUIDELINE, LOOKED, MINE]"
    first = run(scenario(stratum(FALL), *REVIEWED), threads=1)
    second = run(scenario(stratum(FALL), REVIEWED[0], turned), threads=3, memory="1 kB")
    for name in ("value", "difference"):
        ours = first["estimates"][name]
        theirs = second["estimates"][name].sel(arm=ours["arm"])
        assert ours.values.tobytes() == np.ascontiguousarray(theirs.values).tobytes()


def test_a_lower_gfr_gives_more_exposure(scenario):
    auc = []
    for gfr in ("100 %", "60 %", "30 %"):
        loaded = scenario(stratum(f"injury: {{onset: 0 h, gfr: {gfr}}}"))
        theta = draw_parameters(loaded.model, loaded.draws, 7)
        cohort = draw_patients(loaded, theta, strata=["AKI"], patients=4)
        found = simulate(loaded, cohort, "ARM0_INDEX", expose_reference(loaded, theta))
        auc.append([found[f"auc_{drug}_72h"].values for drug in ("baclofen", "pregabalin")])
    for less, more in pairwise(auc):
        assert (less[0] < more[0]).all()
        assert (less[1] <= more[1] * (1 + 1e-9)).all()  # the same for both GFRs above the cap, some 107 mL/min


# ---------------------------------------------------------------------------------------------------- review

HER = "name: her, age: 68 year, sex: F, height: 154 cm, weight: 65 kg, scr: 0.713 mg/dL"


def doses_of(loaded, arm):
    """Doses of the only patient of the first draw: drug -> list of (time, amt)."""
    theta = draw_parameters(loaded.model, 2, 7)
    group = groups_of(loaded, draw_patients(loaded, theta, patients=1))[0]
    given = dose(loaded, group, [loaded.arm(arm)])
    item = given.item[0, 0, 0]
    rows = [table[row[item]] for table, row in zip(given.table, given.row, strict=True)]
    return {row.drug: list(zip(row.time.tolist(), row.amt.tolist(), strict=True)) for row in rows}, group


def her(*given):
    """Edit: the index patient instead of the strata."""
    old = '  model: us_adults\n  strata: ["18-49 G1", "75-84 G4"]'
    return old, f"  patient: {{{', '.join([HER, *given])}}}"


def test_doses_at_first_and_at_reviews_are_those_of_the_visible_creatinine(scenario):
    """CRCL 77 mL/min, GFR 30 % from 6 h before: what is visible is between 30 and 77, lower at each review."""
    loaded = scenario(her("injury: {onset: -6 h, gfr: 30 %}"), *REVIEWED)
    doses, group = doses_of(loaded, "LOOKED")
    gfr = float(group.own["GFR"][0, 0])

    def crcl(hours):
        high = 0.713 / 0.3
        scr = high + (0.713 - high) * np.exp(-0.06 * 0.3 * gfr / 39 * (hours + 6))
        return 72 * 65 / (72 * scr) * 0.85

    def of(drug, tiers, hours):
        return next(given for low, given in tiers if crcl(hours) >= low)

    # (low end of CRCL, (mg, times of the day)), start at 08:00; QHS is 22:00, the evening 20:00
    baclofen = [(80, (5, (0, 6, 12))), (50, (5, (0, 12))), (30, (2.5, (0, 6, 12))), (0, (5, (14,)))]
    pregabalin = [(60, (75, (0, 12))), (30, (25, (0, 6, 12))), (0, (25, (12,)))]
    assert crcl(0) > 50 > crcl(24) > crcl(48)  # more than one tier is met
    for drug, tiers in (("baclofen", baclofen), ("pregabalin", pregabalin)):
        expected = []
        for day, hours in enumerate((0.0, 24.0, 48.0)):
            amt, times = of(drug, tiers, hours)
            expected += [(24.0 * day + time, amt) for time in times]
        assert [given for given in doses[drug] if given[0] < 72] == expected


def test_a_review_before_creatinine_rises_changes_nothing(scenario):
    loaded = scenario(her("injury: {onset: 48 h, gfr: 10 %}"), *REVIEWED)
    assert doses_of(loaded, "LOOKED")[0] == doses_of(loaded, "MINE")[0]  # at 24 and at 48 h: it has just begun
    later = loaded.arm("LOOKED").model_copy(update={"review": (60.0,)})
    theta = draw_parameters(loaded.model, 2, 7)
    group = groups_of(loaded, draw_patients(loaded, theta, patients=1))[0]
    given = dose(loaded, group, [loaded.arm("MINE"), later])
    assert given.item[0, 0, 0] != given.item[1, 0, 0]


def test_reviews_of_healthy_kidneys_change_nothing(scenario):
    result = run(scenario(stratum(), *REVIEWED), threads=1)
    value = result["estimates"]["value"]
    assert value.sel(arm="MINE").values.tobytes() == value.sel(arm="LOOKED").values.tobytes()


def test_a_review_keeps_the_place_in_a_titration(scenario):
    """Baclofen rises by 5 mg a dose on the fourth day: after a review as in who had the lower tier from the first."""
    longer = ("  horizon: 72 h", "  horizon: 120 h\n  titrate: true")
    loaded = scenario(her("injury: {onset: -6 h, gfr: 30 %}"), *REVIEWED, longer)
    doses, _ = doses_of(loaded, "LOOKED")
    old = scenario(her("injury: {onset: -54 h, gfr: 30 %}"), *REVIEWED, longer)  # what is visible 48 h later
    same, _ = doses_of(old, "MINE")
    assert [given for given in doses["baclofen"] if given[0] >= 48] == [g for g in same["baclofen"] if g[0] >= 48]
    assert {amt for time, amt in doses["baclofen"] if time >= 72} != {
        amt for time, amt in same["baclofen"] if time < 48
    }


def test_who_is_given_nothing_at_first_is_not_reviewed(scenario):
    mine = "drugs: {baclofen: BAC_AJKD_2018, pregabalin: null}, review: [48 h]"
    arms = ("  start:", f"  define:\n    MINE: {{{mine}}}\n  start:"), (REVIEWED[1][0], "[MINE, ARM1_GUIDELINE]")
    recovering = "injury: {onset: -500 h, gfr: 10 %, lasts: 500 h}"  # eGFR below 30 at first: avoid
    doses, group = doses_of(scenario(her(recovering), *arms), "MINE")
    assert doses["baclofen"] == []
    assert visible(group.own, group.injury, 48.0)["EGFR"][0, 0] > 30
    failing = "injury: {onset: 0 h, gfr: 10 %}"
    doses, _ = doses_of(scenario(her(failing), *arms), "MINE")
    assert max(time for time, _ in doses["baclofen"]) < 48  # and who may not have it any longer, has no more


# --------------------------------------------------------------------------------------- kinetic renal function


def test_kinetic_gfr_is_the_true_share_where_creatinines_are_close_and_nobody_has_changed():
    own = {"scr": 0.9, "weight": 62.0}
    injury = Injury(onset="-24 h", gfr="30 %")
    at = {t: creatinine(injury, t, nadir=0.3, gfr=75.0, **own) for t in (-30.0, -26.0, -12.0, 0.0, 0.01)}
    near = kinetic_share(at[0.0], at[0.01], 0.01, crcl=75.0, **own)
    assert float(near) == pytest.approx(0.3, rel=1e-5)
    assert float(kinetic_share(at[-30.0], at[-26.0], 4.0, crcl=75.0, **own)) == 1.0
    half_a_day = float(kinetic_share(at[-12.0], at[0.0], 12.0, crcl=75.0, **own))
    assert half_a_day == pytest.approx(0.3, abs=0.02)  # the mean of two is not that of the curve between them
    assert half_a_day < 0.9 / float(at[0.0])  # the share that the last creatinine stands for
    late = creatinine(injury, 900.0, nadir=0.3, gfr=75.0, **own)
    assert float(kinetic_share(late, late, 24.0, crcl=75.0, **own)) == pytest.approx(0.3, rel=1e-9)
    assert float(kinetic_share(0.9, 9.0, 1.0, crcl=75.0, **own)) == 0.0


KINETIC = (
    (REVIEWED[0][0], REVIEWED[0][1].replace("review: [24 h, 48 h]", "kinetic: 6 h")),
    REVIEWED[1],
)


def test_kinetic_doses_are_those_of_the_kidney_that_is_left(scenario):
    """CRCL 77 mL/min, GFR 30 % for 6 h: one creatinine stands for more than 50, two of them for about 23."""
    loaded = scenario(her("injury: {onset: -6 h, gfr: 30 %}"), *KINETIC)
    doses, group = doses_of(loaded, "LOOKED")
    seen = visible(group.own, group.injury, 0.0, kinetic=6.0)
    plain = visible(group.own, group.injury, 0.0)
    assert seen["SCR"] == pytest.approx(plain["SCR"])
    change, mean = seen["SCR"] - 0.713, (seen["SCR"] + 0.713) / 2
    highest = 0.06 * 72 * 65 * 0.85 / 72 / 39  # times her creatinine, in 1/h
    expected = (72 * 65 * 0.85) / (72 * mean) * (1 - change / (6 * highest))
    assert seen["CRCL"] == pytest.approx(expected, rel=1e-9)
    assert (seen["CRCL"] < 30).all()
    assert (plain["CRCL"] > 50).all()
    assert doses["baclofen"][:2] == [(14.0, 5.0), (38.0, 5.0)]
    assert doses["pregabalin"][:2] == [(12.0, 25.0), (36.0, 25.0)]
    assert doses_of(loaded, "MINE")[0]["baclofen"][:2] == [(0.0, 5.0), (12.0, 5.0)]


def test_kinetic_doses_of_healthy_kidneys_are_the_same(scenario):
    for given in ((), ("injury: {onset: 0 h, gfr: 100 %}",)):
        value = run(scenario(stratum(*given), *KINETIC), threads=1)["estimates"]["value"]
        assert value.sel(arm="MINE").values.tobytes() == value.sel(arm="LOOKED").values.tobytes()


OVERLAID = (
    (
        REVIEWED[0][0],
        REVIEWED[0][1].replace("review: [24 h, 48 h]", "kinetic: 6 h, aki_overlay: true, review: [24 h, 48 h]"),
    ),
    REVIEWED[1],
)


def scr_of(group, onset, share, hours, until=np.inf):
    """Creatinine of her whose GFR is a share of its own from the onset until a time, by its closed form."""
    rate, high = 0.06 * float(group.own["GFR"][0, 0]) / 39, 0.713 / share
    risen = high + (0.713 - high) * np.exp(-rate * share * (np.clip(hours, onset, until) - onset))
    return 0.713 + (risen - 0.713) * np.exp(-rate * np.maximum(hours - until, 0))


def test_in_kidney_injury_baclofen_is_held_and_given_again_when_it_is_over(scenario):
    """GFR 20 % from 6 h before the first dose until 6 h after it, which is pregabalin's, at 20:00. Creatinine is above
    1.5 times her own then; a day later it is not, and is falling."""
    loaded = scenario(her("injury: {onset: -6 h, gfr: 20 %, lasts: 12 h}"), *OVERLAID)
    doses, group = doses_of(loaded, "LOOKED")
    scr = {hours: scr_of(group, -6, 0.2, hours, until=6) for hours in (0.0, 24.0)}
    assert scr[0.0] > 1.5 * 0.713
    assert scr[24.0] < 1.5 * 0.713
    assert scr[24.0] - 0.713 < 0.3  # 48 h before she was well
    assert doses["pregabalin"][0][0] == 12.0
    crcl = {hours: 65 * 0.85 / value for hours, value in scr.items()}
    assert crcl[24.0] > 50 > crcl[0.0] > 30
    assert doses["baclofen"][:3] == [(36.0, 5.0), (48.0, 5.0), (60.0, 5.0)]
    assert doses_of(loaded, "MINE")[0]["baclofen"][0] == (0.0, 2.5)


def test_in_kidney_injury_pregabalin_is_that_of_the_kinetic_gfr_alone(scenario):
    loaded = scenario(her("injury: {onset: -6 h, gfr: 30 %}"), *OVERLAID)
    doses, _ = doses_of(loaded, "LOOKED")
    assert doses["baclofen"] == []
    kinetic = scenario(her("injury: {onset: -6 h, gfr: 30 %}"), *KINETIC)
    first_day = [given for given in doses["pregabalin"] if given[0] < 24]
    assert first_day == [given for given in doses_of(kinetic, "LOOKED")[0]["pregabalin"] if given[0] < 24]
    assert first_day != [given for given in doses_of(loaded, "MINE")[0]["pregabalin"] if given[0] < 24]


def test_the_rule_for_kidney_injury_changes_nothing_in_who_has_none(scenario):
    """Reviews do where 95 % of GFR are left: the arm without the rule has them too."""
    old, new = OVERLAID[0]
    both = (old, new.replace(f"MINE: {{{MINE}}}", f"MINE: {{{MINE}, review: [24 h, 48 h]}}")), OVERLAID[1]
    for given in ((), ("injury: {onset: 0 h, gfr: 100 %}",), ("injury: {onset: 0 h, gfr: 95 %}",)):
        value = run(scenario(stratum(*given), *both), threads=1)["estimates"]["value"]
        assert value.sel(arm="MINE").values.tobytes() == value.sel(arm="LOOKED").values.tobytes()


def test_uraemia_of_the_nadir_raises_the_drive_by_its_factor(scenario):
    found = []
    for more in ("", ", uraemia: nadir"):
        loaded = scenario(stratum(f"injury: {{onset: -24 h, gfr: 30 %{more}}}"), REVIEWED[0])
        theta = draw_parameters(loaded.model, loaded.draws, 7)
        cohort = draw_patients(loaded, theta, strata=["AKI"], patients=3)
        outcomes = simulate(loaded, cohort, "ARM0_INDEX", expose_reference(loaded, theta))
        found.append(norm.ppf(outcomes["level1_72h"].values))
    gfr = cohort["GFR"].values
    uraemia = [np.maximum((60 - share * gfr) / 60, 0) for share in (1.0, 0.3)]
    per = (theta["b_ur"] / theta["omega_S"]).values[:, None]
    assert found[1] - found[0] == pytest.approx(per * (uraemia[1] - uraemia[0]), abs=1e-6)


# ------------------------------------------------------------------------------------------ what is refused

REFUSED = {
    "unknown key": ("onset", "onest", "unknown key 'onest'; did you mean 'onset'?"),
    "bare number": ("gfr: 30 %", "gfr: 0.3", "bare number 0.3: a unit is due here"),
    "nothing left": ("gfr: 30 %", "gfr: 0 %", "given '0 %': must be more than 0 percent and at most 100 percent"),
    "too much": ("gfr: 30 %", "gfr: 130 %", "given '130 %': must be more than 0 percent and at most 100 percent"),
    "not a share": ("gfr: 30 %", "gfr: 30 mL/min", "'30 mL/min' is not a quantity in percent"),
    "upside down": ("gfr: 30 %", "gfr: [40 %, 20 %]", "impossible range: '40 %' is above '20 %'"),
    "too deep": ("recovers_to: 80 %", "recovers_to: 20 %", "'recovers_to' 20 % is below 'gfr' 30 %"),
    "no end": ("lasts: 36 h, ", "", "'recovery' needs 'lasts'"),
    "off the grid": ("onset: -12 h", "onset: -12.2 h", "-12.2 h is not a multiple of simulation.step, 0.5 h"),
    "on dialysis": ("injury:", "dialysis: true, injury:", "'injury' is for patients who are not on dialysis"),
}


@pytest.mark.parametrize(("old", "new", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_with_an_injury_is_said_with_file_and_line(write, old, new, message):
    path = write(stratum(edited(FALL, (old, new))))
    with pytest.raises(InputError) as error:
        load_scenario(path)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "name: AKI" in text)
    assert any(message in p.message and p.line == line for p in error.value.problems), error.value


REVIEWS = {
    "order": ("[24 h, 48 h]", "[48 h, 24 h]", "the times of review are not in order: 48 h, 24 h"),
    "one": ("[24 h, 48 h]", "[24 h, 48 h], aki_overlay: true", "'aki_overlay' needs 'kinetic'"),
    "late": ("[24 h, 48 h]", "[24 h, 72 h]", "review at 72 h is not before treatment.horizon, 72 h"),
    "session": ("[24 h, 48 h]", "[24 h], sessions: {first: 12 h, hours: 4 h}", "a session of dialysis"),
    "back": (
        "[24 h, 48 h]",
        '[24 h], rounds: {clock: ["08:00"]}, reactions: [{seen: 2, do: stay}]',
        "'review' changes the doses that stay would go on with",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), REVIEWS.values(), ids=REVIEWS.keys())
def test_what_is_wrong_with_a_review_is_said(write, old, new, message):
    (place, text), arms = REVIEWED
    with pytest.raises(InputError, match=re.escape(message)):
        load_scenario(write((place, edited(text, (old, new))), arms))


def test_a_rule_for_kidney_injury_that_the_library_lacks_is_said():
    arm = Arm(drugs={"baclofen": None}, kinetic="6 h", aki_overlay=True)
    found = check_arm(arm, replace(load_policies(), aki_overlay=None))
    assert [where for where, text in found if "no rule for acute kidney injury" in text] == [("aki_overlay",)]


def test_a_review_after_sessions_of_who_is_injured_is_refused(write):
    with pytest.raises(InputError, match="arm 'LOOKED' reviews creatinine, and what sessions of dialysis make of that"):
        load_scenario(write(stratum(FALL, HD), *REVIEWED))


def test_a_model_whose_other_parameters_follow_gfr_is_refused(tiny, write, monkeypatch):
    typical = tiny.model.typical

    def strange(theta, cov):
        own = typical(theta, cov)
        return own | {"pregabalin.F": 0.9 + 0.0001 * cov["GFR"]}

    model = replace(tiny.model, typical=strange)
    assert following_gfr(model) == ["baclofen.CL", "pregabalin.CL", "pregabalin.F", "A"]
    monkeypatch.setattr("vtrial.scenario.load_model", lambda name: model)
    with pytest.raises(InputError, match=r"injury: model .* has pregabalin\.F follow GFR"):
        load_scenario(write(stratum(FALL)))
    load_scenario(write())  # nobody is injured
