"""Where models, policies and scenarios are found: in the working folder one stands in, or as installed.

A clone and a folder made by `vtrial init` both hold `models/` and `scenarios/policies/`: inside one of them
(or below), that one is used. Anywhere else it is the copy that travels with the package.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
INSTALLED = _PACKAGE / "library" if (_PACKAGE / "library").is_dir() else _PACKAGE.parent
"""The library that came with the package: beside it in a clone, inside it in a wheel."""


def _working_folder() -> Path | None:
    here = Path.cwd()
    wanted = (folder for folder in (here, *here.parents) if (folder / "scenarios" / "policies").is_dir())
    return next((folder for folder in wanted if (folder / "models").is_dir()), None)


ROOT = _working_folder() or INSTALLED
MODELS = ROOT / "models"
SCENARIOS = ROOT / "scenarios"
POLICIES = SCENARIOS / "policies"
