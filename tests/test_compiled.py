"""The door to numba: what is compiled, how often, and that it says what Python says."""

from collections import Counter

import pytest
from numba.core import event

from vtrial.compiled import compiled, inlined, plain


@inlined
def _scaled(x, factor):
    return x * factor


@compiled
def _both(x):
    return _scaled(x, 2) + _scaled(x, int(x))


@compiled
def _outer(x):
    return _both(x) + _both(x + 1.0)


class _Count(event.Listener):
    def __init__(self):
        self.seen = Counter()

    def on_start(self, event):
        self.seen[event.data["dispatcher"].py_func.__name__] += 1

    def on_end(self, event):
        pass


@pytest.fixture(scope="module")
def compilations(tmp_path_factory):
    """Names of the functions that numba compiled while `_outer` and `_both` were called from Python."""
    count, patch = _Count(), pytest.MonkeyPatch()
    patch.setattr("numba.config.CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    with event.install_listener("numba:compile", count):
        numbers = _outer(3.0), _both(3.0)
    patch.undo()
    return numbers, count.seen


def test_compiled_functions_say_what_python_says_called_from_either_side(compilations):
    assert compilations[0] == (plain(_both)(3.0) + plain(_both)(4.0), plain(_both)(3.0))


def test_a_function_is_compiled_once_for_its_callers_whatever_constants_it_gets(compilations):
    assert compilations[1]["_scaled"] == 1


def test_a_function_is_compiled_for_itself_only_if_it_is_called_from_python(compilations):
    assert (compilations[1]["_outer"], compilations[1]["_both"]) == (1, 2)  # _both within _outer, and alone
