"""Doses that do not enter as tablets do: into the blood, or released slowly; by theory and by an ODE solver."""

import re

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from vtrial import InputError, draw_parameters, draw_patients, load_scenario, simulate
from vtrial.kinetics import Grid, Sedation, System, expose
from vtrial.model import BLOOD, RELEASED, SWALLOWED, Drug
from vtrial.patients import groups_of
from vtrial.policy import Regimen, Route
from vtrial.treatment import dose, expose_reference
from vtrial.trial import run

PAR = {
    "x.CL": 9.0, "x.V": 25.0, "x.Q": 11.0, "x.V2": 20.0, "x.Q3": 2.0, "x.V3": 60.0, "x.ka": 1.6, "x.MTT": 0.8,
    "x.tlag": 0.2, "x.F": 0.7, "x.ke0": 0.9, "x.C50": 2.0,
}  # fmt: skip
DRUGS = [Drug("x", 1), Drug("x", 2), Drug("x", 3), Drug("x", 2, "transit", 2)]
GIVEN = [  # time, amt, tinf, way
    (0.0, 10.0, 0.0, SWALLOWED),
    (5.13, 8.0, 0.0, BLOOD),
    (8.0, 12.0, 3.3, BLOOD),
    (10.0, 20.0, 12.0, RELEASED),
    (10.4, 8.0, 2.0, BLOOD),
    (18.0, 10.0, 0.0, SWALLOWED),
]


def exposed(drug, doses, horizon=30.0, step=0.5):
    """Exposure and trajectories of one patient who is naive, and never adapts."""
    columns = tuple(np.array(column) for column in zip(*doses, strict=True))
    row = (*(c.astype(float) for c in columns[:3]), columns[3].astype(int))
    sedation = Sedation(
        "greco", np.ones(1), np.zeros(1), np.ones(1), np.full(1, 100.0), np.zeros(1, int), np.ones((1, 1)), np.ones(1)
    )
    system = System.of([drug], fed=["x"])
    given = [([row], np.zeros(1, int))]
    return expose(system, PAR, given, np.zeros(1), sedation, Grid(step, (horizon,)), trace=True)


def solved(drug, doses, times):
    """Concentrations in plasma and effect site by the equations written out, from one event to the next."""
    p, n = {name[2:]: value for name, value in PAR.items()}, drug.transit
    ktr = (n + 1) / p["MTT"]
    rest = [("Q", "V2"), ("Q3", "V3")][: drug.compartments - 1]

    def right(_, state, rate):
        chain, body, effect = state[: n + 1], state[n + 1 : -1], state[-1]
        out = [*(ktr * chain[i] for i in range(n)), p["ka"] * chain[n]]
        change = [-out[0], *(out[i - 1] - out[i] for i in range(1, n + 1))]
        conc = body[0] / p["V"]
        flows = [p[Q] * (conc - body[j + 1] / p[V]) for j, (Q, V) in enumerate(rest)]
        return [*change, out[n] + rate - p["CL"] * conc - sum(flows), *flows, p["ke0"] * (conc - effect)]

    events = []  # time, what it adds to the rate, to the depot, to the central compartment
    for time, amt, tinf, way in doses:
        if way == SWALLOWED:
            events.append((time + p["tlag"], 0.0, p["F"] * amt, 0.0))
        elif tinf == 0:
            events.append((time, 0.0, 0.0, amt))
        else:
            begin, share = (time, 1.0) if way == BLOOD else (time + p["tlag"], p["F"])
            events += [(begin, share * amt / tinf, 0.0, 0.0), (begin + tinf, -share * amt / tinf, 0.0, 0.0)]
    events = sorted(event for event in events if event[0] < times[-1])
    state, rate, found = np.zeros(n + 1 + drug.compartments + 1), 0.0, np.zeros((2, len(times)))
    ends = [*(event[0] for event in events[1:]), times[-1]]
    for (begin, more, depot, central), end in zip(events, ends, strict=True):
        rate, state[0], state[n + 1] = rate + more, state[0] + depot, state[n + 1] + central
        if end == begin:
            continue
        part = solve_ivp(right, (begin, end), state, args=(rate,), rtol=1e-11, atol=1e-13, dense_output=True)
        inside = (times > begin) & (times <= end)
        if inside.any():
            found[:, inside] = part.sol(times[inside])[[n + 1, -1]] / np.array([[p["V"]], [1.0]])
        state = part.y[:, -1].copy()
    return found


