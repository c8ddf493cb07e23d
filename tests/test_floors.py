"""Imports point down: the map in the package's docstring is the law."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vtrial
from vtrial.library import SCENARIOS

PACKAGE = Path(vtrial.__file__).parent
FLOORS = {
    room: int(floor)
    for floor, rooms in re.findall(r"^\| (\d+) \| (.+) \|$", str(vtrial.__doc__), re.MULTILINE)
    for room in re.findall(r"`(\w+)`", rooms)
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(tree):
    """Rooms of vtrial that a module imports, anywhere in it, but for what only a type checker sees."""
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for part in node.body
        for inner in ast.walk(part)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            first, *rest = node.module.split(".")
            if first == "vtrial":
                yield from [rest[0]] if rest else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "a relative import"
        elif isinstance(node, ast.Import):
            yield from [a.name.split(".")[1] for a in node.names if a.name.startswith("vtrial.")]


def test_every_room_is_on_the_map():
    assert {room_of(path) for path in MODULES} <= set(FLOORS)
    assert len(FLOORS) > 10


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_only_from_floors_below(path):
    room = room_of(path)
    rooms = set(imported_rooms(ast.parse(path.read_text(encoding="utf-8")))) - {room}
    too_high = {other: FLOORS.get(other) for other in rooms if FLOORS.get(other, 99) >= FLOORS[room]}
    assert not too_high, f"{room} stands on floor {FLOORS[room]}"


def loaded_by(code):
    """Top-level packages that a fresh interpreter has loaded after the code."""
    report = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_public_names_are_functions_in_whatever_order_they_are_imported():
    # a submodule of the same name is set on the package when it is first imported
    loaded_by(
        "import vtrial\nfor name in [*vtrial.__all__, *vtrial.__all__]: assert callable(getattr(vtrial, name)), name"
    )


SAMPLERS = {"pymc", "pytensor", "nutpie", "arviz", "arviz_stats", "arviz_base"}


def test_samplers_have_one_door():
    doors = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            doors |= {room_of(path) for name in names if name.split(".")[0] in SAMPLERS}
    assert doors == {"calibration"}


HEAVY = SAMPLERS | {"matplotlib", "xarray", "numba", "pandas"}


def test_importing_the_package_imports_nothing_heavy():
    assert not loaded_by("import vtrial") & (HEAVY | {"numpy", "scipy", "pydantic", "pint"})


@pytest.mark.parametrize("name", ["starting_dose", "index_patient"])
def test_checking_a_scenario_needs_no_sampler_figures_or_labelled_arrays(name):
    path = str(SCENARIOS / f"{name}.yaml")
    loaded = loaded_by(f"from vtrial.scenario import load_scenario; load_scenario({path!r})")
    assert not loaded & (SAMPLERS | {"matplotlib", "xarray", "pandas"})


def test_running_needs_no_sampler_or_figures():
    assert not loaded_by("import vtrial.trial") & (SAMPLERS | {"matplotlib"})
