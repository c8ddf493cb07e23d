"""Random variables of PyMC: the priors of the model file, and one in coordinates that suit a sampler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor
from scipy.special import logit

from vtrial.model.prior import Beta, Fixed, HalfNormal, LogNormal, Normal, Prior, Uniform

pt: Any = pytensor.tensor  # typed there as if everything might be a plain Variable, or None


def variable(name: str, prior: Prior) -> Any:
    """A random variable of that prior in the PyMC model at work; of a fixed one, its value.

    Parameters
    ----------
    name : str
    prior : Prior

    Returns
    -------
    tensor
        A normal one is a deterministic function of ``z <name>``, which is standard normal.
    """
    match prior:
        case Fixed(value):
            return pt.constant(value)
        case LogNormal(median, sdlog, upper) if np.isfinite(upper):
            return pm.Truncated(name, pm.LogNormal.dist(np.log(median), sdlog), upper=upper)
        case LogNormal(median, sdlog):
            return pm.LogNormal(name, np.log(median), sdlog)
        case Normal(mean, sd):
            # standardised, so that no start of a chain is thousands of SD away
            return pm.Deterministic(name, mean + sd * pm.Normal(f"z {name}"))
        case HalfNormal(scale):
            return pm.HalfNormal(name, scale)
        case Beta(a, b):
            return pm.Beta(name, a, b)
        case Uniform(low, high):
            return pm.Uniform(name, low, high)


def shifted_beta(name: str, a: Any, b: Any, *, by: Any) -> Any:
    """A beta variable, whose log odds plus `by` the sampler sees as ``z <name>``.

    Adding what depends on other variables changes no density, and takes out the ridge between it and them.

    Parameters
    ----------
    name : str
    a, b : number or array
    by : tensor
        Of the shape of `a`.

    Returns
    -------
    tensor
    """
    z = pm.CustomDist(f"z {name}", a, b, by, logp=_shifted_logp, random=_shifted_random)
    return pm.Deterministic(name, pt.sigmoid(z - by))


def _shifted_logp(z: Any, a: Any, b: Any, by: Any) -> Any:
    log_odds = z - by
    return -a * pt.softplus(-log_odds) - b * pt.softplus(log_odds) - (pt.gammaln(a) + pt.gammaln(b) - pt.gammaln(a + b))


def _shifted_random(a: Any, b: Any, by: Any, rng: np.random.Generator | None = None, size: Any = None) -> Any:
    assert rng is not None
    return by + logit(rng.beta(a, b, size))