@pytest.mark.parametrize("drug", DRUGS, ids=["one", "two", "three", "transit"])
def test_every_way_in_is_that_of_an_ode_solver(drug):
    exposure, trace = exposed(drug, GIVEN)
    conc, Ce = solved(drug, GIVEN, trace.time)
    assert trace.conc[1:, 0, 0] == pytest.approx(conc[1:], rel=1e-7, abs=1e-9)
    assert trace.Ce[1:, 0, 0] == pytest.approx(Ce[1:], rel=1e-7, abs=1e-9)
    fine = np.linspace(0, 30, 60_001)
    conc, Ce = solved(drug, GIVEN, fine)
    assert exposure.cmax[0, 0, 0] == pytest.approx(conc.max(), rel=1e-4)  # a jump lies between two points
    assert exposure.peak[0, 0, 0] == pytest.approx(Ce.max() / PAR["x.C50"], rel=1e-6)
    assert exposure.auc[0, 0, 0] == pytest.approx(np.trapezoid(conc, fine), rel=1e-4)


def test_a_bolus_an_infusion_and_a_slow_release_by_hand():
    drug = Drug("x", 1)
    k, CL, V, F = PAR["x.CL"] / PAR["x.V"], PAR["x.CL"], PAR["x.V"], PAR["x.F"]
    _, bolus = exposed(drug, [(0.0, 50.0, 0.0, BLOOD)])
    assert bolus.conc[1:, 0, 0] == pytest.approx(50 / V * np.exp(-k * bolus.time[1:]), rel=1e-9)
    _, drip = exposed(drug, [(0.0, 50.0, 10.0, BLOOD)])
    assert drip.conc[20, 0, 0] == pytest.approx(5 / CL * (1 - np.exp(-k * 10)), rel=1e-9)
    whole, _ = exposed(drug, [(0.0, 50.0, 12.0, RELEASED)], horizon=400.0)
    assert whole.auc[0, 0, 0] == pytest.approx(F * 50 / CL, rel=1e-6)
    assert whole.cmax[0, 0, 0] == pytest.approx(F * 50 / 12 / CL * (1 - np.exp(-k * 12)), rel=1e-6)  # no ka


def test_tablets_are_the_same_whether_there_are_other_ways_or_not():
    only = [(time, amt, 0.0, SWALLOWED) for time, amt, _, _ in GIVEN]
    beside, _ = exposed(Drug("x", 2), only)
    system = System.of([Drug("x", 2)])
    row = tuple(np.array(column, float) for column in list(zip(*only, strict=True))[:2])
    sedation = Sedation(
        "greco", np.ones(1), np.zeros(1), np.ones(1), np.full(1, 100.0), np.zeros(1, int), np.ones((1, 1)), np.ones(1)
    )
    plain, _ = expose(system, PAR, [([row], np.zeros(1, int))], np.zeros(1), sedation, Grid(0.5, (30.0,)))
    for name in ("peak", "cmax", "auc"):
        assert getattr(beside, name) == pytest.approx(getattr(plain, name), rel=1e-6)
    assert beside.peak_time == pytest.approx(plain.peak_time, abs=1e-3)  # a maximum is flat


# ---------------------------------------------------------------------------------------------------- scenarios

ORAL = "drugs: {baclofen: {dose: 10 mg, freq: TID}, pregabalin: {dose: 75 mg, freq: BID}}"


def arms(*given):
    """Edits: arms TABLETS and OTHER, the same but for what is given."""
    own = ", ".join([ORAL, *given])
    return (
        ("  start:", f"  define:\n    TABLETS: {{{ORAL}}}\n    OTHER: {{{own}}}\n  start:"),
        ("[ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]", "[TABLETS, OTHER, ARM1_GUIDELINE]"),
    )


def given_by(loaded, arm):
    theta = draw_parameters(loaded.model, 2, 7)
    group = groups_of(loaded, draw_patients(loaded, theta, patients=1))[0]
    found = dose(loaded, group, [loaded.arm(arm)])
    return {
        table[0].drug: table[int(row[found.item[0, 0, 0]])] for table, row in zip(found.table, found.row, strict=True)
    }


def test_doses_change_form_at_their_time_and_back(scenario):
    routes = "routes: [{drug: baclofen, form: infusion, over: 1 h, at: 12 h, until: 24 h, dose: 80 %}]"
    baclofen = given_by(scenario(*arms(routes)), "OTHER")["baclofen"]
    assert baclofen.time[:5].tolist() == [0, 6, 12, 24, 30]  # from 08:00 on
    assert baclofen.amt[:5].tolist() == [10, 10, 8, 10, 10]
    assert baclofen.way[:5].tolist() == [SWALLOWED, SWALLOWED, BLOOD, SWALLOWED, SWALLOWED]
    assert baclofen.tinf[:5].tolist() == [0, 0, 1, 0, 0]


