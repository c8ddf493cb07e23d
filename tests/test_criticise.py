"""Criticism of a calibration, on the posterior that ships and on numbers worked by hand."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from vtrial import load_model, load_scenario, run
from vtrial.calibration import criticise
from vtrial.calibration.evidence import load_evidence, prior_of
from vtrial.calibration.held import log_ratios
from vtrial.calibration.joint import Joint
from vtrial.library import SCENARIOS
from vtrial.model.posterior import open_posterior, posterior_path
from vtrial.report.refits import by_refit, predictions, risks_of_refits

MODEL = load_model("baclofen_pregabalin")
EVIDENCE = load_evidence(MODEL)


@pytest.fixture(scope="module")
def calibrated():
    return open_posterior(posterior_path(MODEL))


@pytest.fixture(scope="module")
def posterior(calibrated):
    return calibrated["posterior"].to_dataset()


@pytest.fixture(scope="module")
def found(posterior):
    return criticise.pieces(MODEL, EVIDENCE, posterior)


def test_every_number_of_the_evidence_is_held_against_the_posterior(found):
    counts = [len(t.arms) + len(t.ratios) for t in EVIDENCE.trials]
    assert len(found) == len(EVIDENCE.kinetics) + sum(counts) + len(EVIDENCE.overdoses) + len(EVIDENCE.cases)
    assert {piece.target for piece in found} == {"kinetics", *EVIDENCE.targets}


def test_likelihood_of_a_count_is_binomial_at_its_probability(found, posterior):
    first = next(piece for piece in found if piece.target == "C1")
    p = posterior["expected events"].stack(sample=("draw", "chain")).transpose("sample", ...)[:, 0].values
    n, k = 459, 14  # P1a
    by_hand = np.log(stats.binom.pmf(k, n, p))
    assert first.log_likelihood == pytest.approx(by_hand, rel=1e-9)
    assert (first.lo, first.hi) == pytest.approx((0.0168, 0.0506), abs=2e-4)  # printed as 1.7 to 5.1% (exact)


def test_most_of_the_evidence_lies_where_new_data_would(found):
    table = criticise.fit_table(found)
    known = table["tail"].dropna()
    assert len(known) == len(table) - len(EVIDENCE.cases)
    assert (known < 0.05).mean() < 0.15


def test_leaving_out_a_target_reweights_as_exact_weights_do():
    rng = np.random.default_rng(1)
    theta = rng.normal(size=20_000)  # of a posterior; one datum y = 0.5 with SD 2 out of it
    log_likelihood = stats.norm.logpdf(0.5, theta, 2.0)
    table = criticise.without_targets({("C1", "a study"): log_likelihood}, {"risk": theta})
    # precision 1 less 1/4, mean (0 - 0.5 / 4) / 0.75
    assert table.loc["C1", "risk"] == pytest.approx(-0.5 / 4 / 0.75, abs=0.03)
    assert table.loc["C1", "khat"] < criticise.KHAT_LIMIT
    assert table.loc["all", "risk"] == pytest.approx(0.0, abs=0.03)


def test_a_refit_that_is_what_simulates_gives_the_risks_of_the_run(calibrated):
    scenario = load_scenario(SCENARIOS / "calibration.yaml", size="small")
    asked = scenario.spec.sensitivities
    scenario = replace(scenario, spec=scenario.spec.model_copy(update={"sensitivities": None}))
    result = run(scenario, posterior=posterior_path(MODEL))
    scenario = replace(scenario, spec=scenario.spec.model_copy(update={"sensitivities": asked}))
    every = {name: calibrated.copy() for name in ("log-normal", "one spread", "Student-t")}
    for name, tree in every.items():
        tree.attrs = {**tree.attrs, "sensitivity": name}
    found = risks_of_refits(scenario, result["theta"].to_dataset(), every)
    risks = result["risk"].to_dataset()["mean"].sel(outcome="level3_7d")
    assert len(found) == 3 * len(asked.arms) * len(asked.strata)
    for arm, stratum in product(asked.arms, asked.strata):
        normal, one, student = (found[f"{name}: {arm}, {stratum}"] for name in every)
        assert normal == pytest.approx(risks.sel(arm=arm, stratum=stratum).to_numpy(), rel=1e-6)
        assert one == pytest.approx(normal, rel=1e-12)  # where nobody reports, there is one spread
        assert (student > normal)[normal < 0.01].all()  # t has no thin tails


def test_a_target_left_out_by_a_refit_has_its_risk():
    weights = pd.DataFrame(
        {"ARM0, old": [0.1, np.nan, np.nan], "ARM1, old": [0.2, 0.3, np.nan], "khat": [0.0, 0.4, 0.9]},
        index=["all", "C1", "C2"],
    )
    table = by_refit(weights, {"without C2: ARM0, old": np.array([0.4, 0.6]), "b_age = 0: ARM0, old": np.array([9.0])})
    assert table["by"].tolist() == ["weights", "weights", "weights", "refit"]
    assert [*table.index] == ["all", "C1", "C2", "C2"]
    refit = table[table["by"] == "refit"].iloc[0]
    assert refit["ARM0, old"] == 0.5
    assert np.isnan([refit["ARM1, old"], refit["khat"]]).all()
    assert table[table["by"] == "weights"].drop(columns="by").astype(float).equals(weights)


def test_differences_of_predictions_are_over_studies(calibrated):
    rng = np.random.default_rng(4)
    likelihood = {("C1", name): rng.normal(-3.0, 0.05, 1000) for name in "abcdef"}
    off = dict(zip(likelihood, (0.0, 0.0, -1.0, 0.5, 0.0, -2.0), strict=True))
    integrated = {"first": likelihood, "second": {key: values + off[key] for key, values in likelihood.items()}}
    table = predictions(integrated, {"first": calibrated, "second": calibrated})
    assert table.loc["second", "difference"] == pytest.approx(-2.5)
    assert table.loc["second", "se"] == pytest.approx(6**0.5 * np.std([*off.values()], ddof=1))
    assert table.loc["first", "difference"] == table.loc["first", "khat"] == 0.0


def test_power_scaling_sees_what_a_prior_does(posterior, found):
    risks = {"risk": np.linspace(0, 1, posterior.sizes["chain"] * posterior.sizes["draw"])}
    table = criticise.power_scaling(MODEL, EVIDENCE, posterior, found, risks)
    # the interaction is its prior: log density scaled, C50 of baclofen sees the overdoses, renal clearance its kinetics
    assert table.loc["alpha", "prior"] > 0.3
    assert table.loc["baclofen.slope_CLr", "kinetics"] > table.loc["baclofen.slope_CLr", "C7"]
    assert [*table.columns[:1]] == ["prior"]


@pytest.mark.slow
def test_likelihood_with_a_parameter_held_is_that_of_the_joint_model(posterior):
    few, joint = posterior.isel(draw=slice(0, 250, 100)).astype(float), Joint(MODEL, EVIDENCE)
    found = log_ratios(joint, few, {"alpha": {"alpha": 5.0}, "age": {"b_age": 0.0}})
    built, prior = joint.pymc(), MODEL.param("b_age").prior
    # the shares recorded move with what is held; the prior of what is left as drawn, their shifted log odds, too
    shifted = [built["z recorded"], built["z recorded_own"]]
    of_all = built.logp(vars=[*built.observed_RVs, *shifted], jacobian=False)
    logp = built.compile_fn(of_all, inputs=built.value_vars, mode="JAX", point_fn=False, on_unused_input="ignore")

    def by_pymc(**put):
        changed = few.assign({name: xr.full_like(few["alpha"], value) for name, value in put.items()})
        rows = changed.stack(sample=("draw", "chain")).transpose("sample", ...)
        points = [{rv.name: rows[rv.name].values[k] for rv in built.free_RVs} for k in range(rows.sizes["sample"])]
        return np.array([float(logp(*_unconstrained(built, point))) for point in points])

    said = by_pymc()
    assert found["alpha"] == pytest.approx(by_pymc(alpha=5.0) - said, abs=1e-4)  # draws are kept in single precision
    at_zero = -prior.mean / prior.sd  # its prior counts no row twice
    assert found["age"] == pytest.approx(by_pymc(**{"z b_age": at_zero}) - said, abs=1e-4)
    assert np.std(found["alpha"]) > 0.01 < np.std(found["age"])


def _unconstrained(built, point):
    """Values of the free variables on the scale on which PyMC's density takes them."""
    for rv in built.free_RVs:
        transform = built.rvs_to_transforms[rv]
        value = point[rv.name]
        yield value if transform is None else transform.forward(value, *rv.owner.inputs).eval()


def test_priors_that_rest_on_evidence_of_a_likelihood_have_twice_their_SD():
    wide, narrow = MODEL.param("baclofen.C50"), MODEL.param("alpha")
    assert prior_of(wide, EVIDENCE).sdlog == 2 * wide.prior.sdlog  # its rows hold O1, which C7 counts
    assert prior_of(narrow, EVIDENCE) == narrow.prior
    assert prior_of(MODEL.param("omega_S"), EVIDENCE) == MODEL.param("omega_S").prior  # cases are conditional on coma


def test_the_index_case_and_recalled_rows_are_in_no_likelihood():
    used = [row for part in (EVIDENCE.kinetics, EVIDENCE.overdoses, EVIDENCE.cases) for e in part for row in e.rows]
    used += [row for trial in EVIDENCE.trials for arm in [*trial.arms, *trial.ratios] for row in arm.rows]
    from vtrial.library import MODELS
    from vtrial.spec import read_yaml

    grade = {}
    for prefix in ("pk", "pd"):
        for row in read_yaml(MODELS / "evidence" / f"{prefix}.yaml").data["rows"]:
            grade[f"{prefix}:{row['id']}"] = row["confidence"]
    assert {grade[row] for row in used} <= {"A", "A2", "D"}
