"""The command line as its user meets it: what is printed, how it exits, and that nothing is lost."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from vtrial.block import MEMORY
from vtrial.cli import app
from vtrial.library import SCENARIOS
from vtrial.problem import InputError
from vtrial.report.pdf import converter
from vtrial.scenario import json_schema

REPO = Path(__file__).parent.parent


def call(*args):
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def written(write, tmp_path_factory):
    """Folder of a run of the tiny scenario."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    code, output = call("run", write(), "-o", folder, "--size", "small", "--threads", 1)
    assert code == 0, output
    return folder


def test_help_names_every_command_and_the_exit_codes():
    code, output = call("--help")
    assert code == 0
    for word in (
        "check",
        "run",
        "report",
        "models",
        "calibrate",
        "policies",
        "schema",
        "init",
        "fit-population",
        "Exit codes",
    ):
        assert word in output
    assert "not for dosing decisions" in " ".join(output.split())


def test_memory_is_a_setting_that_leaves_the_result(write, written, tmp_path):
    code, output = call("run", write(), "-o", tmp_path / "r", "--size", "small", "--memory", "40 MB")
    assert code == 0, output
    assert (tmp_path / "r" / "estimates.csv").read_bytes() == (written / "estimates.csv").read_bytes()


@pytest.mark.parametrize("given", ["lots", "3", "2 h"])
def test_memory_that_cannot_be_read_is_one_message_and_exit_code_2(write, tmp_path, given):
    code, output = call("run", write(), "-o", tmp_path / "r", "--memory", given)
    assert (code, output.count("error:")) == (2, 1)
    assert "memory: " in output
    assert not (tmp_path / "r").exists()


def test_default_memory_of_the_command_is_that_of_run():
    (option,) = [p for p in get_command(app).commands["run"].params if p.name == "memory"]
    assert option.default == MEMORY


def test_check_says_what_would_be_run():
    code, output = call("check", SCENARIOS / "starting_dose.yaml")
    assert code == 0
    assert "12 arms x 35 strata" in output


def test_check_reports_all_problems_of_all_files_and_exits_with_2(write):
    first, second = write(("seed: 7", "sed: 7")), write(("ARM10_BAC_ONLY", "ARM10_BAC_ONLI"))
    code, output = call("check", first, second)
    assert code == 2
    assert "did you mean 'seed'" in output
    assert "did you mean 'ARM10_BAC_ONLY'" in output
    assert re.search(rf"{first}:\d+: ", output)
    assert "Traceback" not in output


def test_run_writes_everything_it_promises(written):
    names = {path.name for path in written.iterdir()}
    assert names == {"report.html", "report.md", "estimates.csv", "figures", "result.nc"}
    assert [path.name for path in written.parent.iterdir()] == ["tiny"]  # and leaves nothing beside it


def test_run_twice_gives_the_same_bytes_of_estimates(written, write, tmp_path):
    assert call("run", write(), "-o", tmp_path / "again", "--size", "small")[0] == 0
    assert (tmp_path / "again" / "estimates.csv").read_bytes() == (written / "estimates.csv").read_bytes()


def test_bad_scenario_writes_nothing(write, tmp_path):
    code, output = call("run", write(("horizon: 72 h", "horizon: 72")), "-o", tmp_path / "out")
    assert code == 2
    assert "bare number 72" in output
    assert not (tmp_path / "out").exists()


def test_unmet_condition_exits_with_3_and_keeps_the_result(write, tmp_path):
    path = write(("stat: mcse, below: 0.5", "stat: mean, below: 1.0e-30"))
    code, output = call("run", path, "-o", tmp_path / "out", "--size", "small")
    assert code == 3
    assert "is not below" in output
    assert (tmp_path / "out" / "result.nc").exists()


