"""Straight-line code over modes: each decays by a factor of its own, and what is seen is a weighted sum of them.

The functions below exist in compiled code only, as in `vtrial.kinetics.unrolled`. `shape` (see
`vtrial.kinetics.system.ModeShape`) holds, per drug, a tuple as long as the drug has modes; `z` is a tuple of vectors, the modes of all drugs and then what is left of the way to full
tolerance, which fades at a rate of its own and gets no dose.
"""

from __future__ import annotations

from typing import Any

from numba.extending import overload

from vtrial.kinetics.unrolled import written
from vtrial.lanes import load, replace, store
from vtrial.pharmacodynamics import accumulate

def start(shape, left, zero) -> Any:
    """All modes zero, and what is left of the way to full tolerance."""
    raise NotImplementedError


def read(shape, desk, row) -> Any:
    """Read modes that lie from `row` on."""
    raise NotImplementedError


def write(shape, desk, row, where, z) -> Any:
    """Write modes from `row` on, for the patients `where`."""
    raise NotImplementedError


def keep(shape, desk, row, z) -> Any:
    """Write modes from `row` on, for all patients."""
    raise NotImplementedError


def faded(shape, desk, row, z) -> Any:
    """Modes times the factors that lie from `row` on."""
    raise NotImplementedError


def dosed(shape, desk, row, z) -> Any:
    """Modes after a dose of each drug, whose amount times F lies at `row` + drug."""
    raise NotImplementedError


def carried(shape, desk, dose, factor, share, z) -> Any:
    """Modes at the end of a leg: times the factors from `factor` on, and what is left of the doses, from `share` on."""
    raise NotImplementedError


def sight(shape, desk, weight, fall, z) -> tuple[Any, Any, Any, Any]:
    """What is seen: sum over drugs, sum of pairwise products, and the slopes of both in 1/h.

    Weights of the modes lie from `weight` on, those of their slopes from `fall` on.
    """
    raise NotImplementedError


def curvature(shape, desk, weight, fall, bow, z) -> tuple[Any, Any]:
    """Second derivatives, 1/h2, of the two numbers that `sight` gives."""
    raise NotImplementedError


def weighed(shape, desk, row, drug, z) -> Any:
    """Sum of the modes of one drug, weights from `row` on."""
    raise NotImplementedError


def _spans(shape: Any) -> list[range]:
    """Numbers of the modes of each drug."""
    spans, first = [], 0
    for modes in shape:
        spans.append(range(first, first + len(modes)))
        first += len(modes)
    return spans


def _count(shape: Any) -> int:
    return sum(map(len, shape))


def _sum(row: str, span: range) -> str:
    return " + ".join(f"load(desk, {row} + {m}) * z[{m}]" for m in span)


def _tuple(parts: list[str]) -> str:
    return f"({', '.join(parts)},)"


_names: dict[str, Any] = {"load": load, "replace": replace, "store": store, "accumulate": accumulate}
_inline: Any = {"forceinline": True}


@overload(start, jit_options=_inline)
def _start(shape, left, zero):
    return written(_names, "shape, left, zero", f"return {_tuple(['zero'] * _count(shape) + ['left'])}")


@overload(read, jit_options=_inline)
def _read(shape, desk, row):
    parts = [f"load(desk, row + {m})" for m in range(_count(shape) + 1)]
    return written(_names, "shape, desk, row", f"return {_tuple(parts)}")


@overload(write, jit_options=_inline)
def _write(shape, desk, row, where, z):
    lines = [f"replace(desk, row + {m}, where, z[{m}])" for m in range(_count(shape) + 1)]
    return written(_names, "shape, desk, row, where, z", *lines)


@overload(keep, jit_options=_inline)
def _keep(shape, desk, row, z):
    return written(
        _names, "shape, desk, row, z", *(f"store(desk, row + {m}, z[{m}])" for m in range(_count(shape) + 1))
    )


@overload(faded, jit_options=_inline)
def _faded(shape, desk, row, z):
    parts = [f"z[{m}] * load(desk, row + {m})" for m in range(_count(shape) + 1)]
    return written(_names, "shape, desk, row, z", f"return {_tuple(parts)}")


@overload(dosed, jit_options=_inline)
def _dosed(shape, desk, row, z):
    parts = [f"z[{m}] + load(desk, row + {d})" for d, span in enumerate(_spans(shape)) for m in span]
    return written(_names, "shape, desk, row, z", f"return {_tuple([*parts, f'z[{_count(shape)}]'])}")


@overload(carried, jit_options=_inline)
def _carried(shape, desk, dose, factor, share, z):
    n = _count(shape)
    parts = [
        f"z[{m}] * load(desk, factor + {m}) + load(desk, dose + {d}) * load(desk, share + {m})"
        for d, span in enumerate(_spans(shape))
        for m in span
    ]
    parts.append(f"z[{n}] * load(desk, factor + {n})")
    return written(_names, "shape, desk, dose, factor, share, z", f"return {_tuple(parts)}")


@overload(sight, jit_options=_inline)
def _sight(shape, desk, weight, fall, z):
    lines = []
    for d, span in enumerate(_spans(shape)):
        lines += [f"u = {_sum('weight', span)}", f"s = {_sum('fall', span)}"]
        if d == 0:
            lines += ["total, slope, product, bend = u, s, 0.0 * u, 0.0 * u"]
        else:
            lines += ["bend = bend + slope * u + total * s", "slope = slope + s"]
            lines += ["total, product = accumulate(total, product, u)"]
    return written(_names, "shape, desk, weight, fall, z", *lines, "return total, product, slope, bend")


@overload(curvature, jit_options=_inline)
def _curvature(shape, desk, weight, fall, bow, z):
    lines = []
    for d, span in enumerate(_spans(shape)):
        lines += [f"u = {_sum('weight', span)}", f"s = {_sum('fall', span)}", f"c = {_sum('bow', span)}"]
        if d == 0:
            lines += ["total, slope, curve, both = u, s, c, 0.0 * u"]
        else:
            lines += ["both = both + curve * u + 2.0 * slope * s + total * c"]
            lines += ["total, slope, curve = total + u, slope + s, curve + c"]
    return written(_names, "shape, desk, weight, fall, bow, z", *lines, "return curve, both")


@overload(weighed, jit_options=_inline)
def _weighed(shape, desk, row, drug, z):
    sums = [f"if drug == {d}: return {_sum('row', span)}" for d, span in enumerate(_spans(shape))]
    return written(_names, "shape, desk, row, drug, z", *sums, "return 0.0 * z[0]")
