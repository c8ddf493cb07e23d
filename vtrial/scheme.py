"""How the uniform numbers of a stratum's patients are spread: independently, or evenly by a scrambled Sobol set.

A scheme answers one question: which uniform number has this patient of this draw in the stream of that name? Every
number is uniform by itself in each scheme, so estimates are unbiased; draws are independent of each other, so the
Monte Carlo error of an estimate is SD over draws / sqrt(draws). The schemes differ within a draw: plain patients are
independent, Sobol's fill the space of covariates and etas evenly, so that their mean varies less.

The Sobol set is that of `scipy.stats.qmc.Sobol` (direction numbers of Joe & Kuo 2008, SIAM J Sci Comput
30:2635-54, doi 10.1137/070709359), scrambled linearly once for each stratum (Matousek 1998, J Complexity 14:527-56,
doi 10.1006/jcom.1998.0489). Each draw has two copies of it, half of its patients each, and each copy a random digital
shift of its own: the difference of the two halves tells how much of the spread over draws is patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Literal, Protocol

import numpy as np
import scipy
from numpy.typing import NDArray

from vtrial.problem import InputError
from vtrial.sample import bits, key, uniforms

type Array = NDArray[np.float64]
type Dimension = tuple[str, str]
"""Kind and name of a stream, e.g. ``("eta", "baclofen.CL")``."""
type Sampling = Literal["plain", "sobol"]

REPLICATES = 2
"""Independently shifted copies of the Sobol set in a draw."""
FEWEST = 2 * REPLICATES
"""Patients of a draw: with one to a copy nothing would be even."""
_BITS = 53
_filling = Lock()


class Scheme(Protocol):
    """The uniform numbers of patients, by name."""

    @property
    def replicates(self) -> int | None:
        """Independent groups, of consecutive patients, in a draw; None if every patient is independent."""
        ...

    def uniforms(self, kind: str, stratum: str, name: str, draws: range, patients: range, *, attempt: int = 0) -> Array:
        """Uniform numbers, never 0 or 1, shape (draw, patient), of the stream of kind and name in a stratum."""
        ...


def normals(scheme: Scheme, kind: str, stratum: str, name: str, draws: range, patients: range) -> Array:
    """Standard normal numbers of a scheme by inversion, shape (draw, patient).

    Examples
    --------
    >>> normals(Plain(1), "eta", "a", "CL", range(3), range(5)).shape
    (3, 5)
    """
    return scipy.special.ndtri(scheme.uniforms(kind, stratum, name, draws, patients))


@dataclass(frozen=True)
class Plain:
    """Independent patients: more draws or patients leave the first as they are.

    Parameters
    ----------
    seed : int
        Seed of the scenario.
    """

    seed: int
    replicates = None

    def uniforms(self, kind: str, stratum: str, name: str, draws: range, patients: range, *, attempt: int = 0) -> Array:
        return uniforms(key(self.seed, kind, stratum, name), draws, patients, attempt=attempt)


@dataclass(frozen=True)
class Sobol:
    """Patients of a draw spread evenly: another number of patients, or another dimension, moves all of them.

    Parameters
    ----------
    seed : int
        Seed of the scenario.
    patients : int
        Patients of a draw: a power of two, at least `FEWEST`.
    dimensions : sequence of (kind, name)
        Streams that are spread, in the order of the dimensions of the set; all others are plain.

    Raises
    ------
    InputError
        If the number of patients is not allowed.

    Examples
    --------
    >>> u = Sobol(1, 8, [("eta", "CL")]).uniforms("eta", "a", "CL", range(1), range(8))
    >>> np.sort(np.floor(4 * u[0, :4])).tolist()  # one in each quarter
    [0.0, 1.0, 2.0, 3.0]
    """

    seed: int
    patients: int
    dimensions: Sequence[Dimension]
    replicates = REPLICATES

    def __post_init__(self) -> None:
        if text := unbalanced(self.patients):
            raise InputError([text])

    def uniforms(self, kind: str, stratum: str, name: str, draws: range, patients: range, *, attempt: int = 0) -> Array:
        # who is refused is proposed again with plain numbers: still uniform, for a patient at a time
        if attempt or (kind, name) not in self.dimensions:
            return Plain(self.seed).uniforms(kind, stratum, name, draws, patients, attempt=attempt)
        points = _points(self.seed, stratum, len(self.dimensions), self.patients // REPLICATES)
        mine = points[self.dimensions.index((kind, name))]
        shift = bits(key(self.seed, "shift", kind, stratum, name), draws, range(REPLICATES)) >> np.uint64(64 - _BITS)
        copy, point = np.divmod(np.arange(patients.start, patients.stop), len(mine))
        return ((mine[point] ^ shift[:, copy]).astype(np.float64) + 0.5) * 2.0**-_BITS


@lru_cache(maxsize=256)
def _points(seed: int, stratum: str, dimensions: int, count: int) -> NDArray[np.uint64]:
    """The scrambled set of a stratum as integers of `_BITS` bits, shape (dimension, point)."""
    from scipy.stats import qmc  # most of a second: plain runs do without

    generator = np.random.Generator(np.random.Philox(key(seed, "sobol", stratum)))
    with _filling:  # scipy reads its table of direction numbers on first use
        values = qmc.Sobol(dimensions, scramble=True, bits=_BITS, rng=generator).random(count)
    points = (values.T * 2.0**_BITS).astype(np.uint64)
    points.flags.writeable = False
    return points


def unbalanced(patients: int) -> str:
    """Why a number of patients is not allowed with Sobol; empty if it is.

    Examples
    --------
    >>> unbalanced(64), unbalanced(50)
    ('', 'given 50: sampling sobol needs a power of two, at least 4; the nearest are 32 and 64')
    """
    if patients >= FEWEST and patients.bit_count() == 1:
        return ""
    above = max(FEWEST, 1 << patients.bit_length())
    near = f"the nearest are {above // 2} and {above}" if above > FEWEST else f"the nearest is {above}"
    return f"given {patients}: sampling sobol needs a power of two, at least {FEWEST}; {near}"
