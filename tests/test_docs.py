"""Examples in docstrings and in the README are true."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import vtrial

MODULES = [info.name for info in pkgutil.walk_packages(vtrial.__path__, "vtrial.") if "__main__" not in info.name]


@pytest.mark.parametrize("name", ["vtrial", *MODULES])
def test_examples_of_the_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


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
