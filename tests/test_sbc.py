"""Simulation-based calibration of the joint model on a reduced design (Talts et al. 2018, arXiv:1804.06788).

Parameters come from their priors, drawn here by NumPy; data from the distributions that the joint model states, drawn
here by NumPy too, at what the joint model expects; each set of data is then calibrated on as evidence is, by the
sampler that makes the posterior. If priors, likelihoods and sampler belong together, the rank of what was drawn among
the draws of its posterior is uniform, for every quantity: parameters, nuisances, and the log likelihood, which sees
data that are ignored or counted twice (Modrak et al. 2023, Bayesian Analysis).
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from scipy import stats

from vtrial.calibration.evidence import load_evidence, prior_of
from vtrial.calibration.fit import compile_joint, sample
from vtrial.calibration.joint import BETWEEN_STUDIES, BETWEEN_TRIALS, OTHERS, Joint
from vtrial.calibration.reporting import RECORDED, REPORTING
from vtrial.model import Fixed, load_model

SEED, WORKERS = 20261126, 2
SETS = int(os.environ.get("VTRIAL_SBC_SETS", "100"))
"""Sets of data: half an hour, or fewer where time is short (CI)."""
NODES, WARM_UP, DRAWS, KEPT = 16, 400, 1000, 99
CHANCE = 0.001
"""Probability, over all quantities together, that a right pipeline fails."""

MODEL = load_model("baclofen_pregabalin")
WHOLE = load_evidence(MODEL)
ROWS = {"pk:1.01", "pk:1.08", "pk:1.09", "pk:1.14", "pk:1.42", "pk:4.01", "pk:4.05", "pk:4.08"}
STUDIES = {"DPN, US label", "fibromyalgia, Cochrane", "spinal cord injury", "arbaclofen"}
REDUCED = WHOLE.model_copy(
    update={
        "kinetics": [one for one in WHOLE.kinetics if ROWS & {*one.rows}],
        "trials": [one for one in WHOLE.trials if one.study in STUDIES],
        "overdoses": [one for one in WHOLE.overdoses if one.study in {"Poland 1996-2004", "Isoardi 2020"}],
        "cases": WHOLE.cases[-1:],
    }
)
TRIALS = REDUCED.trials
ARMS = [arm for trial in TRIALS for arm in trial.arms]
RATIOS = [ratio for trial in TRIALS for ratio in trial.ratios]
KINDS = ("kinetics", "events", "ratios", "overdoses", "cases")
FREE = [p for p in MODEL.params if not isinstance(p.prior, Fixed)]


def drawn(rng):
    """Everything that has a prior, once."""
    theta = {p.name: float(prior_of(p, REDUCED).quantile(rng.random())) for p in FREE}
    own = [trial.recorded for trial in TRIALS if trial.recorded != "common"]
    unprinted = {one.study for one in REDUCED.kinetics if one.crcl is None}
    return theta | {
        "tau_kinetics": BETWEEN_STUDIES * abs(rng.standard_normal()),
        "tau_trial": BETWEEN_TRIALS * abs(rng.standard_normal()),
        "between_levels": rng.random(),
        "omega_report": REPORTING * abs(rng.standard_normal()),
        "others": OTHERS * abs(rng.standard_normal()),
        "xi_crcl": rng.standard_normal(len(unprinted)),
        "xi_trial": rng.standard_normal(len(TRIALS)),
        "xi_series": rng.standard_normal(len(REDUCED.overdoses)),
        "background": rng.beta(*np.transpose([trial.background for trial in TRIALS])),
        "taking_beside": rng.beta(*np.transpose([trial.beside.share for trial in TRIALS if trial.beside])),
        "recorded": rng.beta(*RECORDED),
        "recorded_own": rng.beta(*np.transpose(own)),
    }


def expecting():
    """What the joint model expects of the evidence, as a function of all that is `drawn`."""
    built = Joint(MODEL, REDUCED, nodes=NODES).pymc()
    one = drawn(np.random.default_rng(0))
    given = {name: pt.tensor(name, dtype="float64", shape=np.shape(value)) for name, value in one.items()}
    wanted = [built[f"expected {kind}"] for kind in KINDS]
    by_name = {built[name]: value for name, value in given.items()}
    interpreted = Mode(linker="py", optimizer=None)
    found = pytensor.function([*given.values()], wanted, givens=by_name, mode=interpreted, on_unused_input="ignore")
    return lambda one: dict(zip(KINDS, found(*one.values()), strict=True))


def spread(tau_kinetics):
    return np.sqrt(np.array([one.se for one in REDUCED.kinetics]) ** 2 + np.square(tau_kinetics)[..., None])


def simulated(rng, one, expected):
    """Data as they would have been, by name as `vtrial.calibration.joint.observed`."""
    return {
        "kinetics": np.log(expected["kinetics"])
        + spread(one["tau_kinetics"]) * rng.standard_t(4, len(REDUCED.kinetics)),
        "events": rng.binomial([arm.n for arm in ARMS], expected["events"]),
        "ratios": np.log(expected["ratios"]) + rng.normal(scale=[ratio.se for ratio in RATIOS]),
        "overdoses": rng.binomial([series.n for series in REDUCED.overdoses], expected["overdoses"]),
    }


def log_likelihood(data, tau_kinetics, expected):
    """Of all data, shape (draw,), by SciPy; what is expected has shape (draw, ...)."""
    scale = spread(tau_kinetics)
    parts = [
        stats.t.logpdf((data["kinetics"] - np.log(expected["kinetics"])) / scale, 4) - np.log(scale),
        stats.binom.logpmf(data["events"], [arm.n for arm in ARMS], expected["events"]),
        stats.norm.logpdf(data["ratios"], np.log(expected["ratios"]), [ratio.se for ratio in RATIOS]),
        stats.binom.logpmf(data["overdoses"], [series.n for series in REDUCED.overdoses], expected["overdoses"]),
        np.log(expected["cases"]),
    ]
    return np.sum([part.sum(axis=-1) for part in parts], axis=0)


def ranks(sets):
    """Ranks of what was drawn, by quantity, for some of the sets of data."""
    expect, compiled, found = expecting(), compile_joint(Joint(MODEL, REDUCED, nodes=NODES)), []
    for number in sets:
        rng = np.random.default_rng([SEED, number])
        while True:  # given the constraint, and the case: it is evidence because the patient woke as observed
            one = drawn(rng)
            if MODEL.constraint(one) and rng.random() < (expected := expect(one))["cases"][0]:
                break
        data = simulated(rng, one, expected)
        with_data = compiled.with_data(**{f"observed {name}": values for name, values in data.items()})
        traced = sample(with_data, seed=int(rng.integers(2**31)), chains=1, warm_up=WARM_UP, draws=DRAWS)
        posterior = traced["posterior"].to_dataset().isel(chain=0)
        spaced = posterior.isel(draw=np.linspace(0, DRAWS - 1, KEPT).round().astype(int))
        draws = {name: spaced[name].transpose("draw", ...).to_numpy() for name in [*one]}
        one["log likelihood"] = log_likelihood(data, one["tau_kinetics"], expected)
        of_draws = {kind: spaced[f"expected {kind}"].transpose("draw", ...).to_numpy() for kind in KINDS}
        draws["log likelihood"] = log_likelihood(data, draws["tau_kinetics"], of_draws)
        found.append({name: (draws[name] < one[name]).sum(axis=0) for name in one})
    return found


@pytest.mark.slow
def test_ranks_of_what_was_drawn_are_uniform():
    shares = [range(start, SETS, WORKERS) for start in range(WORKERS)]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as workers:
        every = [one for part in workers.map(ranks, shares) for one in part]
    jitter = np.random.default_rng(SEED)
    p_values = {}
    for name in every[0]:
        found = np.array([np.ravel(one[name]) for one in every], float)
        uniform = (found + jitter.random(found.shape)) / (KEPT + 1)
        p_values |= {f"{name}[{k}]": stats.kstest(column, "uniform").pvalue for k, column in enumerate(uniform.T)}
    least = sorted(p_values.items(), key=lambda item: item[1])
    print(f"\n{len(least)} quantities, {SETS} sets; least p:", *(f"{name} {p:.4f}" for name, p in least[:8]))
    assert least[0][1] > CHANCE / len(least)
    # small departures that all quantities share: their p-values are then not uniform either
    assert (np.array([p for _, p in least]) < 0.05).mean() < 0.2
