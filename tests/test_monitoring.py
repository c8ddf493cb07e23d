"""Drug monitoring and doses that exist: by hand, against trajectories, and by what assay errors are in theory."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from conftest import edited
from scipy.special import ndtr, ndtri

from vtrial import draw_parameters, draw_patients, load_scenario
from vtrial.patients import groups_of
from vtrial.policy import Monitoring, Strengths, load_policies
from vtrial.spec import InputError
from vtrial.treatment import follow
from vtrial.treatment.expose import expose_items
from vtrial.treatment.given import dose

ARMS = "arms: [ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]"
DRUGS = "drugs: {baclofen: {dose: 10 mg, freq: TID}, pregabalin: {dose: 75 mg, freq: BID}}"
ASSAY = {"drug": "baclofen", "at": ["24 h"], "target": ["0.1 mg/L", "0.4 mg/L"], "delay": "6 h", "cv": "0 %"}


def with_arm(body, *edits):
    """Edits: the tiny scenario with the arm OURS beside its reference."""
    define = f"  define:\n    OURS: {{{DRUGS}, {body}}}\n  start:"
    return ("  start:", define), (ARMS, "arms: [ARM1_GUIDELINE, OURS]"), *edits


def cohort_of(loaded, draws, patients):
    theta = draw_parameters(loaded.model, draws, 7)
    (group,) = groups_of(loaded, draw_patients(loaded, theta, strata=["75-84 G4"], patients=patients))
    return group


# ---------------------------------------------------------------------------------------------- doses that exist


@pytest.mark.parametrize("how", ["down", "nearest"])
@pytest.mark.parametrize("units", [(3.0, 7.0), (2.5, 5.0, 7.5, 10.0, 15.0, 20.0), (25.0, 50.0, 225.0), (0.1, 0.25)])
def test_rounded_doses_are_the_best_of_all_sums_of_units(units, how):
    strengths = Strengths(capsule=[f"{unit!r} mg" for unit in units], grade="B")
    most = 8 * min(units)
    sums = {round(sum(some), 9) for n in range(10) for some in combinations_with_replacement(units, n)}
    wanted = np.random.default_rng(0).uniform(0, most, 60)
    for amt, found in zip(wanted, strengths.rounded(wanted, how), strict=True):
        allowed = [one for one in sums if one <= amt] if how == "down" else sums
        assert found == pytest.approx(min(allowed, key=lambda one: (abs(one - amt), one)), abs=1e-9)


def test_a_dose_that_exists_stays_and_half_way_is_rounded_down():
    house = load_policies()
    assert house.strengths["baclofen"].rounded([2.5, 7.5, 40.0, 8.75], "nearest").tolist() == [2.5, 7.5, 40.0, 7.5]
    assert house.strengths["pregabalin"].rounded([[25.0], [37.5]], "nearest").tolist() == [[25.0], [25.0]]
    with pytest.raises(ValueError, match="nothing to round to"):
        Strengths(liquid=["1 mg/mL"], grade="B").rounded([1.0], "down")


@pytest.mark.parametrize(
    ("rounded", "doses"),
    [
        ("", [10, 10, 10, 8, 8, 8, 6, 6, 6]),
        (", rounded: nearest", [10, 10, 10, 7.5, 7.5, 7.5, 5, 5, 5]),  # 8 lies between 7.5 and 10, 6 between 5 and 7.5
        (", rounded: down", [10, 10, 10, 7.5, 7.5, 7.5, 5, 5, 5]),
    ],
)
def test_a_taper_is_rounded_to_tablets_and_halves(scenario, rounded, doses):
    loaded = scenario(*with_arm(f"tapers: [{{drug: baclofen, at: 24 h, step: 6 mg, every: 24 h}}]{rounded}"))
    given = dose(loaded, cohort_of(loaded, 2, 2), [loaded.arm("OURS")])
    assert given.table[0][int(given.row[0][0])].amt[:9] == pytest.approx(doses)


def test_what_goes_wrong_is_not_rounded_and_what_is_not_swallowed_is_not(scenario):
    slip, route = "slips: [{drug: baclofen, times: 0.33}]", "routes: [{drug: baclofen, form: bolus, dose: 77 %}]"
    for body, amt in ((slip, 3.3), (route, 7.7)):
        loaded = scenario(*with_arm(f"rounded: down, {body}"))
        given = dose(loaded, cohort_of(loaded, 2, 2), [loaded.arm("OURS")])
        assert given.table[0][int(given.row[0][0])].amt == pytest.approx(amt)


# ------------------------------------------------------------------------------------------- what is made of a result


def test_errors_of_the_assay_are_log_normal_with_its_cv():
    u = (np.arange(200_000) + 0.5) / 200_000
    one = Monitoring(**{**ASSAY, "cv": "30 %", "target": ["0.9999 mg/L", "1.0001 mg/L"]}, at_most=1e6)
    measured = 1 / one.factor(np.full(len(u), 5.0), ndtri(u))  # by hand: the aim, 1 mg/L, over what was measured
    sd = np.sqrt(np.log(1.09))
    assert np.log(measured).mean() == pytest.approx(np.log(5.0), abs=1e-4)
    assert np.log(measured).std() == pytest.approx(sd, rel=1e-3)
    assert measured.std() / measured.mean() == pytest.approx(0.3, rel=1e-2)


def test_doses_lead_to_the_aim_within_limits():
    plain, aimed = Monitoring(**ASSAY), Monitoring(**ASSAY, aim="0.3 mg/L", at_most=1.5)
    conc = [0.0, 0.08, 0.1, 0.4, 0.41, 0.5, 9.0]
    assert plain.factor(conc, 0.0) == pytest.approx([2, 2, 1, 1, 0.2 / 0.41, 0.5, 0.5], abs=0.013)
    assert aimed.factor(conc, 0.0) == pytest.approx([1.5, 1.5, 1, 1, 0.3 / 0.41, 1 / 1.5, 1 / 1.5])
    only_less = Monitoring(**{**ASSAY, "target": ["0 mg/L", "0.4 mg/L"]}, aim="0.2 mg/L")
    assert only_less.factor([0.0, 0.01, 0.5], 0.0) == pytest.approx([1, 1, 0.5])


def test_who_is_above_the_target_by_the_assay_gets_less(scenario):
    """How many is what the errors make of each patient's true concentration, from his trajectory."""
    body = (
        "monitoring: [{drug: baclofen, at: [24 h], target: [0 mg/L, 0.15 mg/L], aim: 0.1 mg/L, delay: 6 h, cv: 40 %}]"
    )
    loaded = scenario(*with_arm(body))
    group, arm = cohort_of(loaded, 20, 40), loaded.arm("OURS")
    given = follow(loaded, group, arm, multiple=1.0)
    less = np.array([regimen.amt[-1] < 10 for regimen in given.table[0]])[given.row[0]]
    assert np.array_equal(np.sort(given.patient), np.arange(800))  # no patient is divided: sensitivity plays no part
    first = np.array([regimen.amt[regimen.time < 30].min() for regimen in given.table[0]])
    assert (first == 10).all()  # before the result, doses are those of the plan
    planned = dose(loaded, group, [arm])
    _, track = expose_items(loaded, group, planned, (), trace=True)
    conc = np.empty(800)
    conc[planned.patient] = track.conc[np.flatnonzero(track.time == 24.0)[0], 0]
    above = 1 - ndtr(np.log(0.15 / conc) / np.sqrt(np.log(1.16)))
    assert 0.05 < above.mean() < 0.95
    assert less.sum() == pytest.approx(above.sum(), abs=4 * np.sqrt((above * (1 - above)).sum()))


