"""Eight patients in one value: a vector type for compiled code.

`Vec` is eight doubles that the machine adds and multiplies at once. Code over it reads like code over one patient;
comparisons give a `Mask`, `select` takes the place of `if`. A lane never sees its neighbours, so a patient's numbers
do not depend on who stands beside it. Plain loops over arrays are several times slower here: they go through memory
where a vector stays in a register.

Where few digits are wanted, `Brief` holds sixteen numbers in single precision, as long as a `Vec`: two for each
patient, of two points in time, worked on at once.

The functions below exist in compiled code only. Vectors live in rows of float arrays of shape (row, 8), or along the
last axis of arrays of shape (row, patient), and are reached by `pointer`: compiled code counts the references to each
array that it hands on, which takes longer than the arithmetic.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, register_model

LANES = 8
"""Patients in a vector."""

_DOUBLES, _SINGLES = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.FloatType(), 2 * LANES)
_WORDS, _HALVES = ir.VectorType(ir.IntType(64), LANES), ir.VectorType(ir.IntType(32), 2 * LANES)
_BITS, _MANY_BITS = ir.VectorType(ir.IntType(1), LANES), ir.VectorType(ir.IntType(1), 2 * LANES)
_BIAS = 1023
_ROOT_HALF = 0x3F35_04F3  # bits of the root of one half, in single precision


def instruction(function: Callable) -> Callable[..., Any]:
    """Make a function of compiled code out of one that emits it: its callers do not pass the typing context."""
    return intrinsic(function)  # type: ignore[return-value]


def _type(name: str, form: Any) -> Any:
    """A type of numba's, which compiled code holds as a value of LLVM's type `form`."""

    class Kind(types.Type):
        def __init__(self) -> None:
            super().__init__(name=name)

    @register_model(Kind)
    class _Model(models.PrimitiveModel):
        def __init__(self, dmm: Any, fe_type: Any) -> None:
            super().__init__(dmm, fe_type, form)

    Kind.__name__ = Kind.__qualname__ = name
    return Kind


Vec, Mask = _type("Vec", _DOUBLES), _type("Mask", _BITS)
"""Eight doubles, and eight truth values."""
Brief, BriefMask = _type("Brief", _SINGLES), _type("BriefMask", _MANY_BITS)
"""Sixteen numbers in single precision, and as many truth values."""
vec, brief, mask, brief_mask = Vec(), Brief(), Mask(), BriefMask()


def _all(kind: Any, value: Any) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def _lift(context: Any, builder: Any, value: Any, kind: Any, into: Any = vec) -> Any:
    """A vector as it is; a number in all lanes."""
    if kind in (vec, brief):
        return value
    number = context.cast(builder, value, kind, types.float64 if into == vec else types.float32)
    form = _DOUBLES if into == vec else _SINGLES
    empty = ir.Constant(form, ir.Undefined)
    one = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, empty, _all(ir.VectorType(ir.IntType(32), form.count), 0))


def _operator(op: Callable, left: Any, right: Any, result: Any, emit: Callable) -> None:
    """Give an operator to vectors (and numbers beside them), or to masks."""

    @infer_global(op)  # type: ignore[reportOptionalCall]
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], left) and isinstance(args[1], right):
                return signature(result, *args)
            return None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if result == mask and sig.args[0] == mask:
            return emit(builder, *args)
        into = brief if brief in sig.args else vec
        return emit(builder, *(_lift(context, builder, a, kind, into) for a, kind in zip(args, sig.args, strict=True)))

    lower_builtin(op, left, right)(lower)


def _arithmetic(op: Callable, name: str, *flags: str) -> None:
    for kind, value in ((Vec, vec), (Brief, brief)):
        for left, right in ((kind, kind), (kind, types.Number), (types.Number, kind)):
            _operator(op, left, right, value, lambda b, x, y: getattr(b, name)(x, y, flags=flags))


def _comparison(op: Callable, sign: str) -> None:
    for kind, result in ((Vec, mask), (Brief, brief_mask)):
        for left, right in ((kind, kind), (kind, types.Number), (types.Number, kind)):
            _operator(op, left, right, result, lambda b, x, y: b.fcmp_ordered(sign, x, y))


# "contract" lets a product and a sum become one fused instruction, as the machine offers
_arithmetic(operator.add, "fadd", "contract")
_arithmetic(operator.sub, "fsub", "contract")
_arithmetic(operator.mul, "fmul", "contract")
_arithmetic(operator.truediv, "fdiv")
_comparison(operator.gt, ">")
_comparison(operator.ge, ">=")
_comparison(operator.lt, "<")
_comparison(operator.le, "<=")
_comparison(operator.eq, "==")
_operator(operator.and_, Mask, Mask, mask, lambda b, x, y: b.and_(x, y))
_operator(operator.or_, Mask, Mask, mask, lambda b, x, y: b.or_(x, y))


@instruction
def pointer(typingctx, array):
    """Where the numbers of a C-contiguous array begin, to index without shape, check or count of references.

    The array must outlive it.
    """
    result = types.CPointer(array.dtype)
    return result(array), lambda c, b, sig, args: c.make_array(sig.args[0])(c, b, args[0]).data


@instruction
def numbers_at(typingctx, address):
    """Where the numbers of an array begin whose address is given: as `pointer`."""
    kind = types.CPointer(types.float64)
    return kind(address), lambda c, b, sig, args: b.inttoptr(args[0], c.get_value_type(kind))


def _at(context: Any, builder: Any, sig: Any, args: Any, scale: int, kind: Any = _DOUBLES) -> Any:
    """Pointer to the vector at an index, which counts vectors or numbers."""
    index = context.cast(builder, args[1], sig.args[1], types.intp)
    index = builder.mul(index, ir.Constant(index.type, scale))
    return builder.bitcast(builder.gep(args[0], [index]), kind.as_pointer())


def _reader(scale: int, text: str, into: Any = vec, kind: Any = _DOUBLES) -> Callable:
    @instruction
    def read(typingctx, numbers, index):
        return into(numbers, index), lambda c, b, sig, args: b.load(_at(c, b, sig, args, scale, kind), align=8)

    read.__doc__ = text
    return read


def _writer(scale: int, text: str, into: Any = vec, kind: Any = _DOUBLES) -> Callable:
    @instruction
    def write(typingctx, numbers, index, value):
        def emit(context, builder, sig, args):
            number = _lift(context, builder, args[2], sig.args[2], into)
            builder.store(number, _at(context, builder, sig, args, scale, kind), align=8)
            return context.get_dummy_value()

        return types.void(numbers, index, value), emit

    write.__doc__ = text
    return write


load = _reader(LANES, "Row of a table of shape (row, 8), given by `pointer`.")
store = _writer(LANES, "Write a row of such a table.")
load_from = _reader(1, "Eight neighbours, from the number at `index` on.")
store_to = _writer(1, "Write eight neighbours.")
load_brief = _reader(LANES, "Row of sixteen numbers in single precision.", brief, _SINGLES)
store_brief = _writer(LANES, "Write such a row.", brief, _SINGLES)


@instruction
def store_half(typingctx, numbers, index, value):
    """Write eight numbers in single precision: half of a row, the index counts halves."""

    def emit(context, builder, sig, args):
        half = ir.VectorType(ir.FloatType(), LANES)
        place = _at(context, builder, sig, args, LANES // 2, half)
        builder.store(builder.fptrunc(_lift(context, builder, args[2], sig.args[2]), half), place, align=8)
        return context.get_dummy_value()

    return types.void(numbers, index, value), emit


@instruction
def replace(typingctx, numbers, index, where, value):
    """Write a row of a table for the patients `where`; the others keep theirs."""

    def emit(context, builder, sig, args):
        place = _at(context, builder, sig, args, LANES)
        new = _lift(context, builder, args[3], sig.args[3])
        chosen = builder.select(args[2], new, builder.load(place, align=8))
        # the sum keeps the compiler from a masked store, which takes some processors twenty times as long
        builder.store(builder.fadd(chosen, _all(_DOUBLES, 0.0)), place, align=8)
        return context.get_dummy_value()

    return types.void(numbers, index, where, value), emit


@instruction
def prefetch(typingctx, numbers, index):
    """Have the numbers from `index` on brought near: they are wanted soon."""

    def emit(context, builder, sig, args):
        word, text = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [text, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        place = builder.gep(args[0], [context.cast(builder, args[1], sig.args[1], types.intp)])
        builder.call(function, [builder.bitcast(place, text), *(ir.Constant(word, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(numbers, index), emit


@instruction
def veiled(typingctx, row):
    """A row number of which the compiler no longer knows that it has met it: it reads the row anew.

    For what is done rarely. Otherwise the numbers of the loop around it are kept for it, where they are in the way.
    """

    def emit(context, builder, sig, args):
        kind = ir.FunctionType(args[0].type, [args[0].type])
        return builder.asm(kind, "", "=r,0", args, side_effect=False)

    return row(row), emit


@instruction
def splat(typingctx, number):
    """A number in all lanes."""
    return vec(number), lambda c, b, sig, args: _lift(c, b, args[0], sig.args[0])


@instruction
def splat_brief(typingctx, number):
    """A number in all lanes, in single precision."""
    return brief(number), lambda c, b, sig, args: _lift(c, b, args[0], sig.args[0], brief)


@instruction
def select(typingctx, where, yes, no):
    """Lane by lane `yes` where the mask is set, else `no`."""
    into = _kind(yes, no)

    def emit(context, builder, sig, args):
        return builder.select(args[0], *(_lift(context, builder, args[i], sig.args[i], into) for i in (1, 2)))

    return into(where, yes, no), emit


def _kind(*given: Any) -> Any:
    return brief if brief in given else vec


@instruction
def larger(typingctx, a, b):
    """Lane by lane the larger of two."""
    into = _kind(a, b)

    def emit(context, builder, sig, args):
        x, y = (_lift(context, builder, v, kind, into) for v, kind in zip(args, sig.args, strict=True))
        return builder.select(builder.fcmp_ordered(">", x, y), x, y)

    return into(a, b), emit


@instruction
def smaller(typingctx, a, b):
    """Lane by lane the smaller of two."""
    into = _kind(a, b)

    def emit(context, builder, sig, args):
        x, y = (_lift(context, builder, v, kind, into) for v, kind in zip(args, sig.args, strict=True))
        return builder.select(builder.fcmp_ordered("<", x, y), x, y)

    return into(a, b), emit


@instruction
def some(typingctx, where):
    """Whether the mask is set in any lane."""

    def emit(context, builder, sig, args):
        word = ir.IntType(LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], word), ir.Constant(word, 0))

    return types.boolean(where), emit


def _unary(name: str) -> Callable:
    @instruction
    def function(typingctx, value):
        def emit(context, builder, sig, args):
            form, letter = (_DOUBLES, "f64") if sig.args[0] == vec else (_SINGLES, "f32")
            kind, full = ir.FunctionType(form, [form]), f"{name}.v{form.count}{letter}"
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, full), args)

        return value(value), emit

    return function


floor, root = _unary("llvm.floor"), _unary("llvm.sqrt")


@instruction
def brief_of(typingctx, first, second):
    """Two vectors in single precision, side by side."""

    def emit(context, builder, sig, args):
        both = (builder.fptrunc(one, ir.VectorType(ir.FloatType(), LANES)) for one in args)
        return builder.shuffle_vector(*both, _places(0, 2 * LANES))

    return brief(first, second), emit


def _places(begin: int, end: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), end - begin), list(range(begin, end)))


def _half(begin: int, text: str) -> Callable:
    @instruction
    def half(typingctx, value):
        def emit(context, builder, sig, args):
            return builder.fpext(builder.shuffle_vector(args[0], args[0], _places(begin, begin + LANES)), _DOUBLES)

        return vec(value), emit

    half.__doc__ = text
    return half


first_of = _half(0, "The first of two vectors that stand side by side, in double precision.")
second_of = _half(LANES, "The second of two vectors that stand side by side, in double precision.")


def _octave(builder: Any, value: Any) -> Any:
    """Exponent e of x = 2^e m, with m about 1, as an integer."""
    over = builder.sub(builder.bitcast(value, _HALVES), _all(_HALVES, _ROOT_HALF))
    return builder.ashr(over, _all(_HALVES, 23))


@instruction
def octave(typingctx, value):
    """Exponent e of a positive, normal x = 2^e m in single precision, with m from root 1/2 to root 2, as a number."""
    return brief(value), lambda c, b, sig, args: b.sitofp(_octave(b, args[0]), _SINGLES)


@instruction
def mantissa(typingctx, value):
    """The m of `octave`."""

    def emit(context, builder, sig, args):
        e = builder.shl(_octave(builder, args[0]), _all(_HALVES, 23))
        return builder.bitcast(builder.sub(builder.bitcast(args[0], _HALVES), e), _SINGLES)

    return brief(value), emit


@instruction
def power_of_two(typingctx, value):
    """2^e of a whole number e from -1022 to 1023."""

    def emit(context, builder, sig, args):
        number = builder.fadd(args[0], _all(_DOUBLES, float(2**52 + _BIAS)))
        return builder.bitcast(builder.shl(builder.bitcast(number, _WORDS), _all(_WORDS, 52)), _DOUBLES)

    return vec(value), emit


@instruction
def scaled(typingctx, value, power):
    """Numbers in single precision times 2^e, by a sum of exponents: e is whole, and the product a normal number."""

    def emit(context, builder, sig, args):
        e = builder.shl(builder.fptosi(args[1], _HALVES), _all(_HALVES, 23))
        return builder.bitcast(builder.add(builder.bitcast(args[0], _HALVES), e), _SINGLES)

    return brief(value, power), emit
