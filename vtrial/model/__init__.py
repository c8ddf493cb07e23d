"""What a file in `models/` defines: drugs, parameters with their evidence, and a few pure functions.

A model file holds one `MODEL` record. Its functions use operators and smooth NumPy ufuncs only, so that the
same lines run on arrays of virtual patients and, for calibration, inside a PyMC model.

| module | holds |
|---|---|
| `prior` | priors, and the operators that model functions may use |
| `record` | `Param`, `Drug`, `Model`; `individual`, from population parameters to a patient's |
| `dynamics` | kinetics that are not linear: right-hand sides, ready-made or of a model's own |
| `load` | models and evidence by name |
| `posterior` | posterior files: which belongs to a model, and what is in them |
| `draw` | draws of the population parameters |
"""

from vtrial.model.draw import check_fixed, dialysed, draw_parameters, eta_names
from vtrial.model.load import evidence_rows, load_model, model_names
from vtrial.model.posterior import PRIOR, shipped_posterior
from vtrial.model.prior import Beta, Fixed, HalfNormal, LogNormal, Normal, Prior, Uniform, Values, greater, lesser
from vtrial.model.record import BLOOD, DIALYSES, GRADES, RELEASED, SWALLOWED, Drug, Model, Param, Surface, individual

__all__ = [
    "BLOOD", "DIALYSES", "GRADES", "PRIOR", "RELEASED", "SWALLOWED", "Beta", "Drug", "Fixed", "HalfNormal",
    "LogNormal", "Model", "Normal", "Param", "Prior", "Surface", "Uniform", "Values", "check_fixed", "dialysed",
    "draw_parameters", "eta_names", "evidence_rows", "greater", "individual", "lesser", "load_model", "model_names",
    "shipped_posterior",
]  # fmt: skip
