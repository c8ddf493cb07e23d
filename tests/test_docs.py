"""Examples in docstrings and in the README are true."""

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

import vtrial
from vtrial.cli import app
from vtrial.library import MODELS
from vtrial.problem import InputError
from vtrial.report.pdf import converter
from vtrial.treatment import expose_reference

MODULES = [info.name for info in pkgutil.walk_packages(vtrial.__path__, "vtrial.") if "__main__" not in info.name]


@pytest.mark.parametrize("name", ["vtrial", *MODULES])
def test_examples_of_the_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


REPO = Path(__file__).parent.parent
PAGES = sorted((REPO / "docs").glob("*.md"))
TUTORIALS = sorted((REPO / "docs" / "tutorials").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_of_the_docs_quotes_scenarios_as_they_are(page):
    """Every YAML block is an excerpt of the scenario named above it, so that it cannot drift."""
    text = page.read_text(encoding="utf-8")
    quotes = re.findall(r"<!-- from: (\S+) -->\n```yaml\n(.*?)```", text, re.DOTALL)
    assert len(quotes) == text.count("```yaml")
    for file, quote in quotes:
        assert quote in (REPO / file).read_text(encoding="utf-8"), file


def _commands(text):
    """Lines of the shell blocks of a page, without their comments; a backslash joins lines."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [bare for line in lines if (bare := re.sub(r"\s#.*", "", line).strip())]


WITH_COMMANDS = [page for page in (REPO / "README.md", *PAGES) if _commands(page.read_text(encoding="utf-8"))]
LONG = ("vtrial calibrate", "vtrial criticise", "make ")
"""Commands that take minutes and have tests of their own, or that run the tests."""


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_commands_of_a_page_are_understood(page):
    """Each by the program's own parser: names of commands and options, kinds of values."""
    program = typer.main.get_command(app)
    for line in _commands(page.read_text(encoding="utf-8")):
        for command in line.split("&&"):
            name, *given = shlex.split(command)
            if name == "vtrial":
                context = program.make_context("vtrial", list(given), resilient_parsing=True)
                _, own, rest = program.resolve_command(context, given)
                own.make_context(own.name, rest)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_commands_of_a_page_run_one_after_the_other(page, tmp_path):
    """In a folder that `vtrial init` made, or makes; but for those that take minutes."""
    lines = [line for line in _commands(page.read_text(encoding="utf-8")) if not line.startswith(LONG)]
    try:
        converter()
    except InputError:  # on a machine without WeasyPrint or Pango
        lines = [line.replace(" --pdf", "") for line in lines]
    own = [] if page.stem == "README" else ["vtrial init study", "cd study"]
    script = ["set -euo pipefail", 'export PATH="$VTRIAL:$PATH" COLUMNS=200', *own, *lines]
    told = os.environ | {"VTRIAL": str(Path(sys.executable).parent)}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=tmp_path, env=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorial_runs_as_it_stands(page, tmp_path):
    """Its blocks one after the other in one shell: files are written, commands must end well."""
    script = ["set -euo pipefail", 'export PATH="$VTRIAL:$PATH" COLUMNS=200']
    for file, kind, block in re.findall(
        r"(?:<!-- file: (\S+) -->\n)?```(sh|yaml|python|text)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
    ):
        assert (kind != "sh") == bool(file)
        script.append(f"cat > {file} <<'END'\n{block}END" if file else block)
    told = os.environ | {"VTRIAL": str(Path(sys.executable).parent)}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=tmp_path, env=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "coma" in done.stdout


@pytest.mark.parametrize("page", [REPO / "README.md", *PAGES, *TUTORIALS], ids=lambda page: page.stem)
def test_page_leads_to_what_exists(page):
    text = page.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    files = re.findall(r"\bscenarios/[\w/]+\.yaml|\btests/[\w/]+\.py", text)
    missing = [link for link in links if link and not (page.parent / link).exists()]
    written = re.findall(r"<!-- file: (\S+) -->|> (\S+)$", text, re.MULTILINE)
    written = [name for pair in written for name in pair]
    assert not missing + [file for file in files if not (REPO / file).exists() and file not in written]
    commands = {*re.findall(r"^vtrial ([a-z-]+)", text, re.MULTILINE)}
    known = {info.name or info.callback.__name__.replace("_", "-") for info in app.registered_commands}
    assert commands <= known


README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_notebook_of_the_readme_runs(capsys):
    code = re.search(r"<!-- test: notebook -->\n```python\n(.*?)```", README, re.DOTALL)
    assert code
    exec(compile(code[1], "README.md", "exec"), {})
    assert "ARM0_INDEX" in capsys.readouterr().out


def test_scenario_of_the_readme_is_accepted(tmp_path):
    text = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert text
    (tmp_path / "mine.yaml").write_text(text[1], encoding="utf-8")
    assert [arm.id for arm in vtrial.load_scenario(tmp_path / "mine.yaml").arms][-1] == "MINE"


def test_model_of_the_readme_solves_patients(tmp_path, monkeypatch, write):
    code = re.search(r"<!-- test: model -->\n```python\n(.*?)```", README, re.DOTALL)
    assert code
    shutil.copytree(MODELS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "saturable.py").write_text(code[1], encoding="utf-8")
    monkeypatch.setattr("vtrial.model.load.MODELS", tmp_path)
    assert "saturable" in vtrial.load_model("saturable").title
    exposures = []
    for name in ("baclofen_pregabalin", "saturable"):
        scenario = vtrial.load_scenario(write(("name: baclofen_pregabalin", f"name: {name}")), size="small")
        theta = vtrial.draw_parameters(scenario.model, scenario.draws, 7)
        exposures.append(expose_reference(scenario, theta))
    (baclofen, pregabalin), (saturated, same) = (exposure.auc[:, -1] for exposure in exposures)
    np.testing.assert_allclose(same, pregabalin, rtol=1e-6)
    assert (saturated > baclofen * 1.01).all()
