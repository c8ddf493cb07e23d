"""Virtual trials of starting doses: how likely is coma-level sedation under this dose, in this kind of patient?

Research software: not for dosing decisions in patients.

Five hops lead from the command line to a number, each a public function::

    cli -> run -> draw_patients -> simulate -> estimate

| floor | rooms |
|---|---|
| 0 | `problem` what an input has wrong; `library` of models; `compiled`, `lanes` to numba; `stage` costs of a run |
| 1 | `spec` strict YAML, units; `sample` every random number |
| 2 | `model` what a model file defines; `scheme` how the numbers of patients are spread |
| 3 | `pharmacodynamics` drive and levels; `population`; `policy`; `estimand` outcomes to estimates |
| 4 | `kinetics` the exact stepper; `endpoint` exposure to outcomes |
| 5 | `scenario` one YAML file, one question |
| 6 | `patients` drawn, and treated by an arm |
| 7 | `trial` the whole path, results on disk |
| 8 | `report` figures, tables, HTML |
| 9 | `cli` the command line |
| 10 | `__main__` the same, for python -m |

A module imports only from floors below its own; `tests/test_floors.py` holds it to that.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vtrial.estimand import estimate
    from vtrial.model import draw_parameters, load_model
    from vtrial.patients import draw_patients, expose_reference, simulate
    from vtrial.policy import load_policies
    from vtrial.problem import InputError
    from vtrial.scenario import load_scenario
    from vtrial.trial import load_result, run, save_result

_HOME = {
    "InputError": "problem",
    "draw_parameters": "model",
    "draw_patients": "patients",
    "expose_reference": "patients",
    "estimate": "estimand",
    "load_model": "model",
    "load_policies": "policy",
    "load_result": "trial",
    "load_scenario": "scenario",
    "run": "trial",
    "save_result": "trial",
    "simulate": "patients",
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
    "run",
    "save_result",
    "simulate",
]


def __getattr__(name: str) -> Any:  # on first use, so that `vtrial --help` imports nothing heavy
    if name not in _HOME:
        raise AttributeError(f"module 'vtrial' has no attribute '{name}'")
    return getattr(import_module(f"vtrial.{_HOME[name]}"), name)
