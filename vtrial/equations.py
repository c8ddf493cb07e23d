"""The equations of a model, in LaTeX: its own functions are run on symbols, so that what is printed is what runs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from numpy.lib.mixins import NDArrayOperatorsMixin

from vtrial.compiled import plain
from vtrial.model import Model, Surface
from vtrial.model.dynamics import Dynamics, effect_site, linear, together
from vtrial.pharmacodynamics import drive, tolerance

OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "power": operator.pow, "negative": operator.neg, "absolute": sympy.Abs, "exp": sympy.exp, "log": sympy.log,
    "sqrt": sympy.sqrt, "square": lambda x: x**2, "tanh": sympy.tanh, "maximum": sympy.Max, "minimum": sympy.Min,
    "less": sympy.Lt, "less_equal": sympy.Le, "greater": sympy.Gt, "greater_equal": sympy.Ge,
    "bitwise_and": sympy.And, "bitwise_or": sympy.Or, "logical_and": sympy.And, "logical_or": sympy.Or,
}  # fmt: skip
"""What NumPy's functions are on symbols."""
GREEK = {"alpha", "eta", "omega", "sigma", "tau", "theta"}


class Traced(NDArrayOperatorsMixin):
    """A symbolic expression that takes part in NumPy's operators and functions as a number would.

    Parameters
    ----------
    expression : sympy expression

    Examples
    --------
    >>> x = Traced(sympy.Symbol("x"))
    >>> (2.0 * np.exp(-x) + 1.0).expression
    1 + 2*exp(-x)
    """

    def __init__(self, expression: Any) -> None:
        self.expression = expression

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **named: Any) -> Any:
        if method != "__call__" or named or ufunc.__name__ not in OPERATIONS:
            return NotImplemented
        return Traced(OPERATIONS[ufunc.__name__](*map(_expression, inputs)))

    def __bool__(self) -> bool:
        raise TypeError("it asks whether something is so, which on symbols has no answer")


def _expression(value: Any) -> Any:
    """What a traced value or a number is in symbols; whole numbers and halves stay exact."""
    if isinstance(value, Traced):
        return value.expression
    return sympy.Rational(value) if float(2 * value).is_integer() else sympy.Float(float(value))


