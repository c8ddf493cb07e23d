"""Estimates, intervals, Monte Carlo errors, ranks: against their formulas and against simulated truth."""

import numpy as np
import pytest
import xarray as xr

from vtrial.endpoint import Outcome
from vtrial.estimand import (
    POPULATION,
    STATS,
    Accept,
    Estimands,
    Limit,
    Sums,
    describe,
    estimate,
    failed,
    standardise,
)

MEAN, MEDIAN, LO, HI, MCSE, SHARE = range(6)


def estimates(mean, *, reference=0, noise=None, paired=None, treated=None, weight=None, limits=(), interval=0.95):
    """Estimates of one outcome from means (arm, stratum, draw)."""
    mean = np.asarray(mean, float)[:, :, None, :]
    arms, strata, _, draws = mean.shape
    noise, paired = (np.zeros_like(mean) if x is None else np.asarray(x, float)[:, :, None] for x in (noise, paired))
    treated = np.ones((arms, strata, 1, draws)) if treated is None else np.asarray(treated, float)
    names = [f"arm{i}" for i in range(arms)]
    spec = Estimands(reference=names[reference], primary="risk", limits=limits, interval=interval)
    weight = np.full(strata, 1 / strata) if weight is None else np.asarray(weight)
    drugs = [f"drug{i}" for i in range(treated.shape[2])]
    return estimate(
        Sums(mean, noise, paired, treated), spec, arms=names, strata=[f"s{i}" for i in range(strata)],
        outcomes=[Outcome("risk", "1", "a risk", True)], drugs=drugs, weight=weight,
    )  # fmt: skip


# ----------------------------------------------------------------------------------------- describing


@pytest.mark.parametrize("interval", [0.5, 0.9, 0.95])
def test_interval_is_the_equal_tailed_quantiles_over_draws(interval):
    value = np.random.default_rng(0).normal(2.0, 3.0, 200_001)
    stats = describe(value, np.zeros(value.size), interval)
    z = {0.5: 0.674490, 0.9: 1.644854, 0.95: 1.959964}[interval]  # quantiles of the normal distribution
    # SD of a sample quantile of a normal at z = 1.96: SD / phi(z) sqrt(p (1 - p) / n) = 0.018
    assert stats[[LO, MEDIAN, HI]] == pytest.approx([2 - 3 * z, 2.0, 2 + 3 * z], abs=0.075)
    assert stats[[MEAN, MCSE]] == pytest.approx([value.mean(), value.std(ddof=1) / np.sqrt(value.size)])


def test_mcse_is_the_standard_deviation_of_the_estimate_over_repetitions():
    # nested Monte Carlo of known truth: R_d = mu + tau a_d + sigma / sqrt(n) e; 4000 repetitions of 100 draws.
    # SD of the SD over 4000 repetitions: 1/sqrt(8000) = 1.1%
    rng = np.random.default_rng(1)
    tau, sigma, n, draws = 0.4, 1.5, 20, 100
    R = 1.0 + tau * rng.standard_normal((4000, draws)) + sigma / np.sqrt(n) * rng.standard_normal((4000, draws))
    stats = describe(R, np.full_like(R, sigma**2 / n), 0.95)
    assert stats[:, MCSE].mean() / stats[:, MEAN].std(ddof=1) == pytest.approx(1.0, abs=0.04)
    truth = np.sqrt((tau**2 + sigma**2 / n) / draws)
    assert np.sqrt((stats[:, MCSE] ** 2).mean()) == pytest.approx(truth, rel=0.01)
    # inner share: sigma^2/n over tau^2 + sigma^2/n = 0.4128; its mean over repetitions is 99/97 times that
    assert stats[:, SHARE].mean() == pytest.approx(0.1125 / 0.2725 * 99 / 97, rel=0.01)


