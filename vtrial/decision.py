"""What a prescriber decides at a time: the doses of an arm, by what is visible of the patients then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from vtrial.policy import AkiOverlay, Arm, Known, Policies, Regimens, arm_regimens
from vtrial.policy.overlay import WITHIN
from vtrial.population.injury import Injury, visible

type Seen = dict[tuple[float, float | None], Known]
"""Regimens of the same patients by when their renal function is looked at, and by creatinines how far apart."""


def decide(
    arm: Arm,
    policies: Policies,
    people: Mapping[str, Any],
    injury: Injury | None,
    hours: float,
    *,
    known: Seen | None = None,
    **clock: Any,
) -> dict[str, Regimens]:
    """Doses that an arm gives by what is visible at a time, whatever was given before.

    Parameters
    ----------
    arm : Arm
    policies : Policies
    people, injury
        As for `vtrial.population.injury.visible`; the true GFR and parameters of individuals stay hidden.
    hours : float
        When, h from the first dose.
    known : dict, optional
        As for `vtrial.policy.arm_regimens`, by what is looked at.
    **clock
        ``start``, ``horizon``, ``titrate`` and ``after`` of `vtrial.policy.arm_regimens`.

    Returns
    -------
    dict of str to Regimens
    """
    known = {} if known is None else known

    def given(kinetic: float | None) -> dict[str, Regimens]:
        seen = visible(people, injury, hours, kinetic=kinetic)
        return arm_regimens(arm, policies, seen, **clock, known=known.setdefault((hours, kinetic), {}))

    if not arm.aki_overlay:
        return given(arm.kinetic)
    rule, usual = policies.aki_overlay, given(None)
    assert rule is not None  # `check_arm`
    if injury is None:
        return usual
    struck = _struck(rule, arm, people, injury, hours)
    other = {drug: Regimens.none(drug, struck.shape) for drug in rule.hold}
    by_kinetic = given(arm.kinetic)
    other |= {drug: by_kinetic[drug] for drug in rule.tier_of_kinetic_egfr if drug in by_kinetic}
    return {drug: other[drug].where(struck, own) if drug in other else own for drug, own in usual.items()}


def _struck(rule: AkiOverlay, arm: Arm, people: Mapping[str, Any], injury: Injury, hours: float) -> NDArray[Any]:
    """Who has an acute injury in the sense of a rule; doses were chosen by the creatinine at the first one."""
    scr, before = (visible(people, injury, time)["SCR"] for time in (hours, hours - WITHIN))
    kinetic = visible(people, injury, hours, kinetic=arm.kinetic)["EGFR"]
    used = visible(people, injury, 0.0)["EGFR"]
    return rule.applies(scr=scr, before=before, own=people["SCR"], kinetic=kinetic, used=used)
