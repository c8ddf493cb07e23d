"""A scenario small enough for a test, and its results, computed once for each session."""

from pathlib import Path

import pytest

from vtrial import load_scenario, run

TINY = """\
title: tiny
question: Does the machinery work?
model:
  name: baclofen_pregabalin
  draws_from: prior
  surface: greco
  fix: {allometry_CL: 0.75}
population:
  model: us_adults
  strata: ["18-49 G1", "75-84 G4"]
treatment:
  arms: [ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]
  start: "08:00"
  horizon: 72 h
endpoints:
  - {kind: level_reached, level: [1, 3], within: [24 h, 72 h]}
  - {kind: level_reached, level: [2], within: [24 h]}
  - {kind: cmax, within: 24 h}
  - {kind: auc, within: 72 h}
  - {kind: peak_clock, within: 24 h}
  - {kind: time_at_level, level: [1], within: 72 h}
estimands:
  reference: ARM1_GUIDELINE
  primary: level3_72h
  limits:
    - {outcome: level1_24h, below: 0.1}
accept:
  - {arm: ARM1_GUIDELINE, outcome: level3_72h, stat: mcse, below: 0.5}
simulation:
  seed: 7
  draws: 20
  patients: 8
  step: 30 min
  small: {draws: 3, patients: 2}
reference_patient: {name: reference, age: 40 year, sex: M, height: 176 cm, weight: 70 kg, scr: 0.9 mg/dL}
"""


def edited(text, *edits):
    """The text with each (old, new) replaced; `old` must occur exactly once."""
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="session")
def write(tmp_path_factory):
    """Write the tiny scenario with edits, and return its path."""

    def write(*edits) -> Path:
        path = tmp_path_factory.mktemp("scenario") / "tiny.yaml"
        path.write_text(edited(TINY, *edits), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def scenario(write):
    """Load the tiny scenario with edits."""
    return lambda *edits: load_scenario(write(*edits))


SOBOL = (
    ("  step: 30 min", "  step: 30 min\n  sampling: sobol"),
    ("draws: 3, patients: 2", "draws: 3, patients: 4"),
)
"""Edits: the tiny scenario with patients spread by Sobol."""


@pytest.fixture(scope="session")
def tiny(scenario):
    return scenario()


@pytest.fixture(scope="session")
def result(tiny):
    return run(tiny, threads=1)
