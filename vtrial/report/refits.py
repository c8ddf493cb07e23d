"""Calibrations that differ from the one that simulates: what each predicts, and what it implies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtri

from vtrial.calibration import criticise
from vtrial.calibration.evidence import Evidence
from vtrial.model import Model
from vtrial.model.posterior import SIMULATES, belongings, describe_posterior, otherwise
from vtrial.patients import draw_patients
from vtrial.problem import InputError, Problem
from vtrial.scenario import Scenario
from vtrial.treatment import expose_reference, simulate

if TYPE_CHECKING:
    from vtrial.calibration.integrated import Integrate, Studies


def read_refits(model: Model, paths: list[Path]) -> dict[str, Path]:
    """Files of ``vtrial calibrate --fix``, ``--without`` or ``--sensitivity`` by what they were calibrated for.

    Raises
    ------
    InputError
        If one cannot be read, is of nothing else than the posterior of the model, was made from another model file or
        other evidence, or is of the same as another.
    """
    found, problems = dict[str, Path](), []
    for path in paths:
        told = describe_posterior(path)
        name = otherwise(told)
        if not name:
            problems.append(Problem("calibrated as the posterior of the model is: nothing to compare", file=path))
        elif any(told.get(key) != digest for key, digest in belongings(model).items()):
            problems.append(
                Problem(f"made from another model file or other evidence than that of {model.name}", file=path)
            )
        elif name in found:
            problems.append(Problem(f"of the same ({name}) as {found[name]}", file=path))
        else:
            found[name] = path
    if problems:
        raise InputError(problems)
    return found


def integrated_of(model: Model, evidence: Evidence, posteriors: Mapping[str, xr.DataTree]) -> dict[str, Studies]:
    """Likelihood of each study with what is its own integrated out, under each posterior.

    Parameters
    ----------
    model, evidence
        What all were calibrated on.
    posteriors : dict of str to xarray.DataTree
        Posterior files by what they were calibrated for. Those without a target are passed over.

    Returns
    -------
    dict of str to dict
        By name, from `vtrial.calibration.integrated.integrator`.
    """
    from vtrial.calibration.integrated import integrator  # and JAX
    from vtrial.calibration.joint import Joint

    compiled: dict[str, Integrate] = {}
    found: dict[str, Studies] = {}
    for name, tree in posteriors.items():
        if tree.attrs.get("without", "[]") == "[]":
            sensitivity = str(tree.attrs.get("sensitivity", SIMULATES))
            if sensitivity not in compiled:
                compiled[sensitivity] = integrator(Joint(model, evidence, sensitivity=sensitivity))
            found[name] = compiled[sensitivity](tree["posterior"].to_dataset())
    return found


def predictions(integrated: Mapping[str, Studies], posteriors: Mapping[str, xr.DataTree]) -> pd.DataFrame:
    """Expected log predictive density of studies left out, against that of the first.

    Parameters
    ----------
    integrated : dict of str to dict
        From `integrated_of`.
    posteriors : dict of str to xarray.DataTree
        The posterior files, by the same names.

    Returns
    -------
    pandas.DataFrame
        Index: names of the posteriors. ``elpd`` of all studies, ``difference`` to the first and its ``se``, root of
        the number of studies times the SD of their differences (Vehtari, Gelman, Gabry 2017); ``khat``: studies whose
        weights do not carry; ``rhat``: the worst; ``divergences``.
    """
    rows, first = {}, None
    for name, likelihood in integrated.items():
        studies = criticise.by_study(likelihood)
        first = studies if first is None else first
        difference = studies["elpd"] - first["elpd"]
        diagnostics = posteriors[name]["diagnostics"].to_dataset()
        rows[name] = {
            "elpd": studies["elpd"].sum(), "difference": difference.sum(), "se": len(studies) ** 0.5 * difference.std(),
            "khat": (studies["khat"] > criticise.KHAT_LIMIT).sum(), "rhat": float(diagnostics["rhat"].max()),
            "divergences": diagnostics.attrs["divergences"],
        }  # fmt: skip
    return pd.DataFrame(rows).T


def risks_of_refits(
    scenario: Scenario, theta: xr.Dataset, posteriors: Mapping[str, xr.DataTree]
) -> dict[str, np.ndarray[Any, Any]]:
    """The primary risk by draw, of the arms and strata of the scenario's sensitivities, under each posterior.

    A run gives Phi(x / omega_S) of each patient; x, the log of the highest drive over the threshold, is then what the
    posterior's own distribution of sensitivity is asked of.

    Parameters
    ----------
    scenario : Scenario
    theta : xarray.Dataset
        Parameters of a run, in whose place those of each posterior are put.
    posteriors : dict of str to xarray.DataTree
        Posterior files by what they were calibrated for.

    Returns
    -------
    dict of str to array, shape (draw,)
        By ``posterior: arm, stratum``.
    """
    from vtrial.calibration.sensitivity import SENSITIVITIES, share_beyond

    asked, primary = scenario.spec.sensitivities, scenario.spec.estimands.primary
    assert asked is not None
    scenario = scenario.asking_for(lambda outcome: outcome.name == primary)
    found = {}
    for name, tree in posteriors.items():
        draws = tree["posterior"].to_dataset().stack(sample=("draw", "chain"))
        n = min(draws.sizes["sample"], theta.sizes["draw"])
        own = {key: draws[key].to_numpy().astype(float)[:n] for key in theta.data_vars if key in draws}
        these = theta.isel(draw=slice(0, n)).assign({key: ("draw", values) for key, values in own.items()})
        cohort, reference = draw_patients(scenario, these, strata=asked.strata), expose_reference(scenario, these)
        sensitivity = str(tree.attrs["sensitivity"])
        its = {key: draws[key].to_numpy().astype(float)[:n] for key in ["omega_S", *SENSITIVITIES[sensitivity].own]}
        for arm in asked.arms:
            outcome = simulate(scenario, cohort, arm, reference)[primary]
            for stratum in asked.strata:
                p = np.clip(outcome.sel(stratum=stratum).transpose("draw", "patient").to_numpy(), 1e-300, 1 - 1e-15)
                x = its["omega_S"][:, None] * ndtri(p)
                found[f"{name}: {arm}, {stratum}"] = share_beyond(sensitivity, x, **its).mean(axis=1)
    return found


def by_refit(without: pd.DataFrame, implied: Mapping[str, np.ndarray[Any, Any]]) -> pd.DataFrame:
    """Risks with each target left out: by importance weights, and of the refit without it where there is one.

    Parameters
    ----------
    without : pandas.DataFrame
        From `vtrial.calibration.criticise.without_targets`.
    implied : dict of str to array, shape (draw,)
        From `risks_of_refits`.

    Returns
    -------
    pandas.DataFrame
        Those rows, with ``by``: "weights"; and after each that of its refit, which has no k-hat, and no risk but those
        it was asked for.
    """
    rows = []
    for target, own in without.iterrows():
        rows.append(own.to_dict() | {"left out": target, "by": "weights"})
        draws = {risk: implied.get(f"without {target}: {risk}") for risk in without.columns}
        if any(values is not None for values in draws.values()):
            means = {risk: np.nan if values is None else float(values.mean()) for risk, values in draws.items()}
            rows.append(means | {"left out": target, "by": "refit"})
    return pd.DataFrame(rows).set_index("left out").rename_axis(None)
