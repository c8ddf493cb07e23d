"""Arms: one policy for each drug, and who is treated by another arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from vtrial.dialysis import Sessions
from vtrial.policy.form import Amount, Clock, FrequencyName, Grade, Patients, refuse
from vtrial.policy.monitoring import Monitoring
from vtrial.policy.overlay import AkiOverlay
from vtrial.policy.reaction import Reaction, Rounds
from vtrial.policy.regimen import Regimens
from vtrial.policy.route import Route
from vtrial.policy.rule import Policy, patient_shape
from vtrial.policy.slip import Slip
from vtrial.policy.strengths import Rounding
from vtrial.policy.taper import Taper
from vtrial.spec import Duration, InputError, Spec, nearest

if TYPE_CHECKING:
    from vtrial.policy.load import Policies


type _Share = Annotated[float, Field(gt=0, le=1, strict=True)]


class FixedDose(Spec):
    """One dose for everyone, whatever the renal function, on dialysis too."""

    dose: Amount
    """Amount of each dose."""
    freq: FrequencyName
    """How often: a name of `FREQUENCIES`."""


@lru_cache(maxsize=256)
def fixed_policy(drug: str, dose: float, freq: str) -> Policy:
    """The policy that a fixed dose amounts to.

    Examples
    --------
    >>> policy = fixed_policy("baclofen", 5.0, "TID")
    >>> policy.id, policy.regimens({"AGE": [70.0]}, start=8.0, horizon=24.0).total(0, 24).tolist()
    ('5 mg TID', [15.0])
    """
    text = f"{dose:g} mg {freq}"
    tier = {"dose": f"{dose!r} mg", "freq": freq, "grade": "B", "analyst_choice": True}
    policy = Policy.model_validate(
        {"title": f"{text} for everyone", "kind": "analyst", "grade": "B", "sources": ["the scenario"],
         "renal": {"metric": "none", "tiers": [tier]}}
    )  # fmt: skip
    policy._id, policy._drug = text, drug
    return policy


class Arm(Spec):
    """A named set of policies, one for each drug."""

    drugs: dict[str, str | FixedDose | None] = Field(default_factory=dict)
    """Drug -> policy, or a dose for everyone, or null where the arm does not give the drug."""
    mix: dict[str, _Share] = Field(default_factory=dict)
    """Arm -> share, instead of drugs: a mixture of other arms, of which each patient has one by chance. Shares sum to
    1. Its outcomes are the mean over the components, each of which is worked out for every patient."""
    role: Literal["core", "control", "sensitivity"] = "core"
    """Place in the study."""
    grade: Grade | None = None
    """How the pairing is known."""
    otherwise: str | None = None
    """Arm that treats patients below the greatest `applies.age_min` of this arm's policies."""
    start_day: dict[str, Annotated[int, Field(ge=1, strict=True)]] = Field(default_factory=dict)
    """Drug -> trial day of its first dose, where that is not day 1."""
    start_clock: Clock | None = None
    """Clock time at which the described patient took the first dose (data; the scenario sets the start)."""
    sessions: Sessions | None = None
    """Haemodialysis of all its patients, beside their own, e.g. for a rescue; policies do not see it."""
    review: tuple[Duration, ...] = ()
    """When policies are applied again, after the patient's first dose: to the renal function that is visible then. From
    then on doses are those that they give for it, at the same place in the titration. Who is given no drug at first is
    not reviewed."""
    kinetic: Duration | None = None
    """Policies use kinetic renal function, by two creatinines so long apart, the last one when doses are decided: what
    the metric was before an injury, times the share that is left of it by their mass balance. Absent: one creatinine,
    as if it were steady."""
    aki_overlay: Annotated[bool, Field(strict=True)] = False
    """Whether the policy library's rule for acute kidney injury is applied, whenever doses are decided: `kinetic` renal
    function then serves that rule alone, and of doses those that it changes."""
    routes: tuple[Route, ...] = ()
    """In which form doses are given, where it is not that of the drug's tablets. Later ones go on from earlier ones."""
    tapers: tuple[Taper, ...] = ()
    """How doses fall, from a time after the first one."""
    rounded: Rounding | None = None
    """How doses to be swallowed are rounded to what tablets, halves, capsules and sachets of the policy library make
    up, before they go wrong: to the nearest, or down. Absent: they are exact, but for those that follow `monitoring`,
    which are rounded to the nearest."""
    slips: tuple[Slip, ...] = ()
    """Doses that go wrong. A `mix` of the arm with and without them gives them a probability for each patient."""
    rounds: Rounds | None = None
    """When its patients are looked at, for `reactions`."""
    reactions: tuple[Reaction, ...] = ()
    """What is done about a patient who is seen at a level."""
    monitoring: tuple[Monitoring, ...] = ()
    """Concentrations that doses follow."""
    note: str | None = None
    """Remark."""

    _id: str = PrivateAttr("")

    @model_validator(mode="after")
    def _one_form(self):
        if bool(self.drugs) == bool(self.mix):
            raise refuse("an arm needs either 'drugs' or 'mix'")
        names = (
            *("otherwise", "start_day", "start_clock", "sessions", "review", "kinetic", "aki_overlay"),
            *("routes", "tapers", "rounded", "slips", "rounds", "reactions", "monitoring"),
        )
        others = [name for name in names if getattr(self, name)]
        if self.mix and others:
            raise refuse(f"a mixture leaves {', '.join(others)} to its components")
        if self.mix and abs(sum(self.mix.values()) - 1) > 1e-9:
            raise refuse(f"the shares of the mixture sum to {sum(self.mix.values()):g}, not to 1")
        if (self.rounds is None) != (not self.reactions):
            raise refuse("'rounds' and 'reactions' go together")
        if text := self._review_unfit() or self._routes_unfit() or self._monitoring_unfit():
            raise refuse(text)
        return self

    def _review_unfit(self) -> str:
        """Why the reviews cannot be, if they cannot."""
        if any(b <= a for a, b in pairwise(self.review)):
            return f"the times of review are not in order: {', '.join(f'{time:g} h' for time in self.review)}"
        if self.aki_overlay and self.kinetic is None:
            return "'aki_overlay' needs 'kinetic': how far apart the two creatinines are"
        asked = {reaction.do for reaction in self.reactions}
        if self.review and (self.sessions is not None or "dialyse" in asked):
            return "'review' looks at creatinine, and what a session of dialysis makes of that is not modelled"
        if self.review and asked & {"back", "stay"}:
            return f"'review' changes the doses that {' and '.join(sorted(asked & {'back', 'stay'}))} would go on with"
        return ""

    def _routes_unfit(self) -> str:
        """Why the routes cannot be, if they cannot."""
        asked = sorted({reaction.do for reaction in self.reactions} & {"back", "stay"})
        if self.routes and asked:
            return f"{' and '.join(asked)} go on with an earlier day's doses, and 'routes' may have changed since"
        return ""

    def _monitoring_unfit(self) -> str:
        """Why the monitoring cannot be, if it cannot."""
        measured = [one.drug for one in self.monitoring]
        if twice := sorted({drug for drug in measured if measured.count(drug) > 1}):
            return f"'monitoring' of {', '.join(twice)} comes twice: give all times in one"
        if other := sorted(set(measured) & {route.drug for route in self.routes}):
            return f"'monitoring' doses {', '.join(other)} by what tablets there are, and 'routes' give it otherwise"
        asked = sorted({reaction.do for reaction in self.reactions} & {"back", "stay"})
        if measured and asked:
            return f"'monitoring' changes the doses that {' and '.join(asked)} would go on with"
        if measured and self.review:
            return "'monitoring' changes doses, and 'review' puts policies in their place"
        return ""

    @property
    def feedback(self) -> bool:
        """Whether doses follow what is seen of the patient, so that they are not known beforehand."""
        return bool(self.reactions or self.monitoring)

    @property
    def id(self) -> str:
        """Name of the arm: its key in the file."""
        return self._id

    def named(self, name: str) -> Arm:
        """The same arm by that name."""
        arm = self.model_copy()
        arm._id = name
        return arm

    @property
    def acts(self) -> list[str]:
        """What is done, and what happens, besides the doses of its policies, in words."""
        rounded = [f"doses rounded to tablets and capsules, {self.rounded}"] if self.rounded else []
        return [*self._reviews(), *map(str, self.routes), *map(str, self.tapers), *rounded, *map(str, self.slips),
                *([str(self.rounds)] if self.rounds else []), *map(str, self.reactions),
                *map(str, self.monitoring)]  # fmt: skip

    def _reviews(self) -> list[str]:
        """How renal function is looked at, in words, where it is not by one creatinine at the first dose."""
        times = ", ".join(f"{time:g}" for time in self.review)
        again = [f"policies applied again {times} h after the first dose"] if self.review else []
        if self.kinetic is None:
            return again
        whose = "the rule for acute kidney injury" if self.aki_overlay else "renal function"
        return [*again, f"{whose} by two creatinines {self.kinetic:g} h apart"]

    def age_min(self, policies: Mapping[str, Policy]) -> float | None:
        """Least age, years, of the patients for whom all policies of the arm are; None: all ages."""
        chosen = [self.policy(drug, policies) for drug in self.drugs]
        return max((policy.applies.age_min for policy in chosen if policy and policy.applies), default=None)

    def policy(self, drug: str, policies: Mapping[str, Policy]) -> Policy | None:
        """The policy of a drug; None where the arm does not give it."""
        given = self.drugs.get(drug)
        if isinstance(given, FixedDose):
            return fixed_policy(drug, given.dose, given.freq)
        return None if given is None else policies[given]


