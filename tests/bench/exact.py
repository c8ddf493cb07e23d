"""The oracle of `accuracy`: one patient's trajectory by the matrix exponential, from event to event.

The equations are written down again here, from the words of `vtrial.model.Drug`, and share no code with the package:
amounts of all drugs, rates of inputs, concentrations at the effect sites, and areas under the concentrations are one
linear system x' = M x, in units of their own. Between two events x(t) = expm(M t) x(0) (scipy.linalg.expm).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.linalg import block_diag, expm
from scipy.optimize import minimize_scalar

from vtrial.model import Drug

type Array = NDArray[np.float64]

FINEST = 1 / 200
"""Distance in h at which a trajectory is laid out before its maxima are searched."""
BEST = 12
"""How many of the highest points of that lay-out are searched."""


@dataclass(frozen=True)
class Patient:
    """Who is exposed: parameters, regimens (time, amt, and tinf for infusions) per drug, sedation, ends of windows."""

    drugs: tuple[Drug, ...]
    par: Mapping[str, float]
    regimens: tuple[tuple[Array, ...], ...]
    windows: tuple[float, ...] = (24.0, 72.0)
    A: float = 1.7
    alpha: float = 1.5
    fold: float = 1.8
    t_half: float = 60.0


@dataclass(frozen=True)
class Peak:
    """A maximum, and the times in h at which it is reached but for one part in 1e10."""

    value: float
    times: tuple[float, ...]


@dataclass(frozen=True)
class Exact:
    """States per drug: absorption chain or rate of input, central and peripheral compartments, Ce, area."""

    patient: Patient

    @cached_property
    def matrix(self) -> Array:
        return block_diag(*(_matrix(drug, self.patient.par) for drug in self.patient.drugs))

    @cached_property
    def central(self) -> Array:
        """Number of each drug's central state; its Ce and area are the last two of the drug."""
        sizes = [len(_matrix(drug, self.patient.par)) for drug in self.patient.drugs]
        firsts = np.cumsum([0, *sizes[:-1]])
        return firsts + [drug.transit + 1 for drug in self.patient.drugs]

    @cached_property
    def effect(self) -> Array:
        return self.central + [drug.compartments for drug in self.patient.drugs]

    @cached_property
    def volume(self) -> Array:
        return np.array([self.patient.par[f"{drug.name}.V"] for drug in self.patient.drugs])

    @cached_property
    def legs(self) -> list[tuple[float, float, Array]]:
        """Begin, end, and states at the beginning, of all stretches between events and ends of windows."""
        arriving = [
            (time, first + state, amount)
            for drug, regimen, first in zip(
                self.patient.drugs, self.patient.regimens, self.central - [d.transit + 1 for d in self.patient.drugs],
                strict=True,
            )
            for time, state, amount in _arrivals(drug, self.patient.par, regimen)
        ]  # fmt: skip
        last, x, legs = self.patient.windows[-1], np.zeros(len(self.matrix)), []
        stops = {0.0, *self.patient.windows, *(time for time, _, _ in arriving if time < last)}
        over = dict[float, Array]()
        for begin, end in pairwise(sorted(stops)):
            x = x.copy()
            for time, state, amount in arriving:
                if time == begin:
                    x[state] += amount
            legs.append((begin, end, x))
            if end - begin not in over:
                over[end - begin] = exponential(self.matrix * (end - begin))
            x = over[end - begin] @ x
        return legs

    def states(self, time: float) -> Array:
        """At one time; at an event, just after it."""
        begin, _, x = [leg for leg in self.legs if leg[0] <= time][-1]
        return exponential(self.matrix * (time - begin)) @ x

    def conc(self, x: Array) -> Array:
        """Concentrations, mg/L, of states (..., state)."""
        return x[..., self.central] / self.volume

    def drive(self, x: Array, time: Array | float) -> Array:
        """A U / Tol by the equations of models/evidence/sedation.yaml, of up to two drugs."""
        who = self.patient
        u = x[..., self.effect] / np.array([who.par[f"{drug.name}.C50"] for drug in who.drugs])
        both = who.alpha * u.prod(-1) if len(who.drugs) == 2 else 0.0
        return who.A * (u.sum(-1) + both) / (1 + (who.fold - 1) * (1 - np.exp2(-np.asarray(time) / who.t_half)))

    def auc(self, window: float) -> Array:
        begin, end, x = [leg for leg in self.legs if leg[1] <= window][-1]
        return (exponential(self.matrix * (end - begin)) @ x)[self.effect + 1]

    @cached_property
    def laid_out(self) -> tuple[Array, Array, Array]:
        """Times, states, and number of the leg; both ends of each leg are there, its end before what comes then."""
        length = max(end - begin for begin, end, _ in self.legs)
        powers = _powers(self.matrix, int(np.ceil(length / FINEST)))
        times, states, numbers = [], [], []
        for number, (begin, end, x) in enumerate(self.legs):
            count = int(np.ceil((end - begin) / FINEST - 1e-9))
            times += [begin + FINEST * np.arange(count), [end]]
            states += [powers[:count] @ x, (exponential(self.matrix * (end - begin)) @ x)[None]]
            numbers.append(np.full(count + 1, number))
        return np.concatenate(times), np.concatenate(states), np.concatenate(numbers)

    def highest(self, look: Callable[[Array, Array | float], Array], window: float) -> Peak:
        """Maximum of the continuous `look(states, time)`: the highest points, and a bounded search around each."""
        times, states, numbers = self.laid_out
        inside = times <= window
        values = look(states, times)[inside]
        found = [(float(values.max()), float(times[values.argmax()]))]
        padded = np.concatenate([[-np.inf], values, [-np.inf]])
        tops = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
        for j in tops[np.argsort(values[tops])][-BEST:]:
            begin, end, x = self.legs[numbers[inside][j]]
            low, high = max(begin, times[j] - FINEST), min(end, window, times[j] + FINEST)
            if low >= high:
                continue
            near = _series(self.matrix, exponential(self.matrix * (low - begin)) @ x)
            top = minimize_scalar(
                lambda t, low=low, near=near: -look((t - low) ** np.arange(len(near)) @ near, t),
                bounds=(low, high), method="bounded", options={"xatol": 1e-10},
            )  # fmt: skip
            found += [(-float(top.fun), float(top.x)), (float(values[j]), float(times[j]))]
        best = max(value for value, _ in found)
        return Peak(best, tuple(time for value, time in found if value >= best * (1 - 1e-10)))

    def cmax(self, d: int, window: float) -> Peak:
        return self.highest(lambda x, _: self.conc(x)[..., d], window)

    def peak(self, window: float) -> Peak:
        return self.highest(self.drive, window)

    def by_ode(self, times: Sequence[float]) -> Array:
        """States at some times by DOP853, leg by leg: what checks the exponentials."""
        out = []
        for time in times:
            begin, _, x = [leg for leg in self.legs if leg[0] <= time][-1]
            if time > begin:
                run = solve_ivp(lambda _, x: self.matrix @ x, (begin, time), x, method="DOP853", rtol=1e-12, atol=1e-14)
                x = run.y[:, -1]
            out.append(x)
        return np.array(out)


