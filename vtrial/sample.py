"""Every random number of a trial: a pure function of the seed, a chosen name, the draw and the patient.

The generator is counter-based (Philox4x64-10, Salmon et al. 2011, SC'11, doi 10.1145/2063384.2063405;
the one behind `numpy.random.Philox`). The key is a hash of the seed and of chosen words, the counter holds
the draw and the patient: so adding arms, strata, draws or patients, or changing blocks and threads, leaves
every existing number as it was, to the bit.
"""

from __future__ import annotations

import hashlib

import numpy as np
import scipy
from numpy.typing import NDArray

from vtrial.compiled import compiled, inlined

_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


def key(seed: int, *words: str) -> tuple[int, int]:
    """Hash the seed and a chosen name into a Philox key.

    Parameters
    ----------
    seed : int
        The seed of the scenario.
    words : str
        The name of the stream, e.g. ``"eta", "G4 75-84", "baclofen.CL"``.

    Returns
    -------
    tuple of int
        Two unsigned 64-bit integers.

    Examples
    --------
    >>> key(1, "eta", "a") == key(1, "eta", "a"), key(1, "eta", "a") == key(2, "eta", "a")
    (True, False)
    """
    text = "\x1f".join((str(seed), *words)).encode()
    digest = hashlib.blake2b(text, digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


@inlined
def _multiply(a, b):
    """High and low 64 bits of a product of unsigned 64-bit integers."""
    al, ah, bl, bh = a & _LOW, a >> _SHIFT, b & _LOW, b >> _SHIFT
    ll, lh, hl = al * bl, al * bh, ah * bl
    middle = (ll >> _SHIFT) + (lh & _LOW) + (hl & _LOW)
    high = ah * bh + (lh >> _SHIFT) + (hl >> _SHIFT) + (middle >> _SHIFT)
    return high, a * b


@compiled
def _philox(out, key0, key1, first_draw, first_patient, attempt):
    """Fill `out` (draw, patient) with 64 random bits each; four patients share a counter."""
    n_draw, n_patient = out.shape
    for d in range(n_draw):
        lane, word = np.uint64(4), np.uint64(0)
        x0 = x1 = x2 = x3 = np.uint64(0)
        for p in range(n_patient):
            number = np.uint64(first_patient + p)
            if lane == np.uint64(4) or number >> np.uint64(2) != word:
                word = number >> np.uint64(2)
                x0, x1 = word, np.uint64(first_draw + d)
                x2, x3 = np.uint64(attempt), np.uint64(0)
                k0, k1 = key0, key1
                for _ in range(10):
                    h0, l0 = _multiply(_M0, x0)
                    h1, l1 = _multiply(_M1, x2)
                    x0, x1, x2, x3 = h1 ^ x1 ^ k0, l1, h0 ^ x3 ^ k1, l0
                    k0, k1 = k0 + _W0, k1 + _W1
            lane = number & np.uint64(3)
            out[d, p] = x0 if lane == 0 else x1 if lane == 1 else x2 if lane == 2 else x3


def bits(stream: tuple[int, int], draws: range, patients: range = range(1), *, attempt: int = 0) -> NDArray[np.uint64]:
    """Draw 64 random bits for each draw and patient.

    Parameters
    ----------
    stream : tuple of int
        From `key`.
    draws, patients : range
        Consecutive numbers of the draws and patients wanted (step 1).
    attempt : int
        A further number for the same patient, for rejection sampling.

    Returns
    -------
    ndarray of uint64, shape (draw, patient)
    """
    out = np.empty((len(draws), len(patients)), np.uint64)
    _philox(out, np.uint64(stream[0]), np.uint64(stream[1]), draws.start, patients.start, attempt)
    return out


def uniforms(
    stream: tuple[int, int], draws: range, patients: range = range(1), *, attempt: int = 0
) -> NDArray[np.float64]:
    """Draw uniform numbers, never 0 or 1; arguments as for `bits`.

    Returns
    -------
    ndarray, shape (draw, patient)

    Examples
    --------
    >>> first = uniforms(key(1, "eta", "CL"), range(3), range(5))
    >>> bool((uniforms(key(1, "eta", "CL"), range(2, 3), range(1, 5)) == first[2:, 1:]).all())
    True
    """
    # the upper 53 bits, centred in their cell, so that the inverse of any distribution is finite
    return ((bits(stream, draws, patients, attempt=attempt) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normals(stream: tuple[int, int], draws: range, patients: range = range(1)) -> NDArray[np.float64]:
    """Draw standard normal numbers by inversion, shape (draw, patient); arguments as for `bits`."""
    return scipy.special.ndtri(uniforms(stream, draws, patients))
