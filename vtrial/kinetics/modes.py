"""Straight-line code over modes: each decays by a factor of its own, and what is seen is a weighted sum of them.

The functions below exist in compiled code only, as in `vtrial.kinetics.unrolled`. `shape` (see
`vtrial.kinetics.system.ModeShape`) holds, per drug, a tuple as long as the drug has modes. `z` is the row of the
desk at which the modes begin: those of all drugs, then what is left of the way to full tolerance, which fades at a rate
of its own and gets no dose. Modes stay on the desk: there are more of them than the processor has registers.
"""

from __future__ import annotations

from typing import Any

from numba.extending import overload

from vtrial.kinetics.unrolled import written
from vtrial.lanes import load, replace, store
from vtrial.pharmacodynamics import accumulate


def copy(shape, desk, source, target, where) -> None:
    """Copy modes, for the patients `where`."""
    raise NotImplementedError


def move(shape, desk, source, target) -> None:
    """Copy modes."""
    raise NotImplementedError


def advance(shape, desk, z, factor, dose, share) -> None:
    """Take modes to the end of a leg.

    Times the factors from row `factor` on; and of each drug's dose, which lies at `dose` + drug, the share from row
    `share` on.
    """
    raise NotImplementedError


def give(shape, desk, z, dose) -> None:
    """Add a dose of each drug, which lies at `dose` + drug."""
    raise NotImplementedError


def walk(shape, desk, z, factor, weight, fall) -> tuple[Any, Any, Any, Any]:
    """Multiply modes by the factors from row `factor` on, and see what `sight` sees."""
    raise NotImplementedError


def sight(shape, desk, z, weight, fall) -> tuple[Any, Any, Any, Any]:
    """What is seen: sum over drugs, sum of pairwise products, and the slopes of both in 1/h.

    Weights of the modes lie from `weight` on, those of their slopes from `fall` on.
    """
    raise NotImplementedError


def curvature(shape, desk, z, weight, fall, bow) -> tuple[Any, Any]:
    """Second derivatives, 1/h2, of the first two numbers of `sight`."""
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
    return " + ".join(f"load(desk, {row} + {m}) * load(desk, z + {m})" for m in span)


_names: dict[str, Any] = {"load": load, "replace": replace, "store": store, "accumulate": accumulate}
_inline: Any = {"forceinline": True}
_COMBINE = (
    "bend = bend + slope * u + total * s",
    "slope = slope + s",
    "total, product = accumulate(total, product, u)",
)
_FIRST = ("total, slope, product, bend = u, s, 0.0 * u, 0.0 * u",)


@overload(copy, jit_options=_inline)
def _copy(shape, desk, source, target, where):
    lines = [f"replace(desk, target + {m}, where, load(desk, source + {m}))" for m in range(_count(shape) + 1)]
    return written(_names, "shape, desk, source, target, where", *lines)


@overload(move, jit_options=_inline)
def _move(shape, desk, source, target):
    lines = [f"store(desk, target + {m}, load(desk, source + {m}))" for m in range(_count(shape) + 1)]
    return written(_names, "shape, desk, source, target", *lines)


@overload(advance, jit_options=_inline)
def _advance(shape, desk, z, factor, dose, share):
    lines = []
    for d, span in enumerate(_spans(shape)):
        lines.append(f"amount = load(desk, dose + {d})")
        lines += [
            f"store(desk, z + {m}, load(desk, z + {m}) * load(desk, factor + {m}) + amount * load(desk, share + {m}))"
            for m in span
        ]
    n = _count(shape)
    lines.append(f"store(desk, z + {n}, load(desk, z + {n}) * load(desk, factor + {n}))")
    return written(_names, "shape, desk, z, factor, dose, share", *lines)


@overload(give, jit_options=_inline)
def _give(shape, desk, z, dose):
    lines = [
        f"store(desk, z + {m}, load(desk, z + {m}) + load(desk, dose + {d}))"
        for d, span in enumerate(_spans(shape))
        for m in span
    ]
    return written(_names, "shape, desk, z, dose", *lines)


@overload(walk, jit_options=_inline)
def _walk(shape, desk, z, factor, weight, fall):
    n = _count(shape)
    lines = [f"store(desk, z + {n}, load(desk, z + {n}) * load(desk, factor + {n}))"]
    for d, span in enumerate(_spans(shape)):
        for m in span:
            begun = ("u + ", "s + ") if m > span[0] else ("", "")
            lines += [
                f"y = load(desk, z + {m}) * load(desk, factor + {m})",
                f"store(desk, z + {m}, y)",
                f"u = {begun[0]}load(desk, weight + {m}) * y",
                f"s = {begun[1]}load(desk, fall + {m}) * y",
            ]
        lines += _COMBINE if d else _FIRST
    return written(_names, "shape, desk, z, factor, weight, fall", *lines, "return total, product, slope, bend")


@overload(sight, jit_options=_inline)
def _sight(shape, desk, z, weight, fall):
    lines = []
    for d, span in enumerate(_spans(shape)):
        lines += [f"u = {_sum('weight', span)}", f"s = {_sum('fall', span)}", *(_COMBINE if d else _FIRST)]
    return written(_names, "shape, desk, z, weight, fall", *lines, "return total, product, slope, bend")


@overload(curvature, jit_options=_inline)
def _curvature(shape, desk, z, weight, fall, bow):
    lines = []
    for d, span in enumerate(_spans(shape)):
        lines += [f"u = {_sum('weight', span)}", f"s = {_sum('fall', span)}", f"c = {_sum('bow', span)}"]
        if d == 0:
            lines += ["total, slope, curve, both = u, s, c, 0.0 * u"]
        else:
            lines += ["both = both + curve * u + 2.0 * slope * s + total * c"]
            lines += ["total, slope, curve = total + u, slope + s, curve + c"]
    return written(_names, "shape, desk, z, weight, fall, bow", *lines, "return curve, both")
