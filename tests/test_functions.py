"""Elementary functions of the compiled loops against those of SciPy."""

import numpy as np
import pytest
from scipy.special import ndtr

from vtrial.compiled import compiled
from vtrial.kinetics.functions import SERIES, exponential, lay_series, log2, normal_probability
from vtrial.lanes import LANES, brief_of, first_of, load, pointer, second_of, store


@compiled
def by_each(table, desk):
    """Rows of x become log2 |x|, P(x) and exp(x)."""
    lay_series(pointer(desk), 0)
    for row in range(table.shape[1]):
        for which in range(3):
            place = pointer(table[which, row])
            x = load(place, 0)
            if which == 0:
                store(place, 0, first_of(log2(pointer(desk), 0, brief_of(x, x))))
            elif which == 1:
                store(place, 0, second_of(normal_probability(pointer(desk), 0, brief_of(x, x))))
            else:
                store(place, 0, exponential(x))


@pytest.fixture(scope="module")
def found():
    """Arguments that are exact in single precision, and what the functions make of them."""
    drives, away = np.geomspace(1e-30, 1e30, 8000), np.linspace(-8, 8, 8000)
    x = np.stack([drives, away, np.linspace(-700, 700, 8000)])
    x[:2] = x[:2].astype(np.float32)
    table = x.reshape(3, -1, LANES).copy()
    by_each(table, np.zeros((len(SERIES), LANES)))
    return x, table.reshape(3, -1)


def test_logarithm(found):
    # 2e-7 of the polynomial, and the rounding of a number up to 100 to 24 bits
    truth = np.log2(found[0][0])
    assert (np.abs(found[1][0] - truth) < 3e-7 + np.abs(truth) * 2**-24).all()


def test_normal_probability(found):
    # terms of log2 P as large as 50, each rounded to 24 bits, 3e-6 at most: a few of them, times log 2
    x, truth = found[0][1], ndtr(found[0][1])
    inside = x > -8
    assert (np.abs(found[1][1] / truth - 1) < 5e-6)[inside].all()
    assert not found[1][1][~inside].any()


def test_exponential(found):
    assert found[1][2] == pytest.approx(np.exp(found[0][2]), rel=1e-14)
