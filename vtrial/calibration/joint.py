"""One PyMC model of kinetics and sedation: priors of the model file, likelihoods of the evidence.

Kinetics: the logarithm of a printed statistic is Student-t (4 degrees of freedom, so that a doubtful source loses its
weight) about what the model gives for that person, with the standard error and the variation between studies added.
Where a study prints no creatinine clearance, its mean is log-normal about the normal one.

Events: P(event) = b + (1 - b) rho P(level), with the background b of each study, and rho the share recorded. P(level)
is the mean over the patients of a cohort of Phi((log max A U / Tol + tau_s xi_s - log r_k) / s): the drive and the
thresholds that simulate. tau_s xi_s is what differs between studies; at level 1 the spread s holds, beside the
sensitivity, that patients differ in what they report as somnolence: s^2 = omega_S^2 + omega_report^2.

Overdoses: those admitted are counted because they were ill, so the probability of coma is over that of level 1. Cases
in coma are selected: only how far the concentration fell until they woke counts, given the coma.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from vtrial.calibration.closed_form import Course, once, repeated, side_by_side, titrated
from vtrial.calibration.cohort import NODES, Cohort, cohorts_of
from vtrial.calibration.evidence import Case, Count, Doses, Evidence, Overdose, Relative, Trial, Volunteer
from vtrial.calibration.statistics import NORMAL_CRCL, STATISTICS, Par, People
from vtrial.model import Model
from vtrial.model.prior import Beta, Fixed, HalfNormal, LogNormal, Normal, Prior, Uniform
from vtrial.model.record import individual
from vtrial.pharmacodynamics import accumulate, greco, tolerance
from vtrial.compiled import plain
from vtrial.population.renal import derive

type Theta = Mapping[str, Any]

BETWEEN_STUDIES = 0.15
"""Scale of the half-normal prior of the SD between kinetic studies, log scale: their CL/F differ by 14%."""
BETWEEN_TRIALS = 0.3
"""The same for the drive in trials, on whose patients and co-medication little is printed."""
UNPRINTED_CRCL = 0.12
"""SD of the log mean creatinine clearance of a study that prints none."""
RECORDED = (4.0, 4.0)
"""Beta prior of the share of patients at level 1 whose somnolence is recorded (sedation.yaml)."""
OTHERS = 0.7
"""Scale of the half-normal prior of the log factor on the drive by another depressant taken with an overdose."""


@dataclass(frozen=True)
class Joint:
    """The joint model of a vtrial model and its evidence.

    Parameters
    ----------
    model : Model
    evidence : Evidence
    nodes : int
        Patients of each cohort.
    """

    model: Model
    evidence: Evidence
    nodes: int = NODES

    @cached_property
    def cohorts(self) -> dict[str, Cohort]:
        """Patients over whom expected probabilities are means."""
        return cohorts_of(self.model, self.evidence.cohorts, nodes=self.nodes)

    def pymc(self) -> pm.Model:
        """Write the model down for PyMC.

        Returns
        -------
        pymc.Model
            Free variables named as the parameters of the model, nuisances beside them; one observed variable for
            each part of the evidence, and ``p: <study>`` for expected probabilities.
        """
        with pm.Model() as built:
            theta = {p.name: _variable(p.name, p.prior) for p in self.model.params}
            pm.Potential("constraint", pt.switch(self.model.constraint(theta), 0.0, -np.inf))
            self._kinetics(theta)
            nuisance = {
                "omega_report": pm.HalfNormal("omega_report", 0.7),
                "tau_trial": pm.HalfNormal("tau_trial", BETWEEN_TRIALS),
                "recorded": pm.Beta("recorded", *RECORDED),
                "others": pm.HalfNormal("others", OTHERS),
            }
            peaks = self._peaks(theta)
            for trial in self.evidence.trials:
                self._trial(theta, nuisance, peaks, trial)
            for overdose in self.evidence.overdoses:
                self._overdose(theta, nuisance, peaks, overdose)
            for case in self.evidence.cases:
                self._case(theta, case)
        return built

    # ------------------------------------------------------------------------------------------ kinetics

    def _kinetics(self, theta: Theta) -> None:
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
            expected.append(pt.log(found) * np.ones(len(mine)))
            order += mine.tolist()
        log_expected = pm.Deterministic("log statistics", pt.concatenate(expected)[np.argsort(order)])
        se = np.array([s.se for s in entries])
        observed = np.log([s.value for s in entries])
        pm.StudentT("kinetics", nu=4, mu=log_expected, sigma=(se**2 + tau**2) ** 0.5, observed=observed)

    def _volunteers(self, theta: Theta) -> People:
        """Typical people of all entries, shape (entry,)."""
        entries = self.evidence.kinetics
        studies = [*dict.fromkeys(s.study for s in entries if s.crcl is None)]
        unprinted = NORMAL_CRCL * pt.exp(UNPRINTED_CRCL * pm.Normal("xi_crcl", shape=len(studies)))
        place = np.array([studies.index(s.study) if s.crcl is None else 0 for s in entries])
        printed = np.array([np.nan if s.crcl is None else s.crcl for s in entries])
        crcl = pt.switch(np.isnan(printed), unprinted[place], np.nan_to_num(printed))
        who = [self.evidence.volunteers[s.volunteer] for s in entries]

        def at(crcl: Any) -> Par:
            return individual(self.model, theta, _covariates(who, crcl), {})

        one = np.ones(len(entries))
        amt = np.array([s.amt or 1.0 for s in entries])
        return People(at(crcl), at(0.0 * one), at(NORMAL_CRCL * one), crcl, amt)

    # -------------------------------------------------------------------------------------------- events

    def _peaks(self, theta: Theta) -> dict[tuple[str, str, str], Any]:
        """Log of the largest A U / Tol per mg of one drug, shape (node,), by drug, cohort and doses."""
        found = {}
        for drug in self.model.drugs:
            wanted = {key[1:]: course for key, course in self._courses().items() if key[0] == drug.name}
            if wanted:
                people = [self.cohorts[cohort] for cohort, _ in wanted]
                peaks = self._log_peak(theta, people, {drug.name: (side_by_side([*wanted.values()]), 1.0)})
                found |= {(drug.name, *key): peaks[row] for row, key in enumerate(wanted)}
        return found

    def _courses(self) -> dict[tuple[str, str, str], Course]:
        """Courses of single drugs that the evidence asks for, by drug, cohort and doses."""
        found = {}
        for trial in self.evidence.trials:
            for arm in [*trial.arms, *trial.ratios]:
                cohort, doses = _of_arm(trial, arm)
                found[trial.drug, cohort, repr(doses)] = _course(doses)
        for overdose in self.evidence.overdoses:
            found[overdose.drug, overdose.cohort, "once"] = once()
        return found

    def _log_peak(
        self, theta: Theta, cohorts: Sequence[Cohort], doses: Mapping[str, tuple[Course, Any]]
    ) -> Any:
        """Log of the largest A U / Tol, shape (cohort, node): drugs by name, with a course for each cohort and mg."""
        names, etas = [*cohorts[0].people], [*cohorts[0].z]
        people = {name: np.stack([c.people[name] for c in cohorts])[..., None] for name in names}
        z = {name: np.stack([c.z[name] for c in cohorts])[..., None] for name in etas}
        par = individual(self.model, theta, people, z)
        total, product, course = 0.0, 0.0, None
        for drug in self.model.drugs:
            if drug.name in doses:
                course, amt = doses[drug.name]
                u = amt * course.concentration(drug, par) / par[f"{drug.name}.C50"]
                total, product = plain(accumulate)(total, product, u)
        assert course is not None
        left = pt.exp2(-course.time / (24.0 * theta["tolerance_t_half"]))
        drive = plain(greco)(total, product, theta["alpha"]) / plain(tolerance)(left, theta["tolerance_fold"])
        return pt.log((par["A"] * drive).max(axis=-1))

    def _reached(self, theta: Theta, log_peak: Any, level: int, extra: Any = 0.0) -> Any:
        """Probability of each patient to reach a level, sensitivity integrated out; `extra` spread beside it."""
        spread = (theta["omega_S"] ** 2 + extra**2) ** 0.5
        log_r = pt.log(theta[f"r_{level}"]) if level < len(self.model.levels) - 1 else 0.0
        return _normal_probability((log_peak - log_r) / spread)

    def _trial(self, theta: Theta, nuisance: Theta, peaks: Mapping[tuple[str, str, str], Any], trial: Trial) -> None:
        name = trial.study
        b = pm.Beta(f"background: {name}", *trial.background)
        own = trial.recorded != "common"
        rho = pm.Beta(f"recorded: {name}", *trial.recorded) if own else nuisance["recorded"]
        shift = nuisance["tau_trial"] * pm.Normal(f"xi: {name}")

        def level(log_peak: Any) -> Any:
            return self._reached(theta, log_peak + shift, trial.level, nuisance["omega_report"]).mean(axis=-1)

        def expected(arm: Count | Relative) -> Any:
            if arm.amt == 0:
                return b
            cohort, doses = _of_arm(trial, arm)
            p = level(peaks[trial.drug, cohort, repr(doses)] + np.log(arm.amt))
            if trial.beside is not None:
                course = side_by_side([_course(doses)])
                other = trial.beside.amt / theta["tolerance_fold"]
                both = {trial.drug: (course, arm.amt), trial.beside.drug: (course, other)}
                share = pm.Beta(f"beside: {name}", *trial.beside.share)
                p = p + share * (level(self._log_peak(theta, [self.cohorts[cohort]], both)[0]) - p)
            return b + (1.0 - b) * rho * p

        if trial.arms:
            p = pm.Deterministic(f"p: {name}", pt.stack([expected(arm) for arm in trial.arms]))
            counts = np.array([(arm.n, arm.events) for arm in trial.arms])
            pm.Binomial(name, n=counts[:, 0], p=p, observed=counts[:, 1])
        if trial.ratios:
            p = pm.Deterministic(f"p: {name}", pt.stack([expected(arm) for arm in trial.ratios]) / b)
            se = np.array([np.log(arm.ci[1] / arm.ci[0]) / (2 * 1.959964) for arm in trial.ratios])
            pm.Normal(name, mu=pt.log(p), sigma=se, observed=np.log([arm.ratio for arm in trial.ratios]))

    def _overdose(
        self, theta: Theta, nuisance: Theta, peaks: Mapping[tuple[str, str, str], Any], overdose: Overdose
    ) -> None:
        cohort, coma = self.cohorts[overdose.cohort], len(self.model.levels) - 1
        log_amt = np.log(overdose.amt) + overdose.sdlog * cohort.dose
        shift = nuisance["tau_trial"] * pm.Normal(f"xi: {overdose.study}")
        peak = peaks[overdose.drug, overdose.cohort, "once"] + log_amt + shift

        def share(level: int) -> Any:
            alone, beside = (self._reached(theta, peak + more, level).mean() for more in (0.0, nuisance["others"]))
            return (1.0 - overdose.others) * alone + overdose.others * beside

        p = share(coma) / (share(1) if overdose.seen == "admitted" else 1.0)
        p = pm.Deterministic(f"p: {overdose.study}", p)
        pm.Binomial(overdose.study, n=overdose.n, p=p, observed=overdose.events)

    def _case(self, theta: Theta, case: Case) -> None:
        """Sensitivity lies between what coma at its concentration needs and what waking allows, given the coma."""
        person = {"AGE": case.AGE, "GFR": case.GFR, "CRCL": case.GFR} | _SIZE
        typical = self.model.typical(theta, person)
        ke0, C50 = typical[f"{case.drug}.ke0"], typical[f"{case.drug}.C50"]
        # what is left in the effect site over the plasma, which falls at a constant rate
        slower = ke0 - case.fall
        gone = pt.exp(-slower * case.hours)
        lag = ke0 / slower * (1.0 - gone) + gone
        tol = theta["tolerance_fold"] if case.tolerant else 1.0
        need = pt.log(C50 * tol / typical["A"])
        low = (need - np.log(case.coma)) / theta["omega_S"]
        asleep = (need + pt.log(theta["r_2"]) - np.log(case.asleep)) / theta["omega_S"]
        high = (need + pt.log(theta["r_2"]) - np.log(case.awake) - pt.log(lag)) / theta["omega_S"]
        low_all = pt.maximum(low, asleep)
        # both tails are small: differences of upper tails
        p = (_normal_probability(-low_all) - _normal_probability(-high)) / _normal_probability(-low)
        p = pm.Deterministic(f"p: {case.study}", pt.clip(p, 1e-12, 1.0))
        pm.Bernoulli(case.study, p=p, observed=1)


_SIZE = {"WT": 75.0, "IBW": 66.0, "BMI": 25.0, "SEX": 0.0, "FED": 0.0}


def _course(doses: Doses) -> Course:
    return repeated(doses.interval) if doses.steps is None else titrated(doses.interval, doses.steps)


def _normal_probability(x: Any) -> Any:
    return 0.5 * pt.erfc(-x / 2**0.5)


def _covariates(who: Sequence[Volunteer], crcl: Any) -> dict[str, Any]:
    given = {name: np.array([getattr(one, name) for one in who], float) for name in ("AGE", "SEX", "HT", "WT")}
    return derive(given | {"SCR": np.ones(len(who))}) | {"CRCL": crcl, "FED": 0.0}


def _some(who: People, which: Any) -> People:
    def some(par: Par) -> Par:
        return {name: value[which] if getattr(value, "ndim", 0) else value for name, value in par.items()}

    return People(some(who.own), some(who.anuric), some(who.normal), who.crcl[which], who.amt[which])


def _of_arm(trial: Trial, arm: Count | Relative) -> tuple[str, Doses]:
    """Cohort and doses of an arm: those of its trial, unless it has its own."""
    if isinstance(arm, Relative):
        return trial.cohort, trial.doses
    return arm.cohort or trial.cohort, arm.doses or trial.doses


def _variable(name: str, prior: Prior) -> Any:
    match prior:
        case Fixed(value):
            return pt.constant(value)
        case LogNormal(median, sdlog, upper) if np.isfinite(upper):
            return pm.Truncated(name, pm.LogNormal.dist(np.log(median), sdlog), upper=upper)
        case LogNormal(median, sdlog):
            return pm.LogNormal(name, np.log(median), sdlog)
        case Normal(mean, sd):
            return pm.Normal(name, mean, sd)
        case HalfNormal(scale):
            return pm.HalfNormal(name, scale)
        case Beta(a, b):
            return pm.Beta(name, a, b)
        case Uniform(low, high):
            return pm.Uniform(name, low, high)
