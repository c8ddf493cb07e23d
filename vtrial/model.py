"""What a file in `models/` defines: drugs, parameters with their evidence, and a few pure functions.

A model file holds one `MODEL` record. Its functions use operators and smooth NumPy ufuncs only, so that the
same lines run on arrays of virtual patients and, for calibration, inside a PyMC model.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import betaincinv, expit, logit, ndtr, ndtri

from vtrial.library import MODELS
from vtrial.spec import InputError, Problem, nearest, read_yaml

if TYPE_CHECKING:
    import xarray as xr

type Values = Mapping[str, Any]
"""Named numbers or arrays that broadcast against each other."""

type Surface = Literal["greco", "loewe", "bliss"]
"""Response surface: product term alpha on top of additivity; additivity; independent action."""

GRADES = ("A", "A2", "D", "B")
"""Grades of evidence, strongest first: seen verbatim; seen on a secondary page; derived; recalled or assumed."""


def lesser(a: Any, b: Any) -> Any:
    """Smaller of two numbers, by operators that NumPy, xarray and PyTensor share (`np.minimum` is not one).

    Examples
    --------
    >>> lesser(3.0, 5.0), greater(3.0, 5.0)
    (3.0, 5.0)
    """
    return 0.5 * (a + b - abs(a - b))


def greater(a: Any, b: Any) -> Any:
    """Larger of two numbers; see `lesser`."""
    return 0.5 * (a + b + abs(a - b))


# -------------------------------------------------------------------------------------------- priors


@dataclass(frozen=True)
class LogNormal:
    """Log-normal prior, optionally truncated above; `sdlog` is the SD of the logarithm."""

    median: float
    sdlog: float
    upper: float = float("inf")

    def quantile(self, p: Any) -> Any:
        inside = ndtr(np.log(self.upper / self.median) / self.sdlog)
        return self.median * np.exp(self.sdlog * ndtri(p * inside))

    def __str__(self) -> str:
        bound = f", below {self.upper:g}" if np.isfinite(self.upper) else ""
        return f"log-normal(median {self.median:g}, SD of log {self.sdlog:g}{bound})"


@dataclass(frozen=True)
class Normal:
    """Normal prior."""

    mean: float
    sd: float

    def quantile(self, p: Any) -> Any:
        return self.mean + self.sd * ndtri(p)

    def __str__(self) -> str:
        return f"normal({self.mean:g}, SD {self.sd:g})"


@dataclass(frozen=True)
class HalfNormal:
    """Absolute value of a normal variable of mean zero and SD `scale`."""

    scale: float

    def quantile(self, p: Any) -> Any:
        return self.scale * ndtri(0.5 + 0.5 * p)

    def __str__(self) -> str:
        return f"half-normal(scale {self.scale:g})"


@dataclass(frozen=True)
class Beta:
    """Beta prior."""

    a: float
    b: float

    def quantile(self, p: Any) -> Any:
        return betaincinv(self.a, self.b, p)

    def __str__(self) -> str:
        return f"beta({self.a:g}, {self.b:g})"


@dataclass(frozen=True)
class Uniform:
    """Uniform prior."""

    low: float
    high: float

    def quantile(self, p: Any) -> Any:
        return self.low + (self.high - self.low) * p

    def __str__(self) -> str:
        return f"uniform({self.low:g}, {self.high:g})"


@dataclass(frozen=True)
class Fixed:
    """A number taken as known; what it hides belongs in the model's limits."""

    value: float

    def quantile(self, p: Any) -> Any:
        return np.full_like(p, self.value)

    def __str__(self) -> str:
        return f"fixed {self.value:g}"


type Prior = LogNormal | Normal | HalfNormal | Beta | Uniform | Fixed


# ------------------------------------------------------------------------------------------- records