class Modifier(Spec):
    """Advice that could modify a policy, in words. Data for a later issue."""

    drug: str
    """Drug it speaks of."""
    text: str
    """The advice."""
    grade: Grade
    """How it is known."""
    sources: tuple[str, ...]
    """Where it stands."""


class ArmFile(Spec):
    """The file `arms.yaml`."""

    arms: dict[str, Arm]
    """Arms by name."""
    aki_overlay: AkiOverlay | None = None
    """Change under acute kidney injury."""
    policy_modifiers: dict[str, Modifier] = Field(default_factory=dict)
    """Advice in words."""


type Known = dict[tuple[Any, ...], Regimens]
"""Regimens of the same patients by policy, shift, horizon, whether doses rise, and ends of sessions."""


def arm_regimens(
    arm: Arm,
    policies: Policies,
    patients: Patients,
    *,
    start: float,
    horizon: float,
    titrate: bool = False,
    after: Sequence[float] | None = None,
    known: Known | None = None,
) -> dict[str, Regimens]:
    """Give every patient the doses of an arm, drug by drug.

    Parameters
    ----------
    arm : Arm
    policies : Policies
        Where the arm's policies, and the arm named by `otherwise`, are found.
    patients : mapping of str to array
        Covariates, arrays of one shape: AGE (years) for an arm with `otherwise`, the renal metrics of its
        policies by the names in `METRICS`, and optionally DIALYSIS (bool).
    start : float
        Clock time of the start of the trial, h after midnight.
    horizon : float
        End of dosing, h from the start.
    titrate : bool
        Whether doses rise, or are held at the start.
    after : sequence of float, optional
        When sessions of haemodialysis end, h from the start, for policies that dose patients on dialysis then.
    known : dict, optional
        What policies gave these patients at this start under other arms; what this arm adds is put into it.

    Returns
    -------
    dict of str to Regimens
        One for each drug of the arm, or of the arm that treats the younger patients. Where an arm does not
        give a drug, `treated` is False and the regimen has no dose.

    Raises
    ------
    InputError
        If a policy or a covariate is missing.

    Examples
    --------
    >>> from vtrial.policy import load_policies
    >>> house = load_policies()
    >>> patients = {"AGE": [78.0, 40.0], "EGFR": [54.0, 54.0], "CRCL": [41.0, 55.0]}
    >>> given = arm_regimens(house.arms["ARM9_BEERS"], house, patients, start=8.0, horizon=24.0)
    >>> given["baclofen"].total(0, 24).tolist(), given["pregabalin"].total(0, 24).tolist()
    ([0.0, 15.0], [75.0, 75.0])
    """
    shape = patient_shape(patients)
    known = {} if known is None else known
    clock: Any = {"start": start, "horizon": horizon, "titrate": titrate, "after": after}
    given = {drug: _drug_regimens(arm, drug, policies, patients, known, **clock) for drug in arm.drugs}
    age_min = arm.age_min(policies.policies)
    if arm.otherwise is None or age_min is None:
        return given
    if "AGE" not in patients:
        raise InputError([f"arm {arm.id} needs the covariate 'AGE'; {nearest('AGE', patients)}"])
    old = np.broadcast_to(np.asarray(patients["AGE"], dtype=float) >= age_min, shape)
    younger = arm_regimens(policies.arms[arm.otherwise], policies, patients, **clock, known=known)
    nobody = {drug: Regimens.none(drug, shape) for drug in {**given, **younger}}
    return {d: given.get(d, nobody[d]).where(old, younger.get(d, nobody[d])) for d in nobody}


def _drug_regimens(
    arm: Arm,
    drug: str,
    policies: Policies,
    patients: Patients,
    known: Known,
    *,
    start: float,
    horizon: float,
    titrate: bool,
    after: Sequence[float] | None,
) -> Regimens:
    policy = arm.policy(drug, policies.policies)
    if policy is None:
        return Regimens.none(drug, patient_shape(patients))
    shift = 24.0 * (arm.start_day.get(drug, 1) - 1)
    own = None if after is None else tuple(end - shift for end in after if end > shift)
    which = policy.id, drug, shift, horizon, titrate, own
    if which not in known:
        given = policy.regimens(patients, start=start, horizon=horizon - shift, titrate=titrate, after=own)
        known[which] = given.later(shift)
    return known[which]
