"""Exposure that is enough and not too much; and utility, what all outcomes together are worth to the modeller."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from vtrial.endpoint.seen import Array, Seen, window_name
from vtrial.estimand import Derived, Outcome
from vtrial.model import Model
from vtrial.spec import Duration, Spec

UTILITY = "utility"
"""Name of the outcome that weighs others."""


class InWindow(Spec):
    """Whether a drug's AUC lies within a window about that of the reference patient under the reference arm.

    With a labelled dose as the reference arm, and normal renal function, that is exposure matching: the exposure at
    which the drug was found to work, and to be borne.
    """

    kind: Literal["in_window"]
    ratio: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]
    """Ends of the window, AUC over the reference patient's; both are within."""
    within: Duration
    """AUC from the first dose of any drug to then, of both patients."""

    @model_validator(mode="after")
    def _in_order(self):
        if self.ratio[0] >= self.ratio[1]:
            text = f"'ratio': {self.ratio[0]:g} is not below {self.ratio[1]:g}"
            raise PydanticCustomError("in_window", "{text}", {"text": text})
        return self

    @property
    def windows(self) -> tuple[float, ...]:
        return (self.within,)

    def outcomes(self, model: Model) -> list[Outcome]:
        window, (low, high) = window_name(self.within), self.ratio
        inside = f"within {low:g} to {high:g} times the reference patient's, 0 to {window}"
        each = [Outcome(f"in_window_{d.name}_{window}", "1", f"P(AUC of {d.name} {inside})") for d in model.drugs]
        return [*each, Outcome(f"in_window_all_{window}", "1", f"P(AUC of all drugs {inside})")]

    def evaluate(self, seen: Seen) -> list[Array]:
        w, (low, high) = seen.window(self.within), self.ratio
        each, every = list[Array](), np.ones(len(seen.draw))
        for auc, reference in zip(seen.exposure.auc[:, w], seen.reference.auc[:, w], strict=True):
            if not (reference > 0).any():  # the reference arm lacks the drug: there is no ratio, and it asks for none
                each.append(np.full(len(auc), np.nan))
                continue
            ratio = auc / seen.of_draw(reference)
            each.append(((ratio >= low) & (ratio <= high)).astype(float))
            every = every * each[-1]
        return [seen.weight * value for value in (*each, every)]


def utility_of(weights: Mapping[str, float]) -> Derived:
    """Expected utility: means of outcomes, each times what a unit of it is worth.

    Parameters
    ----------
    weights : mapping of str to float
        By outcome; negative for what is unwanted.

    Examples
    --------
    >>> utility_of({"level3_7d": -100.0, "in_window_all_7d": 2.0}).value(np.array([0.01]), np.array([0.5])).tolist()
    [0.0]
    """
    terms = " ".join(f"{weight:+g} {name}" for name, weight in weights.items())
    outcome = Outcome(UTILITY, "utility", f"expected utility: {terms}")
    return Derived(outcome, tuple(weights), partial(_weighed, tuple(weights.values())))


def _weighed(weights: tuple[float, ...], *means: Array) -> Array:
    return np.sum([weight * mean for weight, mean in zip(weights, means, strict=True)], axis=0)
