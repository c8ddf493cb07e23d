"""Outcomes reduced over patients: against NumPy, in parts, and beside other arms."""

import numpy as np
import pytest

from vtrial.moments import Moments, between, reduce_patients

RNG = np.random.default_rng(0)
ARMS, DRAWS, PATIENTS, OUTCOMES, DRUGS = 4, 5, 40, 3, 2
VALUE = RNG.normal(size=(300, OUTCOMES))
ITEM = RNG.integers(0, 300, (ARMS, DRAWS, PATIENTS), dtype=np.int32)
TREATED = RNG.random((ARMS, DRUGS, DRAWS, PATIENTS)) < 0.7
REFERENCE = 2
PARTS = ("mean", "noise", "paired_noise", "treated")


def reduced(y, base):
    """Moments of one outcome (draw, patient) beside a reference arm: mean, noise, paired noise, each (draw,)."""
    value = np.stack([y, base])
    item = np.arange(value.size).reshape(value.shape)
    found = reduce_patients(value.reshape(-1, 1), item, np.ones((2, 1, *y.shape), bool), 1)
    return [getattr(found, name)[0, 0] for name in PARTS[:3]]


def same(a: Moments, b: Moments, arms=slice(None)):
    return all(getattr(a, name)[arms].tobytes() == getattr(b, name).tobytes() for name in PARTS)


def test_patients_are_reduced_to_mean_and_variance_of_the_mean():
    found = reduce_patients(VALUE, ITEM, TREATED, REFERENCE)
    y = VALUE[ITEM]  # arm, draw, patient, outcome
    for name, expected in [
        ("mean", y.mean(2)),
        ("noise", y.var(2, ddof=1) / PATIENTS),
        ("paired_noise", (y - y[REFERENCE]).var(2, ddof=1) / PATIENTS),
    ]:
        np.testing.assert_allclose(getattr(found, name), expected.swapaxes(1, 2), rtol=1e-12)
    np.testing.assert_allclose(found.treated, TREATED.mean(3), rtol=1e-15)


def test_noise_of_a_risk_is_that_of_a_binomial_share():
    y = (np.random.default_rng(0).random((3, 50)) < 0.3).astype(float)
    mean, noise, _ = reduced(y, y)
    assert noise == pytest.approx(mean * (1 - mean) / 49)  # design.md, decision 2: R (1 - R) / (n - 1)


def test_one_patient_per_draw_gives_no_noise_and_no_warning():
    assert [x.tolist() for x in reduced(np.ones((2, 1)), np.zeros((2, 1)))] == [[1, 1], [0, 0], [0, 0]]


def test_an_arm_is_the_same_to_the_bit_beside_any_others_and_wherever_its_items_lie():
    whole = reduce_patients(VALUE, ITEM, TREATED, REFERENCE)
    arms, shuffled = [3, REFERENCE], np.random.default_rng(1).permutation(len(VALUE))
    found = reduce_patients(VALUE[shuffled], np.argsort(shuffled)[ITEM[arms]], TREATED[arms], 1)
    assert same(whole, found, arms)


def test_a_draw_is_the_same_to_the_bit_beside_any_others():
    whole, part = reduce_patients(VALUE, ITEM, TREATED, REFERENCE), slice(1, 3)
    found = reduce_patients(VALUE, ITEM[:, part], TREATED[:, :, part], REFERENCE)
    assert all(np.array_equal(getattr(whole, name)[..., part], getattr(found, name)) for name in PARTS)


def test_the_same_items_differ_by_exactly_zero():
    twins = np.stack([ITEM[0], ITEM[0]])
    found = reduce_patients(VALUE, twins, TREATED[:2], 1)
    assert not found.difference[0].any()
    assert not found.paired[0].any()
    assert np.array_equal(found.mean[0], found.mean[1])


@pytest.mark.parametrize("cuts", [(1,), (13, 14), (39,)])
def test_patients_in_parts_are_those_at_once(cuts):
    whole = reduce_patients(VALUE, ITEM, TREATED, REFERENCE)
    first, *others = (
        reduce_patients(VALUE, ITEM[..., a:b], TREATED[..., a:b], REFERENCE)
        for a, b in zip((0, *cuts), (*cuts, PATIENTS), strict=True)
    )
    for other in others:
        first = first.with_further(other)
    assert first.n == PATIENTS
    for name in PARTS:
        np.testing.assert_allclose(
            getattr(first, name), getattr(whole, name), rtol=1e-12, atol=1e-15
        )  # of values around 1


@pytest.mark.parametrize("count", [2, 4, 5])
def test_noise_between_groups_is_the_variance_of_their_means_over_their_number(count):
    size = PATIENTS // count
    cuts = [slice(first, first + size) for first in range(0, PATIENTS, size)]
    found = between([reduce_patients(VALUE, ITEM[..., own], TREATED[..., own], REFERENCE) for own in cuts])
    y = np.stack([VALUE[ITEM][:, :, own].mean(2) for own in cuts])  # group, arm, draw, outcome
    assert found.n == count
    for name, expected in [
        ("mean", y.mean(0)),
        ("noise", y.var(0, ddof=1) / count),
        ("paired_noise", (y - y[:, [REFERENCE]]).var(0, ddof=1) / count),
    ]:
        np.testing.assert_allclose(getattr(found, name), expected.swapaxes(1, 2), rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(found.treated, TREATED.mean(3), rtol=1e-14)


def test_a_rare_and_tiny_risk_keeps_its_relative_precision():
    y = np.full((1, 1000), 1e-12)
    y[0, 0] = 1e-3  # the mean rests on one patient, and on the others a part in a million
    mean, noise, _ = reduced(y, np.zeros_like(y))
    assert mean[0] == pytest.approx(1e-6 + 999e-15, rel=1e-13)
    assert noise[0] == pytest.approx((1e-3 - 1e-12) ** 2 * (1 - 1 / 1000) / 999 / 1000, rel=1e-12)
