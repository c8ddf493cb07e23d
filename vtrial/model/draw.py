"""Draws of the population parameters: from priors, from a posterior file, or held at a value."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtrial.model.posterior import PRIOR, describe_posterior, read_posterior, source_of
from vtrial.model.prior import Fixed, Uniform, Values
from vtrial.model.record import Model, typical_patient
from vtrial.spec import InputError, nearest

if TYPE_CHECKING:
    import xarray as xr


POSITIVE = frozenset(
    {"A", "GFR", "V", "V2", "V3", "ka", "MTT", "dur", "F", "ke0", "C50", "Km", "kin", "kout", "IC50", "SC50"}
)
NOT_NEGATIVE = frozenset(
    {
        "tlag",
        "CL",
        "CL_HD",
        "CL_CVVH",
        "CL_CAPD",
        "Q",
        "Q3",
        "Vmax",
        "kon",
        "koff",
        "kint",
        "kdeg",
        "R0",
        "Imax",
        "Smax",
    }
)
"""Individual parameters whose sign is known; others are a right-hand side's own."""


def check_fixed(model: Model, fix: Mapping[str, float]) -> list[tuple[str, str]]:
    """Find what is wrong with parameters held at a value.

    Parameters
    ----------
    model : Model
    fix : mapping
        Values in the units of the model.

    Returns
    -------
    list of (name, message)
        Unknown names, values that are not finite, that give a typical patient an impossible parameter (a volume
        of zero, a negative SD), or that break the model's constraint among themselves.

    Examples
    --------
    >>> from vtrial.model import load_model
    >>> check_fixed(load_model("baclofen_pregabalin"), {"baclofen.V": 0.0})
    [('baclofen.V', "given 0: gives 'baclofen.V' = 0 in a typical patient")]
    """
    names = [param.name for param in model.params]
    problems = [(n, f"unknown parameter '{n}'; {nearest(n, names)}") for n in fix if n not in names]
    problems += [(n, f"given {v}: not a finite number") for n, v in fix.items() if n in names and not np.isfinite(v)]
    if problems:
        return problems
    middle = prior_medians(model)
    for name, value in fix.items():
        prior = model.param(name).prior
        # a hard edge of a uniform prior is a judgement, which a modeller may put aside; signs and shares are not
        free = isinstance(prior, Fixed | Uniform)
        low, high = (-np.inf, np.inf) if free else (prior.quantile(np.float64(p)) for p in (0, 1))
        if not low <= value <= high:
            problems.append((name, f"given {value:g}: its prior, {prior}, allows {low:g} to {high:g}"))
            continue
        wrong = _impossible(model, middle | {name: np.float64(value)})
        if "omega" in name and value < 0:
            problems.append((name, f"given {value:g}: an SD is not negative"))
        elif wrong:
            problems.append((name, f"given {value:g}: gives {wrong} in a typical patient"))
    if not problems and fix and not _can_hold(model, fix):
        problems += [(n, "the fixed values contradict the model's constraint") for n in list(fix)[:1]]
    return problems


def prior_medians(model: Model) -> dict[str, Any]:
    """Each parameter at the median of its prior.

    Examples
    --------
    >>> from vtrial.model import load_model
    >>> float(prior_medians(load_model("baclofen_pregabalin"))["alpha"])
    1.5
    """
    return {p.name: p.prior.quantile(np.float64(0.5)) for p in model.params}


def eta_names(model: Model) -> list[str]:
    """Names of the etas, in the order of the model.

    Examples
    --------
    >>> from vtrial.model import load_model
    >>> eta_names(load_model("baclofen_pregabalin"))[:2]
    ['GFR', 'baclofen.CL']
    """
    return list(model.omega(prior_medians(model)))


def dialysed(model: Model) -> list[str]:
    """Names of the clearances by dialysis that the model gives, ``<drug>.CL_HD`` and so on.

    Examples
    --------
    >>> from vtrial.model import load_model
    >>> dialysed(load_model("baclofen_pregabalin"))
    ['baclofen.CL_HD', 'pregabalin.CL_HD']
    """
    given = typical_patient(model, prior_medians(model))
    return [name for name in model.clearances_by_dialysis if name in given]


def following_gfr(model: Model) -> list[str]:
    """Names of the individual parameters, and A, that change with the true GFR.

    Examples
    --------
    >>> from vtrial.model import load_model
    >>> following_gfr(load_model("baclofen_pregabalin"))
    ['baclofen.CL', 'pregabalin.CL', 'A']
    """
    middle = prior_medians(model)
    one, other = (typical_patient(model, middle, CRCL=crcl) for crcl in (90.0, 30.0))
    return [name for name in (*model.individual_parameters, "A") if np.any(one[name] != other[name])]


def _impossible(model: Model, theta: Values) -> str:
    """Name the first parameter of a typical patient that cannot be."""
    with np.errstate(all="ignore"):
        given = typical_patient(model, theta)
    for name, value in given.items():
        if impossible(name, value):
            return f"'{name}' = {float(value):g}"
    return ""


def impossible(name: str, value: Any) -> Any:
    """Whether an individual parameter is not finite, or has a sign that it cannot have.

    Examples
    --------
    >>> impossible("x.V", np.array([30.0, 0.0, np.nan])).tolist()
    [False, True, True]
    """
    kind = name.rsplit(".", 1)[-1]
    least = np.finfo(float).tiny if kind in POSITIVE else 0.0 if kind in NOT_NEGATIVE else -np.inf
    return ~(np.isfinite(value) & (value >= least))


