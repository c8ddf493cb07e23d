"""Items: the patients of all arms, those treated alike in several arms only once.

A kind is a combination of regimens, one per drug. The loops are compiled one by one, and the arrays made outside of
them: each array function would take numba seconds to compile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vtrial.compiled import compiled

type Index = NDArray[np.int64]
type Kinds = NDArray[np.int32]


def combine(kind: Kinds, row: Kinds, kinds: int, rows: int) -> Index:
    """Number the combinations of kind and row (arm, n) that occur, in ascending order, into `kind`; return which."""
    number = np.zeros(kinds * rows, np.int32)
    _join(kind, row, rows, number)
    found = np.flatnonzero(number)
    number[found] = np.arange(len(found))
    _rename(kind, number)
    return found


def items(kind: Kinds, kinds: int) -> tuple[Index, Index]:
    """Items by kind, then patient: their patients, where each kind begins and ends; put an arm's item into `kind`."""
    size = np.zeros(kinds, np.int64)
    _count(kind, np.full(kinds, -1), size)
    ends = np.concatenate([[0], np.cumsum(size)])
    patient = np.empty(ends[-1], np.int64)
    _place(kind, np.full(kinds, -1), ends[:-1] - 1, patient)
    return patient, ends


@compiled
def _join(kind, row, rows, number):
    """Make one number of kind and row, and mark those that occur."""
    for a in range(kind.shape[0]):
        for p in range(kind.shape[1]):
            kind[a, p] = kind[a, p] * rows + row[a, p]
            number[kind[a, p]] = 1


@compiled
def _rename(kind, number):
    """Give each kind its number."""
    for a in range(kind.shape[0]):
        for p in range(kind.shape[1]):
            kind[a, p] = number[kind[a, p]]


@compiled
def _count(kind, last, size):
    """Count the patients of each kind; `last` is its patient before, at first -1."""
    for p in range(kind.shape[1]):
        for a in range(kind.shape[0]):
            if last[kind[a, p]] != p:
                last[kind[a, p]] = p
                size[kind[a, p]] += 1


@compiled
def _place(kind, last, place, patient):
    """Number the items; `place` is that of its kind's item before."""
    for p in range(kind.shape[1]):
        for a in range(kind.shape[0]):
            k = kind[a, p]
            if last[k] != p:
                last[k] = p
                place[k] += 1
                patient[place[k]] = p
            kind[a, p] = place[k]
