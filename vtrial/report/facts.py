"""What a report needs to know of a result, read once: its labels, choices and draws."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from vtrial.estimand import POPULATION
from vtrial.model.posterior import doubts, otherwise
from vtrial.report.digits import quantile_error

type Array = NDArray[np.float64]

TELLING = ("65-74 G2 75-89", "75-84 G4")
"""Standard strata shown beside the population: that of the published case, and old age with failing kidneys."""
INNER_LIMIT = 0.1
"""Inner share above which an interval is marked."""
CARRIED_LIMIT = 0.5
"""Share of a mean that the top 5% of draws carry, above which it is marked."""
SIGN_NOTE = (
    "Where the interval excludes 0: on the same patients a lower dose gives a lower risk in every draw, so the sign "
    "follows from the dose, not from evidence."
)
"""Said wherever intervals that exclude 0 are marked."""
HELD = (
    "Every parameter is held at its median: intervals are simulation error, not uncertainty, "
    "and the risk at medians may be far below the mean over draws."
)
"""Said of results at fixed parameters."""
FIXED_NOTE = (
    "A fixed parameter is put in place in draws of the posterior that stay as they are otherwise: parameters that "
    "the evidence ties to it are not moved, as a new calibration would move them (vtrial calibrate --fix)."
)
"""Said of parameters fixed in draws of a posterior. Draws of the prior need no such note: they are independent but for
the constraint, and drawn again where they break it."""
NOTICE = "Research software: not for dosing decisions in patients."

_PROBABILITIES = ("rebound", "peak_clock_", "onset", "reached", "recovered", "unrecovered", "in_window_")
_LEVEL = re.compile(r"level(\d+)_([0-9.]+[hd])(_counted)?$")


@dataclass(frozen=True)
class Facts:
    """A result, and the names in it.

    Parameters
    ----------
    result : xarray.DataTree
        From `vtrial.trial.run` or `load_result`.
    """

    result: xr.DataTree

    @cached_property
    def estimates(self) -> xr.Dataset:
        return self.result["estimates"].to_dataset()

    @cached_property
    def _draws(self) -> dict[str, Array]:
        """Risk in each draw, shape (arm, stratum, draw), the population last; by outcome, for those that were kept."""
        found = self.result["risk"].to_dataset()
        mean = found["mean"].transpose("outcome", "arm", "stratum", "draw").values
        whole = np.einsum("oasd,s->oad", mean, self.estimates["weight"].values[:-1])[:, :, None]
        every = np.concatenate([mean, whole], axis=2)
        return {str(outcome): values for outcome, values in zip(found["outcome"].values, every, strict=True)}

    @cached_property
    def arms(self) -> list[str]:
        return [str(arm) for arm in self.estimates["arm"].values]

    @cached_property
    def strata(self) -> list[str]:
        """Strata, the population last."""
        return [str(stratum) for stratum in self.estimates["stratum"].values]

    @cached_property
    def outcomes(self) -> list[str]:
        return [str(outcome) for outcome in self.estimates["outcome"].values]

    @cached_property
    def drugs(self) -> list[str]:
        return [str(drug) for drug in self.estimates["drug"].values]

    @property
    def reference(self) -> str:
        return str(self.estimates.attrs["reference"])

    @property
    def primary(self) -> str:
        return str(self.estimates.attrs["primary"])

    @property
    def interval(self) -> float:
        return float(self.estimates.attrs["interval"])

    @property
    def tail(self) -> float:
        return (1 - self.interval) / 2

    @property
    def levels(self) -> list[str]:
        return self.json("levels")

    @property
    def parameters(self) -> str:
        return str(self.result.attrs["parameters"])

    @property
    def prior(self) -> bool:
        """Whether the parameters are those of the prior, not calibrated ones."""
        return self.parameters in ("prior", "prior median")

    @cached_property
    def posterior(self) -> dict[str, Any]:
        """What the file of the draws says of itself (`vtrial.model.posterior.describe_posterior`); empty for priors."""
        return json.loads(self.result.attrs.get("posterior", "{}"))

    @property
    def drawn_from(self) -> str:
        """Where the draws of the parameters come from, in one sentence, and what their calibration says of them."""
        told = self.posterior
        if not told:
            return f"Parameters: {self.parameters}."
        other = otherwise(told)
        text = f"Parameters: {self.parameters} (sha256 {told['sha256'][:12]}{other and ', given ' + other})"
        if "worst_rhat" not in told:
            return f"{text}, a file without diagnostics."
        count = told["divergences"]
        text += f": R-hat at most {told['worst_rhat']:.3f}, ESS at least {told['least_ess']:,.0f}, {count:,} divergence"
        return f"{text}{'s' * (count != 1)}."

    @property
    def doubts(self) -> list[str]:
        """Why the draws of a posterior may not be those of this model."""
        found, made_from = doubts(self.posterior), self.posterior.get("model_sha256")
        own = self.result.attrs.get("calibrated_sha256", self.result.attrs["model_sha256"])
        if made_from is not None and made_from != own:
            found.append("it was made from another model file than that of this run")
        return found

    @property
    def fixed_note(self) -> str:
        """What fixing a parameter means here; empty where none can be, or if draws are of the prior."""
        asked = "sensitivity" in self.result.children or self.json("fixed")
        return FIXED_NOTE if asked and not self.prior else ""

    @property
    def held(self) -> bool:
        """Whether every parameter is held at its median, so that draws differ by their patients alone."""
        return self.parameters.endswith(" median")

    @property
    def averaged(self) -> bool:
        """Whether the population row is an average of named patients."""
        return self.json("population").get("kind") == "patient"

    @property
    def whole(self) -> str:
        """What the population row is called."""
        return "average of the patients" if self.averaged else "population"

    @property
    def population_text(self) -> str:
        """Who the population is; empty for an average of named patients, and in results that do not say."""
        return "" if self.averaged else str(self.result.attrs.get("population_text", ""))

    def name_of(self, stratum: str) -> str:
        """What a stratum is called in a heading."""
        return self.whole.capitalize() if stratum == POPULATION else stratum

    @cached_property
    def doses(self) -> dict[str, dict[str, dict[str, str]]]:
        """Doses on day 1 as text, by arm, named patient and drug; only arms that the result tells them of."""
        return {arm["id"]: arm["doses"] for arm in self.json("arms") if arm.get("doses")}

    @property
    def benefit(self) -> str:
        """Outcome of which more is better; empty if the scenario names none."""
        return str(self.estimates.attrs.get("benefit", ""))

    def json(self, name: str) -> Any:
        """A structured attribute."""
        return json.loads(self.result.attrs[name])

    @cached_property
    def _named(self) -> dict[str, tuple[str, str]]:
        """Unit and label by outcome."""
        both = zip(self.estimates["unit"].values, self.estimates["label"].values, strict=True)
        return dict(zip(self.outcomes, ((str(unit), str(label)) for unit, label in both), strict=True))

    def unit(self, outcome: str) -> str:
        return self._named[outcome][0]

    def label(self, outcome: str) -> str:
        return self._named[outcome][1]

    def grid(self) -> tuple[list[str], list[str]] | None:
        """Rows and columns of the strata, in their order; None if any stratum has none."""
        risk = self.result["risk"].to_dataset()
        rows, columns = ([str(x) for x in risk[name].values] for name in ("row", "column"))
        if not all(rows) or not all(columns) or len(set(zip(rows, columns, strict=True))) < len(rows):
            return None
        return list(dict.fromkeys(rows)), list(dict.fromkeys(columns))

    def place(self, stratum: str) -> tuple[str, str]:
        """Row and column of a stratum."""
        s = self.strata.index(stratum)
        row, column = (self.result["risk"].to_dataset()[name].values[s] for name in ("row", "column"))
        return str(row), str(column)

    @cached_property
    def telling(self) -> list[str]:
        """The population and two or three strata that tell most: few strata are all shown."""
        own = self.strata[:-1]
        if len(own) == 1:
            return own
        if len(own) <= 3:
            return [POPULATION, *own]
        if standard := [name for name in TELLING if name in own]:
            return [POPULATION, *standard]
        heaviest = own[int(np.argmax(self.estimates["weight"].values[:-1]))]
        mean = self.estimates["value"].sel(outcome=self.primary, stat="mean", arm=self.reference).values[:-1]
        return [POPULATION, *dict.fromkeys([heaviest, own[int(np.argmax(mean))]])]

    def draws_of(self, arm: str, stratum: str, outcome: str) -> Array:
        """Mean of an outcome in each draw of the parameters; empty if the result did not keep it."""
        if outcome not in self._draws:
            return np.empty(0)
        return self._draws[outcome][self.arms.index(arm), self.strata.index(stratum)]

    @cached_property
    def _values(self) -> dict[str, Array]:
        order = ("arm", "stratum", "outcome", "stat")
        return {name: self.estimates[name].transpose(*order).values for name in ("value", "difference", "ratio")}

    @cached_property
    def _stats(self) -> list[str]:
        return [str(name) for name in self.estimates["stat"].values]

    @cached_property
    def treated(self) -> Array:
        """Share treated, shape (arm, stratum, drug)."""
        return self.estimates["treated"].transpose("arm", "stratum", "drug").values

    def stats(self, estimand: str, arm: str, stratum: str, outcome: str) -> dict[str, float]:
        """Statistics of an estimate by name."""
        where = self.arms.index(arm), self.strata.index(stratum), self.outcomes.index(outcome)
        return dict(zip(self._stats, self._values[estimand][where].tolist(), strict=True))

    def means(self, outcome: str) -> Array:
        """Means of an outcome, shape (arm, stratum), the population last."""
        return self._values["value"][:, :, self.outcomes.index(outcome), 0]

    def errors(self, estimand: str, arm: str, stratum: str, outcome: str) -> dict[str, float]:
        """Monte Carlo error of median, lo and hi, from the draws of the estimand; without draws twice the mean's."""
        draws = self.draws_of(arm, stratum, outcome)
        base = self.draws_of(self.reference, stratum, outcome)
        if estimand == "difference":
            draws = draws - base
        if estimand == "ratio":
            with np.errstate(divide="ignore", invalid="ignore"):
                draws = draws / base
        if not draws.size or not np.isfinite(draws).all():
            twice = 2 * self.stats(estimand, arm, stratum, outcome)["mcse"]
            return dict.fromkeys(("median", "lo", "hi"), twice)
        at = {"median": 0.5, "lo": self.tail, "hi": 1 - self.tail}
        return {name: quantile_error(draws, p) for name, p in at.items()}

    def leaves_out(self, arm: str, stratum: str) -> list[str]:
        """Drugs that an arm gives to someone, but to nobody in this stratum."""
        shares = self.treated[self.arms.index(arm)]
        here = shares[self.strata.index(stratum)]
        return [drug for drug, most, share in zip(self.drugs, shares.max(0), here, strict=True) if most > 0 == share]

    def treats_all(self, arm: str, stratum: str) -> bool:
        """Whether the arm gives everyone in the stratum each drug that it is about."""
        shares = self.treated[self.arms.index(arm)]
        return bool(np.all((shares[self.strata.index(stratum)] > 1 - 1e-12) | (shares.max(0) <= 0)))

    def primary_levels(self) -> list[str]:
        """Outcomes of all levels in the primary outcome's window; or the primary alone."""
        found = _LEVEL.match(self.primary)
        if not found:
            return [self.primary]
        tail = f"_{found[2]}{found[3] or ''}"
        same = [o for o in self.outcomes if _LEVEL.match(o) and o.endswith(tail)]
        return [o for o in same if bool(found[3]) == o.endswith("_counted")]


