"""Parameters held at a value, given the evidence: draws of a posterior reweighted.

A value put in place in draws that stay as they are ignores that the posterior ties parameters to each other. Write phi
for what is held, c for its value, rest for all else, L for the likelihood and p for the priors, which know phi and rest
as independent. The draws have density L(rest, phi) p(rest) p(phi). Wanted of rest is L(rest, c) p(rest); put beside it
a phi of density p(phi), which counts for nothing, and the weight of a draw is L(rest, c) / L(rest, phi). Weights are
Pareto-smoothed (`vtrial.calibration.criticise.smoothed`); where k-hat is above 0.7 only a new calibration tells
(``vtrial calibrate --fix``).

Shares recorded move with phi: what is left as drawn is their log odds plus a shift that knows phi
(`vtrial.calibration.reporting`), whose prior density is then part of the ratio as L is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pymc as pm
import xarray as xr
from scipy import stats

from vtrial.calibration.criticise import Array, pieces
from vtrial.calibration.evidence import prior_of
from vtrial.calibration.joint import Joint
from vtrial.calibration.reporting import priors_recorded
from vtrial.model import Normal

type Fix = Mapping[str, float]


def log_ratios(joint: Joint, posterior: xr.Dataset, cases: Mapping[str, Fix]) -> dict[str, Array]:
    """Likelihood of all evidence with parameters held at a value, over that of the draws.

    Parameters
    ----------
    joint : Joint
        What was sampled.
    posterior : xarray.Dataset
        All its variables, dims (chain, draw).
    cases : dict of str to dict
        Values of free parameters, in their units, by the name of the case.

    Returns
    -------
    dict of str to array, shape (sample,)
        Logarithms, in the order (draw, chain): `vtrial.calibration.criticise.smoothed` makes weights of them.
    """
    said = _log_density(joint, posterior)
    return {name: _log_density(joint, held) - said for name, held in _expected(joint, posterior, cases).items()}


def _log_density(joint: Joint, posterior: xr.Dataset) -> Array:
    """Log likelihood, and log prior density of the log odds of the shares recorded."""
    found = pieces(joint.model, joint.evidence, posterior)
    density = np.sum([piece.log_likelihood for piece in found], axis=0)
    for name, (a, b) in priors_recorded(joint.evidence.trials).items():
        draws = posterior[name].stack(sample=("draw", "chain")).transpose("sample", ...)
        shares = draws.to_numpy().astype(float).reshape(len(density), -1)
        density = density + (stats.beta.logpdf(shares, a, b) + np.log(shares) + np.log1p(-shares)).sum(axis=-1)
    return density


def _expected(joint: Joint, posterior: xr.Dataset, cases: Mapping[str, Fix]) -> dict[str, xr.Dataset]:
    """What is expected of the evidence with parameters held, beside the draws of all else.

    All cases are worked out as if they were draws of one: the model is compiled once.
    """
    held, draws = [posterior.assign(_put(joint, posterior, fix)) for fix in cases.values()], posterior.sizes["draw"]
    every = xr.concat(held, "draw").assign_coords(draw=np.arange(draws * len(held)))
    expected = [str(name) for name in posterior.data_vars if str(name).startswith("expected ")]
    names = [*expected, *priors_recorded(joint.evidence.trials)]
    built = joint.pymc()
    free = [rv.name for rv in built.free_RVs]
    found = pm.compute_deterministics(
        every[free].astype(float), var_names=names, model=built, progressbar=False, compile_kwargs={"mode": "JAX"}
    )
    return {
        name: one.assign(found.isel(draw=slice(k * draws, (k + 1) * draws)).assign_coords(draw=one["draw"]))
        for k, (name, one) in enumerate(zip(cases, held, strict=True))
    }


def _put(joint: Joint, posterior: xr.Dataset, fix: Fix) -> dict[str, xr.DataArray]:
    """Values in place of the draws; where the joint model samples a standardised parameter, that one's too."""
    put = {}
    for name, value in fix.items():
        put[name] = xr.full_like(posterior[name], value)
        match prior_of(joint.model.param(name), joint.evidence):
            case Normal(mean, sd):
                put[f"z {name}"] = xr.full_like(posterior[name], (value - mean) / sd)
    return put
