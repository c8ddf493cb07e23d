"""Dosing policies: rules from a patient to concrete doses, and the arms that pair them.

| module | holds |
|---|---|
| `regimen` | the clock of the trial, `Regimen` (doses of one drug) and `Regimens` (one row per patient) |
| `titration` | the course of doses over the days: steps, targets and ceilings |
| `form` | the form of a policy's parts in `scenarios/policies/<drug>.yaml`: tiers, titration, dialysis |
| `rule` | `Policy`: its form, and the doses it gives to patients |
| `reaction` | rounds at which patients are looked at, and what is done about one who is seen sedated |
| `route` | doses that enter in another form than the tablets: infusions, extended release |
| `taper` | doses that fall: stopped, cut or in steps |
| `slip` | doses that are not what was ordered |
| `overlay` | what is changed in all drugs of an arm when kidneys fail |
| `arm` | the form of `arms.yaml`; `arm_regimens`, which the simulator calls |
| `load` | files to `Policies`, every problem at once |

A policy ignores what is seen of a patient after the first dose: its doses are known when the trial starts, and so
they are arrays. What is done about what is seen is a matter of the arm: a reaction rewrites the arrays.
"""

from vtrial.policy.arm import Arm, ArmFile, FixedDose, Known, Modifier, arm_regimens
from vtrial.policy.form import METRICS, Increment, Renal, Tier, Titration
from vtrial.policy.load import Policies, PolicyFile, check_arm, load_policies
from vtrial.policy.monitoring import Monitoring
from vtrial.policy.overlay import AkiOverlay
from vtrial.policy.reaction import Reaction, Rounds, reactions_to
from vtrial.policy.regimen import FREQUENCIES, Frequency, Regimen, Regimens, daily_totals, dose_times
from vtrial.policy.route import Route
from vtrial.policy.rule import DIALYSED, Policy, unavailable_doses
from vtrial.policy.slip import Slip
from vtrial.policy.strengths import Rounding, Strengths
from vtrial.policy.taper import Taper

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
    "Monitoring",
    "Policies",
    "Policy",
    "PolicyFile",
    "Reaction",
    "Regimen",
    "Regimens",
    "Renal",
    "Rounding",
    "Rounds",
    "Route",
    "Slip",
    "Strengths",
    "Taper",
    "Tier",
    "Titration",
    "arm_regimens",
    "check_arm",
    "daily_totals",
    "dose_times",
    "load_policies",
    "reactions_to",
    "unavailable_doses",
]
