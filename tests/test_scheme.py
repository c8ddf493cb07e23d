"""Schemes of uniform numbers: plain ones stay as they were; Sobol's are even, uniform, and independent over draws."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.stats import kstest

from vtrial import draw_parameters, draw_patients
from vtrial.estimand import describe
from vtrial.moments import between, reduce_patients
from vtrial.sample import key, uniforms
from vtrial.scheme import REPLICATES, Plain, Sobol, _points, normals, unbalanced
from vtrial.spec import InputError

DIMENSIONS = [("population", "SCR"), ("eta", "CL"), ("eta", "V"), ("sensitivity", "a")]


def spread(draws, patients=32, seed=1, stratum="s"):
    """Uniforms of all dimensions, shape (dimension, draw, patient)."""
    sobol = Sobol(seed, patients, DIMENSIONS)
    return np.array([sobol.uniforms(k, stratum, n, range(draws), range(patients)) for k, n in DIMENSIONS])


# ----------------------------------------------------------------------------------------------- plain


def test_plain_numbers_are_those_of_the_stream_of_kind_stratum_and_name():
    found = Plain(7).uniforms("eta", "75-84 G4", "CL", range(2, 5), range(3, 9), attempt=2)
    assert np.array_equal(found, uniforms(key(7, "eta", "75-84 G4", "CL"), range(2, 5), range(3, 9), attempt=2))


def test_plain_patients_are_those_before_there_were_schemes(tiny):
    # two patients of draw 3, stratum 75-84 G4, as commit 0bb2e5f drew them: uniforms are exact, exp may round otherwise
    cohort = draw_patients(tiny, draw_parameters(tiny.model, 20, 7), strata=["75-84 G4"]).isel(stratum=0, draw=3)
    before = {
        "EGFR": [25.24364851000729, 25.63935305041956],
        "WT": [88.87050243678279, 76.60791279640004],
        "GFR": [22.881594352487628, 33.0185609798738],
        "baclofen.CL": [3.423583082130538, 4.076645131841777],
        "pregabalin.ke0": [0.46213290934566353, 0.23787785004068085],
    }
    for name, values in before.items():
        assert cohort[name].values[:2] == pytest.approx(values, rel=1e-13), name
    z = [-0.5092778097541113, 0.0055423796434970266]
    assert cohort["z"].isel(channel=1).values[:2] == pytest.approx(z, rel=1e-13)


# -------------------------------------------------------------------------------------------- even, uniform


def test_each_half_of_a_draw_has_one_patient_in_each_of_its_equal_intervals():
    u = spread(20, 32).reshape(4, 20, REPLICATES, 16)
    assert np.array_equal(np.sort(np.floor(16 * u), axis=-1), np.broadcast_to(np.arange(16.0), u.shape))


def test_pairs_of_dimensions_are_even_too():
    # (t, m, 2)-nets: the first two dimensions of a Sobol set have t = 0, so each 4 x 4 square holds one of 16 points
    first, second = spread(20, 32)[:2].reshape(2, 20, REPLICATES, 16)
    squares = 4 * np.floor(4 * first) + np.floor(4 * second)
    assert np.array_equal(np.sort(squares, axis=-1), np.broadcast_to(np.arange(16.0), squares.shape))


def test_every_patient_is_uniform_over_draws_in_every_dimension():
    u = spread(2000, 8)
    p = [kstest(u[d, :, i], "uniform").pvalue for d in range(4) for i in range(8)]
    assert min(p) > 0.01 / 32  # Bonferroni: a true null fails one time in a hundred
    assert 0 < u.min() < u.max() < 1


def test_draws_halves_dimensions_and_strata_are_independent():
    # |correlation| of independent numbers is below 4 / sqrt(n) but for 6e-5 of cases
    u, other = spread(4000, 8), spread(4000, 8, stratum="other")
    pairs = {
        "dimensions": (u[0, :, 3], u[1, :, 3]),
        "halves": (u[0, :, 3], u[0, :, 7]),
        "draws": (u[0, :-1, 3], u[0, 1:, 3]),
        "strata": (u[0, :, 3], other[0, :, 3]),
    }
    for name, (one, two) in pairs.items():
        assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(len(one)), name


def test_each_draw_and_half_has_a_shift_of_its_own():
    first = spread(500, 8).reshape(4, 500, REPLICATES, 4)[..., 0]
    assert len(np.unique(first)) == first.size


# --------------------------------------------------------------------- unbiased, and its noise is known


def mean_of_draws(draws, patients):
    """Means of a smooth, non-additive function of four normal numbers, exp(0.4 sum z), shape (draw, patient)."""
    z = [normals(Sobol(3, patients, DIMENSIONS), k, "s", n, range(draws), range(patients)) for k, n in DIMENSIONS]
    return np.exp(0.4 * np.sum(z, axis=0))


def moments(y):
    """Moments of one outcome (draw, patient) under one arm."""
    return reduce_patients(y.reshape(-1, 1), np.arange(y.size).reshape(1, *y.shape), np.ones((1, 1, *y.shape), bool), 0)


@pytest.mark.parametrize("patients", [8, 64])
def test_sobol_is_unbiased_and_better_than_plain(patients):
    y = mean_of_draws(4000, patients)
    halves = between([moments(half) for half in np.split(y, REPLICATES, axis=1)])
    mean, noise = halves.mean[0, 0], halves.noise[0, 0]
    truth = np.exp(0.5 * 4 * 0.4**2)  # mean of a log-normal variable
    mcse = mean.std(ddof=1) / np.sqrt(4000)
    assert abs(mean.mean() - truth) < 4 * mcse
    plain = truth**2 * (np.exp(4 * 0.4**2) - 1) / patients
    assert mean.var() < plain / 2
    # the noise that the halves tell is the variance over draws: the inner share at fixed parameters is 1. Its relative
    # SD is that of two chi-square variables of 4000 degrees, sqrt(4 / 4000) = 3%, more where tails are heavy
    assert describe(mean, noise, 0.95)[5] == pytest.approx(1.0, abs=0.15)


def test_noise_within_halves_would_be_dishonest():
    # as if patients were independent: many times the variance there is
    y = mean_of_draws(1000, 64)
    assert moments(y).noise.mean() > 5 * y.mean(-1).var()


# ---------------------------------------------------------------------- what does not change the numbers


def test_some_draws_and_patients_are_those_of_all():
    sobol = Sobol(1, 16, DIMENSIONS)
    every = sobol.uniforms("eta", "s", "CL", range(9), range(16))
    assert np.array_equal(sobol.uniforms("eta", "s", "CL", range(4, 7), range(5, 11)), every[4:7, 5:11])


def test_threads_that_fill_the_set_at_once_find_the_same():
    _points.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: spread(2), range(8)))
    assert all(np.array_equal(found[0], x) for x in found)


def test_proposals_after_the_first_and_streams_of_other_names_are_plain():
    sobol, plain, block = Sobol(1, 16, DIMENSIONS), Plain(1), (range(3), range(16))
    for kind, name, attempt in (("eta", "CL", 1), ("eta", "unknown", 0)):
        found = sobol.uniforms(kind, "s", name, *block, attempt=attempt)
        assert np.array_equal(found, plain.uniforms(kind, "s", name, *block, attempt=attempt))


def test_seeds_differ():
    assert not (spread(3, seed=1) == spread(3, seed=2)).any()


# ------------------------------------------------------------------------------------------- sizes allowed


@pytest.mark.parametrize(
    ("given", "nearest"),
    [(1, "nearest is 4"), (3, "nearest is 4"), (5, "nearest are 4 and 8"), (50, "nearest are 32 and 64")],
)
def test_numbers_that_are_no_power_of_two_are_refused_with_the_nearest(given, nearest):
    with pytest.raises(InputError, match=f"given {given}: .*a power of two, at least 4; the {nearest}"):
        Sobol(1, given, DIMENSIONS)


def test_powers_of_two_are_allowed():
    assert [n for n in range(70) if not unbalanced(n)] == [4, 8, 16, 32, 64]