def exponential(matrix: Array) -> Array:
    """expm(M), states in another order: that of a triangular matrix, scipy takes apart rate by rate, and near ties
    of rates then cost digits; no order of compartments is triangular that begins with an area."""
    turned = np.roll(matrix, (1, 1), (0, 1))
    return np.roll(expm(turned), (-1, -1), (0, 1))


def disposition(drug: Drug, par: Mapping[str, float]) -> Array:
    """Rates of disposition in 1/h, fastest first."""
    flows = _matrix(drug, par)
    body = slice(drug.transit + 1, drug.transit + 1 + drug.compartments)
    return np.sort(-np.linalg.eigvals(flows[body, body]).real)[::-1]


def _matrix(drug: Drug, par: Mapping[str, float]) -> Array:
    """One drug's system."""
    get = {name.split(".")[1]: par[name] for name in drug.parameters}
    chain, n = drug.transit + 1, drug.transit + 1 + drug.compartments
    M = np.zeros((n + 2, n + 2))
    for j in range(drug.transit):
        M[j, j] -= chain / get["MTT"]
        M[j + 1, j] += chain / get["MTT"]
    if "ka" in get:
        M[chain - 1, chain - 1] -= get["ka"]
        M[chain, chain - 1] += get["ka"]
    else:  # the first state is a rate of input, mg/h
        M[chain, 0] = 1.0
    M[chain, chain] -= get["CL"] / get["V"]
    for j, (Q, V) in enumerate((("Q", "V2"), ("Q3", "V3"))[: drug.compartments - 1], chain + 1):
        M[[chain, j], chain] += np.array([-1, 1]) * get[Q] / get["V"]
        M[[j, chain], j] += np.array([-1, 1]) * get[Q] / get[V]
    M[n, chain], M[n, n] = get["ke0"] / get["V"], -get["ke0"]
    M[n + 1, chain] = 1 / get["V"]
    return M


def _arrivals(drug: Drug, par: Mapping[str, float], regimen: tuple[Array, ...]) -> list[tuple[float, int, float]]:
    """Time, state and amount (or change of rate) of all that comes in."""
    get = {name.split(".")[1]: par[name] for name in drug.parameters}
    tinf = regimen[2] if len(regimen) > 2 else np.zeros(len(regimen[0]))
    found = []
    for time, amt, own in zip(regimen[0], regimen[1], tinf, strict=True):
        arrives, amount = float(time + get["tlag"]), float(amt * get["F"])
        lasts = get.get("dur", float(own))
        if drug.absorption in ("zero_order", "iv") and lasts > 0:
            found += [(arrives, 0, amount / lasts), (float(time + lasts + get["tlag"]), 0, -amount / lasts)]
        else:
            found.append((arrives, drug.transit + 1 if drug.absorption == "iv" else 0, amount))
    return found


def _powers(matrix: Array, count: int) -> Array:
    """exponential(M j FINEST) for j = 0, 1, ..., at least `count` of them, each a product of few exponentials."""
    powers = np.eye(len(matrix))[None]
    while len(powers) < count:
        powers = np.concatenate([powers, exponential(matrix * (FINEST * len(powers))) @ powers])
    return powers


def _series(matrix: Array, x: Array) -> Array:
    """Coefficients of the Taylor series of expm(M t) x, enough of them for rates of 200 /h over 1/100 h."""
    terms = [x]
    for k in range(1, 36):
        terms.append(matrix @ terms[-1] / k)
    return np.array(terms)
