"""A run in blocks: some draws of one stratum, treated by all arms and reduced, within the memory that is allowed.

The numbers of a run do not depend on its blocks: sums run over the patients of a draw, and patients in parts of a
fixed size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import xarray as xr
from pydantic_core import PydanticCustomError

from vtrial import endpoint
from vtrial.kinetics import Exposure
from vtrial.moments import Moments, between, reduce_patients
from vtrial.patients import Theta, columns, draw_group
from vtrial.policy import Arm
from vtrial.problem import InputError
from vtrial.scenario import Scenario
from vtrial.scheme import Scheme
from vtrial.spec import Quantity
from vtrial.stage import stage
from vtrial.treatment import SLICE, Outcomes, expose_reference, part_of, treat

MEMORY = "512 MiB"
"""Memory that the blocks of a run share if nothing else is asked for."""
ENOUGH = 20_000
"""Patients of a block beyond which a larger one is not faster: more would only take memory."""
FEWEST = 2_000
"""Patients of a block below which its fixed costs would show: not split further to give every thread its share."""
PART = 8_192
"""Most patients of one draw at a time. Part of what a result is, to the last bit: unlike blocks, no setting."""
SPLITS = 12
"""Items that a patient under an arm that reacts may come to: see `vtrial.treatment.follow`."""
FEW = 16
"""Patients of a block where each takes long: progress is to show, and a failure to end the run."""


@dataclass(frozen=True)
class Block:
    """Some draws of one stratum."""

    stratum: str
    draws: range

    @property
    def of_draws(self) -> slice:
        """Where its draws lie among all of them."""
        return slice(self.draws.start, self.draws.stop)


@dataclass(frozen=True)
class Prepared:
    """A scenario with what its blocks share: draws of the parameters, and the reference patient under each."""

    scenario: Scenario
    scheme: Scheme
    theta: Theta
    reference: Exposure

    @classmethod
    def of(cls, scenario: Scenario, draws: xr.Dataset) -> Prepared:
        """Prepare a scenario for draws from `draw_parameters`."""
        return cls(scenario, scenario.scheme(scenario.patients), columns(draws), expose_reference(scenario, draws))


def memory_bytes(given: str) -> float:
    """Read an amount of memory.

    Raises
    ------
    InputError
        If it is no positive number with a unit.

    Examples
    --------
    >>> memory_bytes("1 GiB") / 2**20
    1024.0
    """
    try:
        return 2.0**20 * Quantity("MiB", above=0).read(given)
    except PydanticCustomError as error:
        raise InputError([f"memory: {error.message()}"]) from None


def blocks_of(scenario: Scenario, strata: Sequence[str], *, arms: int, memory: float, threads: int) -> list[Block]:
    """Cut strata into blocks.

    Parameters
    ----------
    scenario : Scenario
    strata : sequence of str
    arms : int
        Arms that treat each patient.
    memory : float
        Bytes that all blocks at work may take; one draw, or `PART` patients of it, is the least a thread works on.
    threads : int
        Blocks at work at a time.

    Returns
    -------
    list of Block
    """
    fixed, each = _bytes(scenario, arms)
    fitting = int((memory / threads - fixed) / each)
    share = scenario.draws * scenario.patients * len(strata) // (4 * threads)  # so that no thread idles for long
    patients = min(fitting, ENOUGH, max(share, FEWEST)) if scenario.model.dynamics is None else FEW
    several = max(1, patients // scenario.patients)
    ends = [range(first, min(first + several, scenario.draws)) for first in range(0, scenario.draws, several)]
    return [Block(stratum, draws) for stratum in strata for draws in ends]


def _bytes(scenario: Scenario, arms: int) -> tuple[int, int]:
    """Memory of a thread at work, for any block and for each patient in it, from the arrays that live together.

    `tests/test_block.py` holds it against the memory that a process takes.
    """
    parameters, drugs = len(scenario.model.individual_parameters), len(scenario.drugs)
    windows, levels = len(scenario.windows), len(endpoint.levels_timed(scenario.spec.endpoints))
    exposure = windows * ((4 if endpoint.restarts(scenario.spec.endpoints) else 2) + 3 * drugs + levels)
    parameters *= _kinds(scenario)
    of_item = 8 * (5 * parameters + 5 * exposure + 2 * len(scenario.outcomes))  # copies within the kinetics, endpoints
    of_patient = 8 * (20 + 2 * parameters + 30)  # covariates, parameters, and numbers on the way to them
    of_arm = 8 * len(scenario.outcomes) + drugs * (8 + 1) + 3 * 8  # outcomes, and who gets what
    return SLICE * of_item, of_patient + arms * of_arm


def _kinds(scenario: Scenario) -> int:
    """Most kinds of kinetics that a patient has, one after the other."""
    injuries = [one.condition.injury for one in scenario.population.strata if one.condition.injury is not None]
    renal = max([len(injury.course(scenario.windows[-1])[1]) for injury in injuries], default=1)
    return renal * (2 if scenario.dialyses else 1)  # within sessions and between them


def reduce_block(
    prepared: Prepared, block: Block, arms: Sequence[Arm], reference: int, *, multiples: Sequence[float] = (1.0,)
) -> list[Moments]:
    """Draw the patients of a block, treat them by all arms, and reduce their outcomes.

    Parameters
    ----------
    prepared : Prepared
    block : Block
    arms : sequence of Arm
    reference : int
        Place of the arm that the others are compared with.
    multiples : sequence of float
        Factors on all doses.

    Returns
    -------
    list of Moments
        One for each multiple.
    """
    scenario, scheme, at = prepared.scenario, prepared.scheme, block.of_draws
    theta = {name: values[at] for name, values in prepared.theta.items()}
    exposed, counted = part_of(prepared.reference, at), endpoint.counted(scenario.spec.endpoints)
    found = [_Reduced(scenario.patients, scheme.replicates) for _ in multiples]
    for patients in _parts(scenario.patients):
        with stage("draw patients"):
            group = draw_group(scenario, scheme, theta, block.stratum, block.draws, patients, z=counted)
        for reduced, multiple in zip(found, multiples, strict=True):
            outcomes = treat(scenario, group, arms, exposed, multiple=multiple)
            with stage("reduce"):
                reduced.add(outcomes, patients, reference)
    return [reduced.moments for reduced in found]


class _Reduced:
    """Moments of a draw's patients, who come in parts; where only groups of them are independent, by group.

    Parameters
    ----------
    patients : int
        Patients of a draw.
    replicates : int or None
        Equally large groups of consecutive patients; None if every patient is independent.
    """

    def __init__(self, patients: int, replicates: int | None) -> None:
        self._independent, self._size = replicates is None, patients // (replicates or 1)
        self._groups: list[Moments] = []

    def add(self, outcomes: Outcomes, patients: range, reference: int) -> None:
        """Add the next patients, whose numbers are `patients`."""
        for number in range(patients.start // self._size, (patients.stop - 1) // self._size + 1):
            first = number * self._size
            own = slice(max(first - patients.start, 0), first + self._size - patients.start)
            moments = reduce_patients(outcomes.value, outcomes.item[..., own], outcomes.treated[..., own], reference)
            if number < len(self._groups):
                self._groups[number] = self._groups[number].with_further(moments)
            else:
                self._groups.append(moments)

    @property
    def moments(self) -> Moments:
        """Of all patients that were added."""
        return self._groups[0] if self._independent else between(self._groups)


def treatments(scenario: Scenario, arms: Sequence[Arm]) -> int:
    """Arms, the components of those that are mixtures, and what one that reacts splits its patients into."""
    parts = [one for arm in arms for one, _ in scenario.components(arm)]
    mixed = sum(len(scenario.components(arm)) for arm in arms if arm.mix)
    return len(arms) + mixed + SPLITS * sum(one.feedback for one in parts)


def in_threads[Job, Done](
    threads: int, work: Callable[[Job], Done], jobs: Iterable[Job], tell: Callable[[Done], None] = lambda done: None
) -> None:
    """Do jobs, and tell what each gave, in the order in which they end; the first error ends them all."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(work, job) for job in jobs]
        try:
            for finished in as_completed(waiting):
                tell(finished.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _parts(patients: int) -> Iterator[range]:
    for first in range(0, patients, PART):
        yield range(first, min(first + PART, patients))
