"""Likelihood of each study with what is its own integrated out, draw by draw.

Leaving a study out by importance weights 1 / L(study | draw) fails where the draw holds latents of that study alone, as
its background and its deviation xi: given these, the study is nearly certain. With them integrated out over their
prior, given all else of the draw, the weights are those of what studies share (integrated importance sampling: Vehtari,
Mononen, Tolvanen, Sivula and Winther 2016, JMLR 17:103; Merkle, Furr and Rabe-Hesketh 2019, Psychometrika 84:802-29).

The integral is over few dimensions: a mean over quasi-random points, weighted by the density of the prior over that of
the points. They are normal about the draw's own latents, as wide as these differ between draws that are alike in all
else, and a share of them is spread further (defensive: Hesterberg 1995, Technometrics 37:185-94).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytensor.tensor
import xarray as xr
from scipy import stats
from scipy.special import expit, logit, logsumexp
from scipy.stats import qmc

from vtrial.calibration.criticise import Array, Source, log_density, sources
from vtrial.calibration.evidence import Evidence
from vtrial.calibration.joint import Joint
from vtrial.model import Beta, HalfNormal, Normal, Prior

pt: Any = pytensor.tensor  # typed there as if everything might be a plain Variable, or None

POINTS = 256
"""Points of each integral; `tests/test_integrated.py` says how little more of them change."""
NEAR, FAR = 1.2, (0.25, 3.0)
"""SDs of the two parts of the mixture over that between draws alike, off whose middle a draw lies; the share of the far
one comes first."""

type Studies = dict[tuple[str, str], Array]
"""By target and study, by draw."""
type Integrate = Callable[[xr.Dataset], Studies]


class Own(NamedTuple):
    """A latent that belongs to one study."""

    variable: str
    place: int
    """Name in the joint model, and place in it."""
    prior: Prior
    shown: str = ""
    """Of one whose log odds the sampler sees shifted: the variable that has the prior
    (`vtrial.calibration.variable.shifted_beta`)."""


def own_latents(evidence: Evidence) -> dict[str, list[Own]]:
    """Latents of the joint model that belong to one study, by study.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    dict of str to list of Own
    """
    trials, normal = evidence.trials, Normal(0.0, 1.0)
    unprinted = dict.fromkeys(s.study for s in evidence.kinetics if s.crcl is None)
    every: dict[str, list[tuple[str, Prior]]] = {  # by the name of what has the prior
        "background": [(t.study, Beta(*t.background)) for t in trials],
        "xi_trial": [(t.study, normal) for t in trials],
        "taking_beside": [(t.study, Beta(*t.beside.share)) for t in trials if t.beside is not None],
        "lowered": [(t.study, HalfNormal(1.0)) for t in trials for arm in t.arms if arm.lowered],
        "recorded_own": [(t.study, Beta(*t.recorded)) for t in trials if t.recorded != "common"],
        "xi_series": [(series.study, normal) for series in evidence.overdoses],
        "xi_crcl": [(study, normal) for study in unprinted],
    }
    found: dict[str, list[Own]] = {}
    for name, owners in every.items():
        shifted = name == "recorded_own"  # which makes a straight ridge of it and of xi
        for place, (study, prior) in enumerate(owners):
            own = Own(f"z {name}", place, prior, name) if shifted else Own(name, place, prior)
            found.setdefault(study, []).append(own)
    return found


def integrator(joint: Joint, *, points: int = POINTS, seed: int = 20260701) -> Integrate:
    """Compile what is expected of the evidence, for many values of what is the studies' own at once.

    Parameters
    ----------
    joint : Joint
        Of the sensitivity that was calibrated; parameters that were held may be free.
    points, seed : int
        Of each integral.

    Returns
    -------
    callable
        From the group ``posterior`` of a calibration, dims (chain, draw), to the log likelihood of the rows of each
        target and study, by draw in the order (draw, chain): see `vtrial.calibration.criticise.pieces`.
    """
    own, kinds = own_latents(joint.evidence), sources(joint.evidence)
    every = [latent for latents in own.values() for latent in latents]
    local = list(dict.fromkeys(latent.variable for latent in every))
    shown = list(dict.fromkeys(latent.shown for latent in every if latent.shown))
    shared, evaluate = _compiled(joint, local, shown, kinds, points)

    def integrate(posterior: xr.Dataset) -> Studies:
        draws = posterior.stack(sample=("draw", "chain"))
        values = {name: draws[name].transpose("sample", ...).to_numpy().astype(float) for name in (*shared, *local)}
        mixtures = {study: _mixture(latents, values, shared, points, seed) for study, latents in own.items()}
        given = {name: np.empty((points, *values[name].shape[1:])) for name in local}
        found = dict[tuple[str, str], list[float]]()
        for i in range(draws.sizes["sample"]):
            weight = {}
            for study, mixture in mixtures.items():
                x, weight[study] = mixture.points(i)
                for latent, column in zip(mixture.latents, x.T, strict=True):
                    given[latent.variable][:, latent.place] = column
            expected, seen = evaluate([values[name][i] for name in shared], given)
            for study, latents in own.items():
                for one in latents:
                    weight[study] += _log_prior(one, (given | seen)[one.shown or one.variable][:, one.place])
            density = _densities(kinds, expected, float(values["tau_kinetics"][i]))
            for key, at_points in density.items():
                weighted = np.broadcast_to(at_points, points) + weight.get(key[1], 0.0)
                found.setdefault(key, []).append(float(logsumexp(weighted) - np.log(points)))
        return {key: np.array(by_draw) for key, by_draw in found.items()}

    return integrate


def _densities(kinds: Mapping[str, list[Source]], expected: Sequence[Any], tau: float) -> dict[tuple[str, str], Array]:
    """Log likelihood by target and study of what is expected: by kind, shape (point, row) or (row,)."""
    found: dict[tuple[str, str], Array] = {}
    for rows, p in zip(kinds.values(), expected, strict=True):
        for k, source in enumerate(rows):
            key = source.target, source.study
            found[key] = found.get(key, 0.0) + source.row.log_likelihood(np.asarray(p)[..., k], tau)
    return found


def _log_prior(one: Own, x: Array) -> Array:
    """Log prior density of a latent, on the whole line."""
    return log_density(one.prior, x) + _stretch(one.prior, x)


@dataclass(frozen=True)
class _Mixture:
    """Where the latents of a study are looked at, on the whole line: about each draw's own, near and far."""

    latents: Sequence[Own]
    middle: Array
    """Shape (sample, latent)."""
    root: Array
    """Of the covariance between draws that are alike in all else."""
    normal: Array
    """Standard normal points, shape (point, latent); those of the wide part come first."""

    def points(self, i: int) -> tuple[Array, Array]:
        """Points for a draw, shape (point, latent), and minus the log of the mixture at each, on the whole line."""
        n, d = self.normal.shape
        wide = np.arange(n) < int(n * FAR[0])
        steps = np.where(wide, FAR[1], NEAR)[:, None] * self.normal
        free = self.middle[i] + steps @ self.root.T
        square, part = (steps**2).sum(1), wide.mean()
        each = [
            np.log(share) - d * np.log(scale) - 0.5 * square / scale**2
            for share, scale in ((part, FAR[1]), (1 - part, NEAR))
        ]
        constant = np.log(np.diag(self.root)).sum() + 0.5 * d * np.log(2 * np.pi)
        x = np.stack([_bound(one, free[:, k]) for k, one in enumerate(self.latents)], -1)
        return x, constant - np.logaddexp(*each)


