"""Dialysis: sessions by hand and against LSODA, doses after them, residual renal function, and what is refused."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import SOBOL, TINY, edited
from scipy.integrate import solve_ivp
from scipy.special import ndtr

from vtrial import draw_parameters, draw_patients, load_policies, load_scenario, run, simulate
from vtrial.dialysis import Sessions, changes
from vtrial.kinetics import Grid, Sedation, System, expose
from vtrial.model import Drug, dialysed
from vtrial.patients import groups_of, one_patient
from vtrial.policy import Arm
from vtrial.spec import InputError
from vtrial.treatment import dose, expose_reference

HD = (
    "{name: HD, AGE: [50 year, 80 year], EGFR: [null, 15 mL/min], female: 0.4, weight: 0.25, dialysis: true, "
    "residual_gfr: [2 mL/min, 6 mL/min], sessions: {first: 20 h, every: [24 h, 30 h], hours: 4 h}}"
)
ON_DIALYSIS = ('["18-49 G1", "75-84 G4"]', f'["18-49 G1", "75-84 G4", {HD}]')
RESCUE = (
    "  start:",
    "  define:\n    RESCUED: {drugs: {baclofen: BAC_US_LABEL, pregabalin: PGB_FIXED_75_BID},"
    " sessions: {first: 24 h, hours: 4 h}}\n  start:",
)


# ----------------------------------------------------------------------------------------------- kinetics


def bolus(changes_, rows, CL, windows=(2.0, 6.0, 12.0), trace=True):
    """100 mg into 10 L, at once, of one patient whose clearance changes; no sedation to speak of."""
    par = {"x.CL": CL, "x.V": 10.0, "x.tlag": 0.0, "x.F": 1.0, "x.ke0": 1.0, "x.C50": 1.0}
    one = np.ones(1)
    sedation = Sedation("loewe", one, 0 * one, one, one, np.zeros(1, int), np.empty((1, 0)), one)
    doses = [([(np.array([0.0]), np.array([100.0]))], np.zeros(1, int))]
    system = System.of([Drug("x", 1, "iv")])
    return expose(
        system, par, doses, np.zeros(1), sedation, Grid(0.5, windows), changes=changes_, rows=rows, trace=trace
    )


def test_a_session_by_hand():
    """Exponential decline with CL / V before and after, (CL + CL_HD) / V between; areas by mass balance."""
    found, trace = bolus([2.0, 6.0], [0, 1, 0], np.array([[1.0], [6.0]]))
    at = {0.5: 10 * np.exp(-0.05), 2.0: 10 * np.exp(-0.2), 6.0: 10 * np.exp(-0.2 - 2.4)}
    at[12.0] = at[6.0] * np.exp(-0.6)
    for time, conc in at.items():
        assert trace.conc[int(2 * time), 0, 0] == pytest.approx(conc, rel=1e-12)
    areas = [(10 - at[2.0]) / 0.1, (at[2.0] - at[6.0]) / 0.6, (at[6.0] - at[12.0]) / 0.1]
    assert found.auc[0, :, 0] == pytest.approx(np.cumsum(areas), rel=1e-12)


def test_rows_of_parameters_that_come_again_are_those_written_out():
    CL = np.array([[1.0], [6.0]])
    short, _ = bolus([2.0, 6.0, 8.0], [0, 1, 0, 1], CL, trace=False)
    long, _ = bolus([2.0, 6.0, 8.0], None, CL[[0, 1, 0, 1]], trace=False)
    for name in ("peak", "peak_time", "cmax", "auc"):
        assert getattr(short, name).tobytes() == getattr(long, name).tobytes()
    with pytest.raises(ValueError, match="2 rows of parameters for 3 segments"):
        bolus([2.0, 6.0], [0, 1], CL)


def test_sessions_come_in_turn_and_overlapping_ones_are_one():
    week = Sessions(first="44 h", every=["48 h", "48 h", "72 h"], hours="4 h")
    assert [begin for begin, _ in week.until(24 * 14)] == [44, 92, 140, 212, 260, 308]
    assert Sessions(first="44 h", hours="4 h").until(1000) == [(44, 48)]
    rescue = Sessions(first="46 h", hours="6 h")
    assert changes([week, rescue], 100) == ([44, 52, 92, 96], [(), ("HD",), (), ("HD",), ()])
    assert changes([week, rescue], 50) == ([44], [(), ("HD",)])
    assert changes([], 50) == ([], [()])


# -------------------------------------------------------------------------------------------- whole scenarios


@pytest.fixture(scope="module")
def dialysis(scenario):
    return scenario(ON_DIALYSIS)


@pytest.fixture(scope="module")
def theta(dialysis):
    return draw_parameters(dialysis.model, dialysis.draws, 7)


def slopes(own, sessions):
    """Right-hand side of baclofen (depot, central, peripheral, effect) and pregabalin (depot, central, effect)."""
    b, p = ({k.split(".")[1]: v for k, v in own.items() if k.startswith(drug)} for drug in ("baclofen", "pregabalin"))

    def slope(t, x):
        on = float(any(begin <= t < end for begin, end in sessions))
        flow = b["Q"] * (x[1] / b["V"] - x[2] / b["V2"])
        conc_b, conc_p = x[1] / b["V"], x[5] / p["V"]
        return [
            -b["ka"] * x[0],
            b["ka"] * x[0] - (b["CL"] + on * b["CL_HD"]) * conc_b - flow,
            flow,
            b["ke0"] * (conc_b - x[3]),
            -p["ka"] * x[4],
            p["ka"] * x[4] - (p["CL"] + on * p["CL_HD"]) * conc_p,
            p["ke0"] * (conc_p - x[6]),
            conc_b,
        ]

    return slope


def by_lsoda(own, doses, sessions, horizon):
    """Dense times and states of a dialysed patient, solved from event to event."""
    events = sorted(
        {0.0, horizon, *(t for times in sessions for t in times if t < horizon)}
        | {t + own[f"{drug}.tlag"] for drug, given in doses.items() for t, _ in given if t < horizon}
    )
    x, times, states = np.zeros(8), [], []
    for start, stop in pairwise(events):
        for drug, entry in (("baclofen", 0), ("pregabalin", 4)):
            for t, amt in doses[drug]:
                if t + own[f"{drug}.tlag"] == start:
                    x[entry] += own[f"{drug}.F"] * amt
        grid = np.linspace(start, stop, 400)
        done = solve_ivp(
            slopes(own, sessions), (start, np.nextafter(stop, start)), x, "LSODA", grid.clip(max=np.nextafter(stop, 0)),
            rtol=1e-10, atol=1e-12, max_step=0.25,
        )  # fmt: skip
        x = done.y[:, -1].copy()
        times.append(done.t)
        states.append(done.y)
    return np.concatenate(times), np.concatenate(states, 1)


def test_a_dialysed_patient_is_that_of_lsoda(dialysis, theta):
    cohort = draw_patients(dialysis, theta, strata=["HD"], patients=2)
    reference = expose_reference(dialysis, theta)
    found = simulate(dialysis, cohort, "ARM1_GUIDELINE", reference).isel(stratum=0)
    (group,) = groups_of(dialysis, cohort)
    given = dose(dialysis, group, [dialysis.arm("ARM1_GUIDELINE")])
    for d, i in ((0, 0), (11, 1)):
        item = given.item[0, d, i]
        rows = [table[row[item]] for table, row in zip(given.table, given.row, strict=True)]
        doses = {row.drug: list(zip(row.time, row.amt, strict=True)) for row in rows}
        own = {name: float(values[d, i]) for name, values in group.own.items() if "." in name}
        t, x = by_lsoda(own, doses, group.sessions.until(72.0), 72.0)
        pars = {name: float(values[d]) for name, values in group.theta.items()}
        u, v = x[3] / own["baclofen.C50"], x[6] / own["pregabalin.C50"]
        tolerance = 1 + (pars["tolerance_fold"] - 1) * (1 - 2 ** (-t / (24 * pars["tolerance_t_half"])))
        drive = float(group.own["A"][d, i]) * (u + v + pars["alpha"] * u * v) / tolerance
        for window in (24, 72):
            inside = t <= window
            expected = ndtr((np.log(drive[inside].max()) - np.log(pars["r_1"])) / pars["omega_S"])
            assert float(found[f"level1_{window}h"][d, i]) == pytest.approx(expected, rel=1e-4)
        assert float(found["cmax_baclofen_24h"][d, i]) == pytest.approx(
            (x[1] / own["baclofen.V"])[t <= 24].max(), rel=1e-4
        )
        assert float(found["auc_baclofen_72h"][d, i]) == pytest.approx(x[7, -1], rel=1e-6)


def test_sessions_lower_exposure_and_residual_function_is_within_its_range(scenario, dialysis, theta):
    without = scenario((ON_DIALYSIS[0], ON_DIALYSIS[1].replace(
        ", sessions: {first: 20 h, every: [24 h, 30 h], hours: 4 h}", "")))  # fmt: skip
    cohorts = [draw_patients(s, theta, strata=["HD"], patients=40) for s in (dialysis, without)]
    gfr = cohorts[0]["GFR"].values
    assert 2 <= gfr.min() < 2.2
    assert 5.8 < gfr.max() <= 6
    assert gfr.mean() == pytest.approx(4, abs=4 * 4 / np.sqrt(12 * gfr.size))  # uniform: mean 4, SD 4 / sqrt 12
    assert np.array_equal(gfr, cohorts[1]["GFR"])
    assert np.array_equal(cohorts[0]["baclofen.CL"], cohorts[1]["baclofen.CL"])
    few, many = (
        simulate(s, cohort, "ARM1_GUIDELINE", expose_reference(s, theta))
        for s, cohort in zip((dialysis, without), cohorts, strict=True)
    )
    assert (few["auc_baclofen_72h"] < many["auc_baclofen_72h"]).all()
    assert (few["auc_pregabalin_72h"] < many["auc_pregabalin_72h"]).all()


@pytest.mark.parametrize("sampling", [(), SOBOL], ids=["plain", "sobol"])
def test_a_stratum_on_dialysis_leaves_the_others_to_the_bit(scenario, sampling):
    both, alone = run(scenario(*sampling, ON_DIALYSIS), threads=2), run(scenario(*sampling), threads=1)
    strata = ["18-49 G1", "75-84 G4"]
    ours, theirs = (tree["risk"]["mean"].sel(stratum=strata).values for tree in (both, alone))
    assert ours.tobytes() == theirs.tobytes()


def test_threads_memory_and_order_leave_every_bit_on_dialysis(scenario, monkeypatch):
    monkeypatch.setattr("vtrial.block.FEWEST", 16)
    arms = "[ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]"
    edits = ON_DIALYSIS, RESCUE, (arms, "[RESCUED, ARM0_INDEX, ARM1_GUIDELINE]")
    first = run(scenario(*edits), threads=1)
    second = run(scenario(*edits[:2], (arms, "[ARM1_GUIDELINE, ARM0_INDEX, RESCUED]")), threads=3, memory="1 kB")
    for name in ("value", "difference"):
        ours = first["estimates"][name]
        theirs = second["estimates"][name].sel(arm=ours["arm"])
        assert ours.values.tobytes() == np.ascontiguousarray(theirs.values).tobytes()


def test_a_rescue_changes_what_follows_it_alone_and_for_every_stratum(scenario):
    found = run(scenario(RESCUE, ("ARM0_INDEX, ARM1_GUIDELINE,", "RESCUED, ARM1_GUIDELINE,")), threads=1)
    value = found["estimates"]["difference"].sel(arm="RESCUED", stat="mean")
    # before the session the same but for rounding: the other way goes by modes
    assert value.sel(outcome=["level1_24h", "level3_24h", "cmax_baclofen_24h"]).values == pytest.approx(0, abs=1e-9)
    assert (value.sel(outcome=["auc_baclofen_72h", "auc_pregabalin_72h"]) < 0).all()


# ------------------------------------------------------------------------------------------- doses and sessions


@pytest.fixture(scope="module")
def house():
    return load_policies().policies


def test_doses_after_sessions_are_at_their_ends_and_at_the_start(house):
    patients = {"AGE": [60.0], "DIALYSIS": [True]}
    given = house["PGB_HD_POST"].regimens(patients, start=8.0, horizon=120.0, after=(48.0, 96.0, 168.0))
    assert given.table[int(given.index[0])].time.tolist() == [0.0, 48.0, 96.0]
    assert given.total(0, 120).tolist() == [75.0]
    with pytest.raises(InputError, match="PGB_HD_POST doses after sessions of dialysis"):
        house["PGB_HD_POST"].regimens(patients, start=8.0, horizon=120.0)


def test_supplements_are_given_at_the_ends_of_sessions_to_who_is_on_dialysis(house):
    patients = {"CRCL": [8.0, 8.0], "DIALYSIS": [True, False]}
    given = house["PGB_US_LABEL"].regimens(patients, start=8.0, horizon=72.0, after=(20.0, 48.0))
    doses = [[*zip(row.time, row.amt, strict=True)] for row in (given.table[int(i)] for i in given.index)]
    # 25 mg daily; for it the first source prints a supplement of 25 to 50 mg
    assert doses[0] == [(0, 25), (20, 25), (24, 25), (48, 25), (48, 25)]
    assert (20, 25) not in doses[1]
    plain = house["PGB_US_LABEL"].regimens(patients, start=8.0, horizon=72.0)
    assert plain.total(0, 72).tolist() == [75.0, given.total(0, 72)[1]]


def test_sessions_count_from_the_first_dose_of_an_evening_arm(scenario):
    loaded = scenario(ON_DIALYSIS)
    group = groups_of(loaded, draw_patients(loaded, draw_parameters(loaded.model, 2, 7), strata=["HD"], patients=1))[0]
    late = Arm(drugs={"pregabalin": "PGB_EU_SPC", "baclofen": None})
    both = Arm(drugs={"pregabalin": "PGB_EU_SPC", "baclofen": "BAC_US_LABEL"})
    for arm, first in ((late, 12.0), (both, 0.0)):  # 25 mg at 20:00, and 25 mg after sessions
        given = dose(loaded, group, [arm])
        row = given.table[1][given.row[1][given.item[0, 0, 0]]]
        # sessions start 20 and 44 h after the first dose of any drug, and take 4 h
        assert row.time.tolist() == sorted([12.0, 36.0, 60.0, 84.0, first + 24, first + 48])
        assert set(row.amt) == {25.0}


def test_no_dose_is_given_after_the_stop_and_it_counts_from_the_first_dose(scenario):
    stop = ("  horizon: 72 h", "  horizon: 72 h\n  stop: 30 h")
    late = "  define:\n    LATE: {drugs: {pregabalin: {dose: 25 mg, freq: EVENING}, baclofen: null}}\n  start:"
    loaded = scenario(stop, ("  start:", late), ("ARM0_INDEX, ARM1_GUIDELINE,", "LATE, ARM1_GUIDELINE,"))
    theta = draw_parameters(loaded.model, 2, 7)
    group = groups_of(loaded, draw_patients(loaded, theta, strata=["75-84 G4"], patients=3))[0]
    given = dose(loaded, group, loaded.arms)
    for a, (first, last) in enumerate(((12.0, 36.0), (0.0, 24.0))):  # 20:00 and the next; 08:00, next day 08:00
        item = given.item[a, 0, 0]
        times = np.concatenate([table[row[item]].time for table, row in zip(given.table, given.row, strict=True)])
        assert (times.min(), times.max()) == (first, last)
        assert (times < first + 30).all()


def test_example_patients_on_dialysis_have_the_middle_of_their_residual_function(scenario):
    loaded = scenario((
        "scr: 0.9 mg/dL}", "scr: 6 mg/dL, dialysis: true, residual_gfr: [2 mL/min, 6 mL/min]}",
    ))  # fmt: skip
    theta = draw_parameters(loaded.model, 2, 7)
    group = one_patient(loaded, theta, loaded.spec.reference_patient, vary=False)
    assert group.own["GFR"].tolist() == [[4.0], [4.0]]


# ------------------------------------------------------------------------------------------------ what is refused

REFUSED = {
    "overlap": ("hours: 4 h", "hours: 25 h", "a session of 25 h has not ended 24 h after its start"),
    "off the grid": ("first: 20 h", "first: 20.2 h", "first 20.2 h is not a multiple of simulation.step, 0.5 h"),
    "residual without dialysis": ("dialysis: true, ", "", "'residual_gfr' is for patients on dialysis"),
    "residual upside down": ("[2 mL/min, 6 mL/min]", "[6 mL/min, 2 mL/min]", "impossible range"),
    "unknown key": ("first: 20 h", "frist: 20 h", "unknown key 'frist'; did you mean 'first'?"),
    "bare number": ("first: 20 h", "first: 20", "a unit is due here"),
}


@pytest.mark.parametrize(("old", "new", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_with_sessions_is_said_with_file_and_line(write, old, new, message):
    path = write((ON_DIALYSIS[0], edited(ON_DIALYSIS[1], (old, new))))
    with pytest.raises(InputError) as error:
        load_scenario(path)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "name: HD" in text)
    assert any(message in p.message and p.line == line for p in error.value.problems), error.value


def test_a_model_without_clearance_by_dialysis_is_refused(dialysis, write, monkeypatch):
    typical = dialysis.model.typical

    def bare(theta, cov):
        return {name: value for name, value in typical(theta, cov).items() if name != "pregabalin.CL_HD"}

    model = replace(dialysis.model, typical=bare)
    assert dialysed(model) == ["baclofen.CL_HD"]
    monkeypatch.setattr("vtrial.scenario.load_model", lambda name: model)
    with pytest.raises(InputError, match=r"sessions: model .* gives no pregabalin\.CL_HD"):
        load_scenario(write(ON_DIALYSIS))
    load_scenario(write())  # nobody is dialysed


def test_policies_that_need_sessions_or_dialysis_are_refused_without(write):
    mine = "  define:\n    MINE: {drugs: {baclofen: null, pregabalin: PGB_HD_POST}}\n  start:"
    edits = ("  start:", mine), ("ARM0_INDEX, ARM1_GUIDELINE,", "MINE, ARM1_GUIDELINE,")
    between = ON_DIALYSIS[1].replace(", sessions: {first: 20 h, every: [24 h, 30 h], hours: 4 h}", "")
    with pytest.raises(InputError) as error:
        load_scenario(write(*edits, (ON_DIALYSIS[0], between)))
    text = str(error.value)
    assert re.search(r"PGB_HD_POST of arm 'MINE' doses after sessions of dialysis: give 'HD' 'sessions'", text)
    assert re.search(r"is for patients on dialysis alone, and '18-49 G1', '75-84 G4' are not", text)
    assert "name: HD" not in TINY


def test_strata_give_the_mix_of_ages_sexes_and_eGFR_that_a_registry_reports(dialysis, theta):
    weights = {stratum.name: stratum.weight for stratum in dialysis.population.strata}
    assert sum(weights.values()) == pytest.approx(1)
    cohort = draw_patients(dialysis, theta, strata=["HD"], patients=200)
    assert cohort["SEX"].values.mean() == pytest.approx(0.4, abs=4 * np.sqrt(0.24 / cohort["SEX"].size))
    assert cohort["AGE"].values.min() >= 50
    assert cohort["AGE"].values.max() < 80
    assert cohort["EGFR"].values.max() < 15
    assert cohort["DIALYSIS"].values.all()
