"""Sampling the joint model, and the posterior file that every run uses."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from vtrial.calibration.evidence import load_evidence
from vtrial.calibration.joint import Joint
from vtrial.model import Fixed, Model, check_fixed
from vtrial.model.posterior import SIMULATES, belongings, posterior_path
from vtrial.problem import InputError, Problem

CHAINS, WARM_UP, DRAWS = 4, 600, 1000
TARGET_ACCEPT = 0.95
KEPT = 1000
"""Draws in the file, evenly spaced in each chain."""
_PACKAGES = ("vtrial", "pymc", "pytensor", "nutpie", "jax", "arviz", "numpy")


type Progress = Callable[[int, int, int], None]
"""Called with the draws done and those to do, those of the warm-up among them, and the divergences."""


def _silent(done: int, total: int, divergences: int) -> None:
    pass


def compile_joint(joint: Joint) -> Any:
    """Compile the joint model for nutpie, by JAX: a fifth of the time that numba takes.

    Parameters
    ----------
    joint : Joint

    Returns
    -------
    nutpie.CompiledModel
        Whose method ``with_data`` puts other data in place of those of `vtrial.calibration.joint.observed`.
    """
    import jax
    import nutpie

    jax.config.update("jax_enable_x64", True)  # for all threads of the process, so no context
    return nutpie.compile_pymc_model(joint.pymc(), backend="jax", freeze_model=False)


def sample(
    compiled: Any,
    *,
    seed: int,
    chains: int = CHAINS,
    warm_up: int = WARM_UP,
    draws: int = DRAWS,
    progress: Progress = _silent,
) -> xr.DataTree:
    """Sample the posterior with nutpie's NUTS.

    Parameters
    ----------
    compiled : nutpie.CompiledModel
        From `compile_joint`.
    seed : int
    chains, warm_up, draws : int
        Draws are those kept in each chain.
    progress : callable
        Called about twice a second, from another thread.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` and ``sample_stats``, dims (chain, draw).

    Raises
    ------
    InputError
        If the sampler cannot start.
    """
    import nutpie

    def tell(every: list[Any]) -> None:
        done, total = (sum(getattr(chain, name) for chain in every) for name in ("finished_draws", "total_draws"))
        progress(done, total, sum(chain.divergences for chain in every))

    running = nutpie.sample(
        compiled, draws=draws, tune=warm_up, chains=chains, seed=seed, target_accept=TARGET_ACCEPT,
        adaptation="low_rank", progress_bar=False, progress_callback=tell, progress_rate=500, blocking=False,
    )  # fmt: skip
    try:
        traced = running.wait()
    except RuntimeError as error:
        raise InputError([f"the sampler stopped: {error}"]) from None
    except BaseException:  # nutpie's own waiting would return the part of an interrupted run as if it were the whole
        running.cancel()
        raise
    return xr.DataTree.from_dict({name: traced[name].to_dataset() for name in ("posterior", "sample_stats")})


def diagnose(traced: xr.DataTree, names: list[str]) -> xr.Dataset:
    """R-hat, bulk and tail ESS of named variables, and the number of divergences.

    Parameters
    ----------
    traced : xarray.DataTree
        From `sample`.
    names : list of str

    Returns
    -------
    xarray.Dataset
        ``Diagnostics``: rhat, ess_bulk and ess_tail by parameter; attribute ``divergences``.
    """
    from arviz_stats.sampling_diagnostics import ess, rhat

    chains = traced["posterior"].to_dataset()[names]
    found = {
        "rhat": rhat(chains),
        "ess_bulk": ess(chains, method="bulk"),
        "ess_tail": ess(chains, method="tail"),
    }
    values = {what: ("parameter", [float(table[name]) for name in names]) for what, table in found.items()}
    divergences = int(traced["sample_stats"].to_dataset()["diverging"].sum())
    return xr.Dataset(values, {"parameter": names}, {"divergences": divergences})


def calibrate(
    model: Model,
    *,
    fix: Mapping[str, float] | None = None,
    without: Sequence[str] = (),
    sensitivity: str = SIMULATES,
    seed: int = 20260701,
    chains: int = CHAINS,
    warm_up: int = WARM_UP,
    draws: int = DRAWS,
    tell: Callable[[str], None] = lambda text: None,
    progress: Progress = _silent,
) -> xr.DataTree:
    """Calibrate a model on its evidence.

    Parameters
    ----------
    model : Model
    fix : dict
        Parameters held at a value, in the units of the model: the posterior of all others given it.
    without : sequence of str
        Targets of the evidence that are left out.
    sensitivity : str
        How it is distributed, one of `vtrial.calibration.sensitivity.SENSITIVITIES`; the default alone simulates.
    seed : int
    chains, warm_up, draws : int
        As for `sample`.
    tell : callable
        Called with a line at each stage.
    progress : callable
        As for `sample`.

    Returns
    -------
    xarray.DataTree
        ``Posterior``: group ``posterior`` with `KEPT` draws of every free parameter, nuisance and expected
        probability; ``diagnostics``; attributes say which model and evidence it belongs to.

    Raises
    ------
    InputError
        If the model has no evidence or its file has problems, a parameter cannot be held at its value, or the sampler
        cannot start.
    """
    evidence, fix = load_evidence(model), dict(fix or {})
    problems = [f"fix: {name}: {text}" for name, text in check_fixed(model, fix)]
    if problems:
        raise InputError(problems)
    made_from = belongings(model)  # now: the files may change while it samples
    params = [replace(p, prior=Fixed(fix[p.name])) if p.name in fix else p for p in model.params]
    joint = Joint(replace(model, params=tuple(params)), evidence.without(without), sensitivity=sensitivity)
    start = time.perf_counter()
    tell("writing the joint model, compiling it (minutes) and sampling it")
    traced = sample(compile_joint(joint), seed=seed, chains=chains, warm_up=warm_up, draws=draws, progress=progress)
    tell(f"sampled in {time.perf_counter() - start:.0f} s")
    posterior = traced["posterior"].to_dataset()
    scalars = [str(name) for name, values in posterior.data_vars.items() if values.ndim == 2]
    free = [p.name for p in params if not isinstance(p.prior, Fixed)]
    others = [name for name in scalars if name not in free and not name.startswith("z ")]  # z: a parameter, shifted
    diagnostics = diagnose(traced, [*free, *others])
    posterior = posterior.assign({name: xr.full_like(posterior[free[0]], value) for name, value in fix.items()})
    spaced = np.linspace(0, draws - 1, min(draws, KEPT // chains)).round().astype(int)
    thin = posterior.isel(draw=spaced).assign_coords(draw=np.arange(len(spaced)))
    attributes: dict[str, Any] = made_from | {
        "model": model.name,
        "held": json.dumps(fix),
        "without": json.dumps([*without]),
        "sensitivity": sensitivity,
        "seed": seed,
        "sampler": json.dumps({"chains": chains, "warm_up": warm_up, "draws": draws, "target_accept": TARGET_ACCEPT}),
        "versions": json.dumps({"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}),
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes), "/posterior": thin, "/diagnostics": diagnostics})


def save_posterior(found: xr.DataTree, model: Model, path: Path | None = None) -> Path:
    """Write a posterior where runs look for it, whole or not at all."""
    path = path or posterior_path(model)
    part = path.with_name(f".{path.name}.part")
    names = [str(name) for name in found["posterior"].data_vars]
    encoding = {"/posterior": {name: {"zlib": True, "complevel": 4, "dtype": "float32"} for name in names}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found.to_netcdf(part, engine="h5netcdf", encoding=encoding)
        part.replace(path)
    except OSError as error:
        raise InputError([Problem(f"cannot be written ({error.strerror or error})", file=path)]) from None
    finally:
        part.unlink(missing_ok=True)
    return path
