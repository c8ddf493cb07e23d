"""Kinetics that are not linear: a right-hand side, and ready-made ones that fit together.

A `Dynamics` says which states there are, how they change, and how concentration and effect are read from them.
The ready-made ones are built from three choices: how a drug is eliminated (`linear`, `michaelis_menten`,
`target_mediated`), how its concentration acts (`effect_site`, `turnover`, or directly), and which drugs are given
`together`. How it is absorbed and distributed is up to the `Drug`.

>>> from vtrial.model import Drug
>>> both = together(effect_site(michaelis_menten(Drug("x", 2))), effect_site(linear(Drug("y", 1))))
>>> both.states
('x.depot', 'x.peripheral_1', 'x.central', 'x.Ce', 'y.depot', 'y.central', 'y.Ce')
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from vtrial.model.record import Drug

type Par = Mapping[str, Any]
"""Individual parameters by name, e.g. ``"x.Vmax"``."""

type Rows = Sequence[Any]
"""One number or array per state, or per drug."""

type Action = Literal["inhibit production", "inhibit loss", "stimulate production", "stimulate loss"]
"""What a drug does to the turnover of a response: models I, II, III and IV of Dayneka, Garg and Jusko."""


def _nothing(par: Par) -> Rows:
    return ()


@dataclass(frozen=True)
class Dynamics:
    """A right-hand side, and what is read from its states.

    All functions take the states as an array of shape (state, ...) and parameters that broadcast against its rows:
    they use operators and NumPy ufuncs only, row by row (``x[0]``, ``x[1]``), and return a sequence of rows.

    Parameters
    ----------
    drugs : tuple of str
    states : tuple of str
    parameters : tuple of str
        Names of all individual parameters: those that the functions read, and tlag (h), F and C50 of each drug.
    entry : tuple of str
        Per drug the state that its doses enter, in mg.
    slope : callable
        ``slope(t, x, par) -> dx``: per state its change per h; t in h from the patient's first dose.
    conc, Ce : callable
        ``conc(x, par)``, ``Ce(x, par)``: per drug the concentration in mg/L, and what is compared to its C50.
    initial : callable
        ``initial(par)``: the states before the first dose; empty for all zero.
    duration : tuple of (str or None)
        Per drug the parameter that says for how long (h) each dose flows into its entry; empty for never.
    breaks : tuple of float
        Times, h from the first dose, at which the slope jumps: the solver stops there, and does not step over what
        begins and ends between two of its steps.

    Raises
    ------
    ValueError
        If names clash, an entry is no state, or a break is not a finite time.

    Examples
    --------
    >>> decay = Dynamics(
    ...     drugs=("x",), states=("body",), parameters=("x.k", "x.V", "x.tlag", "x.F", "x.C50"), entry=("body",),
    ...     slope=lambda t, x, par: [-par["x.k"] * x[0]],
    ...     conc=lambda x, par: [x[0] / par["x.V"]], Ce=lambda x, par: [x[0] / par["x.V"]],
    ... )
    >>> decay.slope(0.0, [10.0], {"x.k": 0.1, "x.V": 5.0})
    [-1.0]
    """

    drugs: tuple[str, ...]
    states: tuple[str, ...]
    parameters: tuple[str, ...]
    entry: tuple[str, ...]
    slope: Callable[[Any, Any, Par], Rows]
    conc: Callable[[Any, Par], Rows]
    Ce: Callable[[Any, Par], Rows]
    initial: Callable[[Par], Rows] = _nothing
    duration: tuple[str | None, ...] = ()
    breaks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for what in ("drugs", "states", "parameters"):
            names = getattr(self, what)
            if len(set(names)) < len(names):
                raise ValueError(f"{what} {names} are not all different")
        if len(self.entry) != len(self.drugs) or not set(self.entry) <= set(self.states):
            raise ValueError(f"entry {self.entry} does not name one of the states {self.states} per drug {self.drugs}")
        if self.duration and len(self.duration) != len(self.drugs):
            raise ValueError(f"duration {self.duration} does not name one parameter, or None, per drug {self.drugs}")
        if not all(math.isfinite(time) for time in self.breaks):
            raise ValueError(f"breaks {self.breaks} are not all finite times in h")
        needed = {f"{drug}.{p}" for drug in self.drugs for p in ("tlag", "F", "C50")} | {d for d in self.duration if d}
        if missing := sorted(needed - set(self.parameters)):
            raise ValueError(f"parameters lack {missing}")


# ------------------------------------------------------------------------------------------- elimination


def linear(drug: Drug) -> Dynamics:
    """Elimination in proportion to the concentration: CL conc.

    Parameters
    ----------
    drug : Drug
        Its parameters are CL (L/h), V (L), those of its absorption and distribution, tlag, F and C50.

    Returns
    -------
    Dynamics
        Acts directly (Ce = conc) until linked otherwise.

    Examples
    --------
    >>> linear(Drug("x", 1)).parameters
    ('x.V', 'x.ka', 'x.tlag', 'x.F', 'x.C50', 'x.CL')
    """
    CL = f"{drug.name}.CL"
    return _kinetics(drug, (CL,), lambda conc, par: par[CL] * conc)


def michaelis_menten(drug: Drug, *, parallel: bool = False) -> Dynamics:
    """Saturable elimination: Vmax conc / (Km + conc), beside CL conc if it has a linear path in parallel.

    Parameters
    ----------
    drug : Drug
        Its parameters are Vmax (mg/h), Km (mg/L), V (L), with `parallel` CL (L/h), and those of its absorption and
        distribution, tlag, F and C50.
    parallel : bool

    Returns
    -------
    Dynamics

    Notes
    -----
    Michaelis and Menten 1913, Biochem Z 49:333-69. Far below Km it is linear with CL = Vmax / Km.

    Examples
    --------
    >>> par = {"x.Vmax": 10.0, "x.Km": 2.0, "x.V": 5.0}
    >>> michaelis_menten(Drug("x", 1, "iv")).slope(0.0, [10.0], par)  # at Km half of Vmax
    [-5.0]
    """
    Vmax, Km, CL = (f"{drug.name}.{p}" for p in ("Vmax", "Km", "CL"))

    def saturable(conc: Any, par: Par) -> Any:
        return par[Vmax] * conc / (par[Km] + conc)

    if parallel:
        return _kinetics(drug, (Vmax, Km, CL), lambda conc, par: saturable(conc, par) + par[CL] * conc)
    return _kinetics(drug, (Vmax, Km), saturable)


def target_mediated(drug: Drug) -> Dynamics:
    """Elimination through the drug's own target, beside CL conc: the full model of target-mediated disposition.

    With free drug C, free target R and complex P, all in mg/L of drug (target: of drug that it can bind)::

        V C' = ... - CL C - V (kon C R - koff P)
          R' = kdeg (R0 - R) - kon C R + koff P
          P' = kon C R - (koff + kint) P

    Parameters
    ----------
    drug : Drug
        Its parameters are CL (L/h), kon (L/mg/h), koff, kint, kdeg (1/h), R0 (mg/L), V (L), and those of its absorption
        and distribution, tlag, F and C50.

    Returns
    -------
    Dynamics
        `conc` is the free drug.

    Notes
    -----
    Mager and Jusko 2001, J Pharmacokinet Pharmacodyn 28:507-32; production of the target is ksyn = kdeg R0.

    Examples
    --------
    >>> target_mediated(Drug("x", 1, "iv")).states
    ('x.central', 'x.target', 'x.complex')
    """
    names = CL, kon, koff, kint, kdeg, R0 = tuple(
        f"{drug.name}.{p}" for p in ("CL", "kon", "koff", "kint", "kdeg", "R0")
    )
    body, V = _kinetics(drug, (), lambda conc, par: 0.0), f"{drug.name}.V"
    n = len(body.states)

    def slope(t: Any, x: Any, par: Par) -> Rows:
        rows, conc, free, bound = list(body.slope(t, x[:n], par)), x[n - 1] / par[V], x[n], x[n + 1]
        binding = par[kon] * conc * free - par[koff] * bound
        rows[-1] = rows[-1] - par[CL] * conc - par[V] * binding
        return [*rows, par[kdeg] * (par[R0] - free) - binding, binding - par[kint] * bound]

    return replace(
        body,
        states=(*body.states, f"{drug.name}.target", f"{drug.name}.complex"),
        parameters=(*body.parameters, *names),
        slope=slope,
        initial=lambda par: [*[0.0] * n, par[R0], 0.0],
    )


def _kinetics(drug: Drug, parameters: tuple[str, ...], eliminate: Callable[[Any, Par], Any]) -> Dynamics:
    """Absorption, distribution and an elimination (mg/h) that depends on the concentration; central comes last."""
    own, (V, MTT, ka) = f"{drug.name}.", (f"{drug.name}.{p}" for p in ("V", "MTT", "ka"))
    oral, links = drug.absorption in ("first_order", "transit"), drug.transit + 1
    chain = [*(f"{own}transit_{i + 1}" for i in range(drug.transit)), f"{own}depot"] if oral else []
    sides = [(own + Q, own + W) for Q, W in (("Q", "V2"), ("Q3", "V3"))[: drug.compartments - 1]]
    central = len(chain) + len(sides)

    def slope(t: Any, x: Any, par: Par) -> Rows:
        rows, into, conc = [], 0.0, x[central] / par[V]
        for i in range(len(chain)):
            out = x[i] * (par[ka] if i == drug.transit else links / par[MTT])
            rows.append(into - out)
            into = out
        for i, (Q, W) in enumerate(sides, len(chain)):
            exchange = par[Q] * (conc - x[i] / par[W])
            rows.append(exchange)
            into = into - exchange
        return [*rows, into - eliminate(conc, par)]

    unused = {f"{own}CL", f"{own}ke0"}
    states = (*chain, *(f"{own}peripheral_{i + 1}" for i in range(len(sides))), f"{own}central")
    return Dynamics(
        drugs=(drug.name,),
        states=states,
        parameters=(*(p for p in drug.parameters if p not in unused), *parameters),
        entry=(states[0] if oral else states[-1],),
        slope=slope,
        conc=lambda x, par: [x[central] / par[V]],
        Ce=lambda x, par: [x[central] / par[V]],
        duration=(f"{own}dur" if drug.absorption == "zero_order" else None,),
    )


# ------------------------------------------------------------------------------------------------ effect


def effect_site(kinetics: Dynamics) -> Dynamics:
    """Let the drug act from an effect site: Ce' = ke0 (conc - Ce).

    Parameters
    ----------
    kinetics : Dynamics
        Of one drug; adds the parameter ke0 (1/h).

    Returns
    -------
    Dynamics

    Notes
    -----
    Sheiner et al. 1979, Clin Pharmacol Ther 25:358-71.

    Examples
    --------
    >>> effect_site(linear(Drug("x", 1, "iv"))).slope(0.0, [10.0, 1.0], {"x.CL": 1.0, "x.V": 5.0, "x.ke0": 0.5})
    [-2.0, 0.5]
    """
    ke0 = f"{_only(kinetics)}.ke0"
    return _linked(kinetics, "Ce", (ke0,), lambda Ce, conc, par: par[ke0] * (conc - Ce), lambda Ce: Ce)


def turnover(kinetics: Dynamics, action: Action) -> Dynamics:
    """Let the drug act on the turnover of a response R, R' = kin - kout R, whose change from baseline plays Ce.

    With H = Imax conc / (IC50 + conc) or Smax conc / (SC50 + conc)::

        inhibit production    R' = kin (1 - H) - kout R      Ce = R0 - R
        inhibit loss          R' = kin - kout (1 - H) R      Ce = R - R0
        stimulate production  R' = kin (1 + H) - kout R      Ce = R - R0
        stimulate loss        R' = kin - kout (1 + H) R      Ce = R0 - R

    Parameters
    ----------
    kinetics : Dynamics
        Of one drug; adds the parameters kin (response/h), kout (1/h), and Imax (at most 1) and IC50 (mg/L), or Smax
        and SC50. C50 is then in units of the response.
    action : {"inhibit production", "inhibit loss", "stimulate production", "stimulate loss"}

    Returns
    -------
    Dynamics
        Its state is R - R0, R0 = kin / kout, so that without drug it is exactly zero.

    Notes
    -----
    Models I to IV of Dayneka, Garg and Jusko 1993, J Pharmacokinet Biopharm 21:457-78, written for R - R0. Far below
    SC50, stimulation of production is an effect site with ke0 = kout and Ce = conc Smax R0 / SC50.

    Examples
    --------
    >>> turnover(linear(Drug("x", 1, "iv")), "stimulate loss").parameters[-4:]
    ('x.kin', 'x.kout', 'x.Smax', 'x.SC50')
    """
    drug, (verb, what) = _only(kinetics), action.split(" ")
    most, half = ("Imax", "IC50") if verb == "inhibit" else ("Smax", "SC50")
    names = kin, kout, most, half = tuple(f"{drug}.{p}" for p in ("kin", "kout", most, half))
    sign = -1.0 if verb == "inhibit" else 1.0

    def change(shift: Any, conc: Any, par: Par) -> Any:
        effect = sign * par[most] * conc / (par[half] + conc)
        if what == "production":
            return par[kin] * effect - par[kout] * shift
        return -par[kin] * effect - par[kout] * (1.0 + effect) * shift

    rises = action in ("inhibit loss", "stimulate production")
    return _linked(kinetics, "response", names, change, (lambda shift: shift) if rises else (lambda shift: -shift))


def _only(kinetics: Dynamics) -> str:
    if len(kinetics.drugs) != 1:
        raise ValueError(f"link each drug by itself, and put them together then; given {kinetics.drugs}")
    return kinetics.drugs[0]


def _linked(
    kinetics: Dynamics,
    state: str,
    parameters: tuple[str, ...],
    change: Callable[[Any, Any, Par], Any],
    read: Callable[[Any], Any],
) -> Dynamics:
    """Add a state that follows the concentration, `change(state, conc, par)` per h, and read Ce from it."""
    n = len(kinetics.states)

    def slope(t: Any, x: Any, par: Par) -> Rows:
        body = x[:n]
        return [*kinetics.slope(t, body, par), change(x[n], kinetics.conc(body, par)[0], par)]

    def initial(par: Par) -> Rows:
        return [*before, 0.0] if (before := kinetics.initial(par)) else ()

    return replace(
        kinetics,
        states=(*kinetics.states, f"{kinetics.drugs[0]}.{state}"),
        parameters=(*kinetics.parameters, *parameters),
        slope=slope,
        conc=lambda x, par: kinetics.conc(x[:n], par),
        Ce=lambda x, par: [read(x[n])],
        initial=initial,
    )


# -------------------------------------------------------------------------------------------- many drugs


def together(*parts: Dynamics) -> Dynamics:
    """Give several drugs whose kinetics do not touch each other; they meet in the response surface.

    Parameters
    ----------
    *parts : Dynamics
        In the order of the model's drugs.

    Returns
    -------
    Dynamics

    Examples
    --------
    >>> together(linear(Drug("x", 1)), linear(Drug("y", 1, "iv"))).entry
    ('x.depot', 'y.central')
    """
    spans, start = [], 0
    for part in parts:
        spans.append(slice(start, start + len(part.states)))
        start += len(part.states)
    placed = list(zip(parts, spans, strict=True))

    def initial(par: Par) -> Rows:
        return [value for part in parts for value in (part.initial(par) or [0.0] * len(part.states))]

    return Dynamics(
        drugs=sum((part.drugs for part in parts), ()),
        states=sum((part.states for part in parts), ()),
        parameters=sum((part.parameters for part in parts), ()),
        entry=sum((part.entry for part in parts), ()),
        slope=lambda t, x, par: [row for part, span in placed for row in part.slope(t, x[span], par)],
        conc=lambda x, par: [row for part, span in placed for row in part.conc(x[span], par)],
        Ce=lambda x, par: [row for part, span in placed for row in part.Ce(x[span], par)],
        initial=initial,
        duration=sum((part.duration or (None,) * len(part.drugs) for part in parts), ()),
        breaks=sum((part.breaks for part in parts), ()),
    )
