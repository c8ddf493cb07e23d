"""Random numbers against numpy's own Philox, and their independence of shape, block and name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, kstest

from vtrial.sample import bits, key, normals, uniforms

STREAM = key(20260701, "eta", "75-84 G4", "baclofen.CL")


def numpy_philox(stream, draw, patient, attempt=0):
    """The word of numpy.random.Philox at a counter; numpy increments the counter before it generates."""
    counter = [patient // 4, draw, attempt, 0]
    number = sum(word << (64 * i) for i, word in enumerate(counter))
    before = (number - 1) % 2**256
    words = np.array([(before >> (64 * i)) & (2**64 - 1) for i in range(4)], np.uint64)
    generator = np.random.Philox(counter=words, key=np.array(stream, np.uint64))
    return generator.random_raw(4)[patient % 4]


@pytest.mark.parametrize("attempt", [0, 1, 199])
def test_bits_are_those_of_numpys_philox(attempt):
    ours = bits(STREAM, range(3, 6), range(10), attempt=attempt)
    theirs = [[numpy_philox(STREAM, d, p, attempt) for p in range(10)] for d in range(3, 6)]
    assert np.array_equal(ours, np.array(theirs, np.uint64))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**63), word=st.text(max_size=9), draw=st.integers(0, 2**31), patient=st.integers(0, 2**31)
)  # fmt: skip
def test_bits_are_those_of_numpys_philox_anywhere(seed, word, draw, patient):
    stream = key(seed, "eta", word)
    ours = bits(stream, range(draw, draw + 1), range(patient, patient + 1))
    assert ours[0, 0] == numpy_philox(stream, draw, patient)


def test_published_vectors_of_philox4x64_10():
    # kat_vectors of Random123 1.09 (Salmon et al. 2011), philox4x64 10: counter and key all zero
    zero = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert bits((0, 0), range(1), range(4))[0].tolist() == zero


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_numbers_do_not_depend_on_the_shape_they_are_asked_in(data):
    whole = bits(STREAM, range(20), range(37))
    d0, p0 = data.draw(st.integers(0, 19)), data.draw(st.integers(0, 36))
    d1, p1 = data.draw(st.integers(d0, 20)), data.draw(st.integers(p0, 37))
    assert np.array_equal(bits(STREAM, range(d0, d1), range(p0, p1)), whole[d0:d1, p0:p1])


def test_uniforms_are_the_upper_53_bits_centred_in_their_cell():
    raw = bits(STREAM, range(2), range(50))
    assert np.array_equal(uniforms(STREAM, range(2), range(50)), ((raw >> np.uint64(11)) + 0.5) / 2**53)


def test_uniforms_and_normals_have_their_distributions():
    # a Kolmogorov-Smirnov p-value below 1e-4 once in 10,000 streams; the stream is fixed, so the test is too
    assert kstest(uniforms(STREAM, range(100), range(1000)).ravel(), "uniform").pvalue > 1e-4
    z = normals(STREAM, range(100), range(1000)).ravel()
    assert kstest(z, "norm").pvalue > 1e-4
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.mark.parametrize(
    "other",
    [
        (20260702, "eta", "75-84 G4", "baclofen.CL"),
        (20260701, "eta", "75-84 G4", "baclofen.V"),
        (20260701, "eta", "75-84 G5", "baclofen.CL"),
        (20260701, "sensitivity", "75-84 G4", "baclofen.CL"),
    ],
)
def test_streams_of_other_names_are_uncorrelated(other):
    shape = range(100), range(1000)
    z, y = normals(STREAM, *shape), normals(key(*other), *shape)
    assert abs(correlation(z, y)) < 4 / np.sqrt(z.size)  # SD of a sample correlation of independent normals: 1/sqrt(n)


def test_draws_patients_and_attempts_are_uncorrelated():
    z = normals(STREAM, range(200), range(500))
    again = uniforms(STREAM, range(200), range(500), attempt=1)
    limit = 4 / np.sqrt(z.size / 2)
    assert abs(correlation(z[1:], z[:-1])) < limit
    assert abs(correlation(z[:, 1:], z[:, :-1])) < limit
    assert abs(correlation(z, again)) < limit
    assert ks_2samp(uniforms(STREAM, range(200), range(500)).ravel(), again.ravel()).pvalue > 1e-4


def test_words_of_a_name_do_not_run_together():
    assert key(1, "ab", "c") != key(1, "a", "bc")
    assert key(1, "2", "x") != key(12, "x")
    assert key(1, "a") != key(1, "a", "")