def test_inner_share_is_one_when_parameters_are_certain_and_zero_without_patient_noise():
    rng = np.random.default_rng(2)
    y = rng.standard_normal((4000, 25))
    mean, noise = y.mean(1), y.var(1, ddof=1) / 25
    assert describe(mean, noise, 0.95)[SHARE] == pytest.approx(1.0, abs=4 * np.sqrt(2 / 4000))
    assert describe(mean, np.zeros(4000), 0.95)[SHARE] == 0.0


def test_one_draw_has_no_known_mcse_and_gives_no_warning():
    stats = describe(np.array([0.3]), np.array([0.01]), 0.95)  # a scenario may ask for `draws: 1`
    assert stats[:4].tolist() == [0.3] * 4
    assert np.isnan(stats[MCSE])


def test_one_value_in_all_draws_has_no_spread():
    assert describe(np.full(9, 0.25), np.zeros(9), 0.95).tolist() == [0.25, 0.25, 0.25, 0.25, 0.0, 0.0]


# ------------------------------------------------------------------------------------------- contrasts


def test_difference_is_paired_draw_by_draw():
    rng = np.random.default_rng(3)
    base = rng.normal(0.5, 0.1, (1, 1, 500))
    found = estimates(np.concatenate([base, base + 0.02]))["difference"]
    assert found.sel(arm="arm1", stratum="s0", outcome="risk", stat=["mean", "lo", "hi"]).values == pytest.approx(0.02)
    assert found.sel(arm="arm1", stratum="s0", stat="mcse").values == pytest.approx(0.0, abs=1e-15)
    assert not found.sel(arm="arm0").values[..., :5].any()  # the reference differs from itself by exactly zero


def test_ratio_is_of_means_with_the_mcse_of_the_delta_method():
    # repetitions of known truth: y = 2 x (1 + 0.3 e), x log-normal; empirical SD over 2000 runs of 200 draws (1.6%)
    rng = np.random.default_rng(4)
    x = np.exp(0.5 * rng.standard_normal((2000, 200)))
    y = 2 * x * (1 + 0.3 * rng.standard_normal((2000, 200)))
    found = estimates(np.stack([x, y]))["ratio"].sel(arm="arm1", outcome="risk").isel(stratum=slice(2000))
    assert found.sel(stat="mean").values == pytest.approx(y.mean(1) / x.mean(1))
    assert float(found.sel(stat="mcse").mean() / found.sel(stat="mean").std(ddof=1)) == pytest.approx(1.0, abs=0.06)
    assert found.sel(stat="median").values == pytest.approx(np.median(y / x, axis=1))


def test_ratio_to_a_risk_of_zero_is_unknown():
    found = estimates([[[0.0, 0.0]], [[0.1, 0.2]], [[0.0, 0.0]]])["ratio"]
    assert np.isnan(found.values).all()
    partly = estimates([[[0.0, 0.1]], [[0.1, 0.2]]])["ratio"]
    assert np.isnan(partly.sel(stratum="s0").values).all()


# ---------------------------------------------------------------------------------------- ranks, limits


