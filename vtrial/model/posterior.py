"""Posterior files: which belongs to a model, its draws, its marginals, and what it says of itself.

A calibration writes the groups ``posterior`` (chain, draw) and ``diagnostics`` (by parameter), and in its attributes
the sha256 of the model file and of the evidence that it was made from. Files made elsewhere need the draws alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vtrial.library import MODELS
from vtrial.model.prior import Fixed
from vtrial.model.record import Model
from vtrial.problem import InputError, Problem

if TYPE_CHECKING:
    import xarray as xr

PRIOR: Final = "prior"
"""The word for no posterior: draws from the priors of the model."""
SIMULATES: Final = "log-normal"
"""The distribution of sensitivity that simulates; a calibration may try others."""
RHAT_LIMIT, ESS_LIMIT = 1.01, 400
"""R-hat from which, and effective sample size up to which, a posterior is in doubt (Vehtari et al. 2021, Bayesian
Anal 16:667-718)."""


def posterior_path(model: Model) -> Path:
    """Where the posterior of a model lies, or of the one that it extends, whether or not it is there."""
    return MODELS / "posteriors" / f"{model.calibrated.name}.nc"


def source_of(model: Model, path: Path | str) -> str:
    """Where draws of the parameters come from, in words.

    Parameters
    ----------
    model : Model
    path : path or "prior"

    Examples
    --------
    >>> from vtrial.model import load_model
    >>> source_of(load_model("baclofen_pregabalin"), "mine/again.nc")
    'posterior again.nc'
    >>> source_of(load_model("other_depressants"), "mine/again.nc")
    'posterior again.nc, for what other_depressants adds the prior'
    """
    if path == PRIOR:
        return PRIOR
    return f"posterior {Path(path).name}" + (f", for what {model.name} adds the prior" if model.added else "")


def belongings(model: Model) -> dict[str, str]:
    """What a posterior must agree with: sha256 of the model file and of the evidence it was calibrated on.

    Those of the calibrated model, where the model extends another.
    """
    model = model.calibrated
    evidence = MODELS / "calibration" / f"{model.name}.yaml"
    digest = hashlib.sha256(evidence.read_bytes()).hexdigest() if evidence.exists() else ""
    return {"model_sha256": model.sha256, "evidence_sha256": digest}


def shipped_posterior(model: Model) -> Path | None:
    """Find the posterior that the library holds of a model, or of the one that it extends.

    Parameters
    ----------
    model : Model

    Returns
    -------
    Path or None
        None if the library holds none.

    Raises
    ------
    InputError
        If it cannot be read, or was made from another model file or other evidence.
    """
    path = posterior_path(model)
    if not path.exists():
        return None
    made_from, _ = _summary(path)
    names = {"model_sha256": "another model file", "evidence_sha256": "other evidence"}
    changed = [names[key] for key, digest in belongings(model).items() if made_from.get(key) != digest]
    if changed:
        name = model.calibrated.name
        text = f"made from {' and '.join(changed)} than the library holds of {name}"
        todo = f"calibrate again (vtrial calibrate {name}), or take the priors (model.draws_from: prior)"
        raise InputError([Problem(f"{text}: {todo}", file=path)])
    return path


def check_draws(path: Path, draws: int) -> None:
    """Refuse a posterior that holds too few draws, as an `InputError`."""
    _, held = _summary(path)
    if held < draws:
        text = f"holds {held:,} draws of the parameters, {draws:,} are asked for: ask for fewer (simulation.draws)"
        raise InputError([Problem(text, file=path)])


# --------------------------------------------------------------------------------------------- what a file holds


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # h5py and xarray raise many kinds for what is not a netCDF file
        missing = isinstance(error, FileNotFoundError)
        reason = "no such file; the word prior takes the priors" if missing else type(error).__name__
        raise InputError([Problem(f"not a readable posterior ({reason})", file=path)]) from None


def _summary(path: Path) -> tuple[dict[str, Any], int]:
    """Attributes of a posterior file and its number of draws in all chains, read without xarray: a check is quick."""
    import h5py

    with _reading(path), h5py.File(path, "r") as file:
        group: Any = file.get("posterior", file)
        return dict(file.attrs), math.prod(len(group[name]) for name in ("chain", "draw") if name in group)


def open_posterior(path: Path) -> xr.DataTree:
    """All groups of a posterior file, not to be changed; an `InputError` if it cannot be read."""
    with _reading(path):
        stamp = path.stat()
        return _opened(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=1)
def _opened(path: Path, changed: int, size: int) -> xr.DataTree:
    """The file as it was then, once: a run asks for its draws under each assumption that it varies."""
    import xarray as xr

    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return tree.load()


def _draws(tree: xr.DataTree) -> xr.Dataset:
    return (tree["posterior"] if "posterior" in tree.children else tree).to_dataset()


def read_posterior(model: Model, draws: int | None, path: Path) -> dict[str, Any]:
    """Read the first draws of a posterior, those of all chains in turn.

    Parameters
    ----------
    model : Model
    draws : int or None
        How many; all if None.
    path : Path

    Returns
    -------
    dict
        Values of each parameter of the model; one that the model fixes need not be in the file.

    Raises
    ------
    InputError
        If the file cannot be read, is of another sensitivity than simulates, holds too few draws, lacks a parameter,
        or has values that are not finite or break the model's constraint.
    """
    tree = open_posterior(path)
    sensitivity = tree.attrs.get("sensitivity", SIMULATES)
    if sensitivity != SIMULATES:
        text = f"calibrated for a sensitivity that is '{sensitivity}', and {SIMULATES} is what simulates"
        raise InputError([Problem(f"{text}: it is for vtrial criticise --refit", file=path)])
    data = _draws(tree)
    if "chain" in data.dims:
        data = data.stack(sample=("draw", "chain"))  # so that the first draws are of all chains
    size = max((values.size for values in data.data_vars.values() if values.ndim == 1), default=0)
    least = draws or 1
    check_draws(path, least)
    problems, theta = [], {}
    for param in model.params:
        values = np.asarray(data[param.name], float) if param.name in data else None
        if values is None and not isinstance(param.prior, Fixed):
            problems.append(Problem(f"no parameter '{param.name}' of model {model.name}", file=path))
        elif values is None:
            theta[param.name] = param.prior.quantile(np.full(least, 0.5))
        elif values.shape != (size,):
            problems.append(Problem(f"'{param.name}' has shape {values.shape}, not one value a draw", file=path))
        elif not np.isfinite(values[:draws]).all():
            problems.append(Problem(f"'{param.name}' has values that are not finite", file=path))
        else:
            theta[param.name] = values[:draws]
    if not problems and not np.all(model.constraint(theta)):
        problems.append(Problem(f"draws break the constraint of model {model.name}", file=path))
    if problems:
        raise InputError(problems)
    return theta


def describe_posterior(path: Path) -> dict[str, Any]:
    """What a posterior file says of itself.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict
        ``file`` and ``sha256``; as far as the file tells them ``model``, ``held`` (JSON: parameters held at a value),
        ``without`` (JSON: targets of the evidence left out), ``sensitivity``, ``model_sha256``, ``evidence_sha256``,
        ``seed``, ``sampler`` and ``versions`` (JSON),
        ``worst_rhat``, ``least_ess`` (bulk or tail) and ``divergences``.
    """
    tree = open_posterior(path)
    told = ("model", "held", "without", "sensitivity", "model_sha256", "evidence_sha256", "seed", "sampler", "versions")
    found: dict[str, Any] = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    for name in told:
        if name in tree.attrs:
            value = tree.attrs[name]
            found[name] = value if isinstance(value, str) else int(value)
    if "diagnostics" in tree.children:
        table = tree["diagnostics"].to_dataset()
        found["worst_rhat"] = float(table["rhat"].max(skipna=False))
        found["least_ess"] = float(min(table[name].min(skipna=False) for name in ("ess_bulk", "ess_tail")))
        found["divergences"] = int(table.attrs["divergences"])
    return found


def otherwise(described: Mapping[str, Any]) -> str:
    """What a posterior was calibrated for that is not the posterior of its model.

    Parameters
    ----------
    described : mapping
        From `describe_posterior`.

    Returns
    -------
    str
        Empty if nothing.

    Examples
    --------
    >>> otherwise({"sensitivity": "Student-t", "held": '{"alpha": 0.0}', "without": '["C5"]'})
    'S Student-t, alpha = 0, without C5'
    """
    sensitivity = described.get("sensitivity", SIMULATES)
    parts = [] if sensitivity == SIMULATES else [f"S {sensitivity}"]
    parts += [f"{name} = {value:g}" for name, value in json.loads(described.get("held", "{}")).items()]
    parts += [f"without {target}" for target in json.loads(described.get("without", "[]"))]
    return ", ".join(parts)


def doubts(described: Mapping[str, Any]) -> list[str]:
    """Why the draws of a posterior may not be those of its model.

    Parameters
    ----------
    described : mapping
        From `describe_posterior`.

    Returns
    -------
    list of str
        One for each diagnostic that is beyond its limit; none if the file has no diagnostics.

    Examples
    --------
    >>> doubts({"worst_rhat": 1.02, "least_ess": 800.0, "divergences": 0})
    ['the chains disagree: R-hat is up to 1.020, 1.01 or more']
    """
    if "worst_rhat" not in described:
        return []
    rhat, ess, divergences = (described[name] for name in ("worst_rhat", "least_ess", "divergences"))
    found = [] if rhat < RHAT_LIMIT else [f"the chains disagree: R-hat is up to {rhat:.3f}, {RHAT_LIMIT} or more"]
    if not ess > ESS_LIMIT:
        found.append(f"the draws are worth few independent ones: ESS is down to {ess:.0f}, {ESS_LIMIT} or less")
    if divergences:
        found.append(f"{divergences:,} divergence{'s' * (divergences > 1)}: a part of the posterior may be missed")
    return found


@dataclass(frozen=True)
class Marginal:
    """Posterior of one parameter: median, ends of the equal-tailed interval, diagnostics (nan if not told)."""

    median: float
    lo: float
    hi: float
    rhat: float = float("nan")
    ess: float = float("nan")


def marginals(path: Path, *, interval: float = 0.95) -> dict[str, Marginal]:
    """Posterior of each parameter by itself.

    Parameters
    ----------
    path : Path
    interval : float
        Probability of the interval.

    Returns
    -------
    dict
        `Marginal` by name: of those with diagnostics, or of all with one value a draw if the file has none.
    """
    tree = open_posterior(path)
    data, table = _draws(tree), None
    names = [str(name) for name, values in data.data_vars.items() if {*values.dims} <= {"chain", "draw"}]
    if "diagnostics" in tree.children:
        table = tree["diagnostics"].to_dataset()
        names = [str(name) for name in table["parameter"].values if str(name) in names]
    found = {}
    for name in names:
        ends = np.quantile(data[name].values, [0.5, (1 - interval) / 2, (1 + interval) / 2])
        told = () if table is None else _told(table.sel(parameter=name))
        found[name] = Marginal(*(float(x) for x in ends), *told)
    return found


def _told(row: xr.Dataset) -> tuple[float, float]:
    return float(row["rhat"]), float(min(row["ess_bulk"], row["ess_tail"]))
