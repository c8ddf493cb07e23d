"""Where the models, policies and scenarios lie: beside the package in a clone, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
ROOT = _PACKAGE / "library" if (_PACKAGE / "library").is_dir() else _PACKAGE.parent
"""Folder that holds `models/` and `scenarios/`."""

MODELS = ROOT / "models"
SCENARIOS = ROOT / "scenarios"
POLICIES = SCENARIOS / "policies"
