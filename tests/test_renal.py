"""Renal equations and body size against the check values of population.md, table A1, and hand-worked ones."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrial.population import renal
from vtrial.population.renal import COVARIATES, ckd_epi_2021, derive, scr_of_egfr

# The index patient, 68 F, 154 cm, 65 kg, under the two readings of her eGFR (population.md A1).
INDEX = {
    "EGFR": (92.1, 77.3),
    "EGFR_2009": (87.1, 73.0),
    "MDRD": (81.5, 68.8),
    "CRCL": (77.5, 67.0),
    "CRCL_IBW": (56.0, 48.4),
    "CRCL_ADJ": (64.6, 55.8),
    "EGFR_ABS": (88.8, 74.5),
    "IBW": (46.95, 46.95),
    "LBW": (38.96, 38.96),
    "BSA": (1.667, 1.667),
    "BMI": (27.4, 27.4),
}


def index(scr):
    return derive({"AGE": np.array(68.0), "SEX": np.array(1), "HT": np.array(154.0), "WT": np.array(65.0), "SCR": scr})


@pytest.mark.parametrize("name", INDEX)
@pytest.mark.parametrize("reading", [0, 1])
def test_the_index_patient(name, reading):
    found = float(index(np.array((0.713, 0.825)[reading]))[name])
    # half a unit in the last digit printed; 1.6675 is printed as 1.667
    digits = len(str(INDEX[name][reading]).partition(".")[2])
    assert found == pytest.approx(INDEX[name][reading], abs=0.51 * 10**-digits)


def test_dubois():
    assert renal.bsa_dubois(65.0, 154.0) == pytest.approx(1.632, abs=5e-4)


# Worked with pencil and paper from the printed equations, at creatinine = kappa, where the powers are 1.
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ckd_epi_2021(0.9, 0.0, False), 142.0),
        (ckd_epi_2021(0.7, 0.0, True), 142 * 1.012),
        (ckd_epi_2021(1.8, 0.0, False), 142 * 2**-1.2),
        (ckd_epi_2021(0.45, 50.0, False), 142 * 2**0.302 * 0.9938**50),
        (ckd_epi_2021(0.35, 50.0, True), 142 * 2**0.241 * 0.9938**50 * 1.012),
        (renal.ckd_epi_2009(0.35, 50.0, True), 141 * 2**0.329 * 0.993**50 * 1.018),
        (renal.ckd_epi_2009(1.8, 50.0, False), 141 * 2**-1.209 * 0.993**50),
        (renal.mdrd(1.0, 1.0, False), 175.0),
        (renal.mdrd(2.0, 60.0, True), 175 * 2**-1.154 * 60**-0.203 * 0.742),
        (renal.cockcroft_gault(1.0, 68.0, False, 72.0), 72.0),
        (renal.cockcroft_gault(1.0, 68.0, True, 72.0), 61.2),
        (renal.ideal_weight(152.4, False), 50.0),
        (renal.ideal_weight(177.8, True), 68.5),
        (renal.ideal_weight(90.0, True), 1.0),
        (renal.adjusted_weight(100.0, 50.0), 70.0),
        (renal.adjusted_weight(40.0, 50.0), 40.0),
        (renal.bmi(81.0, 180.0), 25.0),
        (renal.bsa_mosteller(80.0, 180.0), 2.0),
        (renal.deindexed(90.0, 1.73), 90.0),
        (renal.lean_weight(81.0, 180.0, False), 9270 * 81 / (6680 + 216 * 25)),
    ],
)
def test_hand_worked(found, expected):
    assert float(found) == pytest.approx(expected, rel=1e-13)


@given(scr=st.floats(0.1, 25), age=st.integers(18, 110), female=st.booleans())
def test_creatinine_of_an_egfr_is_exact(scr, age, female):
    egfr = ckd_epi_2021(scr, age, female)
    assert scr_of_egfr(egfr, age, female) == pytest.approx(scr, rel=1e-12)
    assert ckd_epi_2021(scr_of_egfr(egfr, age, female), age, female) == pytest.approx(egfr, rel=1e-12)


@given(scr=st.floats(0.1, 20), more=st.floats(1.001, 2), age=st.integers(18, 100), female=st.booleans())
def test_clearance_falls_with_creatinine_and_age(scr, more, age, female):
    def metrics(scr, age):
        people = {"AGE": age, "SEX": female, "HT": 165.0, "WT": 80.0, "SCR": scr}
        found = derive({name: np.array(float(value)) for name, value in people.items()})
        return [found[name] for name in ("EGFR", "EGFR_2009", "MDRD", "EGFR_ABS", "CRCL", "CRCL_IBW", "CRCL_ADJ")]

    now, worse, older = metrics(scr, age), metrics(scr * more, age), metrics(scr, age + 1)
    assert all(b < a for a, b in zip(now, worse, strict=True))
    assert all(b < a for a, b in zip(now, older, strict=True))


def test_derive_keeps_what_was_given_and_adds_every_covariate():
    shape = (3, 4)
    given = {
        name: np.full(shape, value) for name, value in zip(("AGE", "SEX", "HT", "WT"), (60, 0, 175, 80), strict=True)
    }
    given |= {"SCR": np.linspace(0.5, 8, 12).reshape(shape), "extra": np.zeros(shape)}
    found = derive(given)
    assert set(found) == set(COVARIATES) | {"extra"}
    assert all(values.shape == shape for values in found.values())
    assert all(found[name] is given[name] for name in given)


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(renal).failed == 0
