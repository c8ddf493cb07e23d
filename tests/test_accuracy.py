"""Accuracy of the kinetics for every structure of the catalogue; tests/bench/accuracy.py prints the whole table.

Maxima are asked to 1e-6, and to 1e-8 where the search ends on the exact trajectory. The oracle is checked first.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from vtrial.kinetics import Grid, Sedation, System, expose, stepper, superposition
from vtrial.model import Drug

sys.path.insert(0, str(Path(__file__).parent / "bench"))
import accuracy
from exact import Exact, exponential

CASES = [(name, *case) for name, drug in accuracy.STRUCTURES.items() for case in accuracy.cases(drug)]
PAIRS = {
    "2 and 1 first order": accuracy.PAIR,
    "2 zero order and 1 iv": (Drug("x", 2, "zero_order"), Drug("y", 1, "iv")),
}
NO_CLEARANCE = "CL 1e-9"


def within(patients, *, maxima=1e-8, auc=1e-8):
    """Whether all errors of some patients are small."""
    found = accuracy.worst(patients)
    assert found["cmax"] < maxima
    assert found["peak"] < maxima
    assert found["short"] < maxima  # the drive at the time of the peak
    assert found["when"] < 1e-3
    assert found["auc"] < auc


# --------------------------------------------------------------------------------------- the oracle itself


def precise(matrix):
    """exp of a matrix by scaling and squaring in extended precision: a check of scipy's in double precision."""
    halvings = max(0, int(np.ceil(np.log2(np.abs(matrix).sum(0).max()))) + 4)
    small = matrix.astype(np.longdouble) / np.longdouble(2.0) ** halvings
    total = term = np.eye(len(matrix), dtype=np.longdouble)
    for k in range(1, 20):
        term = term @ small / k
        total = total + term
    for _ in range(halvings):
        total = total @ total
    return total


@pytest.mark.parametrize("name", accuracy.STRUCTURES)
def test_exponentials_agree_with_extended_precision_and_the_ode(name):
    drug = accuracy.STRUCTURES[name]
    for own in ({}, *accuracy.stiff(drug), *(tie for gap in (1e-9, 0.0) for tie in accuracy.tied(drug, gap))):
        matrix = Exact(accuracy.patient((drug,), **own)).matrix
        for time in (1 / 128, 1.0, 8.0):
            truth = precise(matrix * time)
            assert np.abs(exponential(matrix * time) - truth).max() < 1e-12 * np.abs(truth).max()
    exact = Exact(accuracy.patient((drug,)))
    times = [end for _, end, _ in exact.legs[:-1]]
    states = np.array([exact.states(time) for time in times])
    assert np.abs(exact.by_ode(times) - states).max() < 1e-10 * np.abs(states).max()


@pytest.mark.parametrize("name", accuracy.ORAL)
def test_exponentials_agree_with_the_closed_form(name):
    who = accuracy.patient((accuracy.STRUCTURES[name],))
    exact, times = Exact(who), np.arange(0.1, 72, 0.77)
    conc, Ce = superposition(who.drugs[0], who.par, *who.regimens[0], times)
    states = np.array([exact.states(time) for time in times])
    assert exact.conc(states)[:, 0] == pytest.approx(conc, rel=1e-11)
    assert states[:, exact.effect[0]] == pytest.approx(Ce, rel=1e-11)


# ------------------------------------------------------------------------------------------- the kinetics


@pytest.mark.parametrize(
    ("structure", "patients"),
    [(name, patients) for name, case, patients in CASES if case != NO_CLEARANCE],
    ids=[f"{name}, {case}" for name, case, _ in CASES if case != NO_CLEARANCE],
)
def test_structures(structure, patients):
    within(patients)


@pytest.mark.parametrize("name", accuracy.STRUCTURES)
def test_next_to_no_clearance(name):
    # the area comes from what has left the body, here the 1e-9th part of what was in it: see `Exposure.auc`
    within(dict(accuracy.cases(accuracy.STRUCTURES[name]))[NO_CLEARANCE], auc=np.inf)


@pytest.mark.parametrize("drugs", PAIRS.values(), ids=PAIRS.keys())
def test_two_drugs_at_times_that_interleave(drugs):
    for case, patients in accuracy.pair_cases(drugs):
        within(patients, auc=np.inf if case == NO_CLEARANCE else 1e-8)


@pytest.mark.parametrize("name", ["1 first order", "2 iv"])
def test_ninety_days(name):
    for _, patients in accuracy.long_cases((accuracy.STRUCTURES[name],), 90):
        within(patients)


@pytest.mark.parametrize("drugs", [(accuracy.STRUCTURES[name],) for name in accuracy.ORAL] + [accuracy.PAIR])
def test_any_patients_side_by_side(drugs):
    # each with a regimen of its own: what is found of one must not depend on when the others take their doses
    within(accuracy.any_patients(drugs, 40), maxima=1e-6)


# -------------------------------------------------------------------------------------- two ways inside


def watch(monkeypatch, *, all_hard=False):
    """Numbers of the patients whose drives go step by step; on request, all patients' do."""
    numbers, by_modes = [], stepper._by_modes

    def watched(system, *given):
        done, hard = by_modes(system, *given)
        hard = np.arange(done.peak.shape[-1]) if all_hard else hard
        if system.seen == "Ce":
            numbers[:] = hard.tolist()
        return done, hard

    monkeypatch.setattr(stepper, "_by_modes", watched)
    return numbers