def test_the_second_sample_sees_what_the_first_has_changed(scenario):
    """With a sure assay, nobody far above the aim after the first result is sent further down by the second."""
    body = (
        "monitoring: [{drug: pregabalin, at: [24 h, 60 h], target: [0 mg/L, 3 mg/L], aim: 2 mg/L, delay: 0 h, cv: 0 %}]"
    )
    loaded = scenario(*with_arm(body))
    group, arm = cohort_of(loaded, 10, 20), loaded.arm("OURS")
    given = follow(loaded, group, arm, multiple=1.0)
    _, track = expose_items(loaded, group, given, (), trace=True)
    before, late = (track.conc[np.flatnonzero(track.time == time)[0], 1] for time in (24.0, 60.0))
    doses = [[t[k].amt[(t[k].time >= lo) & (t[k].time < hi)][0] for lo, hi in ((0, 1), (24, 25), (60, 61))]
             for t, k in ((given.table[1], int(row)) for row in given.row[1])]  # fmt: skip
    first, second, third = np.array(doses).T
    assert (first == 75).all()
    for conc, old, new in ((before, first, second), (late, second, third)):
        wanted = old * np.where(conc > 3, np.clip(2 / conc, 0.5, None), 1)
        assert new.tolist() == (np.ceil(wanted / 25 - 0.5) * 25).tolist()
    assert (second < first).any()
    assert (third < second).any()


# ------------------------------------------------------------------------------------------------ what is refused

ONE = "{drug: baclofen, at: [24 h], target: [0.1 mg/L, 0.4 mg/L], delay: 6 h, cv: 10 %}"
REFUSED = {
    "the wrong way round": ("[0.1 mg/L, 0.4 mg/L]", "[0.4 mg/L, 0.1 mg/L]", "from 0.4 to 0.1 mg/L: write the lower"),
    "no middle": ("[0.1 mg/L", "[0 mg/L", "has no geometric middle: give an 'aim'"),
    "aim outside": ("cv: 10 %", "cv: 10 %, aim: 1 mg/L", "the aim of 1 mg/L is not within the target"),
    "of what": ("0.4 mg/L]", "0.4 mg]", "mg/L"),
    "drug not given": ("drug: baclofen, at", "drug: baclofne, at", "does not give 'baclofne'; did you mean 'baclofen'"),
    "off the steps": ("at: [24 h]", "at: [24.2 h]", "24.2 h is not a multiple of simulation.step, 0.5 h"),
    "twice": ("rounded: down, monitoring: [", f"monitoring: [{ONE}, ", "'monitoring' of baclofen comes twice"),
    "nothing to round to": ("rounded: down", "rounded: up", "given 'up'; Allowed: down, nearest"),
    "staying": (
        "rounded: down",
        'rounds: {clock: ["08:00"]}, reactions: [{seen: 1, do: stay}]',
        "changes the doses that stay would go on with",
    ),
    "review": ("rounded: down", "review: [48 h]", "'review' puts policies in their place"),
    "route": (
        "rounded: down",
        "routes: [{drug: baclofen, form: bolus}]",
        "'monitoring' doses baclofen by what tablets there are, and 'routes' give it otherwise",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_with_monitoring_is_said_with_file_and_line(write, old, new, message):
    path = write(*with_arm(edited(f"rounded: down, monitoring: [{ONE}]", (old, new))))
    with pytest.raises(InputError) as error:
        load_scenario(path)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "OURS: {" in text)
    assert any(message in p.message and p.line == line for p in error.value.problems), error.value