class _Symbols(dict[str, Traced]):
    """A symbol for every name that is asked for.

    Parameters
    ----------
    names : iterable of str
        Names that are printed as parts of theta, as something else has the same name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__()
        self.names = {*names}

    def __missing__(self, name: str) -> Traced:
        self[name] = Traced(_symbol(name, "theta_" if name in self.names else ""))
        return self[name]


def _symbol(name: str, prefix: str = "") -> sympy.Symbol:
    """A symbol that prints as modellers write a name, which may have a drug before it.

    Examples
    --------
    >>> for name in ("r_1", "x.omega_CL", "GFR"):
    ...     print(_symbol(name).name)
    r_{1}
    \\omega_{\\mathrm{CL,\\ x}}
    \\mathrm{GFR}
    """
    drug, _, own = name.rpartition(".")
    stem, _, rest = f"{prefix}{own}".partition("_")
    below = ",\\ ".join(filter(None, [rest.replace("_", "\\ "), drug.replace("_", "\\ ")]))
    head = f"\\{stem}" if stem in GREEK else stem if len(stem) == 1 else f"\\mathrm{{{stem}}}"
    if len(below) > 1:
        below = f"\\mathrm{{{below}}}"
    return sympy.Symbol(f"{head}_{{{below}}}" if below else head, real=True)


@dataclass(frozen=True)
class Equations:
    """Some equations of a model.

    Parameters
    ----------
    title : str
    lines : list of str
        In LaTeX; none where a function of the model cannot be run on symbols.
    note : str
        What belongs to them, in words.
    """

    title: str
    lines: list[str]
    note: str = ""


def equations(model: Model, surface: Surface) -> list[Equations]:
    """Run a model on symbols, and write what comes out.

    Parameters
    ----------
    model : Model
    surface : {"greco", "loewe", "bliss"}

    Returns
    -------
    list of Equations
        Typical values, individual values, kinetics, sedation, in this order. A function that looks at the values of its
        arguments (`if`, `np.where`) cannot be printed; then the note says so.

    Examples
    --------
    >>> from vtrial.model import load_model
    >>> print(equations(load_model("baclofen_pregabalin"), "greco")[3].lines[1])
    U = \\alpha \\cdot u_{\\mathrm{baclofen}} \\cdot u_{\\mathrm{pregabalin}} + u_{\\mathrm{baclofen}} + u_{\\mathrm{pregabalin}}
    """  # noqa: E501
    found = []
    for title, write in _GROUPS.items():
        try:
            lines, note = write(model, surface)
        except TypeError as error:
            lines, note = [], f"A function of the model cannot be printed: {error}."
        found.append(Equations(title, lines, note))
    return found


def _typical(model: Model, surface: Surface) -> tuple[list[str], str]:
    theta = _Symbols(model.individual_parameters + model.clearances_by_dialysis)
    found = model.typical(theta, _Symbols())
    lines, same = _told(found, theta, "TV")
    note = "TV: of a patient whose etas are 0. GFR: the true one, mL/min; other covariates and units: see below. "
    return lines, note + _same("TV", same)


def _individual(model: Model, surface: Surface) -> tuple[list[str], str]:
    plain_theta = _Symbols()
    named = model.omega(plain_theta)
    own = {name: _omega_name(name) for name in named}
    changed = [own[name] for name, value in named.items() if value is not plain_theta[own[name]]]
    theta = _Symbols(changed)
    found = model.omega(theta)
    lines, same = _told(found, {name: theta[own[name]] for name in found}, "omega_")
    logit = [name for name in model.logit if name in found]
    usual = [name for name in found if name not in logit and name != "GFR"]
    head = [rf"{_latex(_symbol('P'))} = {_latex(_symbol('TVP'))} \cdot e^{{\eta_P}},\quad \eta_P \sim N(0, \omega_P^2)"]
    if logit:
        head.append(r"\log \frac{P}{1 - P} = \log \frac{\mathrm{TVP}}{1 - \mathrm{TVP}} + \eta_P")
    if "GFR" in found:
        head.insert(0, r"\mathrm{GFR} = \mathrm{CRCL} \cdot e^{\eta_{\mathrm{GFR}}}")
    note = f"P log-normal: {', '.join(usual)}. "
    note += f"On the logit: {', '.join(logit)}. " if logit else ""
    pairs = [f"{a} with {b} {value:g}" for (a, b), value in model.correlation.items()]
    note += f"Correlations of etas: {', '.join(pairs)}. " if pairs else "Etas are independent. "
    return [*head, *lines], f"{note}All others are typical. " + _same("omega", same)


def _kinetics(model: Model, surface: Surface) -> tuple[list[str], str]:
    dynamics = model.dynamics or together(*(effect_site(linear(drug)) for drug in model.drugs))
    names = [_state_name(dynamics, name) for name in dynamics.states]
    states = [Traced(_symbol(name)) for name in names]
    slopes = dynamics.slope(Traced(_symbol("t")), states, _Symbols())
    lines = [
        rf"\frac{{d}}{{d t}} {_latex(_symbol(name))} = {_latex(_expression(slope))}"
        for name, slope in zip(names, slopes, strict=True)
    ]
    return lines, " ".join([_entry(model, dynamics), "Solved exactly." if model.dynamics is None else ""]).strip()


def _sedation(model: Model, surface: Surface) -> tuple[list[str], str]:
    symbols = _Symbols()
    drugs = [drug.name for drug in model.drugs]
    combined = drive([symbols[f"{drug}.u"] for drug in drugs], surface, symbols["alpha"])
    lines = [r"u_d(t) = \frac{\mathrm{Ce}_d(t)}{\mathrm{C50}_d}"]
    channel = "U"
    if len(combined) == 1:
        lines.append(f"U = {_latex(_expression(combined[0]))}")
    else:
        channel = "u_d"
    half = _latex(_symbol("tolerance_t_half"))
    fold, gone = symbols["tolerance_fold"], Traced(sympy.Symbol(rf"2^{{- t / (24 \cdot {half})}}"))
    lines.append(rf"\mathrm{{Tol}}(t) = {_latex(_expression(plain(tolerance)(gone, fold)))}")
    peak = rf"\max_t \frac{{A \cdot {channel}(t)}}{{\mathrm{{Tol}}(t)}}"
    level = rf"\Phi\left(\frac{{\log {peak} - \log r_k}}{{\omega_S}}\right)"
    deepest = len(model.levels) - 1
    if len(combined) == 1:
        lines.append(rf"P(\mathrm{{level}} \geq k) = {level}")
    else:
        lines.append(rf"P(\mathrm{{level}} \geq k) = 1 - \prod_d \left(1 - {level}\right)")
    lines.append(" < ".join([*(f"r_{{{k}}}" for k in range(1, deepest)), f"r_{{{deepest}}} = 1"]))
    named = ", ".join(f"{k} {name}" for k, name in enumerate(model.levels))
    note = (
        f"Levels: {named}. A: factor of age and uraemia, 1 at age 50 with healthy kidneys; t in h from the first dose, "
    )
    note += (
        "tolerance_t_half in days. The log of a patient's sensitivity is normal with SD omega S, and integrated out."
    )
    return lines, note


_GROUPS: dict[str, Callable[[Model, Surface], tuple[list[str], str]]] = {
    "Typical values": _typical,
    "Individual values": _individual,
    "Kinetics": _kinetics,
    "Sedation": _sedation,
}


# ------------------------------------------------------------------------------------------------ printing


def _omega_name(name: str) -> str:
    """Name in theta of the SD of an eta, by the convention of model files: that of x.CL is x.omega_CL."""
    drug, _, own = name.rpartition(".")
    return f"{drug}.omega_{own}" if drug else f"omega_{own}"


def _told(found: Mapping[str, Any], theta: Mapping[str, Traced], prefix: str) -> tuple[list[str], list[str]]:
    """Equations of what is more than a parameter of its own, and the names of the rest."""
    lines, same = [], []
    for name, value in found.items():
        expression = _expression(value)
        if expression == theta[name].expression:
            same.append(name)
        else:
            lines.append(f"{_latex(_symbol(name, prefix))} = {_latex(expression)}")
    return lines, same


def _same(what: str, names: list[str]) -> str:
    return f"{what} is a parameter of the same name for {', '.join(names)}." if names else ""


def _state_name(dynamics: Dynamics, state: str) -> str:
    """How a state is written: amounts with an x; concentrations at the effect site, and responses, as they are."""
    drug, _, own = state.rpartition(".")
    is_amount = own in ("depot", "central") or own.startswith(("transit", "peripheral"))
    return f"{drug}.x_{own}" if is_amount else state


def _entry(model: Model, dynamics: Dynamics) -> str:
    into = ", ".join(f"{drug} into {state}" for drug, state in zip(dynamics.drugs, dynamics.entry, strict=True))
    text = f"x: amounts in mg, t in h. Doses enter as F amt, after tlag: {into}. "
    return f"{text}A session of dialysis adds CL_HD (or that of its kind) to CL while it lasts."


def _latex(expression: Any) -> str:
    return sympy.latex(expression.replace(_is_of_two, _largest), mul_symbol="dot")


def _is_of_two(part: Any) -> bool:
    return part.is_Add and any(_half_size(term) is not None for term in part.args)


def _half_size(term: Any) -> Any:
    """What d is in |d| / 2 or -|d| / 2; None of other terms."""
    factor, inner = term.as_coeff_Mul()
    return inner.args[0] if abs(factor) == HALF and isinstance(inner, sympy.Abs) else None


def _largest(part: Any) -> Any:
    """Undo `greater` and `lesser` of model files: rest + |d| / 2 is the larger of rest + d / 2 and rest - d / 2."""
    term = next(term for term in part.args if _half_size(term) is not None)
    half, rest = _half_size(term) / 2, part - term
    pick = sympy.Max if term.as_coeff_Mul()[0] > 0 else sympy.Min
    return pick(rest + half, rest - half, evaluate=False)


HALF = sympy.Rational(1, 2)