@dataclass(frozen=True)
class Param:
    """One population parameter: its prior, unit, meaning, and the evidence it rests on.

    Parameters
    ----------
    name : str
        Name in theta, e.g. ``"baclofen.slope_CLr"``.
    prior : Prior
        Uncertainty of the parameter itself, not between patients.
    unit, label : str
        Unit of the number, and what it is.
    rows : tuple of str
        Rows of the files in `models/evidence/` (``pk:`` or ``pd:`` and the row's id).
    grade : str
        Grade of the weakest input.
    """

    name: str
    prior: Prior
    unit: str
    label: str
    rows: tuple[str, ...]
    grade: str

    def __post_init__(self) -> None:
        if self.grade not in GRADES:
            raise ValueError(f"{self.name}: grade {self.grade!r} is none of {GRADES}")


@dataclass(frozen=True)
class Drug:
    """A drug with linear kinetics: first-order absorption with lag, one or two compartments, an effect site.

    Individual parameters are named ``<drug>.CL`` and so on: CL, V, ka, tlag, F, ke0, C50; Q and V2 with two
    compartments.
    """

    name: str
    compartments: Literal[1, 2]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the individual parameters that the model must give."""
        peripheral = ("Q", "V2") if self.compartments == 2 else ()
        return tuple(f"{self.name}.{p}" for p in ("CL", "V", *peripheral, "ka", "tlag", "F", "ke0", "C50"))


@dataclass(frozen=True)
class Model:
    """A population PK/PD model of sedation.

    Parameters
    ----------
    name, title, description : str
        Name of the file, one line, and the header of the file.
    drugs : tuple of Drug
    params : tuple of Param
        Population parameters theta.
    covariates : tuple of str
        Covariates that `typical` reads.
    typical : callable
        ``typical(theta, cov) -> dict`` of the parameters of a typical patient (all etas zero).
    omega : callable
        ``omega(theta) -> dict`` of the SD of each eta, named as the parameter it acts on.
    logit : tuple of str
        Parameters whose eta acts on the logit; all others are log-normal.
    correlation : mapping of (str, str) to float
        Correlations of etas; independent where none is named.
    constraint : callable
        ``constraint(theta) -> bool array``: draws of the prior that break it are drawn again.
    limits : tuple of str
        What the model cannot know, in sentences for the report.
    """

    name: str
    title: str
    drugs: tuple[Drug, ...]
    params: tuple[Param, ...]
    covariates: tuple[str, ...]
    typical: Callable[[Values, Values], dict[str, Any]]
    omega: Callable[[Values], dict[str, Any]]
    constraint: Callable[[Values], Any]
    levels: tuple[str, ...]
    limits: tuple[str, ...]
    logit: tuple[str, ...] = ()
    correlation: Mapping[tuple[str, str], float] = field(default_factory=dict)
    description: str = ""
    sha256: str = ""

    def param(self, name: str) -> Param:
        """Return the population parameter of that name."""
        return next(p for p in self.params if p.name == name)


def individual(model: Model, theta: Values, cov: Values, z: Values) -> dict[str, Any]:
    """Turn population parameters, covariates and standard normal deviations into a patient's parameters.

    Parameters
    ----------
    model : Model
    theta, cov : mapping
        Population parameters and covariates that broadcast, e.g. (draw, 1) and (draw, patient).
    z : mapping
        Standard normal deviations, named as in ``model.omega(theta)``; a missing one means a typical patient.

    Returns
    -------
    dict
        Individual parameters, and ``GFR``, the true one in mL/min: CRCL * exp(eta_GFR).
    """
    omega = model.omega(theta)
    gfr = _deviate(cov["CRCL"], "GFR", omega, z, model.logit)
    typical = model.typical(theta, {**cov, "GFR": gfr})
    return {"GFR": gfr} | {name: _deviate(value, name, omega, z, model.logit) for name, value in typical.items()}


def _deviate(value: Any, name: str, omega: Values, z: Values, on_logit: tuple[str, ...]) -> Any:
    if name not in z:
        return value
    eta = omega[name] * z[name]
    return expit(logit(value) + eta) if name in on_logit else value * np.exp(eta)


# ------------------------------------------------------------------------------------------- loading


def model_names() -> list[str]:
    """Names of the models that the library holds."""
    return sorted(path.stem for path in MODELS.glob("*.py"))


@cache
def load_model(name: str) -> Model:
    """Load a model of the library by name, and try it on one typical patient.

    Parameters
    ----------
    name : str
        A name from `model_names`, never a path.

    Raises
    ------
    InputError
        If there is no such model, or its file does not define a usable `MODEL`.

    Examples
    --------
    >>> [drug.name for drug in load_model("baclofen_pregabalin").drugs]
    ['baclofen', 'pregabalin']
    """
    if name not in model_names():
        raise InputError([f"unknown model '{name}'; {nearest(name, model_names())}"])
    path = MODELS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"vtrial_model_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = getattr(module, "MODEL", None)
    if not isinstance(model, Model):
        raise InputError([Problem("the file defines no MODEL", file=path)])
    problems = _dry_run(model)
    if problems:
        raise InputError([Problem(text, file=path) for text in problems])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    description = (module.__doc__ or "").strip()
    return Model(**{**vars(model), "sha256": digest, "description": description})


def _dry_run(model: Model) -> list[str]:
    theta = {p.name: p.prior.quantile(np.float64(0.5)) for p in model.params}
    cov = dict.fromkeys(model.covariates, np.float64(50.0)) | {"CRCL": np.float64(90.0)}
    omega = model.omega(theta)
    given = individual(model, theta, cov, dict.fromkeys(omega, np.float64(0.0)))
    wanted = {name for drug in model.drugs for name in drug.parameters} | {"A"}
    problems = [f"typical() gives no '{name}'" for name in sorted(wanted - set(given))]
    problems += [f"omega() names '{name}', which typical() does not give" for name in sorted(set(omega) - set(given))]
    problems += [f"'{name}' is not finite" for name in sorted(given) if not np.all(np.isfinite(given[name]))]
    return problems


EVIDENCE = {"pk": "pk.yaml", "pd": "pd.yaml"}
"""File in `models/evidence/` for each prefix of a row's name."""


