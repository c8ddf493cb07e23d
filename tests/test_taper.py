"""Doses that fall, by hand; the rebound they are judged by, against another way of solving its equation."""

import numpy as np
import pytest
from conftest import edited
from scipy.integrate import solve_ivp
from scipy.special import ndtr

from vtrial import draw_parameters, draw_patients, load_scenario, simulate
from vtrial.endpoint.rebound import lacking
from vtrial.library import SCENARIOS
from vtrial.patients import groups_of
from vtrial.policy import Regimen, Taper
from vtrial.spec import InputError
from vtrial.treatment import expose_reference
from vtrial.treatment.expose import expose_items
from vtrial.treatment.given import dose

ARMS = "arms: [ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]"
GIVEN = "drugs: {baclofen: {dose: 6 mg, freq: TID}, pregabalin: {dose: 75 mg, freq: BID}}"


def tapering(tapers, *edits, more=""):
    """Edits: the tiny scenario with an arm whose doses fall."""
    define = f"  define:\n    FALLING: {{{GIVEN}, tapers: [{tapers}]{more}}}\n  start:"
    return ("  start:", define), (ARMS, "arms: [ARM1_GUIDELINE, FALLING]"), *edits


TID = Regimen("baclofen", [0, 6, 12, 24, 30, 36, 48, 54, 60], [6.0] * 9)


@pytest.mark.parametrize(
    ("taper", "doses"),
    [
        ({"at": "30 h", "to": "0 %"}, [6, 6, 6, 6, 0, 0, 0, 0, 0]),
        ({"at": "30 h", "to": "50 %"}, [6, 6, 6, 6, 3, 3, 3, 3, 3]),
        ({"at": "24 h", "step": "6 mg", "every": "24 h"}, [6, 6, 6, 4, 4, 4, 2, 2, 2]),  # 18 mg/day, then 12 and 6
        ({"at": "24 h", "step": "9 mg", "every": "1 day"}, [6, 6, 6, 3, 3, 3, 0, 0, 0]),
        ({"at": "24 h", "step": "20 mg", "every": "12 h"}, [6, 6, 6, 0, 0, 0, 0, 0, 0]),
        ({"at": "100 h", "to": "0 %"}, [6] * 9),
    ],
)
def test_doses_fall_by_hand(taper, doses):
    found = Taper(drug="baclofen", **taper).tapered(TID, 0.0)
    assert found.time.tolist() == TID.time.tolist()
    assert found.amt == pytest.approx(doses, abs=1e-12)


def test_a_drug_that_was_not_given_the_day_before_is_not_given_after():
    late = Regimen("baclofen", [48.0, 72.0], [5.0, 5.0])
    assert Taper(drug="baclofen", at="24 h", step="1 mg", every="24 h").tapered(late, 0.0).amt.tolist() == [0, 0]


def test_time_counts_from_the_first_dose_of_any_drug(scenario):
    """Baclofen starts on day 2: 24 h after the first pregabalin it has not begun, 30 h after, one dose was given."""
    taper = "{drug: baclofen, at: 30 h, to: 0 %}"
    loaded = scenario(*tapering(taper, more=", start_day: {baclofen: 2}"))
    theta = draw_parameters(loaded.model, 5, 7)
    (group,) = groups_of(loaded, draw_patients(loaded, theta, strata=["75-84 G4"], patients=2))
    given = dose(loaded, group, [loaded.arm("FALLING")])
    k = loaded.drugs.index("baclofen")
    for row in given.row[k]:
        assert given.table[k][row].time[0] == 24.0
        assert given.table[k][row].amt[:4].tolist() == [6, 0, 0, 0]


FAST = ("fix: {allometry_CL: 0.75}", "fix: {allometry_CL: 0.75, tolerance_t_half: 0.4 day, tolerance_fold: 3}")
"""Edit: adaptation that has come far when doses fall."""
REBOUND = "  - {kind: rebound, level: [1, 2], after: 36 h, within: 72 h, every: 1 h}\n  - {kind: cmax"