def _mixture(latents: Sequence[Own], values: Mapping[str, Array], shared: Sequence[str], n: int, seed: int) -> _Mixture:
    own = np.stack([_free(one, values[one.variable][:, one.place]) for one in latents], -1)
    among = np.stack([np.ones(len(own)), *(_standard(values[name]) for name in shared)], -1)
    middle = among @ np.linalg.lstsq(among, own)[0]
    left = own - middle
    free = max(len(own) - among.shape[1], len(own) // 10)
    root = np.linalg.cholesky(left.T @ left / free + 1e-12 * np.eye(len(latents)))
    return _Mixture(latents, middle, root, stats.norm.ppf(qmc.Halton(len(latents), rng=seed).random(n)))


def _standard(x: Array) -> Array:
    """By its mean and SD, on the log scale where it is positive: what is linear in it is looked for."""
    x = np.log(x) if (x > 0).all() else x
    spread = x.std()
    return (x - x.mean()) / spread if spread > 1e-9 else np.zeros(len(x))


def _free(one: Own, x: Array) -> Array:
    """On the whole line."""
    if one.shown or isinstance(one.prior, Normal):
        return x
    return logit(x) if isinstance(one.prior, Beta) else np.log(x)


def _bound(one: Own, free: Array) -> Array:
    """And back."""
    if one.shown or isinstance(one.prior, Normal):
        return free
    return expit(free) if isinstance(one.prior, Beta) else np.exp(free)


def _stretch(prior: Prior, x: Array) -> Array:
    """Log of the slope of `_bound`."""
    if isinstance(prior, Beta):
        return np.log(x) + np.log1p(-x)
    return np.log(x) if isinstance(prior, HalfNormal) else np.zeros(len(x))


def _compiled(
    joint: Joint, local: Sequence[str], shown: Sequence[str], kinds: Collection[str], points: int
) -> tuple[list[str], Callable[[list[Array], Mapping[str, Array]], tuple[list[Array], dict[str, Array]]]]:
    """Names of what the studies share, and a function of that and of points of what is their own: what is expected, and
    what is shown of shifted latents."""
    import jax
    from pytensor.compile import function  # type: ignore[attr-defined]
    from pytensor.graph.replace import graph_replace, vectorize_graph

    jax.config.update("jax_enable_x64", True)  # for all threads of the process, so no context
    built = joint.pymc()
    named = {name for name in built.named_vars if not name.startswith(("z ", "expected ", "observed "))}
    rest = {*local, *shown, *(v.name for v in (*built.observed_RVs, *built.potentials))}
    shared = sorted(named - rest)
    one = {name: built[name].type(name=name) for name in (*shared, *local)}
    outputs = [*(built[f"expected {kind}"] for kind in kinds), *(built[name] for name in shown)]
    outputs = graph_replace(outputs, {built[name]: value for name, value in one.items()}, strict=False)
    many = {name: pt.tensor(name, dtype="float64", shape=(points, *one[name].type.shape)) for name in local}
    outputs = vectorize_graph(outputs, replace={one[name]: many[name] for name in local})
    inputs = [*(one[name] for name in shared), *many.values()]
    run: Any = function(inputs, outputs, mode="JAX", on_unused_input="ignore")

    def evaluate(common: list[Array], given: Mapping[str, Array]) -> tuple[list[Array], dict[str, Array]]:
        found = [np.asarray(array) for array in run(*common, *(given[name] for name in local))]
        return found[: len(kinds)], dict(zip(shown, found[len(kinds) :], strict=True))

    return shared, evaluate