def test_ranks_count_how_often_an_arm_is_that_safe():
    risk = np.array([[1, 2, 3, 1], [2, 1, 1, 2], [3, 3, 2, 3]], float)[:, None]
    found = estimates(risk)["p_rank"].sel(stratum="s0", contest="all")
    assert found.values.tolist() == [[0.5, 0.25, 0.25], [0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]


def test_tied_arms_share_their_ranks():
    found = estimates([[[r] * 2] for r in (1.0, 1.0, 2.0, 2.0, 2.0)])["p_rank"].sel(stratum="s0", contest="all")
    third = 1 / 3
    truth = [[0.5, 0.5, 0, 0, 0]] * 2 + [[0, 0, third, third, third]] * 3
    assert found.values == pytest.approx(np.array(truth))


def test_ranks_are_distributions_over_arms_and_over_ranks():
    risk = np.random.default_rng(5).integers(0, 3, (5, 2, 100)).astype(float)
    found = estimates(risk)["p_rank"].sel(contest="all")
    assert found.sum("rank").values == pytest.approx(1.0)
    assert found.sum("arm").values == pytest.approx(1.0)


def test_contest_of_treating_arms_leaves_out_who_does_not_give_its_drugs_to_all():
    # arm0 gives both drugs to all; arm1 withholds drug1 from half of stratum s1; arm2 is about drug0 only
    risk = np.stack([np.full((2, 4), r) for r in (0.3, 0.1, 0.2)])
    treated = np.ones((3, 2, 2, 4))
    treated[1, 1, 1] = 0.5
    treated[2, :, 1] = 0.0
    found = estimates(risk, treated=treated)["p_safest"]
    assert found.sel(contest="all").isel(stratum=[0, 1]).values.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert found.sel(contest="treating").isel(stratum=[0, 1]).values.tolist() == [[0, 0], [1, 0], [0, 1]]
    assert found.sel(contest="treating", stratum=POPULATION).values.tolist() == [0, 0, 1]


def test_limit_is_met_in_a_share_of_draws_with_its_binomial_error():
    found = estimates([[np.linspace(0, 0.99, 100)]], limits=(Limit(outcome="risk", below=0.2),))
    assert float(found["p_below"][0, 0, 0]) == pytest.approx(0.2)
    assert float(found["p_below_mcse"][0, 0, 0]) == pytest.approx(np.sqrt(0.2 * 0.8 / 100))


def test_no_limits_no_column():
    assert estimates([[[0.1, 0.2]]])["p_below"].sizes["limit"] == 0


# --------------------------------------------------------------------------------------- standardisation


def test_population_is_the_weighted_mean_of_strata_and_its_noise_that_of_independent_strata():
    rng = np.random.default_rng(6)
    mean, noise = rng.random((2, 3, 50)), rng.random((2, 3, 50))
    weight = np.array([0.5, 0.3, 0.2])
    whole = standardise(
        Sums(mean[:, :, None], noise[:, :, None], 2 * noise[:, :, None], np.ones((2, 3, 1, 50))), weight
    )
    assert whole.mean.shape == (2, 1, 1, 50)
    assert whole.mean[:, 0, 0] == pytest.approx(np.tensordot(weight, mean, (0, 1)))
    assert whole.noise[:, 0, 0] == pytest.approx(np.tensordot(weight**2, noise, (0, 1)))
    assert whole.paired_noise[:, 0, 0] == pytest.approx(2 * np.tensordot(weight**2, noise, (0, 1)))
    found = estimates(mean, weight=weight)
    assert found["value"].sel(stratum=POPULATION, stat="mean").values[:, 0] == pytest.approx(mean.mean(2) @ weight)
    assert found["weight"].values.tolist() == [0.5, 0.3, 0.2, 1.0]


# ------------------------------------------------------------------------------------------ acceptance


def test_conditions_on_the_result_fail_in_words():
    found = estimates([[[0.1, 0.3]], [[0.5, 0.7]]])
    met = Accept(arm="arm0", outcome="risk", below=0.21)
    missed = Accept(arm="arm1", outcome="risk", stratum="s0", stat="mcse", below=0.05)
    assert failed((met,), found) == []
    (line,) = failed((met, missed), found)
    assert line == "mcse of risk, arm1, s0: 0.1 is not below 0.05"


def test_a_statistic_that_is_unknown_is_not_accepted():
    value = xr.DataArray(
        np.full((1, 1, 1, 1), np.nan), dims=("arm", "stratum", "outcome", "stat"),
        coords={"arm": ["a"], "stratum": [POPULATION], "outcome": ["o"], "stat": ["mean"]},
    )  # fmt: skip
    assert failed((Accept(arm="a", outcome="o", below=1.0),), xr.Dataset({"value": value}))


def test_stats_are_in_their_order():
    assert STATS == ("mean", "median", "lo", "hi", "mcse", "inner_share")
