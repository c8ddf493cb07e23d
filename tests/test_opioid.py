"""Other depressants: a model that extends another on its posterior, a third drug, states of patients."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr
from test_posterior import library, written  # noqa: F401 (a fixture)
from typer.testing import CliRunner

from vtrial import draw_parameters, draw_patients, load_model, load_scenario, run, shipped_posterior
from vtrial.calibration.evidence import load_evidence
from vtrial.cli import app
from vtrial.kinetics import Grid, Sedation, System, expose
from vtrial.model.posterior import posterior_path
from vtrial.model.record import individual, middle_covariates
from vtrial.pharmacodynamics import drive, level_probability
from vtrial.problem import InputError
from vtrial.report.facts import Facts
from vtrial.sample import key, uniforms
from vtrial.treatment import expose_reference, simulate

BASE, MODEL = load_model("baclofen_pregabalin"), load_model("other_depressants")
OWN = [param.name for param in MODEL.added]
EXTENDED = ("name: baclofen_pregabalin", "name: other_depressants")
OXYCODONE = (
    "[ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]",
    "[ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY, WITH]\n"
    "  define: {WITH: {drugs: {baclofen: BAC_INDEX, pregabalin: PGB_INDEX, oxycodone: OXY_LABEL_LOW}}}",
)
CALIBRATED = ("  draws_from: prior\n", "")
SMALL = ("draws: 20\n  patients: 8", "draws: 6\n  patients: 4")


def people(*states):
    """Edits: the tiny scenario's strata by name, in states of the model."""
    strata = [f"{{name: S{i}, AGE: [70 year, 80 year], state: [{state}]}}" for i, state in enumerate(states)]
    return ('["18-49 G1", "75-84 G4"]', f"[{', '.join(strata)}]")


def medians(model):
    return {param.name: param.prior.quantile(np.float64(0.5)) for param in model.params}


# ------------------------------------------------------------------------------------- the surface of three drugs


def test_loewe_of_three_drugs_is_the_sum_and_greco_adds_every_pair_once():
    u = 0.2, 0.3, 0.5
    assert drive(u, "loewe", 9.0) == pytest.approx([1.0])
    assert drive(u, "greco", 2.0) == pytest.approx([1.0 + 2.0 * (0.06 + 0.10 + 0.15)])
    assert drive([*u[:2], 0.0], "greco", 2.0) == drive(u[:2], "greco", 2.0)


def test_bliss_of_three_drugs_misses_a_level_only_if_each_drug_alone_does():
    peaks = np.array([0.3, 0.5, 0.8])
    alone = ndtr(np.log(peaks) / 0.6)
    assert level_probability(drive(peaks, "bliss", 9.0), 1.0, 0.6) == pytest.approx(1 - np.prod(1 - alone))


@pytest.mark.parametrize("surface", ["loewe", "greco"])
def test_kernel_combines_three_drugs_as_the_equation_says(surface):
    par = {name: np.full(1, value) for name, value in typical(cov={"GFR": 90.0}).items()}
    one, none = np.ones(1), np.ones((1, 0))
    sedation = Sedation(surface, one, np.full(1, 1.5), one, np.full(1, 192.0), np.zeros(1, int), none, one)
    amounts = {"baclofen": 10.0, "pregabalin": 150.0, "oxycodone": 15.0}
    doses = [([(np.zeros(1), np.array([amounts[drug.name]]))], np.zeros(1, int)) for drug in MODEL.drugs]
    grid = Grid(0.5, (24.0,))
    exposure, trace = expose(System.of(MODEL.drugs), par, doses, np.zeros(1), sedation, grid, trace=True)
    u = trace.Ce[:, :, 0] / [float(par[f"{drug}.C50"][0]) for drug in amounts]
    pairs = u[:, 0] * u[:, 1] + u[:, 0] * u[:, 2] + u[:, 1] * u[:, 2]
    expected = u.sum(1) + (1.5 if surface == "greco" else 0.0) * pairs
    assert u.max(0).min() > 0.02  # each of the three tells
    np.testing.assert_allclose(trace.drive[:, 0, 0], expected, rtol=1e-9, atol=1e-15)
    assert expected.max() <= exposure.peak[0, 0, 0] * (1 + 1e-9) <= expected.max() * 1.03  # between the steps


# -------------------------------------------------------------------------------------------- the model itself


def typical(cov, **theta):
    return individual(MODEL, medians(MODEL) | theta, middle_covariates(MODEL) | {"FED": 0.0} | cov, {})


