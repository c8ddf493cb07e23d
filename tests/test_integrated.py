"""What is a study's own is integrated out: against closed forms, quadrature, PyMC's priors, and more points."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats
from scipy.integrate import dblquad
from scipy.special import expit, logsumexp

from vtrial.calibration import criticise
from vtrial.calibration.criticise import log_density
from vtrial.calibration.evidence import load_evidence
from vtrial.calibration.integrated import Own, _log_prior, _mixture, integrator, own_latents
from vtrial.calibration.joint import Joint
from vtrial.calibration.reporting import priors_recorded
from vtrial.model import Beta, HalfNormal, Normal, load_model
from vtrial.model.posterior import posterior_path

MODEL = load_model("baclofen_pregabalin")
EVIDENCE = load_evidence(MODEL)
JOINT = Joint(MODEL, EVIDENCE)


def integral(latents, values, log_likelihood, *, draw=0, points=256):
    """Log of the mean of a likelihood over the prior of latents, by the points of a draw."""
    x, weight = _mixture(latents, values, [], points, 1).points(draw)
    weight = weight + np.sum([_log_prior(one, x[:, k]) for k, one in enumerate(latents)], axis=0)
    return float(logsumexp(log_likelihood(x) + weight) - np.log(points))


def test_a_background_alone_is_the_beta_binomial():
    latents = [Own("background", 0, Beta(1.0, 9.0))]
    rng = np.random.default_rng(3)
    values = {"background": rng.beta(1 + 5, 9 + 82, 500)[:, None]}
    expected = stats.betabinom.logpmf(5, 87, 1.0, 9.0)
    for draw in range(20):
        found = integral(latents, values, lambda x: stats.binom.logpmf(5, 87, x[:, 0]), draw=draw)
        assert found == pytest.approx(expected, abs=0.01)


def test_two_latents_are_those_of_quadrature():
    """A deviation, a share recorded, and 130 of 900 patients: the ridge of a large trial."""
    latents = [Own("xi", 0, Normal(0.0, 1.0)), Own("recorded", 0, Beta(4.0, 4.0))]

    def likelihood(xi, share):
        return stats.binom.pmf(130, 900, share * expit(-0.7 + 0.5 * xi))

    exact = np.log(dblquad(
        lambda xi, share: likelihood(xi, share) * stats.norm.pdf(xi) * stats.beta.pdf(share, 4, 4), 0, 1, -7, 7,
        epsabs=1e-13,
    )[0])  # fmt: skip
    rng = np.random.default_rng(5)  # draws of the posterior, by importance resampling from the prior
    xi, share = rng.normal(size=200_000), rng.beta(4, 4, 200_000)
    p = likelihood(xi, share)
    kept = rng.choice(len(xi), 1000, p=p / p.sum())
    values = {"xi": xi[kept, None], "recorded": share[kept, None]}
    found = [
        integral(latents, values, lambda x: np.log(likelihood(*x.T)), draw=draw, points=1024) for draw in range(40)
    ]
    assert np.mean(found) == pytest.approx(exact, abs=0.02)
    assert np.std(found) < 0.1


def test_a_half_normal_is_seen_on_both_sides_of_its_scale():
    latents = [Own("lowered", 0, HalfNormal(1.0))]
    values = {"lowered": np.abs(np.random.default_rng(2).normal(size=300))[:, None]}
    found = integral(latents, values, lambda x: -2.0 * x[:, 0])
    assert found == pytest.approx(np.log(2 * np.exp(2.0) * stats.norm.cdf(-2.0)), abs=0.01)


def test_latents_and_their_priors_are_those_of_the_joint_model(posterior):
    built, found = JOINT.pymc(), dict[str, list[Own]]()
    for latents in own_latents(EVIDENCE).values():
        for one in latents:
            found.setdefault(one.variable, []).append(one)
    vectors = {rv.name for rv in built.free_RVs if rv.type.shape}
    assert {*found} == vectors
    for name, latents in found.items():
        assert sorted(one.place for one in latents) == list(range(len(latents)))
        assert posterior[name].shape[2:] == (len(latents),)
        if not latents[0].shown:
            x = np.full(len(latents), 0.3)
            expected = pm.logp(built[name], x).eval()
            own = [float(log_density(one.prior, 0.3)) for one in sorted(latents, key=lambda one: one.place)]
            assert own == pytest.approx(expected, rel=1e-9)
        else:
            priors = np.array(priors_recorded(EVIDENCE.trials)[latents[0].shown]).T
            assert [(one.prior.a, one.prior.b) for one in latents] == [tuple(row) for row in priors]


@pytest.fixture(scope="module")
def posterior():
    with xr.open_datatree(posterior_path(MODEL)) as tree:
        return tree["posterior"].to_dataset().load()


@pytest.fixture(scope="module")
def integrate():
    return integrator(JOINT)


def test_who_has_nothing_of_his_own_is_as_likely_as_before(integrate, posterior):
    posterior = posterior.isel(draw=slice(0, 30))
    pieces = criticise.pieces(MODEL, EVIDENCE, posterior)
    plain = {}
    for piece in pieces:
        plain[piece.target, piece.study] = plain.get((piece.target, piece.study), 0.0) + piece.log_likelihood
    found, own = integrate(posterior), own_latents(EVIDENCE)
    assert {*found} == {*plain}
    alone = [key for key in plain if key[1] not in own]
    assert len(alone) >= 3
    for key in alone:
        assert found[key] == pytest.approx(plain[key], rel=1e-5, abs=1e-5)  # draws are kept in single precision


@pytest.mark.slow
def test_more_points_change_little(integrate, posterior):
    posterior = posterior.isel(draw=slice(0, 120))
    few, many = integrate(posterior), integrator(JOINT, points=1024, seed=9)(posterior)
    for key, values in many.items():
        off = few[key] - values
        assert abs(off.mean()) < 0.05, key
        assert off.std() < 0.35, key


def test_left_out_by_hand():
    """Two draws, likelihoods 1 and 3: weights 3 to 1 by 1 / L, which smoothing leaves as they are in so few."""
    rng = np.random.default_rng(1)
    likelihood = {("C1", "a"): rng.normal(-3, 0.1, 400), ("C1", "b"): rng.normal(-2, 0.1, 400)}
    risk = rng.uniform(size=400)
    table = criticise.without_targets(likelihood, {"risk": risk})
    weight = np.exp(-sum(likelihood.values()))
    assert table.loc["C1", "risk"] == pytest.approx(np.average(risk, weights=weight), rel=2e-3)
    assert table.loc["C1", "khat"] < 0.7
    studies = criticise.by_study(likelihood)
    for (_, study), values in likelihood.items():
        assert studies.loc[study, "elpd"] == pytest.approx(-np.log(np.exp(-values).mean()), abs=1e-3)
