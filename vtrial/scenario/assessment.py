"""What a modeller says of the evidence that a scenario gives, in the terms of ICH M15.

ICH M15, General Principles for Model-Informed Drug Development (Step 4, January 2026). Ratings are the assessors'
own: none is worked out here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vtrial.policy.form import Grade
from vtrial.spec import Spec, Where, nearest

if TYPE_CHECKING:
    from vtrial.scenario import ScenarioSpec


class Rating(Spec):
    """A rating and what it rests on."""

    rating: Literal["low", "medium", "high"]
    because: str
    """Why."""


class Assumption(Spec):
    """An assumption of the model or of the scenario."""

    statement: str
    """What is assumed."""
    because: str
    """Why, and what speaks against it."""
    grade: Grade
    """How well it is supported."""
    case: str | tuple[str, ...] | None = None
    """The case of `sensitivities` that drops it, or several: the report tells what follows. Absent: not tested here."""
    elsewhere: str | None = None
    """What was found where it was tested elsewhere, e.g. by another calibration, and where that stands."""

    @property
    def cases(self) -> tuple[str, ...]:
        """The cases that drop it."""
        return (self.case,) if isinstance(self.case, str) else self.case or ()


class Assessment(Spec):
    """Assessment of the evidence from a scenario, by ICH M15."""

    context_of_use: str
    """What the model's answer is for, and what it is not for."""
    model_influence: Rating
    """How much of the decision rests on the model, beside other evidence."""
    consequence: Rating
    """Of a wrong decision, for patients."""
    model_risk: Rating
    """From influence and consequence."""
    model_impact: Rating
    """How far the use departs from current standards."""
    assumptions: Annotated[tuple[Assumption, ...], Field(min_length=1)]
    """The assumptions that matter."""
    applicability: str
    """Why the evidence is, or is not, relevant to the question."""


def check_assessment(spec: ScenarioSpec) -> Iterator[tuple[Where, str]]:
    """Every finding, with the path of keys that leads to it."""
    cases = spec.sensitivities.cases if spec.sensitivities else {}
    for i, one in enumerate(spec.assessment.assumptions if spec.assessment else ()):
        for case in one.cases:
            if case not in cases:
                yield (
                    ("assessment", "assumptions", i, "case"),
                    f"no case '{case}' among the sensitivities; {nearest(case, cases)}",
                )