def evidence_rows(model: Model) -> dict[str, dict[str, Any]]:
    """Look up the rows that the parameters of a model rest on.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict
        By row name (``"pk:1.02"``): quantity, value, unit, source, grade.

    Raises
    ------
    InputError
        If the model names a row that its evidence does not hold.
    """
    named = {row for param in model.params for row in param.rows}
    found, problems = {}, []
    for prefix, file in EVIDENCE.items():
        wanted = {row.split(":", 1)[1] for row in named if row.startswith(f"{prefix}:")}
        document = read_yaml(MODELS / "evidence" / file)
        rows = {str(row["id"]): row for row in document.data["rows"]}
        for name in sorted(wanted):
            if name not in rows:
                problems.append(
                    Problem(f"model {model.name} names row '{name}'; {nearest(name, rows)}", file=document.file)
                )
                continue
            row = rows[name]
            found[f"{prefix}:{name}"] = {key: str(row[key]) for key in ("quantity", "value", "unit", "source")} | {
                "grade": row["confidence"]
            }
    if problems:
        raise InputError(problems)
    return found


# --------------------------------------------------------------------------------------------- draws


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
    >>> check_fixed(load_model("baclofen_pregabalin"), {"baclofen.V": 0.0})
    [('baclofen.V', "given 0: gives 'baclofen.V' = 0 in a typical patient")]
    """
    names = [param.name for param in model.params]
    problems = [(n, f"unknown parameter '{n}'; {nearest(n, names)}") for n in fix if n not in names]
    problems += [(n, f"given {v}: not a finite number") for n, v in fix.items() if n in names and not np.isfinite(v)]
    if problems:
        return problems
    middle = {p.name: p.prior.quantile(np.float64(0.5)) for p in model.params}
    for name, value in fix.items():
        low = model.param(name).prior.quantile(np.float64(1e-300)) if "omega" in name else -np.inf
        wrong = _impossible(model, middle | {name: np.float64(value)})
        if value < min(low, 0.0) or wrong:
            problems.append(
                (name, f"given {value:g}: gives {wrong or 'a negative SD'}" + " in a typical patient" * bool(wrong))
            )
    if not problems and fix and not _can_hold(model, fix):
        problems += [(n, "the fixed values contradict the model's constraint") for n in list(fix)[:1]]
    return problems


def _impossible(model: Model, theta: Values) -> str:
    """Name the first parameter of a typical patient that cannot be."""
    cov = dict.fromkeys(model.covariates, np.float64(50.0)) | {"CRCL": np.float64(90.0)}
    with np.errstate(all="ignore"):
        given = individual(model, theta, cov, {})
    zero_allowed = ("tlag", "CL", "Q")
    for name, value in given.items():
        least = 0.0 if name.rsplit(".", 1)[-1] in zero_allowed else np.finfo(float).tiny
        if not (np.isfinite(value) and value >= least):
            return f"'{name}' = {float(value):g}"
    return ""


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
    posterior: Path | str | None = None,
    fix: Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Draw population parameters theta from a posterior file, or from the priors of the model.

    Parameters
    ----------
    model : Model
    draws : int
        Number of draws; a posterior must hold at least as many, and its first ones are taken.
    seed : int
        Seed of the scenario.
    posterior : path, optional
        A netCDF file with an ArviZ ``posterior`` group (dims chain and draw) or with plain variables over
        ``draw``; one variable per parameter of the model.
    fix : mapping, optional
        Parameters held at a value: a named assumption.

    Returns
    -------
    xarray.Dataset
        ``Draws``: one variable per parameter, dim ``draw``; attribute ``source`` says where they come from.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a parameter, has too few draws or values that are not finite, or
        `fix` names an unknown parameter.

    Examples
    --------
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
    if posterior is not None:
        theta, source = _read_posterior(model, draws, Path(posterior)), f"posterior {Path(posterior).name}"
    else:
        theta, source = (
            _draw_prior(model, draws, lambda n, a: uniforms(key(seed, "theta", n), range(draws), attempt=a)[:, 0], fix),
            "prior",
        )
    theta |= {name: np.full(draws, float(value)) for name, value in fix.items()}
    variables = {
        p.name: (
            "draw",
            theta[p.name],
            {"units": p.unit, "long_name": p.label, "grade": p.grade, "prior": str(p.prior)},
        )
        for p in model.params
    }
    return xr.Dataset(variables, {"draw": np.arange(draws)}, {"source": source, "model": model.name})


def _draw_prior(
    model: Model, draws: int, uniform: Callable[[str, int], Any], fix: Mapping[str, float]
) -> dict[str, Any]:
    def attempt(number: int) -> dict[str, Any]:
        drawn = {p.name: np.asarray(p.prior.quantile(uniform(p.name, number)), float) for p in model.params}
        return drawn | {name: np.full(draws, float(value)) for name, value in fix.items()}

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


def _read_posterior(model: Model, draws: int, path: Path) -> dict[str, Any]:
    import xarray as xr

    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            data = (tree["posterior"] if "posterior" in tree.children else tree).to_dataset().load()
    except Exception as error:  # h5py and xarray raise many kinds for what is not a netCDF file
        raise InputError([Problem(f"not a readable posterior ({type(error).__name__})", file=path)]) from None
    if "chain" in data.dims:
        data = data.stack(sample=("draw", "chain"))  # so that the first draws are of all chains
    problems, theta = [], {}
    for param in model.params:
        values = np.asarray(data[param.name], float) if param.name in data else None
        if values is None and not isinstance(param.prior, Fixed):
            problems.append(Problem(f"no parameter '{param.name}' of model {model.name}", file=path))
        elif values is None:
            theta[param.name] = param.prior.quantile(np.full(draws, 0.5))
        elif values.ndim != 1 or len(values) < draws:
            problems.append(Problem(f"'{param.name}' has shape {values.shape}, fewer than {draws} draws", file=path))
        elif not np.isfinite(values[:draws]).all():
            problems.append(Problem(f"'{param.name}' has values that are not finite", file=path))
        else:
            theta[param.name] = values[:draws]
    if not problems and not np.all(model.constraint(theta)):
        problems.append(Problem(f"draws break the constraint of model {model.name}", file=path))
    if problems:
        raise InputError(problems)
    return theta
