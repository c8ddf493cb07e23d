"""Models and evidence from the library, each tried before it is used."""

from __future__ import annotations

import hashlib
import importlib.util
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vtrial.library import MODELS
from vtrial.model.dynamics import Dynamics
from vtrial.model.record import Model, individual, middle_covariates, typical_patient
from vtrial.spec import InputError, Problem, nearest, read_yaml


def model_names() -> list[str]:
    """Names of the models that the library holds."""
    return sorted(path.stem for path in MODELS.glob("*.py"))


@cache
def load_model(name: str) -> Model:
    """Load a model of the library by name, and try it on one typical patient.

    Parameters
    ----------
    name : str
        A name from `model_names`, never a path.

    Raises
    ------
    InputError
        If there is no such model, or its file does not define a usable `MODEL`.

    Examples
    --------
    >>> [drug.name for drug in load_model("baclofen_pregabalin").drugs]
    ['baclofen', 'pregabalin']
    """
    if name not in model_names():
        raise InputError([f"unknown model '{name}'; {nearest(name, model_names())}"])
    path = MODELS / f"{name}.py"
    with _blaming(path):
        spec = importlib.util.spec_from_file_location(f"vtrial_model_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    model = getattr(module, "MODEL", None)
    if not isinstance(model, Model):
        raise InputError([Problem("the file defines no MODEL", file=path)])
    problems = [] if model.name == name else [f"MODEL is named '{model.name}', its file '{name}'"]
    with _blaming(path):
        problems += _dry_run(model)
    if problems:
        raise InputError([Problem(text, file=path) for text in problems])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    description = (module.__doc__ or "").strip()
    return Model(**{**vars(model), "sha256": digest, "description": description})


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Say of whatever a model file raises which line of it was at work: a file may raise anything."""
    try:
        yield
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        if isinstance(error, SyntaxError):
            lines, message = [error.lineno], error.msg
        elif isinstance(error, KeyError) and error.args:
            message = f"unknown name '{error.args[0]}' (KeyError)"
        else:
            message = f"{type(error).__name__}: {error}"
        raise InputError([Problem(message, file=path, line=lines[-1] if lines else None)]) from None


def _dry_run(model: Model) -> list[str]:
    theta = {p.name: p.prior.quantile(np.float64(0.5)) for p in model.params}
    omega, given = model.omega(theta), typical_patient(model, theta)
    wanted = {*model.individual_parameters, "A"}
    read = {*wanted, *model.clearances_by_dialysis, "GFR"}
    problems = [f"typical() gives no '{name}'" for name in sorted(wanted - set(given))]
    problems += [f"omega() names '{name}', which typical() does not give" for name in sorted(set(omega) - set(given))]
    problems += [f"omega() names '{name}', which nothing reads" for name in sorted((set(omega) & set(given)) - read)]
    problems += [f"'{name}' is not finite" for name in sorted(given) if not np.all(np.isfinite(given[name]))]
    problems += _changed(model, theta)
    if model.dynamics is None or problems:
        return problems
    return _try(model.dynamics, {name: float(given[name]) for name in model.dynamics.parameters})


def _changed(model: Model, theta: dict[str, Any]) -> list[str]:
    """What a model changes in the one that it extends, whose posterior is no longer right then."""
    base = model.extends
    if base is None:
        return []
    wrong = [f"the parameter '{param.name}'" for param in base.params if param not in model.params]
    if model.drugs[: len(base.drugs)] != base.drugs or (model.dynamics is None) != (base.dynamics is None):
        wrong.append("its drugs: they come first, with the kinetics that they had")
    wrong += ["its levels"] if model.levels != base.levels else []
    if not wrong:
        # every eta at one SD: typical values, SDs and what acts on the logit, all at once
        cov, z = middle_covariates(model), dict.fromkeys(base.omega(theta), 1.0)
        before, now = individual(base, theta, cov, z), individual(model, theta, cov, z)
        same = {name: name in now and np.allclose(now[name], value, rtol=1e-12) for name, value in before.items()}
        wrong = [f"'{name}' of a patient who has nothing of what it adds" for name, held in same.items() if not held]
    return [f"extends {base.name}, but changes {text}" for text in wrong]


def _try(dynamics: Dynamics, par: dict[str, float]) -> list[str]:
    """What is wrong with a right-hand side in one patient, before and right after a mg of each drug."""

    def wrong(function: str, rows: Any, what: tuple[str, ...]) -> list[str]:
        rows = np.asarray(rows, float)
        if rows.shape != (len(what),):
            return [f"dynamics: {function} gives an array of shape {rows.shape}, not one number for each of {what}"]
        bad = [name for name, value in zip(what, rows, strict=True) if not np.isfinite(value)]
        return [f"dynamics: {function} of {name} is not finite in a typical patient" for name in bad]

    try:
        with np.errstate(all="ignore"):
            start = np.asarray(dynamics.initial(par), float)
            x = start if start.size else np.zeros(len(dynamics.states))
            problems = wrong("initial", x, dynamics.states)
            for state in () if problems else (x, x + np.isin(dynamics.states, dynamics.entry)):
                problems += wrong("slope", dynamics.slope(0.0, state, par), dynamics.states)
                problems += wrong("conc", dynamics.conc(state, par), dynamics.drugs)
                problems += wrong("Ce", dynamics.Ce(state, par), dynamics.drugs)
    except Exception as error:  # a model file may raise anything
        return [f"dynamics: {type(error).__name__}: {error}"]
    return list(dict.fromkeys(problems))


EVIDENCE = {"pk": "pk.yaml", "pd": "pd.yaml"}
"""File in `models/evidence/` for each prefix of a row's name."""


def evidence_rows(model: Model) -> dict[str, dict[str, Any]]:
    """Look up the rows that the parameters of a model rest on.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict
        By row name (``"pk:1.02"``): quantity, value, unit, source, grade.

    Raises
    ------
    InputError
        If the model names a row that its evidence does not hold.
    """
    named = {row for param in model.params for row in param.rows}
    found, problems = {}, []
    for prefix, file in EVIDENCE.items():
        wanted = {row.split(":", 1)[1] for row in named if row.startswith(f"{prefix}:")}
        rows = {str(row["id"]): row for row in read_yaml(MODELS / "evidence" / file).data["rows"]}
        for name in sorted(wanted):
            if name not in rows:
                problems.append(
                    Problem(
                        f"model {model.name} names row '{name}'; {nearest(name, rows)}", file=MODELS / "evidence" / file
                    )
                )
                continue
            row = rows[name]
            found[f"{prefix}:{name}"] = {key: str(row[key]) for key in ("quantity", "value", "unit", "source")} | {
                "grade": row["confidence"]
            }
    if problems:
        raise InputError(problems)
    return found
