"""Examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import vtrial

MODULES = [info.name for info in pkgutil.walk_packages(vtrial.__path__, "vtrial.")]


@pytest.mark.parametrize("name", ["vtrial", *MODULES])
def test_examples_of_the_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
