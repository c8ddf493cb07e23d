"""Virtual trials of starting doses: how likely is coma-level sedation under this dose, in this kind of patient?

Research software: not for dosing decisions in patients.

Five hops lead from the command line to a number, each a public function::

    cli -> run -> reduce_block -> treat -> estimate

In a notebook, `draw_patients` and `simulate` give the same people and their outcomes as labelled arrays.

| floor | rooms |
|---|---|
| 0 | `problem` what an input has wrong; `library`; `frontier` of arms; `compiled`, `lanes` to numba; `stage` costs |
| 1 | `spec` strict YAML, units; `sample` every random number; `moments` outcomes over patients; `items` of arms |
| 2 | `model` what a model file defines; `scheme` how numbers of patients are spread; `dialysis` when sessions are |
| 3 | `pharmacodynamics` drive and levels; `population`; `policy`; `estimand` outcomes to estimates |
| 4 | `decision` of a prescriber; `kinetics` the stepper; `endpoint` exposure to outcomes; `equations` in LaTeX |
| 5 | `scenario` one YAML file, one question; `calibration` of a model on its evidence, and the door to PyMC |
| 6 | `patients` drawn; `discordance` of two measures of their renal function |
| 7 | `treatment` of patients by the arms; `result` its provenance and its file |
| 8 | `block` of patients, treated and reduced within the memory allowed |
| 9 | `further` risk against dose, over two doses, under other assumptions |
| 10 | `trial` the whole path; `dose_table` the largest start that is allowed; `compare` results, or guidelines |
| 11 | `report` figures, tables, HTML, PDF |
| 12 | `cli` the command line |
| 13 | `__main__` the same, for python -m |

A module imports only from floors below its own; `tests/test_floors.py` holds it to that.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vtrial.dose_table import optimise
    from vtrial.estimand import estimate
    from vtrial.model import draw_parameters, load_model, shipped_posterior
    from vtrial.patients import draw_patients
    from vtrial.policy import load_policies
    from vtrial.problem import InputError
    from vtrial.result import load_result, save_result
    from vtrial.scenario import load_scenario
    from vtrial.treatment import expose_reference, simulate
    from vtrial.trial import run

_HOME = {
    "InputError": "problem",
    "draw_parameters": "model",
    "draw_patients": "patients",
    "expose_reference": "treatment",
    "estimate": "estimand",
    "load_model": "model",
    "load_policies": "policy",
    "load_result": "result",
    "load_scenario": "scenario",
    "optimise": "dose_table",
    "run": "trial",
    "save_result": "result",
    "shipped_posterior": "model",
    "simulate": "treatment",
}

__all__ = [
    "InputError",
    "draw_parameters",
    "draw_patients",
    "estimate",
    "expose_reference",
    "load_model",
    "load_policies",
    "load_result",
    "load_scenario",
    "optimise",
    "run",
    "save_result",
    "shipped_posterior",
    "simulate",
]


def __getattr__(name: str) -> Any:  # on first use, so that `vtrial --help` imports nothing heavy
    if name not in _HOME:
        raise AttributeError(f"module 'vtrial' has no attribute '{name}'")
    return getattr(import_module(f"vtrial.{_HOME[name]}"), name)
