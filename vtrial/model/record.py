"""The records of a model file: parameters with their evidence, drugs, the model; and a patient's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vtrial.model.prior import Prior, Values

if TYPE_CHECKING:
    from vtrial.model.dynamics import Dynamics

type Surface = Literal["greco", "loewe", "bliss"]
"""Response surface: product term alpha on top of additivity; additivity; independent action."""

GRADES = ("A", "A2", "D", "B")
"""Grades of evidence, strongest first: seen verbatim; seen on a secondary page; derived; recalled or assumed."""


@dataclass(frozen=True)
class Param:
    """One population parameter: its prior, unit, meaning, and the evidence it rests on.

    Parameters
    ----------
    name : str
        Name in theta, e.g. ``"baclofen.slope_CLr"``.
    prior : Prior
        Uncertainty of the parameter itself, not between patients.
    unit, label : str
        Unit of the number, and what it is.
    rows : tuple of str
        Rows of the files in `models/evidence/` (``pk:`` or ``pd:`` and the row's id).
    grade : str
        Grade of the weakest input.
    """

    name: str
    prior: Prior
    unit: str
    label: str
    rows: tuple[str, ...]
    grade: str

    def __post_init__(self) -> None:
        if self.grade not in GRADES:
            raise ValueError(f"{self.name}: grade {self.grade!r} is none of {GRADES}")


SWALLOWED, RELEASED, BLOOD = range(3)
"""Ways in which a dose of a drug by mouth enters: as its tablets are absorbed, released at a constant rate from a form
that is swallowed, or into the blood."""


DIALYSES = ("HD", "CVVH", "CAPD")
"""Haemodialysis, continuous veno-venous haemofiltration, continuous ambulatory peritoneal dialysis."""


@dataclass(frozen=True)
class Drug:
    """A drug with linear kinetics: how it is absorbed, one to three compartments, an effect site.

    Parameters
    ----------
    name : str
    compartments : {1, 2, 3}
        Central compartment and up to two peripheral ones.
    absorption : {"first_order", "transit", "zero_order", "iv"}
        Depot with rate ka; `transit` compartments before that depot (mean transit time MTT; Savic et al. 2007,
        J Pharmacokinet Pharmacodyn 34:711-26, with a whole number of compartments); input at a constant rate for
        `dur` hours; bolus or infusion into the central compartment, as the regimen says.
    transit : int
        Number of transit compartments.

    Notes
    -----
    Individual parameters are named ``<drug>.CL`` and so on: see `parameters`. Peripheral compartments are Q, V2 and
    Q3, V3.
    """

    name: str
    compartments: Literal[1, 2, 3]
    absorption: Literal["first_order", "transit", "zero_order", "iv"] = "first_order"
    transit: int = 0

    def __post_init__(self) -> None:
        if (self.transit > 0) != (self.absorption == "transit"):
            raise ValueError(f"{self.name}: {self.transit} transit compartments with absorption {self.absorption}")

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the individual parameters that the model must give.

        Examples
        --------
        >>> Drug("x", 2, "zero_order").parameters
        ('x.CL', 'x.V', 'x.Q', 'x.V2', 'x.dur', 'x.tlag', 'x.F', 'x.ke0', 'x.C50')
        """
        peripheral = ("Q", "V2", "Q3", "V3")[: 2 * (self.compartments - 1)]
        absorption = {"first_order": ("ka",), "transit": ("MTT", "ka"), "zero_order": ("dur",), "iv": ()}
        names = ("CL", "V", *peripheral, *absorption[self.absorption], "tlag", "F", "ke0", "C50")
        return tuple(f"{self.name}.{p}" for p in names)


@dataclass(frozen=True)
class Model:
    """A population PK/PD model of sedation.

    Its kinetics are those of its drugs, stepped exactly, unless it has `dynamics`: then each patient is solved by an
    ODE solver, which is thousands of times slower.

    Parameters
    ----------
    name, title, description : str
        Name of the file, one line, and the header of the file.
    drugs : tuple of Drug
    params : tuple of Param
        Population parameters theta.
    covariates : tuple of str
        Covariates that `typical` reads.
    typical : callable
        ``typical(theta, cov) -> dict`` of the parameters of a typical patient (all etas zero).
    omega : callable
        ``omega(theta) -> dict`` of the SD of each eta, named as the parameter it acts on.
    logit : tuple of str
        Parameters whose eta acts on the logit; all others are log-normal.
    correlation : mapping of (str, str) to float
        Correlations of etas; independent where none is named.
    constraint : callable
        ``constraint(theta) -> bool array``: draws of the prior that break it are drawn again.
    limits : tuple of str
        What the model cannot know, in sentences for the report.
    dynamics : Dynamics, optional
        Right-hand side of kinetics that are not linear (`vtrial.model.dynamics`), for all drugs in their order.
    extends : Model, optional
        Model that this one adds drugs or states to, and leaves as it is for who has none of them: its posterior
        serves for its parameters, and the priors for those that are added.
    states : tuple of str
        What patients may be beside their covariates, e.g. ``"dementia"``: `typical` reads each as a covariate of
        that name, 1 in the strata and patients whose `state` has it, else 0.
    """

    name: str
    title: str
    drugs: tuple[Drug, ...]
    params: tuple[Param, ...]
    covariates: tuple[str, ...]
    typical: Callable[[Values, Values], dict[str, Any]]
    omega: Callable[[Values], dict[str, Any]]
    constraint: Callable[[Values], Any]
    levels: tuple[str, ...]
    limits: tuple[str, ...]
    logit: tuple[str, ...] = ()
    correlation: Mapping[tuple[str, str], float] = field(default_factory=dict)
    description: str = ""
    sha256: str = ""
    dynamics: Dynamics | None = None
    extends: Model | None = None
    states: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.dynamics is not None and self.dynamics.drugs != (names := tuple(drug.name for drug in self.drugs)):
            raise ValueError(f"{self.name}: dynamics of {self.dynamics.drugs} in a model of {names}")

    @property
    def calibrated(self) -> Model:
        """The model whose calibration serves this one: itself, or the one that it extends in the end."""
        return self if self.extends is None else self.extends.calibrated

    @property
    def added(self) -> tuple[Param, ...]:
        """Population parameters that the calibrated model does not have; they are drawn from their priors."""
        known = {param.name for param in self.calibrated.params}
        return tuple(param for param in self.params if param.name not in known)

    @property
    def individual_parameters(self) -> tuple[str, ...]:
        """Names of the individual parameters that the kinetics read, so that `typical` must give them."""
        if self.dynamics is not None:
            return self.dynamics.parameters
        return tuple(name for drug in self.drugs for name in drug.parameters)

    @property
    def clearances_by_dialysis(self) -> tuple[str, ...]:
        """Names of the individual parameters that `typical` may give beside those, for sessions of dialysis."""
        return tuple(name for modality in DIALYSES for name in self.clearances_by(modality))

    def clearances_by(self, modality: str) -> tuple[str, ...]:
        """Names of the clearances of the drugs by one of `DIALYSES`."""
        return tuple(f"{drug.name}.CL_{modality}" for drug in self.drugs)

    def param(self, name: str) -> Param:
        """Return the population parameter of that name."""
        return next(p for p in self.params if p.name == name)


def individual(model: Model, theta: Values, cov: Values, z: Values) -> dict[str, Any]:
    """Turn population parameters, covariates and standard normal deviations into a patient's parameters.

    Parameters
    ----------
    model : Model
    theta, cov : mapping
        Population parameters and covariates that broadcast, e.g. (draw, 1) and (draw, patient).
    z : mapping
        Standard normal deviations, named as in ``model.omega(theta)``; a missing one means a typical patient.

    Returns
    -------
    dict
        Individual parameters, and ``GFR``, the true one in mL/min: CRCL * exp(eta_GFR) unless `cov` gives it.
    """
    omega = model.omega(theta)
    gfr = cov["GFR"] if "GFR" in cov else _deviate(cov["CRCL"], "GFR", omega, z, model.logit)
    typical = model.typical(theta, {**cov, "GFR": gfr})
    return {"GFR": gfr} | {name: _deviate(value, name, omega, z, model.logit) for name, value in typical.items()}


def _deviate(value: Any, name: str, omega: Values, z: Values, on_logit: tuple[str, ...]) -> Any:
    if name not in z:
        return value
    eta = omega[name] * z[name]
    if name in on_logit:
        return value / (value + (1.0 - value) * np.exp(-eta))  # expit(logit(value) + eta), on PyTensor too
    return value * np.exp(eta)


def typical_patient(model: Model, theta: Values, *, CRCL: float = 90.0) -> dict[str, Any]:
    """Parameters of a typical patient with covariates in the middle of what is seen: to try a model or a value."""
    return individual(model, theta, middle_covariates(model, CRCL), {})


def middle_covariates(model: Model, CRCL: float = 90.0) -> dict[str, Any]:
    """Covariates in the middle of what is seen, in none of the model's states."""
    cov = dict.fromkeys(model.covariates, np.float64(50.0)) | {"CRCL": np.float64(CRCL)}
    return cov | dict.fromkeys(model.states, np.float64(0.0))
