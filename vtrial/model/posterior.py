"""Which posterior belongs to a model: made from this model file and this evidence, or refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vtrial.library import MODELS
from vtrial.model.record import Model
from vtrial.problem import InputError, Problem


def posterior_path(model: Model) -> Path:
    """Where the posterior of a model lies, whether or not it is there."""
    return MODELS / "posteriors" / f"{model.name}.nc"


def belongings(model: Model) -> dict[str, str]:
    """What a posterior must agree with: sha256 of the model file and of the evidence it was calibrated on."""
    evidence = MODELS / "calibration" / f"{model.name}.yaml"
    digest = hashlib.sha256(evidence.read_bytes()).hexdigest() if evidence.exists() else ""
    return {"model_sha256": model.sha256, "evidence_sha256": digest}


def shipped_posterior(model: Model) -> Path | None:
    """Find the posterior that the library holds of a model; None if it holds none.

    Raises
    ------
    InputError
        If it was made from another model file or other evidence.
    """
    import xarray as xr

    path = posterior_path(model)
    if not path.exists():
        return None
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        made_from = dict(tree.attrs)
    changed = [name.removesuffix("_sha256") for name, digest in belongings(model).items() if made_from.get(name) != digest]
    if changed:
        text = f"made before the {' and the '.join(changed)} of {model.name} changed: run 'vtrial calibrate {model.name}'"
        raise InputError([Problem(f"{text}, or ask for the priors", file=path)])
    return path