def test_what_bypasses_the_gut_is_more_by_one_over_its_bioavailability(scenario):
    """Of two doses, 80 % of each: AUC once nothing is left is 0.8 / F of that of tablets."""
    route = "routes: [{drug: baclofen, form: infusion, over: 15 min, dose: 80 %}]"
    two = "tapers: [{drug: baclofen, at: 12 h, to: 0 %}], drugs:"
    loaded = scenario(*((old, new.replace("drugs:", two)) for old, new in arms(route)))
    theta = draw_parameters(loaded.model, loaded.draws, 7)
    cohort = draw_patients(loaded, theta, strata=["18-49 G1"], patients=4)
    reference = expose_reference(loaded, theta)
    tablets, other = (
        simulate(loaded, cohort, arm, reference)["auc_baclofen_72h"].values for arm in ("TABLETS", "OTHER")
    )
    assert other / tablets == pytest.approx(0.8 / cohort["baclofen.F"].values, rel=1e-3)  # some is left


def test_slips_tapers_and_holds_keep_the_form(scenario):
    """A dose missed, then half of each: of what is infused, all the same."""
    more = (
        "routes: [{drug: baclofen, form: bolus, at: 0 h}]",
        "tapers: [{drug: baclofen, at: 24 h, to: 50 %}]",
        "slips: [{drug: baclofen, times: 0, doses: [2]}]",
    )
    baclofen = given_by(scenario(*arms(*more)), "OTHER")["baclofen"]
    assert baclofen.amt[:5].tolist() == [10, 0, 10, 5, 5]
    assert set(baclofen.way.tolist()) == {BLOOD}


def test_arms_beside_an_infusion_keep_their_risks(scenario):
    plain = run(scenario(*arms()), threads=1)["estimates"]["value"]
    beside = run(scenario(*arms("routes: [{drug: baclofen, form: bolus}]")), threads=2)["estimates"]["value"]
    by_steps = [str(name) for name in plain["outcome"].values if str(name).startswith("time")]
    plain, beside = (value.drop_sel(outcome=by_steps) for value in (plain, beside))
    for arm in ("TABLETS", "ARM1_GUIDELINE"):
        assert beside.sel(arm=arm).values == pytest.approx(plain.sel(arm=arm).values, rel=1e-6, abs=1e-12, nan_ok=True)
    mean = beside.sel(outcome="level1_24h", stat="mean")
    assert (mean.sel(arm="OTHER") > mean.sel(arm="TABLETS")).all()


def test_what_an_arm_does_is_told(scenario):
    arm = scenario(*arms("routes: [{drug: pregabalin, form: extended, over: 12 h}]")).arm("OTHER")
    assert arm.acts == ["pregabalin from 0 h on: extended over 12 h"]
    assert str(Route(drug="x", form="bolus", until="2 d")) == "x from 0 h to 48 h: bolus"


WRONG = {
    "nothing over": ("form: infusion", "'infusion' needs 'over'"),
    "over nothing": ("form: bolus, over: 1 h", "'over' does not belong to 'bolus'"),
    "upside down": ("form: bolus, at: 24 h, until: 12 h", "'until' 12 h is not after 'at' 24 h"),
    "unknown": ("form: drip, over: 1 h", "given 'drip'"),
    "apparent": ("form: bolus, drug: pregabalin", "has no bioavailability pregabalin.F"),
    "absent": ("form: bolus, drug: baclofene", "the arm does not give 'baclofene'; did you mean 'baclofen'?"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_with_a_route_is_said(write, given, message):
    own = given if "drug:" in given else f"drug: baclofen, {given}"
    with pytest.raises(InputError, match=re.escape(message)):
        load_scenario(write(*arms(f"routes: [{{{own}}}]")))


def test_a_course_that_goes_back_is_refused_beside_routes(write):
    back = 'rounds: {clock: ["08:00"]}, reactions: [{seen: 2, do: stay}]'
    with pytest.raises(InputError, match="stay go on with an earlier day's doses, and 'routes' may have changed since"):
        load_scenario(write(*arms("routes: [{drug: baclofen, form: bolus}]", back)))


def test_a_regimen_keeps_its_columns_in_order():
    one = Regimen("x", [0.0, 6.0, 12.0], [1.0, 2.0, 3.0], [0.0, 1.0, 0.0], [SWALLOWED, BLOOD, SWALLOWED])
    assert one[one.time > 0].followed_by(one[one.time == 0]).tinf.tolist() == [1.0, 0.0, 0.0]
    assert one.giving(2 * one.amt).way.tolist() == one.way.tolist()
    assert one.key != Regimen("x", one.time, one.amt).key