def test_folder_with_other_files_is_left_alone(write, tmp_path):
    (tmp_path / "thesis.docx").write_text("mine")
    code, output = call("run", write(), "-o", tmp_path, "--size", "small")
    assert code == 2
    assert "thesis.docx" in output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_interrupted_run_leaves_nothing(write, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("vtrial.report.write_report", interrupt)
    code, output = call("run", write(), "-o", tmp_path / "out", "--size", "small")
    assert code == 130
    assert "interrupted" in output
    assert not list(tmp_path.iterdir())


def test_report_is_a_function_of_the_result(written, tmp_path):
    assert call("report", written / "result.nc", "-o", tmp_path / "again")[0] == 0
    for name in ("report.html", "report.md", "estimates.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()


def test_report_on_paper_is_asked_for(written, tmp_path):
    try:
        converter()
    except InputError as error:
        pytest.skip(str(error))
    code, output = call("report", written / "result.nc", "-o", tmp_path / "paper", "--pdf")
    assert code == 0, output
    assert "report.pdf" in output
    assert (tmp_path / "paper" / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert call("report", tmp_path / "paper" / "result.nc")[0] == 0  # in place: the PDF is the report's own


def test_folder_with_names_of_ours_and_no_report_is_somebody_elses(written, tmp_path):
    for name in ("report.pdf", "estimates.csv"):
        folder = tmp_path / name.partition(".")[2]
        folder.mkdir()
        (folder / name).write_text("a thesis")
        code, output = call("report", written, "-o", folder)
        assert code == 2
        assert f"holds other files ({name})" in " ".join(output.split())
        assert (folder / name).read_text() == "a thesis"


def test_report_on_paper_without_a_converter_writes_nothing(written, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    code, output = call("report", written / "result.nc", "-o", tmp_path / "paper", "--pdf")
    assert code == 2
    assert "pip install 'vtrial[pdf]'" in " ".join(output.split())
    assert not list(tmp_path.iterdir())


def test_report_of_a_truncated_result_is_refused(written, tmp_path):
    broken = tmp_path / "result.nc"
    broken.write_bytes((written / "result.nc").read_bytes()[:5000])
    code, output = call("report", broken, "-o", tmp_path / "out")
    assert code == 2
    assert "not a readable netCDF file" in output
    assert not (tmp_path / "out").exists()


def test_policies_for_the_index_patient_are_those_of_the_table():
    # population.md, "What the arms give": S1 gets baclofen 5 mg bid of ARM3 and pregabalin 75 mg bid
    code, output = call("policies", "--patient", "68 F 154 cm 65 kg SCR 0.713 mg/dL")
    assert code == 0
    lines = " ".join(output.split())
    assert re.search(r"BAC_VLAVONOU_TABLET │ baclofen │ B │ 5 mg at 08:00, 20:00: 10", lines)


@pytest.mark.parametrize(
    ("patient", "reason"),
    [
        ("68 F", "is not of the form"),
        ("68 F 154 kg 65 kg SCR 0.713 mg/dL", "height"),
        ("7 F 154 cm 65 kg SCR 1 mg/dL", "age"),
    ],
)
def test_patient_that_cannot_be_is_refused(patient, reason):
    code, output = call("policies", "--patient", patient)
    assert code == 2
    assert reason in output


def test_schema_in_the_repository_is_current():
    assert json.loads((REPO / "scenarios" / "schema.json").read_text()) == json_schema()


def test_init_lays_out_a_folder_whose_scenarios_check(tmp_path):
    assert call("init", tmp_path / "study")[0] == 0
    run = subprocess.run(
        [sys.executable, "-m", "vtrial", "check", "scenarios/index_patient.yaml"],
        cwd=tmp_path / "study", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert call("init", tmp_path / "study")[0] == 2  # and does not overwrite it


@pytest.mark.slow
def test_wheel_carries_models_policies_and_scenarios(tmp_path):
    """Build, install without dependencies beside those of the tests, and use it far from the clone."""
    uv = shutil.which("uv") or str(REPO / ".venv-uv" / "bin" / "uv")
    if not Path(uv).exists():
        pytest.skip("uv is not here")
    subprocess.run([uv, "build", "--quiet", "--wheel", "-o", tmp_path, REPO], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    code = (
        "import vtrial.library as library; print(library.INSTALLED); import vtrial; "
        "vtrial.load_scenario(library.SCENARIOS / 'titration.yaml')"
    )
    models = {p.relative_to(REPO / "models") for p in (REPO / "models").rglob("*.*") if "__pycache__" not in p.parts}
    site = tmp_path / "site" / "vtrial" / "library" / "models"
    assert {p.relative_to(site) for p in site.rglob("*.*")} == models  # evidence and posteriors too
    (tmp_path / "far").mkdir()
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}"],
        cwd=tmp_path / "far", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(tmp_path / "site" / "vtrial" / "library")


# ------------------------------------------------------------------------------------------------ for other programs


def spoken(*args):
    """What a command says on its standard output, and its exit code."""
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    return done.exit_code, done.stdout


def test_json_is_all_that_is_printed_and_holds_the_numbers(write, written, tmp_path):
    code, text = spoken("run", write(), "-o", tmp_path / "r", "--size", "small", "--threads", 1, "--json")
    told = json.loads(text)
    assert code == 0
    assert told["report"] == str(tmp_path / "r" / "report.html")
    assert told["unmet"] == []
    rows = csv.DictReader((written / "estimates.csv").read_text().splitlines())
    coma = [row for row in rows if (row["outcome"], row["estimand"]) == ("level3_72h", "value")]
    mean = {(row["arm"], row["stratum"]): row["mean"] for row in coma}
    for risk in told["risks"]:
        assert risk["mean"] == pytest.approx(float(mean[risk["arm"], risk["stratum"]]), rel=1e-12)


def test_a_missed_condition_is_in_the_json_and_in_the_exit_code(write, tmp_path):
    path = write(("stat: mcse, below: 0.5", "stat: mcse, below: 1.0e-12"))
    code, text = spoken("run", path, "-o", tmp_path / "r", "--size", "small", "--threads", 1, "--json")
    assert code == 3
    (line,) = json.loads(text)["unmet"]
    assert line.startswith("mcse of level3_72h, ARM1_GUIDELINE")


@pytest.mark.parametrize(
    ("args", "holds"),
    [
        (("models",), lambda told: {"baclofen_pregabalin"} <= {one["model"] for one in told}),
        (("models", "baclofen_pregabalin"), lambda told: told["parameters"][0]["posterior"]["median"] > 0),
        (("policies", "--patient", "68 F 154 cm 65 kg SCR 0.713 mg/dL"),
         lambda told: "10 mg" in {one["policy"]: one["first_day"] for one in told["policies"]}["BAC_INDEX"]),
        (("compare", "ARM1_GUIDELINE", "ARM9_BEERS"), lambda told: {row["arm"] for row in told} == {"ARM9_BEERS"}),
        (("check", SCENARIOS / "opioid.yaml"), lambda told: told[0]["trajectories"] > 1000),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_every_table_can_be_had_as_json_or_not_at_all(args, holds):
    code, text = spoken(*args, "--json")
    assert code == 0
    assert holds(json.loads(text))
    assert spoken(*args, "--quiet") == (0, "")


def test_json_of_bad_input_is_nothing_and_the_reason_is_told(tmp_path):
    done = CliRunner().invoke(app, ["check", str(tmp_path / "no.yaml"), "--json"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "cannot be read" in done.stderr


def test_completion_can_be_had_for_a_shell():
    asked = {"_VTRIAL_COMPLETE": "complete_bash", "COMP_WORDS": "vtrial opt", "COMP_CWORD": "1"}
    command = [Path(sys.executable).with_name("vtrial")]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["optimise"]