def test_oxycodone_of_a_volunteer_is_that_of_the_label():
    par = typical({"GFR": 105.0, "WT": 70.0})
    assert 15_000 / par["oxycodone.CL"] == pytest.approx(130.7, abs=3)  # ug h/L; 133.2, 128.2 and 130.6 in Table 2
    assert np.log(2) * par["oxycodone.V"] / par["oxycodone.CL"] == pytest.approx(3.65, abs=0.2)  # h; 3.55 to 3.85
    k, ka = par["oxycodone.CL"] / par["oxycodone.V"], par["oxycodone.ka"]
    peak = np.log(ka / k) / (ka - k)
    assert par["oxycodone.tlag"] + peak == pytest.approx(1.4, abs=0.1)  # h, of the 15 mg tablet
    assert 15_000 / par["oxycodone.V"] * np.exp(-k * peak) == pytest.approx(22, rel=0.1)  # ug/L; 21.3 to 22.6


def test_oxycodone_without_kidneys_has_the_half_life_that_was_found():
    par = typical({"GFR": 5.0, "WT": 70.0})
    assert np.log(2) * par["oxycodone.V"] / par["oxycodone.CL"] == pytest.approx(5.7, abs=0.3)
    # 115 L/h (1 - 0.4 + 0.4 x 52.5 / 105) = 92 L/h
    given = typical({"GFR": 52.5, "WT": 70.0}, **{"oxycodone.renal_share": 0.4})
    assert given["oxycodone.CL"] == pytest.approx(92.0)


def test_states_multiply_the_drive_of_who_is_in_them_alone():
    factors = {"dementia_on_A": 1.5, "postoperative_on_A": 1.4}
    A = {state: typical(dict.fromkeys(state, 1.0), **factors)["A"] for state in [(), ("dementia",), MODEL.states]}
    assert A[()] == individual(BASE, medians(BASE), middle_covariates(BASE), {})["A"]
    assert A["dementia",] == pytest.approx(1.5 * A[()])
    assert A[MODEL.states] == pytest.approx(2.1 * A[()])


# ------------------------------------------------------------------------------------------------- extending


def test_who_takes_no_oxycodone_and_is_in_no_state_is_a_patient_of_the_extended_model(scenario):
    before, after = run(scenario(CALIBRATED, SMALL)), run(scenario(CALIBRATED, SMALL, EXTENDED))
    for name in ("value", "difference", "p_rank"):
        old, new = before["estimates"][name], after["estimates"][name]
        shared = {"outcome": old["outcome"].values} if "outcome" in old.dims else {}
        np.testing.assert_allclose(new.sel(shared).values, old.values, rtol=1e-11, atol=1e-13, err_msg=name)
    assert (before["estimates"]["value"].sel(stat="mean", outcome="level1_24h") > 0.01).all()


def test_draws_are_those_of_the_extended_model_beside_priors():
    path = shipped_posterior(MODEL)
    assert path == shipped_posterior(BASE) == posterior_path(BASE)
    base, drawn = (draw_parameters(model, 400, seed=3, posterior=path) for model in (BASE, MODEL))
    assert {*drawn.data_vars} == {*base.data_vars, *OWN}
    assert all(np.array_equal(drawn[name], base[name]) for name in base.data_vars)
    for param in MODEL.added:
        u = uniforms(key(3, "theta", param.name), range(400))[:, 0]
        assert np.array_equal(drawn[param.name], param.prior.quantile(u)), param.name
    assert drawn.attrs["source"] == "posterior baclofen_pregabalin.nc, for what other_depressants adds the prior"
    assert abs(np.corrcoef(drawn["oxycodone.C50"], drawn["baclofen.C50"])[0, 1]) < 0.15  # 3 SE of none


def test_medians_and_fixed_values_reach_both_parts():
    path, fix = shipped_posterior(MODEL), {"oxycodone.C50": 0.2, "alpha": 0.0}
    drawn = draw_parameters(MODEL, 5, seed=3, posterior=path, fix=fix)
    assert (drawn["oxycodone.C50"] == 0.2).all()
    assert (drawn["alpha"] == 0.0).all()
    middle = draw_parameters(MODEL, 3, seed=3, posterior=path, median=True)
    assert middle["oxycodone.C50"].values == pytest.approx(0.35)
    base = draw_parameters(BASE, 3, seed=3, posterior=path, median=True)
    assert np.array_equal(middle["baclofen.C50"], base["baclofen.C50"])
    assert middle.attrs["source"].endswith("adds the prior median")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"params": MODEL.params[1:]}, "unknown name 'baclofen.slope_CLr'"),
        (
            {"params": (replace(BASE.params[0], grade="B"), *MODEL.params[1:])},
            "changes the parameter 'baclofen.slope_CLr'",
        ),
        ({"drugs": MODEL.drugs[::-1]}, "changes its drugs"),
        ({"levels": ("awake", "asleep", "stuporous", "coma")}, "changes its levels"),
        ({"typical": lambda theta, cov: {**MODEL.typical(theta, cov), "A": 2.0}}, "changes 'A' of a patient who has"),
        ({"omega": lambda theta: {**MODEL.omega(theta), "baclofen.V": 0.5}}, "changes 'baclofen.V' of a patient who"),
        ({"logit": ()}, "changes 'baclofen.F' of a patient who has nothing of what it adds"),
    ],
)
def test_a_model_that_changes_what_it_extends_is_refused(changed, message, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "changed_for_the_test", replace(MODEL, name="mine", **changed))  # type: ignore[arg-type]
    monkeypatch.setattr("vtrial.model.load.MODELS", tmp_path)
    text = "import sys\nMODEL = sys.modules['changed_for_the_test']\n"
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_model.__wrapped__("mine")
    assert message in str(caught.value)
    assert "mine.py" in str(caught.value)


