"""One PyMC model of kinetics and sedation: priors of the model file, likelihoods of the evidence.

Priors: those of the model file. They were drawn up from the literature that is evidence here too; where a row that a
prior rests on is in a likelihood, the prior has twice its SD, so that the row does not count twice.

Kinetics: the logarithm of a printed statistic is Student-t (4 degrees of freedom, so that a doubtful source loses its
weight) about what the model gives for that person, with the standard error and an SD between statistics added.
Where a study prints no creatinine clearance, its mean is log-normal about the normal one.

Events: P(event) = b + (1 - b) rho P(level), with the background b of each study, and rho the share recorded. P(level)
is the mean over the patients of a cohort of Phi((log max A U / Tol + tau_s xi_s - log r_k) / s): the drive and the
thresholds that simulate. tau_s xi_s is what differs between studies; s holds, beside the sensitivity, that patients
differ in what they report as somnolence: s^2 = omega_S^2 + omega_report^2 in trials, s = omega_S in overdoses.
`vtrial.calibration.sensitivity` holds the alternatives to this Phi. An event may lie between two levels, where in the
logarithm of the drive is then free and alike for all such trials. What a trial's patients take beside, in both arms, is
in the background: of those who take both drugs, only who reaches the level beyond the second alone is added.

Overdoses: those admitted are counted because they were ill, so the probability of coma is over that of level 1. Cases
in coma are selected: only how far the concentration fell until they woke counts, given the coma. Whoever was in coma
at one concentration wakes (below level 2) at r_2 of what coma needs, in the effect site, which lags behind the plasma.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor
from numpy.typing import NDArray

from vtrial.calibration.closed_form import Course, highest, once, repeated, side_by_side, titrated
from vtrial.calibration.cohort import NODES, Cohort, cohorts_of
from vtrial.calibration.evidence import Count, Doses, Evidence, Overdose, Relative, Trial, Volunteer, prior_of
from vtrial.calibration.reporting import Nuisances, shares_recorded
from vtrial.calibration.sensitivity import SENSITIVITIES, Reach
from vtrial.calibration.statistics import NORMAL_CRCL, STATISTICS, Par, People, taken
from vtrial.calibration.variable import variable
from vtrial.compiled import plain
from vtrial.model import Model
from vtrial.model.posterior import SIMULATES
from vtrial.model.record import individual
from vtrial.pharmacodynamics import accumulate, greco, tolerance
from vtrial.population.renal import derive

pt: Any = pytensor.tensor  # typed there as if everything might be a plain Variable, or None


type Theta = Mapping[str, Any]

BETWEEN_STUDIES = 0.15
"""Scale of the half-normal prior of the SD of printed statistics beyond their errors, log: CL/F differ by 14%."""
BETWEEN_TRIALS = 0.3
"""The same for the drive in trials, on whose patients and co-medication little is printed."""
UNPRINTED_CRCL = 0.12
"""SD of the log mean creatinine clearance of a study that prints none."""
OTHERS = 0.7
"""Scale of the half-normal prior of the log factor on the drive by another depressant taken with an overdose."""


class Situation(NamedTuple):
    """A cohort under doses that may be scaled: drugs by name, with their course and mg relative to each other."""

    cohort: str
    doses: tuple[tuple[str, Doses | None, float], ...]
    """No doses means once."""


class Peaks(NamedTuple):
    """Log peaks of A U / Tol, shape (situation, node): per mg of one drug, or of drugs together."""

    alone: Callable[[Sequence[Situation]], Any]
    together: Callable[[Sequence[Situation]], Any]


def observed(evidence: Evidence) -> dict[str, NDArray[Any]]:
    """What was counted or printed, on the scale of its likelihood, as data of the PyMC model by ``observed <name>``.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    dict of str to array
        ``kinetics`` (statistic) and ``ratios`` (comparison): logarithms; ``events`` (arm) and ``overdoses`` (series):
        counts.
    """
    return {
        "kinetics": np.log([s.value for s in evidence.kinetics]),
        "events": np.array([arm.events for trial in evidence.trials for arm in trial.arms]),
        "ratios": np.log([ratio.ratio for trial in evidence.trials for ratio in trial.ratios]),
        "overdoses": np.array([series.events for series in evidence.overdoses]),
    }


@dataclass(frozen=True)
class Joint:
    """The joint model of a vtrial model and its evidence.

    Parameters
    ----------
    model : Model
    evidence : Evidence
    nodes : int
        Patients of each cohort.
    sensitivity : str
        How sensitivity is distributed, one of `vtrial.calibration.sensitivity.SENSITIVITIES`.
    """

    model: Model
    evidence: Evidence
    nodes: int = NODES
    sensitivity: str = SIMULATES

    @cached_property
    def cohorts(self) -> dict[str, Cohort]:
        """Patients over whom expected probabilities are means."""
        return cohorts_of(self.model, self.evidence.cohorts, nodes=self.nodes)

    def pymc(self) -> pm.Model:
        """Write the model down for PyMC.

        Returns
        -------
        pymc.Model
            Free variables named as the parameters of the model, nuisances beside them. What is observed:
            ``kinetics`` (statistic), ``events`` (arm), ``ratios`` (comparison), ``overdoses`` (series) and ``cases``
            (case), each with what is expected of it as ``expected <name>``.
        """
        evidence = self.evidence
        coords = {
            "statistic": np.arange(len(evidence.kinetics)),
            "trial": [t.study for t in evidence.trials],
            "arm": np.arange(sum(len(t.arms) for t in evidence.trials)),
            "comparison": np.arange(sum(len(t.ratios) for t in evidence.trials)),
            "series": [o.study for o in evidence.overdoses],
            "case": [c.study for c in evidence.cases],
        }
        with pm.Model(coords=coords) as built:
            theta = {p.name: variable(p.name, prior_of(p, self.evidence)) for p in self.model.params}
            pm.Potential("constraint", pt.switch(self.model.constraint(theta), 0.0, -np.inf))
            seen = {name: pm.Data(f"observed {name}", values) for name, values in observed(evidence).items()}
            candidate = SENSITIVITIES[self.sensitivity]
            own = {name: variable(name, prior) for name, prior in candidate.own.items()}
            reach = candidate.reach(theta["omega_S"], **own)
            tau = pm.HalfNormal("tau_trial", BETWEEN_TRIALS)
            self._kinetics(theta, seen["kinetics"])
            peaks = self._peaks(theta)
            self._trials(theta, peaks, reach, tau, seen)
            if evidence.overdoses:
                self._overdoses(theta, peaks, reach, tau, seen["overdoses"])
            if evidence.cases:
                self._cases(theta, reach)
        return built

    # ------------------------------------------------------------------------------------------ kinetics

    def _kinetics(self, theta: Theta, observed: Any) -> None:
        entries = self.evidence.kinetics
        tau, everybody = pm.HalfNormal("tau_kinetics", BETWEEN_STUDIES), self._volunteers(theta)
        order, expected = [], []
        for of, name in dict.fromkeys((s.of, s.drug) for s in entries):
            mine = np.array([i for i, s in enumerate(entries) if (s.of, s.drug) == (of, name)])
            if of in STATISTICS:
                drug = next(drug for drug in self.model.drugs if drug.name == name)
                found = STATISTICS[of].of(drug, _some(everybody, mine))
            else:
                found = theta[of]
            expected.append(found * np.ones(len(mine)))
            order += mine.tolist()
        of_entries = pt.concatenate(expected)[np.argsort(order)]
        found = pm.Deterministic("expected kinetics", of_entries, dims="statistic")
        se = np.array([s.se for s in entries])
        spread = (se**2 + tau**2) ** 0.5
        pm.StudentT("kinetics", nu=4, mu=pt.log(found), sigma=spread, observed=observed, dims="statistic")

    def _volunteers(self, theta: Theta) -> People:
        """Typical people of all entries, shape (entry,)."""
        entries = self.evidence.kinetics
        studies = [*dict.fromkeys(s.study for s in entries if s.crcl is None)]
        unprinted = NORMAL_CRCL * pt.exp(UNPRINTED_CRCL * pm.Normal("xi_crcl", shape=len(studies)))
        place = np.array([studies.index(s.study) if s.crcl is None else 0 for s in entries])
        printed = np.array([np.nan if s.crcl is None else s.crcl for s in entries])
        crcl = pt.switch(np.isnan(printed), unprinted[place], np.nan_to_num(printed))
        who = [self.evidence.volunteers[s.volunteer] for s in entries]

        one = np.ones(len(entries))
        every = individual(self.model, theta, _covariates(who, pt.stack([crcl, 0.0 * one, NORMAL_CRCL * one])), {})
        own, anuric, normal = ({name: _at(value, k) for name, value in every.items()} for k in range(3))
        return People(own, anuric, normal, crcl, np.array([s.amt or 1.0 for s in entries]))

    # -------------------------------------------------------------------------------------------- events

    def _log_peaks(self, theta: Theta, par: Par, situations: Sequence[Situation]) -> Any:
        """Log of the largest A U / Tol, shape (situation, node); `par` has shape (cohort, node, 1, 1).

        All drugs of a situation are taken together.
        """
        who = np.array([[*self.cohorts].index(s.cohort) for s in situations])
        theirs = taken(par, who)
        mg = [
            np.array([s.doses[k][2] for s in situations])[:, None, None, None] for k in range(len(situations[0].doses))
        ]
        drugs = [next(drug for drug in self.model.drugs if drug.name == name) for name, *_ in situations[0].doses]

        def drive(course: Course) -> Any:
            total, product = 0.0, 0.0
            for place, drug in enumerate(drugs):
                long_since = 1.0 if place == 0 else theta["tolerance_fold"]  # what is taken beside is taken for long
                u = mg[place] * course.concentration(drug, theirs) / (theirs[f"{drug.name}.C50"] * long_since)
                total, product = plain(accumulate)(total, product, u)
            left = pt.exp2(-course.time / (24.0 * theta["tolerance_t_half"]))
            combined = plain(greco)(total, product, theta["alpha"])
            return theirs["A"] * combined / plain(tolerance)(left, theta["tolerance_fold"])

        return pt.log(highest(side_by_side([_course(s.doses[0][1]) for s in situations]), drive))

    def _patients(self, theta: Theta) -> Par:
        """Parameters of the patients of all cohorts, shape (cohort, node, 1, 1)."""
        cohorts = [*self.cohorts.values()]
        people = {name: np.stack([c.people[name] for c in cohorts])[..., None, None] for name in cohorts[0].people}
        z = {name: np.stack([c.z[name] for c in cohorts])[..., None, None] for name in cohorts[0].z}
        return individual(self.model, theta, people, z)

    def _peaks(self, theta: Theta) -> Peaks:
        """Log peaks per mg of all that is asked for of one drug, looked at once however often it is asked for."""
        trials = [_situation(trial, arm) for trial in self.evidence.trials for arm in [*trial.arms, *trial.ratios]]
        wanted = [*trials, *(_overdose(o) for o in self.evidence.overdoses)]
        par, rows, places = self._patients(theta), [], dict[str, int]()
        alike = dict[tuple[str, bool], dict[str, Situation]]()  # single doses are looked at at other moments
        for one in wanted:
            drug, doses, _ = one.doses[0]
            alike.setdefault((drug, doses is None), {})[repr(one)] = one
        for mine in alike.values():
            places |= {key: len(places) + k for k, key in enumerate(mine)}
            rows.append(self._log_peaks(theta, par, [*mine.values()]))
        log_peaks = pt.concatenate(rows)
        return Peaks(
            alone=lambda situations: log_peaks[np.array([places[repr(s)] for s in situations])],
            together=lambda situations: self._log_peaks(theta, par, situations),
        )

    def _trials(self, theta: Theta, peaks: Peaks, reach: Reach, tau: Any, observed: Mapping[str, Any]) -> None:
        trials = self.evidence.trials
        nuisance = Nuisances.of(trials, tau)
        arms = [(i, arm) for i, trial in enumerate(trials) for arm in trial.arms]
        reached = self._reached(theta, peaks, reach, nuisance, arms)
        recorded = shares_recorded(trials, arms, reached, observed["events"])

        def probability(reached: Any, arms: Sequence[tuple[int, Count | Relative]]) -> Any:
            place = [i for i, _ in arms]
            b = nuisance.background[place]
            return b + (1.0 - b) * recorded[place] * reached

        p = pm.Deterministic("expected events", probability(reached, arms), dims="arm")
        pm.Binomial("events", n=[arm.n for _, arm in arms], p=p, observed=observed["events"], dims="arm")

        ratios = [(i, ratio) for i, trial in enumerate(trials) for ratio in trial.ratios]
        if not ratios:
            return
        p = probability(self._reached(theta, peaks, reach, nuisance, ratios), ratios)
        expected = p / nuisance.background[[i for i, _ in ratios]]
        expected = pm.Deterministic("expected ratios", expected, dims="comparison")
        se = np.array([ratio.se for _, ratio in ratios])
        pm.Normal("ratios", mu=pt.log(expected), sigma=se, observed=observed["ratios"], dims="comparison")

    def _reached(
        self,
        theta: Theta,
        peaks: Peaks,
        reach: Reach,
        nuisance: Nuisances,
        asked: Sequence[tuple[int, Count | Relative]],
    ) -> Any:
        """Share of each arm, named with the place of its trial, that reaches the level."""
        place, arms = [i for i, _ in asked], [arm for _, arm in asked]
        trials = [self.evidence.trials[i] for i in place]
        amt = np.array([arm.amt for arm in arms])
        log_amt = np.log(np.where(amt > 0, amt, 1.0))[:, None]
        alone = [_situation(trial, arm) for trial, arm in zip(trials, arms, strict=True)]
        shift = nuisance.shift[place] - _log_threshold(theta, [trial.level for trial in trials], nuisance.between)
        lowered = {k: arm.lowered for k, arm in enumerate(arms) if isinstance(arm, Count) and arm.lowered}
        if lowered:
            off = np.array([*lowered.values()]) * pm.HalfNormal("lowered", shape=len(lowered))
            shift = pt.inc_subtensor(shift[[*lowered]], -off)
        shift = shift[:, None]

        def share(log_peak: Any, which: Any = slice(None)) -> Any:
            return reach(log_peak + shift[which], nuisance.omega_report).mean(axis=-1)

        p = share(peaks.alone(alone) + log_amt)
        beside = [k for k, trial in enumerate(trials) if trial.beside is not None and amt[k] > 0]
        if beside:
            both = share(peaks.together([_with_beside(trials[k], alone[k], amt[k]) for k in beside]), beside)
            already = share(peaks.together([_with_beside(trials[k], alone[k], 0.0) for k in beside]), beside)
            taking = nuisance.taking[[place[k] for k in beside]]
            p = pt.set_subtensor(p[beside], (1.0 - taking) * p[beside] + taking * (both - already))
        return np.where(amt > 0, 1.0, 0.0) * p

    def _overdoses(self, theta: Theta, peaks: Peaks, reach: Reach, tau: Any, observed: Any) -> None:
        series = self.evidence.overdoses
        log_amt = np.stack([np.log(o.amt) + o.sdlog * self.cohorts[o.cohort].dose for o in series])
        shift = tau * pm.Normal("xi_series", dims="series")
        peak = peaks.alone([_overdose(o) for o in series]) + log_amt + shift[:, None]
        others, beside = pm.HalfNormal("others", OTHERS), np.array([o.others for o in series])

        def share(level: int) -> Any:
            over = peak - _log_threshold(theta, [level] * len(series))[:, None]
            return (1.0 - beside) * reach(over).mean(axis=-1) + beside * reach(over + others).mean(axis=-1)

        admitted = np.array([o.seen == "admitted" for o in series])
        p = share(len(self.model.levels) - 1) / pt.switch(admitted, share(1), 1.0)
        p = pm.Deterministic("expected overdoses", p, dims="series")
        pm.Binomial("overdoses", n=[o.n for o in series], p=p, observed=observed, dims="series")

    def _cases(self, theta: Theta, reach: Reach) -> None:
        """Concentration at which a patient in coma wakes, given that there was coma at the one measured."""
        cases = self.evidence.cases

        def of(name: str) -> Any:
            return np.array([getattr(case, name) for case in cases], float)

        typical = self.model.typical(theta, {"AGE": of("AGE"), "GFR": of("GFR"), "CRCL": of("GFR")} | _SIZE)
        ke0 = pt.stack([typical[f"{case.drug}.ke0"] for case in cases])
        C50 = pt.stack([typical[f"{case.drug}.C50"] for case in cases])
        # what is left in the effect site over the plasma, which falls at a constant rate
        slower = ke0 - of("fall")
        gone = pt.exp(-slower * of("hours"))
        lag = ke0 / slower * (1.0 - gone) + gone
        least = pt.log(C50 / typical["A"]) + of("tolerant") * pt.log(theta["tolerance_fold"]) - np.log(of("coma"))
        # patients beyond the least sensitivity, in bins: what each needs to wake, in the log of the plasma
        edges = least[:, None] + _BEYOND
        mass = (reach(-edges[:, :-1]) - reach(-edges[:, 1:])) / reach(-least)[:, None]
        middle = 0.5 * (_BEYOND[:-1] + _BEYOND[1:])
        needs = (pt.log(theta["r_2"] / lag) + np.log(of("coma")))[:, None] - middle

        def wakes_above(concentration: Any) -> Any:
            return 0.5 * pt.erfc((np.log(concentration)[:, None] - needs) / (of("error")[:, None] * 2**0.5))

        p = (mass * (wakes_above(of("awake")) - wakes_above(of("asleep")))).sum(axis=-1)
        p = pm.Deterministic("expected cases", p, dims="case")
        pm.Bernoulli("cases", p=p, observed=np.ones(len(cases), int), dims="case")


_BEYOND = np.concatenate([[0.0], np.geomspace(0.01, 3.0, 36), [30.0]])
"""Log sensitivity beyond the least, edges of bins."""


_SIZE = {"WT": 75.0, "IBW": 66.0, "BMI": 25.0, "SEX": 0.0, "FED": 0.0}


def _log_threshold(theta: Theta, levels: Sequence[int | tuple[int, int]], between: Any = 0.0) -> Any:
    """Log r_k of some levels, the deepest of which is at drive 1; of a pair, at the share `between` of the way."""
    low, high = np.array([(level, level) if isinstance(level, int) else level for level in levels]).T
    ladder = [pt.log(theta[f"r_{k}"]) if f"r_{k}" in theta else pt.constant(0.0) for k in range(1, max(high) + 1)]
    return (1.0 - between) * pt.stack(ladder)[low - 1] + between * pt.stack(ladder)[high - 1]


def _course(doses: Doses | None) -> Course:
    if doses is None:
        return once()
    return repeated(doses.interval) if doses.steps is None else titrated(doses.interval, dict(doses.steps))


def _situation(trial: Trial, arm: Count | Relative) -> Situation:
    """One mg of the trial's drug, in the cohort and by the doses of the arm where it has its own."""
    own = arm if isinstance(arm, Count) else None
    cohort = (own and own.cohort) or trial.cohort
    return Situation(cohort, ((trial.drug, (own and own.doses) or trial.doses, 1.0),))


def _overdose(series: Overdose) -> Situation:
    return Situation(series.cohort, ((series.drug, None, 1.0),))


def _with_beside(trial: Trial, alone: Situation, amt: float) -> Situation:
    assert trial.beside is not None
    [(drug, doses, _)] = alone.doses
    return Situation(alone.cohort, ((drug, doses, amt), (trial.beside.drug, doses, trial.beside.amt)))


def _covariates(who: Sequence[Volunteer], crcl: Any) -> dict[str, Any]:
    given = {name: np.array([getattr(one, name) for one in who], float) for name in ("AGE", "SEX", "HT", "WT")}
    return derive(given | {"SCR": np.ones(len(who))}) | {"CRCL": crcl, "FED": 0.0}


def _at(value: Any, place: int) -> Any:
    """What is known for each CrCL, shape (3, study), at one of them; what does not depend on it as it is."""
    return value[place] if getattr(value, "ndim", 0) == 2 else value


def _some(who: People, which: Any) -> People:
    own, anuric, normal = (taken(par, which) for par in (who.own, who.anuric, who.normal))
    return People(own, anuric, normal, who.crcl[which], who.amt[which])
