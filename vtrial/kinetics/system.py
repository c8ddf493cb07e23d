"""Compartments of all drugs as one sparse linear system x' = A x, amounts in mg.

Per drug: depot, central, (peripheral), effect site. The effect site holds a plasma-equivalent amount,
e' = ke0 (x_central - e), so that Ce = e / V; it takes no drug from the plasma (Sheiner et al. 1979,
Clin Pharmacol Ther 25:358-71).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtrial.model import Drug


@dataclass(frozen=True)
class System:
    """Sparsity pattern of the matrix and of its exponential: the same entries, closed under products.

    Parameters
    ----------
    drugs : tuple of Drug
    entries : ndarray of int, shape (entry, 2)
        Row and column of each entry that can be non-zero in a power of A, row by row.
    products : ndarray of int, shape (product, 3)
        Entries (out, left, right) with out = left * right: the matrix product, spelled out.
    sites : ndarray of int, shape (drug, 4)
        First state (the depot), central state, effect state, and one past the last state of each drug.
    spans : ndarray of int, shape (drug, 2)
        First entry of each drug and one past its last.
    """

    drugs: tuple[Drug, ...]
    entries: NDArray[np.int64]
    products: NDArray[np.int64]
    sites: NDArray[np.int64]
    spans: NDArray[np.int64]

    @classmethod
    def of(cls, drugs: Sequence[Drug]) -> System:
        """Lay out the states of the drugs one after the other.

        Examples
        --------
        >>> System.of([Drug("baclofen", 2), Drug("pregabalin", 1)]).n_states
        7
        """
        entries: list[tuple[int, int]] = []
        sites: list[tuple[int, int, int, int]] = []
        spans: list[tuple[int, int]] = []
        first = 0
        for drug in drugs:
            body = range(first + 1, first + 1 + drug.compartments)
            effect, before = body[-1] + 1, len(entries)
            seen = {first: [first], effect: [first, *body, effect]} | {row: [first, *body] for row in body}
            entries += [(row, col) for row in range(first, effect + 1) for col in seen[row]]
            sites.append((first, first + 1, effect, effect + 1))
            spans.append((before, len(entries)))
            first = effect + 1
        place = {entry: number for number, entry in enumerate(entries)}
        products = [
            (place[row, col], place[row, mid], place[mid, col])
            for row, col in entries
            for mid in range(first)
            if (row, mid) in place and (mid, col) in place
        ]
        return cls(tuple(drugs), np.array(entries), np.array(products), np.array(sites), np.array(spans))

    @property
    def n_states(self) -> int:
        """Number of compartments of all drugs together."""
        return int(self.sites[-1, 3])

    def rates(self, par: Mapping[str, Any], n: int) -> NDArray[np.float64]:
        """Entries of A for each patient.

        Parameters
        ----------
        par : mapping
            Individual parameters (CL and Q in L/h, V and V2 in L, ka and ke0 in 1/h), each broadcasting to (n,).
        n : int
            Number of patients.

        Returns
        -------
        ndarray, shape (entry, n)
            In 1/h.
        """
        place = {(int(row), int(col)): number for number, (row, col) in enumerate(self.entries)}
        matrix = np.zeros((len(self.entries), n))
        for drug, (depot, central, effect, _) in zip(self.drugs, self.sites.tolist(), strict=True):
            get = {p: par[f"{drug.name}.{p}"] for p in ("CL", "V", "ka", "ke0")}
            matrix[place[depot, depot]] = -get["ka"]
            matrix[place[central, depot]] = get["ka"]
            matrix[place[central, central]] = -get["CL"] / get["V"]
            if drug.compartments == 2:
                out, back = par[f"{drug.name}.Q"] / get["V"], par[f"{drug.name}.Q"] / par[f"{drug.name}.V2"]
                matrix[place[central, central]] -= out
                matrix[place[central + 1, central]] = out
                matrix[place[central, central + 1]] = back
                matrix[place[central + 1, central + 1]] = -back
            matrix[place[effect, central]] = get["ke0"]
            matrix[place[effect, effect]] = -get["ke0"]
        return matrix