def _can_hold(model: Model, fix: Mapping[str, float]) -> bool:
    """Whether some value of the parameters that are not fixed satisfies the constraint (a thousand are tried)."""
    p = (np.arange(1000) + 0.5) / 1000
    shuffled = {param.name: np.roll(p, 37 * k)[:: (-1) ** k] for k, param in enumerate(model.params)}
    theta = {param.name: param.prior.quantile(shuffled[param.name]) for param in model.params}
    return bool(np.any(model.constraint(theta | {n: np.full(1000, float(v)) for n, v in fix.items()})))


def draw_parameters(
    model: Model,
    draws: int,
    seed: int,
    *,
    posterior: Path | str = PRIOR,
    fix: Mapping[str, float] | None = None,
    median: bool = False,
) -> xr.Dataset:
    """Draw population parameters theta from a posterior file, or from the priors of the model.

    Parameters
    ----------
    model : Model
    draws : int
        Number of draws; a posterior must hold at least as many, and its first ones are taken.
    seed : int
        Seed of the scenario.
    posterior : path or "prior"
        A netCDF file with an ArviZ ``posterior`` group (dims chain and draw) or with plain variables over
        ``draw``, one variable per parameter of the model; by default the priors. `shipped_posterior` finds the file
        that the library holds of a model, `Scenario.parameters` draws what a scenario asks for. Of a model that
        extends another the file is that one's: what the model adds is drawn from its priors, independent of it.
    fix : mapping, optional
        Parameters held at a value: a named assumption, put in place in draws that stay as they are otherwise. Priors
        are independent but for the constraint, and draws that break it are drawn again. A posterior correlates
        parameters: those that it ties to the fixed one are not moved, as a new calibration would move them.
    median : bool
        Hold all others at the median of the prior, or of all draws of the posterior: every draw is the same.

    Returns
    -------
    xarray.Dataset
        ``Draws``: one variable per parameter, dim ``draw``; attribute ``source`` says where they come from, for a
        posterior also ``posterior`` (JSON, from `describe_posterior`).

    Raises
    ------
    InputError
        If the file cannot be read, lacks a parameter, has too few draws or values that are not finite, if the
        medians break the model's constraint, or if `fix` names an unknown parameter.

    Examples
    --------
    >>> from vtrial.model import load_model
    >>> draws = draw_parameters(load_model("baclofen_pregabalin"), 100, seed=1)
    >>> 0.9 < float(draws["baclofen.slope_CLr"].median()) < 1.1
    True
    """
    import xarray as xr  # half a second, and compiled code: neither is needed to check a scenario

    from vtrial.sample import key, uniforms

    fix = dict(fix or {})
    problems = check_fixed(model, fix)
    if problems:
        raise InputError([f"fix: {text}" for _, text in problems])
    attributes = {"source": PRIOR, "model": model.name}
    if posterior != PRIOR:
        described = describe_posterior(Path(posterior))
        attributes |= {"source": source_of(model, posterior), "posterior": json.dumps(described)}

    def uniform(name: str, attempt: int) -> Any:
        return uniforms(key(seed, "theta", name), range(draws), attempt=attempt)[:, 0]

    if median:
        theta = _at_median(model, draws, posterior, fix)
        attributes["source"] += " median"
    elif posterior != PRIOR:
        known = read_posterior(model.calibrated, draws, Path(posterior))
        theta = _put_in_place(fix, model, _draw_prior(model, draws, uniform, known) if model.added else known)
    else:
        theta = _draw_prior(model, draws, uniform, fix)
    variables = {
        p.name: (
            "draw",
            theta[p.name],
            {"units": p.unit, "long_name": p.label, "grade": p.grade, "prior": str(p.prior)},
        )
        for p in model.params
    }
    return xr.Dataset(variables, {"draw": np.arange(draws)}, attributes)


def _put_in_place(fix: Mapping[str, float], model: Model, theta: dict[str, Any]) -> dict[str, Any]:
    """Overwrite parameters in draws of a posterior, which are not those of a posterior given the values."""
    size = len(next(iter(theta.values())))
    theta = theta | {name: np.full(size, float(value)) for name, value in fix.items()}
    broken = np.count_nonzero(~np.broadcast_to(np.asarray(model.constraint(theta)), size))
    if broken:
        given = ", ".join(f"{name} {value:g}" for name, value in fix.items())
        text = f"fix: {given} breaks the constraint of {model.name} in {broken:,} of {size:,} draws of the posterior"
        raise InputError([f"{text}: choose another value, or calibrate a model that holds it"])
    return theta


def _at_median(model: Model, draws: int, posterior: Path | str, fix: Mapping[str, float]) -> dict[str, Any]:
    if posterior == PRIOR:
        middle = prior_medians(model)
    else:
        known = read_posterior(model.calibrated, None, Path(posterior))
        middle = prior_medians(model) | {name: np.median(values) for name, values in known.items()}
    theta = {name: np.full(draws, float(value)) for name, value in (middle | dict(fix)).items()}
    if not np.all(model.constraint(theta)):
        raise InputError([f"the medians of the parameters break the constraint of {model.name}: fix some of them"])
    return theta


def _draw_prior(
    model: Model, draws: int, uniform: Callable[[str, int], Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Draws of the priors that meet the constraint, beside parameters that are given: a value, or one a draw."""

    def attempt(number: int) -> dict[str, Any]:
        free = [p for p in model.params if p.name not in given]
        drawn = {p.name: np.asarray(p.prior.quantile(uniform(p.name, number)), float) for p in free}
        return drawn | {name: np.full(draws, value, float) for name, value in given.items()}

    theta = attempt(0)
    for number in range(1, 200):
        broken = ~np.broadcast_to(np.asarray(model.constraint(theta)), draws)
        if not broken.any():
            return theta
        again = attempt(number)
        theta = {name: np.where(broken, again[name], value) for name, value in theta.items()}
    raise InputError(
        [f"fix: no draw of the prior satisfies the constraint of {model.name}: the fixed values contradict it"]
    )