def test_a_stale_posterior_is_refused_for_the_model_that_extends_too(library, scenario, monkeypatch):  # noqa: F811
    given = scenario(CALIBRATED, EXTENDED)
    written(posterior_path(BASE))
    assert given.draws_from() == posterior_path(BASE)
    written(posterior_path(BASE), model_sha256="older")
    with pytest.raises(InputError, match="made from another model file than the library holds of baclofen_pregabalin"):
        given.draws_from()
    posterior_path(BASE).unlink()
    assert given.draws_from() == "prior"
    with pytest.raises(InputError, match="there is no posterior of baclofen_pregabalin"):
        scenario(("draws_from: prior", "draws_from: posterior"), EXTENDED)


def test_it_cannot_be_calibrated_over_the_posterior_of_the_other():
    with pytest.raises(
        InputError, match="extends baclofen_pregabalin, and takes its posterior: calibrate baclofen_pre"
    ):
        load_evidence(MODEL)


def test_check_and_result_and_report_say_where_parameters_come_from(write, tmp_path):
    path = write(CALIBRATED, SMALL, EXTENDED, OXYCODONE)
    said = CliRunner().invoke(app, ["check", str(path)])
    words = "posterior baclofen_pregabalin.nc, for what other_depressants adds the prior"
    assert said.exit_code == 0
    assert words in " ".join(said.output.split())
    result = run(load_scenario(path))
    assert result.attrs["parameters"] == words
    facts = Facts(result)
    assert words in facts.drawn_from
    assert not facts.doubts  # the posterior is of the extended model's file, which is as it should be
    facts.result.attrs["calibrated_sha256"] = "another"
    assert any("another model file" in doubt for doubt in Facts(result).doubts)
    assert "depressants that the model does not have" in result.attrs["limits"]
    given = {arm["id"]: arm["drugs"] for arm in json.loads(result.attrs["arms"])}
    assert given["WITH"]["oxycodone"]["grade"] == "A"


# -------------------------------------------------------------------------------------------------- outcomes


def test_oxycodone_adds_risk_to_the_same_patients(scenario):
    chosen = scenario(CALIBRATED, SMALL, EXTENDED, OXYCODONE)
    theta = chosen.parameters()
    cohort, reference = draw_patients(chosen, theta), expose_reference(chosen, theta)
    without, beside = (simulate(chosen, cohort, arm, reference)["level1_72h"] for arm in ("ARM0_INDEX", "WITH"))
    assert (beside >= without).all()
    assert float((beside - without).max()) > 0.01


def test_a_state_is_on_in_its_stratum_alone(scenario):
    chosen = scenario(CALIBRATED, SMALL, EXTENDED, people("", "dementia", "dementia, postoperative"))
    theta = chosen.parameters()
    cohort = draw_patients(chosen, theta)
    assert cohort["dementia"].mean(["draw", "patient"]).values.tolist() == [0, 1, 1]
    assert cohort["postoperative"].mean(["draw", "patient"]).values.tolist() == [0, 0, 1]
    uraemia = np.maximum((60.0 - cohort["GFR"]) / 60.0, 0.0)
    A = np.exp(theta["b_age"] * (cohort["AGE"] - 50.0) + theta["b_ur"] * uraemia)
    for i, factor in enumerate((1.0, theta["dementia_on_A"], theta["dementia_on_A"] * theta["postoperative_on_A"])):
        expected = (A * factor).isel(stratum=i).transpose("draw", "patient")
        np.testing.assert_allclose(cohort["A"][i], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([people("", "dementia")], "model baclofen_pregabalin has no state 'dementia'; it has none"),
        ([EXTENDED, people("dementa")], "model other_depressants has no state 'dementa'; did you mean 'dementia'?"),
        ([OXYCODONE], "arm 'WITH' gives oxycodone"),
    ],
)
def test_what_the_model_does_not_have_is_refused_with_its_line(write, edits, message):
    path = write(*edits)
    with pytest.raises(InputError) as caught:
        load_scenario(path)
    text = str(caught.value)
    assert message in text
    assert f"{path}:" in text


def test_states_are_refused_of_named_patients_too(write):
    end = "scr: 0.9 mg/dL}"
    path = write((end, "scr: 0.9 mg/dL, state: [asleep]}"), EXTENDED)
    with pytest.raises(InputError, match=r"reference_patient.*has no state 'asleep'"):
        load_scenario(path)
