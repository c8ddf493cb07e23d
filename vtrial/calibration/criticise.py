"""Criticism of a calibration: how it fits each piece of evidence, and what the answer owes to which.

Power scaling: Kallioinen, Paananen, Bürkner and Vehtari 2024 (Stat Comput 34:57), by ArviZ. A target is left out by
Pareto-smoothed importance sampling (Vehtari, Simpson, Gelman, Yao and Gabry 2024, JMLR 25:72): where k-hat is above
0.7 the weights do not carry, and only a refit would tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from vtrial.calibration.evidence import Case, Count, Evidence, Overdose, Relative, Statistic, Trial, Z, prior_of
from vtrial.model import Beta, Fixed, HalfNormal, LogNormal, Model, Normal, Prior, Uniform

type Array = NDArray[np.float64]

INTERVAL = 0.95
KHAT_LIMIT = 0.7


class Piece(NamedTuple):
    """One number of the evidence against what the model makes of it."""

    target: str
    """C1 to C9, or `kinetics`."""
    study: str
    what: str
    unit: str
    observed: float
    lo: float
    hi: float
    """Observed, with its own 95% interval; what is not printed with one has none."""
    expected: Array
    """By draw."""
    log_likelihood: Array
    """By draw."""
    predicted: Array
    """A new number like the observed one, by draw."""


def pieces(model: Model, evidence: Evidence, posterior: xr.Dataset, *, seed: int = 20260701) -> list[Piece]:
    """Hold each number of the evidence against the posterior.

    Parameters
    ----------
    model : Model
    evidence : Evidence
    posterior : xarray.Dataset
        Group ``posterior`` of a calibration, dims (chain, draw).
    seed : int
        Of the predictions.

    Returns
    -------
    list of Piece
        Draws in the order (draw, chain): that of the draws of a run.
    """
    draws, rng = posterior.stack(sample=("draw", "chain")), np.random.default_rng(seed)
    return [
        *_kinetics(model, evidence, draws, rng),
        *_counts(evidence, draws, rng),
        *_ratios(evidence, draws, rng),
        *_cases(evidence, draws),
    ]


class Source(NamedTuple):
    """One number of the evidence: `row.log_likelihood` is that of what is expected of it."""

    target: str
    study: str
    row: Statistic | Count | Overdose | Relative | Case


def sources(evidence: Evidence) -> dict[str, list[Source]]:
    """All numbers of the evidence, by what is expected of them in the joint model: those kinds that it has.

    Parameters
    ----------
    evidence : Evidence
    """
    trials = evidence.trials
    found = {
        "kinetics": [Source("kinetics", one.study, one) for one in evidence.kinetics],
        "events": [Source(trial.target, trial.study, arm) for trial in trials for arm in trial.arms],
        "overdoses": [Source(one.target, one.study, one) for one in evidence.overdoses],
        "ratios": [Source(trial.target, trial.study, ratio) for trial in trials for ratio in trial.ratios],
        "cases": [Source(one.target, one.study, one) for one in evidence.cases],
    }
    return {kind: rows for kind, rows in found.items() if rows}


def _values(draws: xr.Dataset, name: str) -> Array:
    """Draws of a variable, shape (..., sample)."""
    return draws[name].transpose(..., "sample").to_numpy().astype(float)


def _kinetics(model: Model, evidence: Evidence, draws: xr.Dataset, rng: np.random.Generator) -> Iterator[Piece]:
    from vtrial.calibration.statistics import STATISTICS  # loads PyTensor

    units = {p.name: p.unit for p in model.params} | {name: printed.unit for name, printed in STATISTICS.items()}
    tau = _values(draws, "tau_kinetics")
    for entry, expected in zip(evidence.kinetics, _values(draws, "expected kinetics"), strict=True):
        spread = np.hypot(entry.se, tau)
        lo, hi = (entry.value * np.exp(z * entry.se) for z in (-Z, Z))
        given = [f"{entry.amt:g} mg"] if entry.amt else [f"CrCL {entry.crcl:g} mL/min"] if entry.crcl else []
        what = ", ".join([f"{entry.of} {entry.drug or ''}".strip(), *given])
        likelihood = entry.log_likelihood(expected, tau)
        predicted = expected * np.exp(spread * rng.standard_t(4, len(tau)))
        yield Piece(
            "kinetics", entry.study, what, units[entry.of], entry.value, lo, hi, expected, likelihood, predicted,
        )  # fmt: skip


def _counts(evidence: Evidence, draws: xr.Dataset, rng: np.random.Generator) -> Iterator[Piece]:
    arms = [(trial.target, trial.study, _arm(trial, arm), arm) for trial in evidence.trials for arm in trial.arms]
    series = [(o.target, o.study, f"coma, {o.amt:g} mg {o.drug}", o) for o in evidence.overdoses]
    for name, every in (("expected events", arms), ("expected overdoses", series)):
        for (target, study, what, one), p in zip(every, _values(draws, name), strict=True):
            lo, hi = stats.binomtest(one.events, one.n).proportion_ci(INTERVAL, "exact")
            yield Piece(
                target, study, what, "1", one.events / one.n, lo, hi, p,
                one.log_likelihood(p), rng.binomial(one.n, p) / one.n,
            )  # fmt: skip


def _arm(trial: Trial, arm: Count) -> str:
    """What an arm got, and how it differs from its trial."""
    if arm.amt == 0:
        return "placebo"
    own = [arm.cohort] if arm.cohort else []
    return ", ".join([f"{arm.amt:g} mg {trial.drug}", *own, *(["titrated"] if arm.doses and arm.doses.steps else [])])


def _ratios(evidence: Evidence, draws: xr.Dataset, rng: np.random.Generator) -> Iterator[Piece]:
    every = [(trial, arm) for trial in evidence.trials for arm in trial.ratios]
    for (trial, arm), ratio in zip(every, _values(draws, "expected ratios"), strict=True):
        se = arm.se
        yield Piece(
            trial.target, trial.study, f"risk ratio, {arm.amt:g} mg {trial.drug}", "1", arm.ratio, *arm.ci, ratio,
            arm.log_likelihood(ratio), ratio * np.exp(se * rng.normal(size=len(ratio))),
        )  # fmt: skip


def _cases(evidence: Evidence, draws: xr.Dataset) -> Iterator[Piece]:
    for case, p in zip(evidence.cases, _values(draws, "expected cases"), strict=True):
        nothing = np.full(len(p), np.nan)
        what = f"woke between {case.asleep:g} and {case.awake:g} mg/L, probability"
        yield Piece(case.target, case.study, what, "1", 1.0, np.nan, np.nan, p, case.log_likelihood(p), nothing)


def fit_table(found: list[Piece]) -> pd.DataFrame:
    """One row for each number of the evidence: observed, expected, predicted, and where it lies among predictions.

    Returns
    -------
    pandas.DataFrame
        ``tail`` is twice the smaller share of predictions on either side of what was observed, ties half.
    """
    rows = []
    for piece in found:
        edges = (1 - INTERVAL) / 2, (1 + INTERVAL) / 2
        below = np.mean(piece.predicted < piece.observed) + 0.5 * np.mean(piece.predicted == piece.observed)
        known = np.isfinite(piece.predicted).all()
        rows.append(
            dict(zip(("target", "study", "what", "unit", "observed", "lo", "hi"), piece[:7], strict=True))
            | {"expected": np.mean(piece.expected)}
            | dict(zip(("expected_lo", "expected_hi"), np.quantile(piece.expected, edges), strict=True))
            | dict(zip(("predicted_lo", "predicted_hi"), np.quantile(piece.predicted, edges), strict=True))
            | {"tail": min(1.0, 2 * min(below, 1 - below)) if known else np.nan}
        )
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------------------------- what it owes to which


def by_target(found: list[Piece]) -> dict[str, Array]:
    """Log likelihood of each target, by draw."""
    return _summed((piece.target, piece.log_likelihood) for piece in found)


def _summed(parts: Iterable[tuple[str, Array]]) -> dict[str, Array]:
    total: dict[str, Array] = {}
    for name, log_likelihood in parts:
        total[name] = total.get(name, 0.0) + log_likelihood
    return {name: total[name] for name in sorted(total, key=lambda name: (name == "kinetics", name))}


def log_priors(model: Model, evidence: Evidence, draws: xr.Dataset) -> dict[str, Array]:
    """Log prior density of each free parameter, by draw, as the calibration had it."""
    found = {}
    for param in model.params:
        if param.name in draws and not isinstance(prior := prior_of(param, evidence), Fixed):
            found[param.name] = log_density(prior, _values(draws, param.name))
    return found


def log_density(prior: Prior, x: Array) -> Array:
    """Log density of a prior that is free, up to a constant where it has an upper end."""
    match prior:
        case LogNormal(median, sdlog):
            return stats.lognorm.logpdf(x, sdlog, scale=median)
        case Normal(mean, sd):
            return stats.norm.logpdf(x, mean, sd)
        case HalfNormal(scale):
            return stats.halfnorm.logpdf(x, scale=scale)
        case Beta(a, b):
            return stats.beta.logpdf(x, a, b)
        case Uniform(low, high):
            return np.full(np.shape(x), -np.log(high - low))
    raise TypeError(f"{prior} has no density")


def power_scaling(
    model: Model, evidence: Evidence, posterior: xr.Dataset, found: list[Piece], risks: dict[str, Array]
) -> pd.DataFrame:
    """Sensitivity of parameters and risks to the strength of the priors together, and of each target.

    Parameters
    ----------
    model, evidence, posterior, found
        As for `pieces`.
    risks : dict of str to array, shape (sample,)
        Risks of the same draws, by name.

    Returns
    -------
    pandas.DataFrame
        Index: free parameters and risks; columns: ``prior`` and the targets. Above 0.05 is called sensitive.
    """
    from arviz_stats.psense import psense

    draws = posterior.stack(sample=("draw", "chain"))
    chains, length = posterior.sizes["chain"], posterior.sizes["draw"]

    def tree(values: dict[str, Array]) -> xr.Dataset:
        shaped = {name: (("draw", "chain"), v.reshape(length, chains)) for name, v in values.items()}
        return xr.Dataset(shaped).transpose("chain", "draw")

    before, likelihoods = log_priors(model, evidence, draws), by_target(found)
    free = {name: _values(draws, name) for name in before}
    data = xr.DataTree.from_dict({
        "posterior": tree(free | risks),
        "log_prior": tree(before),
        "log_likelihood": tree(likelihoods),
    })  # fmt: skip
    columns = {"prior": psense(data, group="prior")}
    for target in likelihoods:
        columns[target] = psense(data, group="likelihood", group_var_names=[target])
    return pd.DataFrame({name: {q: float(values[q]) for q in [*free, *risks]} for name, values in columns.items()})


def without_targets(integrated: Mapping[tuple[str, str], Array], risks: Mapping[str, Array]) -> pd.DataFrame:
    """Risks with each target left out, by importance weights.

    Parameters
    ----------
    integrated : dict of (str, str) to array, shape (sample,)
        Log likelihood by target and study, from `vtrial.calibration.integrated.integrator`.
    risks : dict of str to array, shape (sample,)

    Returns
    -------
    pandas.DataFrame
        Index: ``all`` and the targets; columns: each risk's mean, nan where the weights do not carry, and ``khat``.
    """
    rows = {"all": {name: float(np.mean(risk)) for name, risk in risks.items()} | {"khat": 0.0}}
    for target, log_likelihood in _summed((target, x) for (target, _), x in integrated.items()).items():
        weights, khat = smoothed(-log_likelihood)
        carried = 1.0 if khat <= KHAT_LIMIT else np.nan
        rows[target] = {name: carried * float(weights @ risk) for name, risk in risks.items()} | {"khat": khat}
    return pd.DataFrame(rows).T


def smoothed(log_ratios: Array) -> tuple[Array, float]:
    """Pareto-smoothed importance weights that add up to one, and k-hat.

    Parameters
    ----------
    log_ratios : array, shape (sample,)
        Log density wanted over that of the draws.
    """
    from arviz_stats.base.array import array_stats

    log_weights, khat = array_stats.psislw(-log_ratios)  # it takes log likelihoods to be left out
    weights = np.exp(np.asarray(log_weights) - np.max(log_weights))
    return weights / weights.sum(), float(khat)


def by_study(integrated: Mapping[tuple[str, str], Array]) -> pd.DataFrame:
    """Expected log predictive density of each study left out (Vehtari, Gelman, Gabry 2017), and k-hat.

    Parameters
    ----------
    integrated : dict of (str, str) to array, shape (sample,)
        As for `without_targets`: a study's own latents are left out with it.

    Returns
    -------
    pandas.DataFrame
        Index: studies; columns ``elpd`` and ``khat``.
    """
    rows = {}
    for study, log_likelihood in _summed((study, x) for (_, study), x in integrated.items()).items():
        weights, khat = smoothed(-log_likelihood)
        elpd = np.logaddexp.reduce(np.log(weights) + log_likelihood)
        rows[study] = {"elpd": float(elpd), "khat": khat}
    return pd.DataFrame(rows).T


def prior_and_posterior(model: Model, evidence: Evidence, posterior: xr.Dataset) -> pd.DataFrame:
    """Median and 95% interval of each free parameter before and after, and by how much its interval shrank.

    Before: the prior of the calibration, at twice the SD of the model file's where a row that this rests on is in a
    likelihood too.

    Returns
    -------
    pandas.DataFrame
        ``shrinkage`` is one minus the ratio of the interquartile ranges: 0 where nothing was learnt. ``sd`` is the
        factor between the SD of this prior and that of the model file, 2 or 1; ``file_lo`` and ``file_hi`` are the
        interval of the latter.
    """
    at = np.array([0.025, 0.25, 0.5, 0.75, 0.975])
    rows = {}
    for param in model.params:
        if param.name in posterior:
            prior = prior_of(param, evidence)
            before, in_file = prior.quantile(at), param.prior.quantile(at)
            after = np.quantile(posterior[param.name].to_numpy(), at)
            names = ("prior_lo", "prior", "prior_hi", "lo", "median", "hi")
            numbers = (*before[[0, 2, 4]], *after[[0, 2, 4]])
            rows[param.name] = dict(zip(names, numbers, strict=True)) | {
                "shrinkage": 1.0 - (after[3] - after[1]) / (before[3] - before[1]),
                "sd": 1 if prior == param.prior else 2, "file_lo": in_file[0], "file_hi": in_file[4],
                "unit": param.unit, "label": param.label,
            }  # fmt: skip
    return pd.DataFrame(rows).T
