"""Straight-line code for a given structure of compartments: one product per entry, no loop, no index.

The functions below exist in compiled code only. Their bodies are written out when numba meets the type of their
first argument, `shape` (see `vtrial.kinetics.system.Shape`). States `x` are tuples of vectors, `desk` is the array
of a block of patients (see `vtrial.kinetics.desk`), and its rows are given by number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import overload

from vtrial.kinetics.system import entries_of
from vtrial.lanes import larger, load, select, splat, store
from vtrial.pharmacodynamics import accumulate

type Place = tuple[int, int]


def matrix(shape, desk, row) -> Any:
    """Read the matrix whose entries begin at `row`."""
    raise NotImplementedError


def times(shape, matrix, x) -> Any:
    """Product of a matrix with the states `x`."""
    raise NotImplementedError


def fetch(shape, desk, row) -> Any:
    """Read the states that lie from `row` on."""
    raise NotImplementedError


def keep(shape, desk, row, x) -> Any:
    """Write the states from `row` on."""
    raise NotImplementedError


def blend(shape, where, yes, no) -> Any:
    """Choose between two sets of states, lane by lane."""
    raise NotImplementedError


def add(shape, x, factor, y) -> Any:
    """States x + factor y."""
    raise NotImplementedError


def matrix_product(shape, desk, left, right, out) -> Any:
    """Write, from row `out` on, the product of the matrices that begin at rows `left` and `right`."""
    raise NotImplementedError


def seen(shape, x) -> tuple[Any, Any]:
    """What is seen of each drug, its last state, combined: sum and pairwise products."""
    raise NotImplementedError


def turning(shape, desk, rates, x) -> tuple[Any, Any]:
    """Slopes, 1/h, of the two numbers that `seen` gives, when A begins at row `rates`."""
    raise NotImplementedError


def highest(shape, desk, bound, gain, x) -> tuple[Any, Any]:
    """What `seen` can at most give within a step that starts from `x`.

    See `vtrial.kinetics.ladder.bounds` for the weights that begin at row `bound`.
    """
    raise NotImplementedError


def _drugs(shape: Any) -> list[tuple[int, int, int, int]]:
    """Per drug: first state, one past the last, first entry, and length of its tail."""
    found, state, entry = [], 0, 0
    for chain, peripheral, tail in shape:
        past = state + len(chain) + len(peripheral) + len(tail)
        found.append((state, past, entry, len(tail)))
        state, entry = past, entry + len(_places(shape[len(found) - 1]))
    return found


def _places(drug: Any) -> list[Place]:
    chain, peripheral, tail = drug
    return entries_of(len(chain), len(peripheral), len(tail))


def _entries(shape: Any) -> dict[Place, int]:
    """Number of the entry at each place, all drugs together."""
    places = [
        (state + row, state + col)
        for drug, (state, *_) in zip(shape, _drugs(shape), strict=True)
        for row, col in _places(drug)
    ]
    return {place: number for number, place in enumerate(places)}


def _n_states(shape: Any) -> int:
    return _drugs(shape)[-1][1]


def _tuple(parts: list[str]) -> str:
    return f"({', '.join(parts)},)"


def written(names: dict[str, Any], signature: str, *lines: str) -> Callable:
    """Turn text into a function that knows some names."""
    scope = dict(names)
    exec(f"def written({signature}):\n" + "".join(f"    {line}\n" for line in lines), scope)
    return scope["written"]


_names: dict[str, Any] = {
    "larger": larger, "load": load, "select": select, "splat": splat, "store": store, "accumulate": accumulate,
}  # fmt: skip


_inline: Any = {"forceinline": True}


@overload(matrix, jit_options=_inline)
def _matrix(shape, desk, row):
    parts = [f"load(desk, row + {number})" for number in range(len(_entries(shape)))]
    return written(_names, "shape, desk, row", f"return {_tuple(parts)}")


@overload(times, jit_options=_inline)
def _times(shape, matrix, x):
    entries = _entries(shape)
    sums = [
        " + ".join(f"matrix[{number}] * x[{col}]" for (r, col), number in entries.items() if r == state)
        for state in range(_n_states(shape))
    ]
    return written(_names, "shape, matrix, x", f"return {_tuple(sums)}")


@overload(fetch, jit_options=_inline)
def _fetch(shape, desk, row):
    parts = [f"load(desk, row + {s})" for s in range(_n_states(shape))]
    return written(_names, "shape, desk, row", f"return {_tuple(parts)}")


@overload(keep, jit_options=_inline)
def _keep(shape, desk, row, x):
    return written(_names, "shape, desk, row, x", *(f"store(desk, row + {s}, x[{s}])" for s in range(_n_states(shape))))


@overload(blend, jit_options=_inline)
def _blend(shape, where, yes, no):
    parts = [f"select(where, yes[{s}], no[{s}])" for s in range(_n_states(shape))]
    return written(_names, "shape, where, yes, no", f"return {_tuple(parts)}")


@overload(add, jit_options=_inline)
def _add(shape, x, factor, y):
    sums = [f"x[{s}] + factor * y[{s}]" for s in range(_n_states(shape))]
    return written(_names, "shape, x, factor, y", f"return {_tuple(sums)}")


@overload(matrix_product, jit_options=_inline)
def _matrix_product(shape, desk, left, right, out):
    entries, lines = _entries(shape), []
    for (row, col), number in entries.items():
        middle = [m for m in range(_n_states(shape)) if (row, m) in entries and (m, col) in entries]
        terms = (f"load(desk, left + {entries[row, m]}) * load(desk, right + {entries[m, col]})" for m in middle)
        lines.append(f"y{number} = {' + '.join(terms)}")
    # all are computed before any is written: out may be one of the factors
    lines += [f"store(desk, out + {number}, y{number})" for number in entries.values()]
    return written(_names, "shape, desk, left, right, out", *lines)


@overload(seen, jit_options=_inline)
def _seen(shape, x):
    lasts = [past - 1 for _, past, _, _ in _drugs(shape)]
    lines = [f"total, product = accumulate(total, product, x[{last}])" for last in lasts[1:]]
    return written(_names, "shape, x", f"total, product = x[{lasts[0]}], splat(0.0)", *lines, "return total, product")


@overload(turning, jit_options=_inline)
def _turning(shape, desk, rates, x):
    entries, lines = _entries(shape), []
    for d, (state, past, _, tail) in enumerate(_drugs(shape)):
        last = past - 1
        # the effect site's own row of A has two entries; the central compartment's can have all
        columns = (last - 1, last) if tail == 2 else range(state, past)
        slope = " + ".join(f"load(desk, rates + {entries[last, col]}) * x[{col}]" for col in columns)
        lines.append(f"u, s = x[{last}], {slope}")
        if d == 0:
            lines.append("total, slope, bend = u, s, splat(0.0)")
        else:
            lines += ["bend = bend + slope * u + total * s", "total, slope = total + u, slope + s"]
    return written(_names, "shape, desk, rates, x", *lines, "return slope, bend")


@overload(highest, jit_options=_inline)
def _highest(shape, desk, bound, gain, x):
    lines = []
    for d, (state, past, _, tail) in enumerate(_drugs(shape)):
        body = range(state, past - (tail == 2))
        lines.append("u = " + " + ".join(f"load(desk, bound + {s}) * x[{s}]" for s in body))
        if tail == 2:
            last = past - 1
            lines.append(f"u = load(desk, gain + {d}) * u")
            lines.append(f"u = x[{last}] + load(desk, bound + {last}) * larger(u - x[{last}], 0.0)")
        lines.append("total, product = accumulate(total, product, u)" if d else "total, product = u, splat(0.0)")
    return written(_names, "shape, desk, bound, gain, x", *lines, "return total, product")
