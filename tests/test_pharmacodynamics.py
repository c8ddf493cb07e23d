"""Drive, levels, and the closed-form integral over sensitivity, against models/evidence/sedation.yaml."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from vtrial.pharmacodynamics import drive, level_probability, level_reached

u = st.floats(0, 100)


@given(b=u, p=u, alpha=st.floats(0, 10))
def test_surfaces_are_those_of_the_evidence_file(b, p, alpha):
    # sedation.yaml, structure.surfaces: loewe u_b + u_p; greco + alpha u_b u_p; bliss: each with its own drive
    assert drive([b, p], "loewe", alpha) == pytest.approx([b + p])
    assert drive([b, p], "greco", alpha) == pytest.approx([b + p + alpha * b * p])
    assert drive([b, p], "bliss", alpha) == [b, p]


def test_greco_of_three_drugs_sums_every_pair():
    assert drive([0.2, 0.3, 0.5], "greco", 2.0) == pytest.approx([1.0 + 2 * (0.06 + 0.10 + 0.15)])


def test_greco_without_interaction_is_loewe():
    assert drive([0.2, 0.3], "greco", 0.0) == drive([0.2, 0.3], "loewe", 5.0)


@given(u=st.floats(1e-6, 100), r=st.floats(0.01, 1), omega=st.floats(0.1, 2))
def test_probability_of_a_level_is_the_normal_integral(u, r, omega):
    # sedation.yaml, structure.level
    assert level_probability([u], r, omega) == pytest.approx(norm.cdf(np.log(u / r) / omega), rel=1e-12)


@pytest.mark.parametrize("peaks", [(0.5,), (0.05,), (0.3, 0.6)], ids=["one", "rare", "two channels"])
@pytest.mark.parametrize("r", [1.0, 0.4])
def test_integrating_sensitivity_is_counting_patients(peaks, r):
    n, omega = 1_000_000, 0.6
    z = np.random.default_rng(1).standard_normal((len(peaks), n))
    share = level_reached([np.full(n, p) for p in peaks], r, omega, list(z)).mean()
    p = float(level_probability(list(peaks), r, omega))
    assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / n) + 4 / n


def test_bliss_union_is_independent_action():
    a, b = norm.cdf(np.log(0.3) / 0.6), norm.cdf(np.log(0.6) / 0.6)
    assert level_probability([0.3, 0.6], 1.0, 0.6) == pytest.approx(1 - (1 - a) * (1 - b), rel=1e-14)


def test_bliss_union_of_tiny_probabilities_does_not_cancel():
    # P(z < -9) = 1.1e-19: 1 - (1 - p)(1 - q) would be exactly 0; to first order the union is p + q
    peak = np.exp(-9 * 0.6)
    assert level_probability([peak, peak], 1.0, 0.6) == pytest.approx(2 * norm.cdf(-9), rel=1e-12)


def test_untreated_patient_reaches_nothing_and_an_infinite_drive_everything():
    assert float(level_probability([0.0], 0.1, 0.6)) == 0.0
    assert float(level_probability([0.0, 0.0], 0.1, 0.6)) == 0.0
    assert float(level_probability([np.inf], 0.1, 0.6)) == 1.0
    assert not level_reached([np.zeros(3)], 0.1, 0.6, [np.full(3, 8.0)]).any()


@given(u=st.floats(1e-4, 50), more=st.floats(1.01, 10), r=st.floats(0.05, 1), omega=st.floats(0.1, 2))
def test_risk_rises_with_the_drive_and_falls_with_the_threshold(u, more, r, omega):
    p = level_probability([u], r, omega)
    assert level_probability([u * more], r, omega) >= p
    assert level_probability([u], r * more, omega) <= p
    assert 0 <= p <= 1
    assert level_probability([u, u], r, omega) >= p
