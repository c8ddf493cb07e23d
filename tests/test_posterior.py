"""Posteriors: which belongs to a model, that runs use it and say so, and how a calibration ends."""

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from test_start import SAMPLERS, imported
from typer.main import get_command
from typer.testing import CliRunner

from vtrial import draw_parameters, load_model, run, shipped_posterior
from vtrial.cli import app
from vtrial.library import MODELS
from vtrial.model import PRIOR, Fixed
from vtrial.model.posterior import (
    belongings,
    describe_posterior,
    doubts,
    marginals,
    posterior_path,
    read_posterior,
)
from vtrial.problem import InputError
from vtrial.report import print_risks
from vtrial.report.facts import FIXED_NOTE
from vtrial.report.page import render_html, render_markdown
from vtrial.report.refits import read_refits

MODEL = load_model("baclofen_pregabalin")
FREE = [p.name for p in MODEL.params if not isinstance(p.prior, Fixed)]
CALIBRATED = ("  draws_from: prior\n", "")
"""Edit: the tiny scenario as it is without the word."""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library of one's own, without posteriors; the model file is that of the package."""
    models = tmp_path / "models"
    shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns("posteriors", "__pycache__"))
    for module in ("model.load", "model.posterior", "calibration.evidence"):
        monkeypatch.setattr(f"vtrial.{module}.MODELS", models)
    return models


def chains_of(chains=4, draws=50, *, worse=0.0):
    """As a sampler leaves them, though independent draws of the prior, each chain moved by `worse`."""
    drawn = draw_parameters(MODEL, chains * draws, seed=1)
    moved = 1 + worse * np.arange(chains)[:, None]
    return xr.Dataset({n: (("chain", "draw"), drawn[n].values.reshape(chains, draws) * moved) for n in FREE})


def written(path, *, draws=50, worst_rhat=1.004, **attributes):
    """A posterior as a calibration writes it."""
    table = {name: ("parameter", np.full(len(FREE), value)) for name, value in TOLD.items()}
    table["rhat"][1][3], table["ess_bulk"][1][5], table["ess_tail"][1][6] = worst_rhat, 812.0, 777.0
    groups = {
        "/": xr.Dataset(attrs={"model": MODEL.name, "seed": 5} | belongings(MODEL) | attributes),
        "/posterior": chains_of(draws=draws),
        "/diagnostics": xr.Dataset(table, {"parameter": FREE}, {"divergences": 2}),
    }
    path.parent.mkdir(exist_ok=True)
    xr.DataTree.from_dict(groups).to_netcdf(path, engine="h5netcdf")
    return path


TOLD = {"rhat": 1.0, "ess_bulk": 4000.0, "ess_tail": 3000.0}


@pytest.fixture
def shipped(library):
    """The model's posterior, in the library."""
    return written(posterior_path(MODEL))


# ------------------------------------------------------------------------------------------------ belonging


def test_a_model_without_a_posterior_has_none(library):
    assert shipped_posterior(MODEL) is None


def test_a_posterior_of_this_model_file_and_this_evidence_is_found(shipped):
    assert shipped_posterior(MODEL) == shipped
    assert shipped.name == "baclofen_pregabalin.nc"


