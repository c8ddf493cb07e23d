"""Where virtual patients come from: a covariate model, a user's rows, or one fixed patient.

Each source proposes people from uniform numbers of chosen names and says whom it accepts. Numbers depend
on the seed, the stratum's name, the draw and the patient only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import scipy
from numpy.typing import NDArray

from vtrial.population.covariates import Cell, fill
from vtrial.population.renal import derive
from vtrial.scheme import Scheme
from vtrial.spec import InputError

type People = dict[str, NDArray]
type Ends = tuple[float, float]

ATTEMPTS = 4000
"""Most proposals for one patient."""
LEAST_ACCEPTED = 0.01
"""A stratum that accepts fewer of the proposed people is refused: 0.99**4000 is never."""
JITTER_ATTEMPTS = 50
"""Then the row is taken without jitter: it lies inside its stratum."""


class Numbers(NamedTuple):
    """The uniform numbers of a block of patients, by name."""

    scheme: Scheme
    stratum: str
    draws: range
    patients: range
    attempt: int = 0
    waiting: NDArray[np.bool_] | None = None
    """Who of the block is wanted (draw, patient); everybody if None."""

    def uniforms(self, word: str, attempt: int | None = None) -> NDArray[np.float64]:
        """Uniform numbers of the stream `word`: (draw, patient), or one-dimensional for who is waiting."""
        attempt = self.attempt if attempt is None else attempt

        def of(draws: range) -> NDArray[np.float64]:
            stream = "population", self.stratum, word
            return self.scheme.uniforms(*stream, draws, self.patients, attempt=attempt)

        if self.waiting is None:
            return of(self.draws)
        rows = np.flatnonzero(self.waiting.any(axis=1))
        if len(rows) > len(self.draws) // 8:
            return of(self.draws)[self.waiting]
        block = [of(self.draws[row : row + 1]) for row in rows]
        return np.concatenate(block)[self.waiting[rows]]


class Source(Protocol):
    """One stratum's patients."""

    @property
    def words(self) -> tuple[str, ...]:
        """Names of the uniform numbers that a patient is made of."""
        ...

    def propose(self, numbers: Numbers) -> People:
        """Propose people with all covariates, in the shape of the numbers."""
        ...

    def refused(self, people: People) -> NDArray[np.bool_] | None:
        """Who must be proposed again; None if nobody ever is."""
        ...


def outside(people: Mapping[str, NDArray], ranges: Mapping[str, Ends]) -> NDArray[np.bool_]:
    """Who lies outside any of the half-open ranges."""
    out = np.zeros(np.shape(people["AGE"]), bool)
    for name, (low, high) in ranges.items():
        out |= ~((people[name] >= low) & (people[name] < high))
    return out


def people_of(source: Source, numbers: Numbers) -> People:
    """Propose until everybody is accepted.

    Raises
    ------
    InputError
        If somebody is still refused after `ATTEMPTS` proposals.
    """
    people = source.propose(numbers)
    waiting = source.refused(people)
    if waiting is None or not waiting.any():
        return people
    for attempt in range(1, ATTEMPTS):
        again = source.propose(numbers._replace(attempt=attempt, waiting=waiting))
        for name, values in people.items():
            values[waiting] = again[name]
        still = source.refused(again)
        waiting = waiting.copy()
        waiting[waiting] = False if still is None else still
        if not waiting.any():
            return people
    raise InputError([f"empty stratum: '{numbers.stratum}' accepted nobody in {ATTEMPTS} attempts"])


@dataclass(frozen=True)
class ModelSource:
    """People of a covariate model: a cell, sampled exactly, and ranges on other covariates, by rejection."""

    cell: Cell
    ranges: Mapping[str, Ends]
    """Those that the cell does not hold already."""
    keep_sex: bool
    """Whether the mix of sexes was asked for."""
    words = ("AGE_SEX", "SCR", "HT", "WT")

    def propose(self, numbers: Numbers) -> People:
        u = numbers.uniforms("AGE_SEX")
        if self.keep_sex and numbers.attempt:
            # sex stays as first drawn, or rejection would shift the mix that the stratum asks for
            split = self.cell.split
            female = numbers.uniforms("AGE_SEX", 0) < split
            u = np.where(female, u * split, split + u * (1 - split))
        return derive(fill(self.cell, u, *(numbers.uniforms(word) for word in self.words[1:])))

    def refused(self, people: People) -> NDArray[np.bool_] | None:
        return outside(people, self.ranges) if self.ranges else None


@dataclass(frozen=True)
class RowSource:
    """Rows of a table, drawn by weight and jittered."""

    rows: Mapping[str, NDArray]
    """AGE, SEX, HT, WT, SCR of the rows inside the stratum."""
    cumulative: NDArray[np.float64]
    jitter: Mapping[str, tuple[float, bool]]
    """SD, and whether it is relative, by covariate."""
    ranges: Mapping[str, Ends]

    @property
    def words(self) -> tuple[str, ...]:
        return ("ROW", *(f"jitter {name}" for name in self.jitter))

    def propose(self, numbers: Numbers) -> People:
        # the row is drawn once: only its jitter is drawn anew, so that the weights hold
        drawn = np.searchsorted(self.cumulative, numbers.uniforms("ROW", 0) * self.cumulative[-1])
        people = {name: values[np.minimum(drawn, len(values) - 1)] for name, values in self.rows.items()}
        if numbers.attempt < JITTER_ATTEMPTS:
            for name, (sd, relative) in self.jitter.items():
                step = sd * scipy.special.ndtri(numbers.uniforms(f"jitter {name}"))
                people[name] = people[name] * np.exp(step) if relative else people[name] + step
        return derive(people)

    def refused(self, people: People) -> NDArray[np.bool_] | None:
        if not self.jitter:
            return None
        impossible = np.min([people[name] for name in ("AGE", "HT", "WT", "SCR")], axis=0) <= 0
        return outside(people, self.ranges) | impossible


@dataclass(frozen=True)
class PatientSource:
    """One patient, the same every time."""

    covariates: Mapping[str, float]
    words = ()

    def propose(self, numbers: Numbers) -> People:
        shape = (len(numbers.draws), len(numbers.patients))
        one = derive({name: np.array(value, float) for name, value in self.covariates.items()})
        return {name: np.full(shape, value) for name, value in one.items()}

    def refused(self, people: People) -> NDArray[np.bool_] | None:
        return None
