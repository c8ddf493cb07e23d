"""Compartments of all drugs as one linear system x' = A x, amounts in mg.

States of a drug, in this order: its absorption chain, peripheral compartments, central compartment, effect site.
The effect site holds u = Ce / C50, u' = ke0 (x_central / (V C50) - u); it takes no drug from the plasma (Sheiner et
al. 1979, Clin Pharmacol Ther 25:358-71). A zero-order input is a state of its own, the
source, whose amount is the rate of the input in mg/h: it feeds the central compartment and never empties, and an
infusion is a dose of +rate into it, and one of -rate at its end. So every structure stays x' = A x. A drug by mouth
that is infused too has a source before its chain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vtrial.model import Drug

type Shape = tuple[tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]], ...]
"""Per drug: absorption chain, peripheral compartments, central and effect site; only the lengths count.

It is the type of such a tuple that the compiled code is made for.
"""


type ModeShape = tuple[tuple[float, ...], ...]
"""Per drug a tuple as long as it has modes; only the lengths count."""

COLUMNS = 6
"""Columns of `System.table`."""


def entries_of(chain: int, peripheral: int, tail: int) -> list[tuple[int, int]]:
    """Places (row, column) that can be non-zero in a power of one drug's matrix, row by row.

    The chain flows one way, the body (peripheral and central) mixes, the effect site sees all.

    Examples
    --------
    >>> entries_of(1, 0, 2)
    [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    """
    central = chain + peripheral
    rows = [(row, col) for row in range(chain) for col in range(row + 1)]
    rows += [(row, col) for row in range(chain, central + 1) for col in range(central + 1)]
    return rows + [(central + 1, col) for col in range(central + 2)] * (tail == 2)


@dataclass(frozen=True)
class Layout:
    """Where one drug's states and entries lie among those of all drugs.

    Parameters
    ----------
    drug : Drug
    chain, peripheral, tail : int
        Number of states in the absorption chain, of peripheral compartments, and of central compartment and effect
        site (1 where there is none).
    state, entry : int
        Number of its first state, and of its first entry.
    fed : bool
        Whether some doses do not go through the chain, which then begins with a source.
    """

    drug: Drug
    chain: int
    peripheral: int
    tail: int
    state: int
    entry: int
    fed: bool

    @property
    def central(self) -> int:
        """Number of the central state; the effect site follows it."""
        return self.state + self.chain + self.peripheral

    @property
    def source(self) -> bool:
        """Whether the first state is the rate of a zero-order input."""
        return self.fed or self.drug.absorption in ("zero_order", "iv")

    @property
    def entries(self) -> list[tuple[int, int]]:
        """Places of the drug's entries, counted within the drug."""
        return entries_of(self.chain, self.peripheral, self.tail)


@dataclass(frozen=True)
class System:
    """The drugs of a model, laid out one after the other.

    Parameters
    ----------
    drugs : tuple of Drug
    layouts : tuple of Layout
    seen : {"Ce", "conc"}
        What is looked at: effect sites, or the concentration of a drug alone, which needs no effect site.
    """

    drugs: tuple[Drug, ...]
    layouts: tuple[Layout, ...]
    seen: Literal["Ce", "conc"] = "Ce"

    @classmethod
    def of(cls, drugs: Sequence[Drug], *, seen: Literal["Ce", "conc"] = "Ce", fed: Collection[str] = ()) -> System:
        """Lay out the states of the drugs.

        Parameters
        ----------
        drugs : sequence of Drug
        seen : {"Ce", "conc"}
        fed : collection of str
            Names of drugs by mouth of which some doses enter the blood, or are released slowly: see
            `vtrial.kinetics.streams.Row`.

        Examples
        --------
        >>> System.of([Drug("baclofen", 2), Drug("pregabalin", 1)]).n_states
        7
        """
        return _lay_out(tuple(drugs), seen, frozenset(fed))

    @property
    def n_states(self) -> int:
        """Number of states of all drugs together."""
        return self.layouts[-1].central + self.layouts[-1].tail

    @property
    def n_entries(self) -> int:
        """Number of entries of all drugs together."""
        return self.layouts[-1].entry + len(self.layouts[-1].entries)

    @property
    def shape(self) -> Shape:
        """What the compiled code is made for."""
        return tuple(((0.0,) * at.chain, (0.0,) * at.peripheral, (0.0,) * at.tail) for at in self.layouts)

    @property
    def has_modes(self) -> bool:
        """Whether `vtrial.kinetics.modal` can run the drugs: by mouth alone with a rate ka, one or two compartments."""
        return all(at.drug.absorption == "first_order" and at.peripheral < 2 and not at.fed for at in self.layouts)

    @property
    def fed(self) -> list[str]:
        """Names of the drugs by mouth that have a source beside."""
        return [at.drug.name for at in self.layouts if at.fed]

    @property
    def modes(self) -> ModeShape:
        """Per drug a tuple as long as it has modes: ka, rates of disposition, ke0 where there is an effect site."""
        return tuple((0.0,) * (at.drug.compartments + at.tail) for at in self.layouts)

    @property
    def table(self) -> NDArray[np.int64]:
        """Per drug: first state, first entry, chain, peripheral, whether the first state is a source, effect site."""
        rows = [(at.state, at.entry, at.chain, at.peripheral, at.source, at.tail - 1) for at in self.layouts]
        return np.array(rows, np.int64)

    @property
    def diagonal(self) -> NDArray[np.int64]:
        """Numbers of the entries on the diagonal."""
        places = [(at.entry + e, row == col) for at in self.layouts for e, (row, col) in enumerate(at.entries)]
        return np.array([number for number, on in places if on])

    def rates(self, par: Mapping[str, Any], n: int) -> NDArray[np.float64]:
        """Entries of A for each patient.

        Parameters
        ----------
        par : mapping
            Individual parameters (CL, Q, Q3 in L/h; V, V2, V3 in L; ka, ke0 in 1/h; MTT in h; C50 in mg/L), each
            broadcasting to (n,).
        n : int
            Number of patients.

        Returns
        -------
        ndarray, shape (entry, n)
            In 1/h (into the effect site 1/h/mg).
        """
        matrix = np.zeros((self.n_entries, n))
        for at in self.layouts:
            place = {where: matrix[at.entry + number] for number, where in enumerate(at.entries)}
            _fill(place, at, lambda name, at=at: par[f"{at.drug.name}.{name}"])
        return matrix


def _fill(place: Mapping[tuple[int, int], NDArray[np.float64]], at: Layout, get: Any) -> None:
    """Write the rates of one drug into its entries."""
    central = at.chain + at.peripheral

    def flow(source: int, into: int, rate: Any) -> None:
        place[source, source][:] -= rate
        place[into, source][:] += rate

    for transit in range(at.fed, at.fed + at.drug.transit):
        flow(transit, transit + 1, (at.drug.transit + 1) / get("MTT"))
    if at.source:
        place[central, 0][:] = 1.0
    if at.fed or not at.source:
        flow(at.chain - 1, central, get("ka"))
    for other, (Q, V) in enumerate((("Q", "V2"), ("Q3", "V3"))[: at.peripheral], at.chain):
        flow(central, other, get(Q) / get("V"))
        flow(other, central, get(Q) / get(V))
    place[central, central][:] -= get("CL") / get("V")
    if at.tail == 2:
        place[central + 1, central][:] = get("ke0") / (get("V") * get("C50"))
        place[central + 1, central + 1][:] = -get("ke0")


@lru_cache(maxsize=256)
def _lay_out(drugs: tuple[Drug, ...], seen: Literal["Ce", "conc"], fed: frozenset[str]) -> System:
    layouts, state, entry, tail = [], 0, 0, 2 if seen == "Ce" else 1
    for drug in drugs:
        more = drug.name in fed and drug.absorption not in ("zero_order", "iv")
        chain = drug.transit + 1 + more
        layouts.append(Layout(drug, chain, drug.compartments - 1, tail, state, entry, more))
        state += chain + drug.compartments - 1 + tail
        entry += len(layouts[-1].entries)
    return System(drugs, tuple(layouts), seen)
