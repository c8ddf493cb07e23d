"""Dosing policies: rules from a patient to concrete doses, and the arms that pair them.

| module | holds |
|---|---|
| `regimen` | the clock of the trial, `Regimen` (doses of one drug) and `Regimens` (one row per patient) |
| `titration` | the course of doses over the days: steps, targets and ceilings |
| `form` | the form of a policy's parts in `scenarios/policies/<drug>.yaml`: tiers, titration, dialysis |
| `rule` | `Policy`: its form, and the doses it gives to patients |
| `arm` | the form of `arms.yaml`; `arm_regimens`, which the simulator calls |
| `load` | files to `Policies`, every problem at once |

A policy here ignores what is seen of a patient after the first dose: its doses are known when the trial
starts, and so they are arrays. A rule with feedback (hold when somnolent) will have a method `next_dose`
instead.
"""

from vtrial.policy.arm import AkiOverlay, Arm, ArmFile, FixedDose, Known, Modifier, arm_regimens
from vtrial.policy.form import METRICS, Increment, Renal, Strengths, Tier, Titration
from vtrial.policy.load import Policies, PolicyFile, check_arm, load_policies
from vtrial.policy.regimen import FREQUENCIES, Frequency, Regimen, Regimens, dose_times
from vtrial.policy.rule import DIALYSED, Policy, unavailable_doses

__all__ = [
    "DIALYSED",
    "FREQUENCIES",
    "METRICS",
    "AkiOverlay",
    "Arm",
    "ArmFile",
    "FixedDose",
    "Frequency",
    "Increment",
    "Known",
    "Modifier",
    "Policies",
    "Policy",
    "PolicyFile",
    "Regimen",
    "Regimens",
    "Renal",
    "Strengths",
    "Tier",
    "Titration",
    "arm_regimens",
    "check_arm",
    "dose_times",
    "load_policies",
    "unavailable_doses",
]