@pytest.mark.parametrize("border", accuracy.borders().values(), ids=accuracy.borders().keys())
def test_both_sides_of_a_border_between_the_ways(border, monkeypatch):
    stepped = watch(monkeypatch)
    one = (accuracy.STRUCTURES["1 first order"],)
    within([accuracy.patient(one, border.regimen, **(border.par | {border.name: x})) for x in border.values])
    assert stepped == [1]  # the first by modes, the second step by step


@pytest.mark.parametrize("drugs", [(accuracy.STRUCTURES[name],) for name in accuracy.ORAL] + [accuracy.PAIR])
def test_both_ways_agree_on_the_same_patients(drugs, monkeypatch):
    patients = accuracy.any_patients(drugs, 60, seed=1)
    with monkeypatch.context() as context:
        stepped = watch(context)
        one = accuracy.expose_all(patients)
        easy = np.setdiff1d(np.arange(60), stepped)
    assert len(easy) > 10
    with monkeypatch.context() as context:
        watch(context, all_hard=True)
        # each alone: here the ways are compared, not the company
        for i in easy:
            other = accuracy.expose_all([patients[i]])
            for name in ("peak", "cmax", "auc"):
                assert getattr(one, name)[..., i] == pytest.approx(getattr(other, name)[..., 0], rel=1e-6)


# ------------------------------------------------------------------- peaks that are over before the next node

ONE = accuracy.STRUCTURES["1 first order"]


@pytest.mark.parametrize("lag", [0.3, 0.5, 0.7, 0.74, 0.76])
@pytest.mark.parametrize(("k", "ke0"), [(2.0, 2.0), (1.0, 2.5), (0.5, 2.5), (2.0, 2.6)])
def test_a_first_dose_that_peaks_before_another_drug_arrives(lag, k, ke0):
    # the slope is nought at the first dose, and the drive has passed its top when the other drug's lag is over
    given = [(np.array([0.0]), np.array([amount])) for amount in (10.0, 0.01)]
    fast = {"x_ka": 20.0, "x_V": 40.0, "x_CL": 40.0 * k, "x_ke0": ke0, "x_tlag": 0.0, "y_tlag": lag}
    within([accuracy.patient((ONE, Drug("y", 1)), *given, windows=(24.0,), **fast)])


@pytest.mark.parametrize("gap", [0.3, 1.1, 2.0, 2.25, 2.4, 2.49, 2.51, 3.0])
@pytest.mark.parametrize("ke0", [1.8075, 0.5, 2.6])
def test_doses_that_follow_soon(gap, ke0):
    given = np.array([0.0, gap, 2.1 * gap]), np.array([10.0, 0.5, 2.0])
    # Newton's last step, at most 2e-4 h, leaves its third power: 16^3 (2e-4)^3 / 6 = 5e-9 of the fastest mode
    within([accuracy.patient((ONE,), given, windows=(24.0,), ka=16.0, V=40.0, CL=90.4, ke0=ke0, tlag=lag)
            for lag in (0.0, 0.25, 0.6)], maxima=1e-7)  # fmt: skip


def test_a_concentration_jumps_when_its_volume_changes():
    # amounts stay: the concentration right after the change is that before times the ratio of the volumes
    par = {"x.CL": 10.0, "x.ka": 1.2, "x.tlag": 0.0, "x.F": 1.0, "x.ke0": 0.5, "x.C50": 1.0}
    drug, changed = Drug("x", 1), {"x.V": np.array([[30.0], [10.0]])}
    sedation = Sedation("loewe", *np.ones((1, 1)), *np.zeros((1, 1)), *np.ones((1, 1)), np.full(1, 24.0),
                        np.zeros(1, np.int64), np.zeros((1, 0)), np.array([0.6]))  # fmt: skip
    doses = [([(np.array([0.0]), np.array([10.0]))], np.zeros(1, np.int64))]
    found, _ = expose(
        System.of([drug]), par | changed, doses, np.zeros(1), sedation, Grid(0.5, (24.0,)), changes=(2.0,)
    )
    before = superposition(drug, par | {"x.V": 30.0}, [0.0], [10.0], [2.0])[0]
    assert found.cmax.item() == pytest.approx(3.0 * before.item(), rel=1e-9)


# ------------------------------------------------------------------------------------ step by step, alone


def once(**par):
    """One compartment, one dose."""
    regimen = np.array([0.0]), np.array([10.0])
    return accuracy.patient((accuracy.STRUCTURES["1 first order"],), regimen, windows=(24.0,), **par)


def test_a_concentration_knows_no_tolerance():
    # a lag longer than 1 h goes step by step; conc / Tol peaks hours before the concentration
    within([once(CL=1.6, V=150.0, ka=0.19, tlag=1.5)])


def test_a_maximum_in_the_last_step_of_a_window_beside_a_neighbour_dosed_in_the_step_before():
    # ka = 1.7 and k = 0.15 /h: the concentration peaks log(ka / k) / (ka - k) = 1.57 h after its arrival, at 23.97 h
    within([once(tlag=22.4), once(tlag=23.2)])