@pytest.mark.parametrize("which", [("model",), ("evidence",), ("model", "evidence")], ids=" and ".join)
def test_a_posterior_of_another_model_file_or_other_evidence_is_refused(shipped, library, which):
    model = replace(MODEL, sha256="another") if "model" in which else MODEL
    if "evidence" in which:
        evidence = library / "calibration" / "baclofen_pregabalin.yaml"
        evidence.write_text(evidence.read_text(encoding="utf-8") + "\n# a word more\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        shipped_posterior(model)
    text = str(caught.value)
    assert text.startswith(f"{shipped}: made from ")
    assert ("model file" in text, "evidence" in text) == ("model" in which, "evidence" in which)
    assert "vtrial calibrate baclofen_pregabalin" in text
    assert "draws_from: prior" in text


def test_a_posterior_that_says_nothing_of_its_origin_is_refused_as_the_models_own(shipped):
    xr.DataTree.from_dict({"/posterior": chains_of()}).to_netcdf(shipped, engine="h5netcdf")
    with pytest.raises(InputError, match="another model file and other evidence"):
        shipped_posterior(MODEL)


def test_an_unreadable_posterior_is_an_input_error(shipped):
    shipped.write_bytes(shipped.read_bytes()[:3000])
    with pytest.raises(InputError, match="not a readable posterior"):
        shipped_posterior(MODEL)


def test_the_posterior_of_the_library_belongs_and_can_be_drawn_from():
    found = shipped_posterior(MODEL)
    assert found is not None
    assert draw_parameters(MODEL, 1000, seed=1, posterior=found).sizes["draw"] == 1000
    assert not doubts(describe_posterior(found))


# -------------------------------------------------------------------------------------- what a scenario draws from


def test_a_scenario_draws_from_the_posterior_of_its_model_unless_it_says_prior(shipped, scenario):
    assert scenario(CALIBRATED).draws_from() == shipped
    assert scenario(("draws_from: prior", "draws_from: posterior")).draws_from() == shipped
    assert scenario().draws_from() == PRIOR
    own = scenario(CALIBRATED).parameters()
    assert np.array_equal(own["alpha"], chains_of()["alpha"].values.T.ravel()[:20])
    assert own.identical(scenario(CALIBRATED).parameters(shipped))
    assert scenario(CALIBRATED).parameters(PRIOR).identical(scenario().parameters())


def test_a_scenario_without_a_posterior_draws_from_the_priors(library, scenario):
    assert scenario(CALIBRATED).draws_from() == PRIOR


def test_a_posterior_that_is_wanted_and_missing_is_found_by_check(library, scenario):
    with pytest.raises(InputError, match=r"tiny\.yaml:5: model\.draws_from: there is no posterior of .*: calibrate it"):
        scenario(("draws_from: prior", "draws_from: posterior"))


def test_a_posterior_that_vanished_after_the_check_is_not_replaced_by_priors(shipped, scenario):
    checked = scenario(("draws_from: prior", "draws_from: posterior"))
    shipped.unlink()
    with pytest.raises(InputError, match="there is no posterior"):
        checked.parameters()


def test_a_model_of_ones_own_without_posterior_runs_on_its_priors_and_says_so(shipped, library, write, tmp_path):
    code = (
        "from dataclasses import replace\nfrom vtrial.model import load_model\n"
        "MODEL = replace(load_model('baclofen_pregabalin'), name='mine')\n"
    )
    (library / "mine.py").write_text(code)
    path = write(CALIBRATED, ("name: baclofen_pregabalin", "name: mine"))
    assert "parameters from the priors" in call("check", path)[1]
    code, output = call("run", path, "-o", tmp_path / "out", "--size", "small")
    assert code == 0, output
    assert "PRIOR, not calibrated" in " ".join(output.split())


def test_medians_are_those_of_the_posterior(shipped, scenario):
    theta = scenario(("draws_from: prior", "parameters: median")).parameters()
    assert float(theta["omega_S"][0]) == np.median(chains_of()["omega_S"])
    assert theta.attrs["source"] == "posterior baclofen_pregabalin.nc median"


def test_more_draws_than_the_file_holds_are_refused_with_both_numbers(shipped, scenario):
    with pytest.raises(InputError) as caught:
        run(scenario(CALIBRATED, ("  draws: 20", "  draws: 1201")))
    assert f"{shipped}: holds 200 draws of the parameters, 1,201 are asked for" in str(caught.value)
    assert len(caught.value.problems) == 1


# ------------------------------------------------------------------------------------------- fixed parameters


def test_a_fixed_parameter_is_put_in_place_in_draws_that_stay(shipped):
    free, fixed = (draw_parameters(MODEL, 200, 1, posterior=shipped, fix=fix) for fix in ({}, {"alpha": 0.0}))
    assert not fixed["alpha"].any()
    assert all(np.array_equal(free[name], fixed[name]) for name in FREE if name != "alpha")


def test_a_fixed_parameter_that_breaks_the_constraint_in_draws_of_the_posterior_is_refused(shipped):
    r_2 = draw_parameters(MODEL, 200, 1, posterior=shipped)["r_2"]
    broken = int((r_2 <= 0.35).sum())
    assert 0 < broken < 200
    with pytest.raises(InputError, match=rf"fix: r_1 0\.35 breaks .* in {broken} of 200 draws of the posterior"):
        draw_parameters(MODEL, 200, 1, posterior=shipped, fix={"r_1": 0.35})


# --------------------------------------------------------------------------------------- what a file says of itself


def test_a_file_says_where_it_is_from_and_its_worst_diagnostics(shipped):
    told = describe_posterior(shipped)
    assert told["file"] == "baclofen_pregabalin.nc"
    assert {told[name] for name in ("sha256", "model_sha256", "evidence_sha256")} > {MODEL.sha256}
    assert (told["worst_rhat"], told["least_ess"], told["divergences"], told["seed"]) == (1.004, 777.0, 2, 5)


@pytest.mark.parametrize(
    ("rhat", "ess", "divergences", "said"),
    [
        (1.0099, 401.0, 0, []),
        (1.01, 401.0, 0, ["R-hat is up to 1.010"]),
        (1.0, 400.0, 0, ["ESS is down to 400"]),
        (1.0, 4000.0, 1, ["1 divergence:"]),
        (1.0, 4000.0, 12, ["12 divergences:"]),
        (np.nan, np.nan, 0, ["R-hat is up to nan", "ESS is down to nan"]),
    ],
)
def test_doubts_begin_at_the_limits(rhat, ess, divergences, said):
    found = doubts({"worst_rhat": rhat, "least_ess": ess, "divergences": divergences})
    assert len(found) == len(said)
    assert all(words in text for words, text in zip(said, found, strict=True))


def test_marginals_are_quantiles_of_all_draws(shipped):
    found, alpha = marginals(shipped), chains_of()["alpha"].values
    assert list(found) == FREE
    ends = np.quantile(alpha, [0.5, 0.025, 0.975])
    assert (found["alpha"].median, found["alpha"].lo, found["alpha"].hi) == pytest.approx(tuple(ends), rel=1e-12)
    assert (found[FREE[3]].rhat, found[FREE[5]].ess, found[FREE[6]].ess) == (1.004, 812.0, 777.0)


# --------------------------------------------------------------------------------------------- result and report


@pytest.fixture(scope="module")
def calibrated(write, tmp_path_factory):
    """A result of draws from a file beside the library, one parameter fixed, and sensitivities."""
    from vtrial import load_scenario

    folder = tmp_path_factory.mktemp("posterior")
    asked = "sensitivities: {arms: [ARM0_INDEX], strata: [75-84 G4], cases: {none: {fix: {alpha: 0}}}}\nsimulation:"
    checked = load_scenario(write(("simulation:", asked)), size="small")
    return run(checked, posterior=written(folder / "mine.nc"), threads=1)


def test_a_result_names_the_file_of_its_draws(calibrated):
    told = json.loads(calibrated.attrs["posterior"])
    assert calibrated.attrs["parameters"] == "posterior mine.nc"
    assert (told["file"], told["worst_rhat"], told["least_ess"], told["divergences"]) == ("mine.nc", 1.004, 777.0, 2)
    assert re.fullmatch("[0-9a-f]{64}", told["sha256"])
    assert (told["model_sha256"], told["evidence_sha256"]) == tuple(belongings(MODEL).values())


def test_a_result_of_the_priors_names_no_file(result):
    assert (result.attrs["parameters"], result.attrs["posterior"]) == ("prior", "{}")


def told_by(result):
    """What a report of the result says, in its three forms, in one line each."""
    console = Console(width=200, file=io.StringIO(), record=True)
    print_risks(result, console)
    plain = render_markdown(result, []).replace("\\", "")
    return [" ".join(text.split()) for text in (console.export_text(), plain, render_html(result, []))]


def test_a_report_says_what_its_parameters_are_and_what_their_calibration_says(calibrated):
    told = json.loads(calibrated.attrs["posterior"])
    for text in told_by(calibrated):
        assert f"Parameters: posterior mine.nc (sha256 {told['sha256'][:12]})" in text
        assert "R-hat at most 1.004, ESS at least 777, 2 divergences." in text
        assert "Doubtful posterior: " in re.sub(r"<[^>]*>|\*", "", text)  # two divergences
        assert "PRIOR" not in text
    for text in told_by(calibrated)[1:]:
        assert told["sha256"] in text
        assert "--posterior mine.nc" in text
        assert FIXED_NOTE in text


def test_a_report_of_the_priors_says_so_and_explains_no_fixing(result):
    for text in told_by(result):
        assert "PRIOR" in text
        assert FIXED_NOTE not in text
    assert "--posterior prior" in told_by(result)[1]


def test_a_report_doubts_a_posterior_of_another_model_file(calibrated):
    other = calibrated.copy()
    other.attrs = {**calibrated.attrs, "model_sha256": "another"}
    for text in told_by(other):
        assert "it was made from another model file" in text


def test_a_result_from_before_posteriors_still_has_a_report(result):
    older = result.copy()
    older.attrs = {name: value for name, value in result.attrs.items() if name != "posterior"}
    assert "PRIOR" in render_html(older, [])


# ----------------------------------------------------------------------------------------------- command line


def call(*args):
    done = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def estimates(folder):
    return (folder / "estimates.csv").read_bytes()


def test_run_takes_the_models_posterior_the_word_prior_or_a_file(shipped, write, tmp_path):
    elsewhere = shutil.copy(shipped, tmp_path / "else.nc")
    asked = {"own": (CALIBRATED,), "priors": (CALIBRATED, PRIOR), "file": ((), elsewhere), "said": ((),)}
    for name, (edit, *posterior) in asked.items():
        options = ["--posterior", *posterior] if posterior else []
        path = write(edit) if edit else write()
        code, output = call("run", path, "-o", tmp_path / name, "--size", "small", *options)
        assert code == 0, output
        assert ("PRIOR, not calibrated" in output) == (name in ("priors", "said"))
    assert estimates(tmp_path / "own") == estimates(tmp_path / "file") != estimates(tmp_path / "priors")
    assert estimates(tmp_path / "priors") == estimates(tmp_path / "said")


def test_check_says_where_parameters_will_come_from(shipped, write):
    assert "parameters from posterior baclofen_pregabalin.nc" in call("check", write(CALIBRATED))[1]
    assert "parameters from the priors" in call("check", write())[1]


def test_check_refuses_the_posterior_that_a_run_would_refuse(library, write):
    written(posterior_path(MODEL), evidence_sha256="older")
    code, output = call("check", write(CALIBRATED))
    assert (code, "made from other evidence" in output) == (2, True)
    assert call("check", write())[0] == 0
    written(posterior_path(MODEL))
    code, output = call("check", write(CALIBRATED, ("  draws: 20", "  draws: 1201")))
    assert (code, "1,201 are asked for" in output) == (2, True)


@pytest.mark.parametrize("command", ["check", "run"])
def test_falling_back_on_the_priors_of_a_model_with_evidence_is_said(command, library, write, tmp_path):
    options = ("-o", tmp_path / "out", "--size", "small") if command == "run" else ()
    code, output = call(command, write(CALIBRATED), *options)
    assert (code, "has evidence but no posterior" in output) == (0, True)
    asked = ("-o", tmp_path / "asked", "--size", "small") if command == "run" else ()
    assert "has evidence but no posterior" not in call(command, write(), *asked)[1]


def test_a_posterior_that_no_longer_belongs_ends_a_run_unless_priors_are_asked_for(library, write, tmp_path):
    written(posterior_path(MODEL), model_sha256="older")
    options = (write(CALIBRATED), "-o", tmp_path / "out", "--size", "small")
    code, output = call("run", *options)
    assert code == 2
    assert "made from another model file" in output
    assert not (tmp_path / "out").exists()
    assert call("run", *options, "--posterior", "prior")[0] == 0


def test_running_on_a_posterior_needs_no_sampler(write, tmp_path):
    path = written(tmp_path / "own" / "fit.nc")
    run = ("run", write(), "-o", tmp_path / "out", "--size", "small", "--posterior", path)
    assert not imported(*run) & SAMPLERS


def test_models_shows_the_posterior_beside_the_prior(shipped):
    code, output = call("models", "baclofen_pregabalin")
    assert code == 0
    alpha = marginals(shipped)["alpha"]
    (line,) = [line for line in output.splitlines() if re.match(r"│ alpha +│", line)]
    assert f"{alpha.median:.3g} (" in line
    assert "posterior: median" in " ".join(output.split())


def test_models_shows_priors_and_the_reason_where_a_posterior_does_not_belong(library):
    assert "posterior" not in call("models", "baclofen_pregabalin")[1].partition("│ parameter")[2].partition("\n")[0]
    written(posterior_path(MODEL), evidence_sha256="older")
    code, output = call("models", "baclofen_pregabalin")
    assert code == 0
    assert "no posterior: " in output
    assert "made from other evidence" in output


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A terminal on which no cell of a table is broken."""
    from vtrial.cli.console import out

    monkeypatch.setattr(out, "width", 240)


@pytest.fixture
def sampler(library, monkeypatch):
    """In place of sampling, independent draws of the prior: of each chain those asked for."""

    def pretend(*, worse=0.0, diverging=0):
        def sample(joint, *, seed, chains, warm_up, draws, progress):
            progress(chains * draws, chains * (warm_up + draws), diverging)
            pretend.joint = joint
            stats = np.arange(chains * draws).reshape(chains, draws) < diverging
            own = chains_of(chains, draws, worse=worse)
            own["tau_kinetics"] = 0.1 * own["alpha"]
            own["z b_age"] = own["b_age"]
            own = own.drop_vars(p.name for p in joint.model.params if isinstance(p.prior, Fixed) and p.name in own)
            return xr.DataTree.from_dict(
                {"posterior": own, "sample_stats": xr.Dataset({"diverging": (("chain", "draw"), stats)})}
            )

        monkeypatch.setattr("vtrial.calibration.fit.sample", sample)

    monkeypatch.setattr("vtrial.calibration.fit.compile_joint", lambda joint: joint)
    # it needs what is expected of the evidence
    monkeypatch.setattr("vtrial.cli.calibration._write_criticism", lambda *_: None)
    pretend()
    return pretend


def test_calibrate_writes_a_posterior_that_belongs_and_prints_it(sampler, scenario):
    code, output = call("calibrate", "baclofen_pregabalin")
    assert code == 0, output
    path = shipped_posterior(MODEL)
    assert path == posterior_path(MODEL)
    assert [p.name for p in path.parent.iterdir()] == ["baclofen_pregabalin.nc"]
    found = marginals(path)
    assert list(found) == [*FREE, "tau_kinetics"]
    for name in found:
        assert re.search(rf"{re.escape(name)} +│ +{re.escape(f'{found[name].median:.3g}')} ", output)
    assert "divergences: 0" in output
    theta = scenario(CALIBRATED, ("  draws: 20", "  draws: 1000")).parameters()
    assert theta.sizes["draw"] == 1000


def test_a_parameter_that_is_held_is_not_sampled_and_its_posterior_is_not_that_of_the_model(sampler, tmp_path):
    held = ("--fix", "alpha=0", "--fix", "baclofen.ke0=0.005 1/min")
    code, output = call("calibrate", "baclofen_pregabalin", *held, "-o", tmp_path / "held.nc")
    assert code == 0, output
    assert [sampler.joint.model.param(name).prior for name in ("alpha", "baclofen.ke0")] == [Fixed(0.0), Fixed(0.3)]
    theta = read_posterior(MODEL, None, tmp_path / "held.nc")
    assert {*theta["alpha"]} == {0.0}
    assert theta["baclofen.ke0"] == pytest.approx(0.3, rel=1e-6)
    assert np.ptp(theta["alpha"]) == 0 < np.ptp(theta["r_1"])
    assert json.loads(describe_posterior(tmp_path / "held.nc")["held"]) == {"alpha": 0.0, "baclofen.ke0": 0.3}
    assert "alpha" not in marginals(tmp_path / "held.nc")
    assert shipped_posterior(MODEL) is None
    assert draw_parameters(MODEL, 1000, seed=1, posterior=tmp_path / "held.nc").sizes["draw"] == 1000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--fix", "alpah=0", "-o", "x.nc"], "did you mean 'alpha'"),
        (["--fix", "alpha", "-o", "x.nc"], "not NAME=VALUE"),
        (["--fix", "baclofen.ke0=fast", "-o", "x.nc"], "its unit is 1/h"),
        (["--fix", "alpha=much", "-o", "x.nc"], "its unit is 1"),
        (["--fix", "r_2=3", "-o", "x.nc"], "allows 0 to 1"),
        (["--fix", "omega_GFR=0", "-o", "x.nc"], "the model fixes it"),
        (["--fix", "alpha=0"], "say where to write"),
        (["--without", "C15", "-o", "x.nc"], "did you mean 'C5'"),
        (["--without", "C5"], "--without: say where to write"),
        (["--sensitivity", "student-t", "-o", "x.nc"], "did you mean 'Student-t'"),
        (["--sensitivity", "Student-t"], "say where to write"),
    ],
)
def test_what_cannot_be_held_or_tried_is_refused(sampler, tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    code, output = call("calibrate", "baclofen_pregabalin", *given)
    assert code == 2
    assert said in output
    assert not [*tmp_path.glob("*.nc")]


def test_another_sensitivity_is_calibrated_to_be_compared_and_does_not_simulate(sampler, tmp_path):
    path = tmp_path / "t.nc"
    assert call("calibrate", "baclofen_pregabalin", "--sensitivity", "Student-t", "-o", path)[0] == 0
    assert sampler.joint.sensitivity == "Student-t"
    assert describe_posterior(path)["sensitivity"] == "Student-t"
    with pytest.raises(InputError, match="sensitivity that is 'Student-t', and log-normal is what simulates"):
        read_posterior(MODEL, None, path)
    assert read_refits(MODEL, [path]) == {"S Student-t": path}


def test_refits_that_say_nothing_are_refused_all_at_once(sampler, tmp_path):
    made = {"own": (), "held": ("--fix", "alpha=0", "--sensitivity", "Student-t"), "t": ("--sensitivity", "Student-t")}
    made["less"] = ("--without", "C5", "--without", "C6")
    for name, options in made.items():
        assert call("calibrate", "baclofen_pregabalin", *options, "-o", tmp_path / f"{name}.nc")[0] == 0
    written(tmp_path / "old.nc", sensitivity="Student-t", model_sha256="older")
    again = shutil.copy(tmp_path / "t.nc", tmp_path / "again.nc")
    with pytest.raises(InputError) as refused:
        read_refits(MODEL, [*(tmp_path / f"{name}.nc" for name in ("own", "held", "t", "old", "less")), Path(again)])
    said = [str(problem) for problem in refused.value.problems]
    told = (
        "own.nc: calibrated as the posterior of the model is",
        "old.nc: made from another model file",
        "again.nc: of the same (S Student-t) as",
    )
    assert len(said) == len(told)
    assert all(text in problem for text, problem in zip(told, said, strict=True))
    named = read_refits(MODEL, [tmp_path / "held.nc", tmp_path / "less.nc"])
    assert [*named] == ["S Student-t, alpha = 0", "without C5, without C6"]


def test_a_target_left_out_is_in_no_likelihood(sampler, tmp_path):
    assert call("calibrate", "baclofen_pregabalin", "--without", "C7", "-o", tmp_path / "less.nc")[0] == 0
    left = sampler.joint.evidence
    assert [one.study for one in left.overdoses] == ["Isoardi 2020"]
    assert {one.target for one in left.trials} == {"C1", "C2", "C3", "C4", "C5", "C6", "healthy"}


def test_evidence_that_changes_while_a_model_is_calibrated_is_not_that_of_its_posterior(sampler, library, monkeypatch):
    from vtrial.calibration import fit

    evidence, sample = library / "calibration" / "baclofen_pregabalin.yaml", fit.sample

    def meanwhile(*args, **kwargs):
        evidence.write_text(evidence.read_text(encoding="utf-8") + "\n# a word more\n", encoding="utf-8")
        return sample(*args, **kwargs)

    monkeypatch.setattr(fit, "sample", meanwhile)
    assert call("calibrate", "baclofen_pregabalin")[0] == 0
    with pytest.raises(InputError, match="made from other evidence"):
        shipped_posterior(MODEL)


def test_kept_draws_are_evenly_spaced_in_every_chain(sampler):
    assert call("calibrate", "baclofen_pregabalin", "--chains", 2, "--draws", 1000, "--seed", 9)[0] in (0, 3)
    path = posterior_path(MODEL)
    drawn, kept = chains_of(2, 1000)["alpha"].values, read_posterior(MODEL, None, path)["alpha"].reshape(500, 2)
    assert kept[[0, -1]] == pytest.approx(drawn[:, [0, -1]].T, rel=1e-6)
    assert describe_posterior(path)["seed"] == 9


@pytest.mark.parametrize(
    ("pretence", "options", "said"),
    [
        ({"worse": 0.5}, [], "the chains disagree"),
        ({"diverging": 3}, [], "3 divergences"),
        ({}, ["--draws", 60], "few independent ones"),
    ],
)
def test_a_doubtful_calibration_is_written_and_exits_with_3(sampler, pretence, options, said):
    sampler(**pretence)
    code, output = call("calibrate", "baclofen_pregabalin", *options)
    assert code == 3
    assert said in output
    assert shipped_posterior(MODEL) is not None


def test_an_interrupted_calibration_leaves_the_posterior_that_was_there(sampler, shipped, monkeypatch):
    before = shipped.read_bytes()

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("vtrial.calibration.fit.sample", interrupt)
    code, output = call("calibrate", "baclofen_pregabalin")
    assert (code, shipped.read_bytes() == before) == (130, True)
    assert "interrupted" in output
    assert [p.name for p in shipped.parent.iterdir()] == [shipped.name]


def test_a_calibration_that_is_not_saved_whole_leaves_nothing(sampler, tmp_path, monkeypatch):
    def broken(self, part, **_):
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", broken)
    code, output = call("calibrate", "baclofen_pregabalin", "-o", tmp_path / "own" / "fit.nc")
    assert code == 2
    assert "No space left on device" in output
    assert not list((tmp_path / "own").iterdir())


def no_sampling(*args, **kwargs):
    raise AssertionError("sampled")


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("baclofen_pregabaline", [], "did you mean 'baclofen_pregabalin'"),
        ("mine", [], "has no evidence to be calibrated on"),
        ("baclofen_pregabalin", ["-o", "fit.txt"], "end it in .nc"),
        ("baclofen_pregabalin", ["-o", "{here}/file.txt/fit.nc"], "cannot be written to"),
    ],
)
def test_bad_input_ends_a_calibration_before_it_samples(library, tmp_path, monkeypatch, model, options, said):
    code = (
        "from dataclasses import replace\nfrom vtrial.model import load_model\n"
        "MODEL = replace(load_model('baclofen_pregabalin'), name='mine')\n"
    )
    (library / "mine.py").write_text(code)
    (tmp_path / "file.txt").write_text("a file")
    monkeypatch.setattr("vtrial.calibration.fit.compile_joint", no_sampling)
    code, output = call("calibrate", model, *(str(option).format(here=tmp_path) for option in options))
    assert code == 2
    assert said in output


def test_evidence_with_a_mistake_is_told_with_its_line_before_the_sampler_is_loaded(library):
    evidence = library / "calibration" / "baclofen_pregabalin.yaml"
    evidence.write_text(evidence.read_text(encoding="utf-8").replace("drug: baclofen", "drug: baclofn", 1), "utf-8")
    code, output = call("calibrate", "baclofen_pregabalin")
    assert code == 2
    assert re.search(r"baclofen_pregabalin\.yaml:\d+: .*did you mean 'baclofen'", output)
    assert "loading the sampler" not in output


def test_a_library_that_cannot_be_written_to_is_refused_at_once(library, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    code, output = call("calibrate", "baclofen_pregabalin")
    assert code == 2
    assert "vtrial init" in output
    assert "loading the sampler" not in output


def test_default_sizes_of_the_command_are_those_of_calibrate():
    from vtrial.calibration import fit

    options = {p.name: p.default for p in get_command(app).commands["calibrate"].params}
    assert (options["chains"], options["warm_up"], options["draws"]) == (fit.CHAINS, fit.WARM_UP, fit.DRAWS)
    assert options["seed"] == fit.calibrate.__kwdefaults__["seed"]


def test_a_folder_made_by_init_brings_evidence_and_posteriors(tmp_path):
    assert call("init", tmp_path / "study")[0] == 0
    there, here = (
        {p.relative_to(root) for p in root.rglob("*") if _ours(p)} for root in (tmp_path / "study/models", MODELS)
    )
    assert there == here
    assert Path("calibration/baclofen_pregabalin.yaml") in there


def _ours(path):
    return path.is_file() and "__pycache__" not in path.parts