def test_rebound_is_that_of_the_equation_solved_otherwise(scenario):
    """The kernel's trajectory, tolerance taken off, into scipy's solver of L' = log(2) / t_half (A U - L)."""
    stop = "{drug: baclofen, at: 36 h, to: 0 %}, {drug: pregabalin, at: 36 h, to: 0 %}"
    loaded = scenario(*tapering(stop, ("  - {kind: cmax", REBOUND), FAST, ("step: 30 min", "step: 15 min")))
    theta = loaded.parameters().isel(draw=slice(6))
    cohort = draw_patients(loaded, theta, strata=["75-84 G4"], patients=1)
    found = simulate(loaded, cohort, "FALLING", expose_reference(loaded, theta)).isel(stratum=0, patient=0)
    (group,) = groups_of(loaded, cohort)
    _, track = expose_items(loaded, group, dose(loaded, group, [loaded.arm("FALLING")]), (), trace=True)
    assert track is not None
    time, felt = track.time, track.drive[:, 0]
    some = 0
    for d in range(6):
        fold, rate = float(theta["tolerance_fold"][d]), np.log(2) / (24 * float(theta["tolerance_t_half"][d]))
        naive = felt[:, d] * (1 + (fold - 1) * (1 - np.exp(-rate * time)))

        def slope(t, L, naive=naive, rate=rate):
            return rate * (np.interp(t, time, naive) - L)

        L = solve_ivp(slope, (0, 72), [0.0], t_eval=time, rtol=1e-8, atol=1e-12, max_step=0.5).y[0]
        lack = ((1 - 1 / fold) * L - naive)[time >= 36].max()
        for k, r in ((1, float(theta["r_1"][d])), (2, float(theta["r_2"][d]))):
            with np.errstate(divide="ignore"):
                expected = ndtr((np.log(max(lack, 0.0)) - np.log(r)) / float(theta["omega_S"][d]))
            assert float(found[f"rebound{k}_36h_72h"][d]) == pytest.approx(expected, rel=0.02, abs=1e-6)
            some += expected > 1e-3
    assert some >= 2


def test_lack_after_a_constant_drive_ends_by_theory():
    """L = 1 - 2^(-t / t_half) until the drive is gone, and falls at its half-time after."""
    times, t_half = np.array([1e-6, 100.0, 100.000001, 150.0]), np.array([50.0])
    drive = np.array([1.0, 1.0, 0.0, 0.0])[None, :, None]
    found = lacking(times, drive, np.array([3.0]), t_half).ravel()
    assert found == pytest.approx([0, 0, 0.75 * 2 / 3, 0.375 * 2 / 3], abs=1e-6)


def test_sensitisation_leaves_no_lack():
    drive = np.array([1.0, 0.0])[None, :, None]
    assert (lacking(np.array([50.0, 51.0]), drive, np.array([0.8]), np.array([5.0])) == 0).all()


def test_slower_is_gentler(scenario):
    both = "{{drug: baclofen, {0}}}, {{drug: pregabalin, {0}}}"
    ways = {"STOP": "at: 36 h, to: 0 %", "HALVE": "at: 36 h, to: 50 %", "GO_ON": "at: 36 h, to: 100 %"}
    found = {}
    for name, way in ways.items():
        loaded = scenario(*tapering(both.format(way), ("  - {kind: cmax", REBOUND), FAST))
        theta = loaded.parameters()
        cohort = draw_patients(loaded, theta, strata=["75-84 G4"], patients=4)
        found[name] = simulate(loaded, cohort, "FALLING", expose_reference(loaded, theta))["rebound1_36h_72h"].values
    assert (found["STOP"] >= found["HALVE"]).all()
    assert (found["HALVE"] >= found["GO_ON"]).all()
    assert found["STOP"].mean() > found["HALVE"].mean() > found["GO_ON"].mean()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("drug: baclofen", "drug: baclofn", "the arm does not give 'baclofn'; did you mean 'baclofen'?"),
        ("to: 50 %", "to: 150 %", "at most 100 percent"),
        ("to: 50 %", "step: 5 mg", "either 'to', or both 'step' and 'every'"),
        ("to: 50 %", "to: 50 %, every: 3 d", "either 'to', or both 'step' and 'every'"),
        ("at: 24 h", "at: 0 h", "must be more than 0 h"),
    ],
)
def test_a_taper_that_cannot_be_is_told(scenario, old, new, said):
    with pytest.raises(InputError, match=r"tiny\.yaml:") as error:
        scenario(*tapering(edited("{drug: baclofen, at: 24 h, to: 50 %}", (old, new))))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("after: 36 h", "after: 35.5 h", "'after', 35.5 h, is not a multiple of 'every', 1 h"),
        ("after: 36 h", "after: 80 h", "'within', 72 h, is not later than 'after', 80 h"),
        ("level: [1, 2]", "level: [4]", "the model's levels are"),
    ],
)
def test_a_rebound_that_cannot_be_is_told(scenario, old, new, said):
    with pytest.raises(InputError, match=r"tiny\.yaml:") as error:
        scenario(("  - {kind: cmax", edited(REBOUND, (old, new))))
    assert said in str(error.value)


def test_looking_more_often_changes_little_in_the_scenario_of_the_house(tmp_path):
    """Its `every` of 4 h against 1 h, on the same patients."""

    def means(every):
        path = tmp_path / "taper.yaml"
        text = (SCENARIOS / "taper.yaml").read_text(encoding="utf-8")
        path.write_text(edited(text, ("every: 4 h", f"every: {every}")), encoding="utf-8")
        loaded = load_scenario(path, size="small")
        theta = loaded.parameters().isel(draw=slice(10))
        cohort = draw_patients(loaded, theta, strata=["75-84 G4"], patients=2)
        reference = expose_reference(loaded, theta)
        arms = ("STOP", "TAPER_3D")
        return [float(simulate(loaded, cohort, arm, reference)["rebound1_21d_42d"].mean()) for arm in arms]

    assert means("4 h") == pytest.approx(means("1 h"), rel=0.03)
