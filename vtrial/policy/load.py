"""From the files of a folder to `Policies`; every problem of every file is reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from pydantic import Field, model_validator

from vtrial.library import POLICIES
from vtrial.policy.arm import Arm, ArmFile, Modifier
from vtrial.policy.overlay import AkiOverlay
from vtrial.policy.rule import Policy
from vtrial.policy.strengths import Strengths
from vtrial.spec import Document, InputError, Problem, Spec, Where, nearest, parse, read_yaml

ARMS_FILE = "arms.yaml"


class PolicyFile(Spec):
    """A file with the policies of one drug."""

    drug: str = Field(min_length=1)
    """Name of the drug, as in arms and models."""
    strengths: Strengths | None = None
    """Tablets, capsules and liquids of the drug."""
    policies: dict[str, Policy]
    """Policies by name."""

    @model_validator(mode="after")
    def _name(self):
        for name, policy in self.policies.items():
            policy._id, policy._drug = name, self.drug
        return self


@dataclass(frozen=True)
class Policies:
    """All policies and arms of a folder, by name. Read-only."""

    policies: Mapping[str, Policy] = field(default_factory=dict)
    arms: Mapping[str, Arm] = field(default_factory=dict)
    strengths: Mapping[str, Strengths] = field(default_factory=dict)
    aki_overlay: AkiOverlay | None = None
    modifiers: Mapping[str, Modifier] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("policies", "arms", "strengths", "modifiers"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self):
        # read-only views cannot be pickled, and workers need the policies
        parts = self.policies, self.arms, self.strengths, self.aki_overlay, self.modifiers
        return Policies, tuple(dict(part) if isinstance(part, Mapping) else part for part in parts)


def load_policies(folder: Path | str = POLICIES) -> Policies:
    """Read every policy file of a folder, and its `arms.yaml`.

    Each file `*.yaml` other than `arms.yaml` holds the policies of one drug. Reading again is free until a
    file changes.

    Parameters
    ----------
    folder : Path or str

    Returns
    -------
    Policies

    Raises
    ------
    InputError
        With every problem of every file: unknown or duplicate keys, bare numbers, tiers with a gap or an
        overlap, names given twice, references to unknown policies or arms.

    Examples
    --------
    >>> house = load_policies()
    >>> house.arms["ARM2_LABEL_RENAL"].drugs["baclofen"]
    'BAC_US_LABEL'
    >>> house.policies["BAC_US_LABEL"].max_daily
    80.0
    """
    files = sorted(Path(folder).glob("*.yaml"))
    if not files:
        raise InputError([Problem("no policy files (*.yaml) here", file=folder)])
    return _load(tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@lru_cache(maxsize=8)
def _load(stamps: tuple[tuple[Path, int, int], ...]) -> Policies:
    problems: list[Problem] = []
    documents: list[Document] = []
    for file, *_ in stamps:
        try:
            documents.append(read_yaml(file))
        except InputError as error:
            problems += error.problems
    complete = not problems
    drugs = [document for document in documents if document.file.name != ARMS_FILE]
    parsed = [(document, file) for document in drugs if (file := _parsed(PolicyFile, document, problems))]
    policies, strengths = _gather(parsed, problems)
    house = Policies(policies, strengths=strengths)
    broken = _names(drugs) - set(house.policies)
    for document in documents:
        if document.file.name == ARMS_FILE and (file := _parsed(ArmFile, document, problems)):
            house = _with_arms(house, file)
            # an unreadable file may hold the policy that an arm names
            problems += _check_arms(house, document, broken) if complete else []
    if problems:
        raise InputError(problems)
    return house


def _parsed[S: Spec](spec: type[S], document: Document, problems: list[Problem]) -> S | None:
    try:
        return parse(spec, document)
    except InputError as error:
        problems += error.problems
        return None


def _names(documents: list[Document]) -> set[str]:
    """Names of all policies that the files mean to define, whether they can be used or not."""
    tables = [document.data.get("policies") for document in documents if isinstance(document.data, dict)]
    return {name for table in tables if isinstance(table, dict) for name in table}


def _gather(
    parsed: list[tuple[Document, PolicyFile]], problems: list[Problem]
) -> tuple[dict[str, Policy], dict[str, Strengths]]:
    policies: dict[str, Policy] = {}
    strengths: dict[str, Strengths] = {}
    first: dict[Where, Path] = {}
    for document, file in parsed:
        for name, policy in file.policies.items():
            where = ("policies", name)
            if where in first:
                message = f"the policy '{name}' is also in {first[where].name}"
                problems.append(document.problem(where, message))
            first.setdefault(where, document.file)
            policies.setdefault(name, policy)
        if file.strengths is not None:
            if file.drug in strengths:
                message = f"the strengths of '{file.drug}' are given in another file too"
                problems.append(document.problem(("strengths",), message))
            strengths.setdefault(file.drug, file.strengths)
    return policies, strengths


def _with_arms(house: Policies, file: ArmFile) -> Policies:
    for name, arm in file.arms.items():
        arm._id = name
    return Policies(house.policies, file.arms, house.strengths, file.aki_overlay, file.policy_modifiers)


def _check_arms(house: Policies, document: Document, broken: set[str]) -> list[Problem]:
    found = [
        (("arms", name, *where), text)
        for name, arm in house.arms.items()
        for where, text in check_arm(arm, house, broken)
    ]
    return [document.problem(where, text) for where, text in found]


def check_arm(
    arm: Arm, policies: Policies, ignore: set[str] | None = None, *, beside: Mapping[str, Arm] | None = None
) -> list[tuple[Where, str]]:
    """Find what an arm names that does not exist or does not fit; also for arms written in a scenario.

    Parameters
    ----------
    arm : Arm
    policies : Policies
    ignore : set of str, optional
        Policies known to exist although they could not be read.
    beside : mapping of str to Arm, optional
        Arms of the scenario's own, of which a mixture may be made.

    Returns
    -------
    list of (tuple of keys, message)
        Empty if the arm can be used.
    """
    ignore = ignore or set()
    wrong: list[tuple[Where, str]] = []
    for drug, name in arm.drugs.items():
        same = [known.id for known in policies.policies.values() if known.drug == drug]
        if not isinstance(name, str) or name in ignore or name in same:
            continue
        hint = nearest(name, same) if same else "there are no policies of this drug"
        wrong.append((("drugs", drug), f"unknown policy '{name}' of {drug}; {hint}"))
    wrong += [
        (("start_day", drug), f"unknown drug '{drug}'; {nearest(drug, arm.drugs)}")
        for drug in arm.start_day
        if drug not in arm.drugs
    ]
    wrong += [
        ((key, i, "drug"), f"the arm does not give '{one.drug}'; {nearest(one.drug, arm.drugs)}")
        for key in ("routes", "tapers", "slips")
        for i, one in enumerate(getattr(arm, key))
        if arm.drugs.get(one.drug) is None
    ]
    if arm.aki_overlay and policies.aki_overlay is None:
        wrong.append(
            (("aki_overlay",), "the policy library has no rule for acute kidney injury: 'aki_overlay' of arms.yaml")
        )
    if arm.mix:
        return wrong + _check_mix(arm, {**policies.arms, **(beside or {})})
    if all(name is None for name in arm.drugs.values()):
        wrong.append((("drugs",), "the arm gives no drug at all"))
    if not wrong and not ignore & {name for name in arm.drugs.values() if isinstance(name, str)}:
        wrong += _check_otherwise(arm, policies)
    return wrong


def _check_mix(arm: Arm, known: Mapping[str, Arm]) -> list[tuple[Where, str]]:
    wrong = [(name, f"unknown arm '{name}'; {nearest(name, known)}") for name in arm.mix if name not in known]
    nested = [name for name in arm.mix if name in known and known[name].mix]
    wrong += [(name, f"'{name}' is a mixture itself: name its components") for name in nested]
    return [(("mix", name), text) for name, text in wrong]


def _check_otherwise(arm: Arm, policies: Policies) -> list[tuple[Where, str]]:
    age_min = arm.age_min(policies.policies)
    if arm.otherwise is None:
        text = f"its policies are for ages from {age_min} years: give 'otherwise', the arm of the younger"
        return [] if age_min is None else [((), text)]
    if arm.otherwise not in policies.arms:
        return [(("otherwise",), f"unknown arm '{arm.otherwise}'; {nearest(arm.otherwise, policies.arms)}")]
    if policies.arms[arm.otherwise].mix:
        return [(("otherwise",), f"'{arm.otherwise}' is a mixture: name one arm")]
    if age_min is None:
        return [(("otherwise",), "its policies are for all ages: nobody is left for 'otherwise'")]
    seen, following = {arm.id}, arm.otherwise
    while following is not None and following in policies.arms:
        if following in seen:
            return [(("otherwise",), f"leads back to the arm '{following}'")]
        seen.add(following)
        following = policies.arms[following].otherwise
    return []