def is_probability(outcome: str) -> bool:
    """Whether the mean of an outcome is a probability.

    Examples
    --------
    >>> is_probability("level3_7d"), is_probability("time_level1_7d"), is_probability("peak_clock_00_06_7d")
    (True, False, True)
    """
    return bool(_LEVEL.match(outcome)) or outcome.startswith(_PROBABILITIES)


def spaced(window: str) -> str:
    """Write the name of a window as a quantity.

    Examples
    --------
    >>> spaced("24h"), spaced("7d")
    ('24 h', '7 d')
    """
    return f"{window[:-1]} {window[-1]}"


def short_outcome(facts: Facts, outcome: str) -> str:
    """Name an outcome in a few words, e.g. 'coma (level 3) within 7d'.

    Parameters
    ----------
    facts : Facts
    outcome : str

    Returns
    -------
    str
    """
    found = _LEVEL.match(outcome)
    if not found:
        return facts.label(outcome)
    k = int(found[1])
    deeper = "" if k == len(facts.levels) - 1 else " or deeper"
    return f"{facts.levels[k]}{deeper} (level {k}) within {spaced(found[2])}{', counted' if found[3] else ''}"


def heading(facts: Facts, outcome: str) -> str:
    """Head what is said of an outcome: the risk of a level, or the outcome by its own name.

    Parameters
    ----------
    facts : Facts
    outcome : str

    Returns
    -------
    str
    """
    text = short_outcome(facts, outcome)
    return f"Risk of {text}" if _LEVEL.match(outcome) else text[:1].upper() + text[1:]


def short_arms(arms: list[str], width: int = 24) -> dict[str, str]:
    """Shorten names of arms without losing which is which.

    Parameters
    ----------
    arms : list of str
    width : int
        Characters at most, unless two names would become the same.

    Returns
    -------
    dict
        Short name by arm.

    Examples
    --------
    >>> list(short_arms(["ARM0_INDEX", "ARM10_BAC_ONLY", "mine"]).values())
    ['0 INDEX', '10 BAC ONLY', 'mine']
    """

    def short(arm: str) -> str:
        name = re.sub(r"^ARM(?=\d+_)", "", arm).replace("_", " ")
        return name if len(name) <= width else f"{name[: width - 9]}…{name[-8:]}"

    found = {arm: short(arm) for arm in arms}
    return found if len(set(found.values())) == len(arms) else {arm: arm for arm in arms}
