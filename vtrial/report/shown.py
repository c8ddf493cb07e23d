"""What a figure shows, as a table: a row for each mark or point, from the same numbers that were drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import xarray as xr

from vtrial.estimand import POPULATION
from vtrial.report.course import curves_of
from vtrial.report.facts import Facts
from vtrial.report.plot_exposure import BAND_NAMES, bands_of
from vtrial.report.plot_population import categories, dose_changes, population_numbers
from vtrial.report.plot_ranks import correlations, sensitivity_arms
from vtrial.report.plot_uncertainty import variances
from vtrial.spec import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd


def of_some(result: xr.DataTree, arms: Sequence[str] = (), strata: Sequence[str] = ()) -> xr.DataTree:
    """A result with some of its arms, and the reference, and some of its strata, and the population.

    Parameters
    ----------
    result : xarray.DataTree
    arms, strata : sequence of str
        Names; none for all of them.

    Raises
    ------
    InputError
        If the result has no such arm or stratum.
    """
    facts = Facts(result)
    wrong = [f"no arm '{arm}' in the result; {nearest(arm, facts.arms)}" for arm in arms if arm not in facts.arms]
    wrong += [f"no stratum '{s}' in the result; {nearest(s, facts.strata)}" for s in strata if s not in facts.strata]
    if wrong:
        raise InputError(wrong)
    kept_arms = [arm for arm in facts.arms if not arms or arm in arms or arm == facts.reference]
    kept_strata = [s for s in facts.strata if not strata or s in strata or s == POPULATION]
    parts = {path: node.to_dataset(inherit=False) for path, node in result.subtree_with_keys}
    parts["estimates"] = parts["estimates"].sel(arm=kept_arms, stratum=kept_strata)
    parts["risk"] = parts["risk"].sel(arm=kept_arms, stratum=[s for s in kept_strata if s != POPULATION])
    found = xr.DataTree.from_dict({"/" if path == "." else path: data for path, data in parts.items()})
    found.attrs = dict(result.attrs)
    return found


def shown(facts: Facts, name: str) -> pd.DataFrame:
    """The numbers of a figure of `vtrial.report.figures.PLOTS`, in long form."""
    return DATA[name](facts).reset_index(drop=True)


def _stats(facts: Facts, estimand: str, outcomes: Sequence[str], strata: Sequence[str]) -> pd.DataFrame:
    """Statistics of an estimand, a row for each arm, stratum and outcome."""
    some = facts.estimates[estimand].sel(outcome=list(outcomes), stratum=list(strata))
    order = ["arm", "stratum", "outcome", "stat"]
    table = some.drop_vars(["unit", "label", "weight"], errors="ignore").transpose(*order).to_series().unstack("stat")
    return table.reindex(columns=list(facts.estimates["stat"].values)).reset_index()


def _heatmap(facts: Facts) -> pd.DataFrame:
    table = _stats(facts, "value", [facts.primary], facts.strata[:-1])
    places = [facts.place(stratum) for stratum in table["stratum"]]
    return table.assign(row=[row for row, _ in places], column=[column for _, column in places])


def _ranks(facts: Facts) -> pd.DataFrame:
    some = facts.estimates["p_rank"].sel(stratum=facts.telling)
    return some.drop_vars("weight", errors="ignore").to_series().rename("probability").reset_index()


def _by_stat(value: xr.DataArray) -> pd.DataFrame:
    """An array with a dim `stat`, a column for each statistic and a row for each place in the other dims."""
    dims = [dim for dim in value.dims if dim != "stat"]
    kept = value.drop_vars([name for name in value.coords if name not in value.dims])
    return kept.transpose(*dims, "stat").to_series().unstack("stat").reset_index()


def _dose_risk(facts: Facts) -> pd.DataFrame:
    return _by_stat(facts.result["dose_risk"].to_dataset()["value"].sel(outcome=facts.primary_levels()))


def _fans(facts: Facts) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for arm, node in facts.result["examples"].children.items():
        trace = node.to_dataset()
        for (what, drug), bands in bands_of(trace, facts.drugs).items():
            named = dict(zip(BAND_NAMES, bands, strict=True))
            rows.append(pd.DataFrame({"arm": arm, "what": what, "drug": drug, "time_h": trace["time"].values, **named}))
    return pd.concat(rows)


def _sensitivity(facts: Facts) -> pd.DataFrame:
    import pandas as pd

    found = {arm: correlations(facts, arm) for arm in sensitivity_arms(facts)}
    rows = [(arm, name, rho) for arm, own in found.items() for name, rho in own.items()]
    return pd.DataFrame(rows, columns=["arm", "parameter", "spearman"])


def _dose_surface(facts: Facts) -> pd.DataFrame:
    data = facts.result["dose_surface"].to_dataset()
    names = {dim: f"{drug}_mg_a_day" for dim, drug in zip(("first", "second"), data.attrs["drugs"], strict=True)}
    return _by_stat(data["value"].sel(outcome=facts.primary)).rename(columns=names)


def _tornado(facts: Facts) -> pd.DataFrame:
    data = facts.result["sensitivity"].to_dataset()
    some = data["value"].drop_vars("change").transpose("arm", "stratum", "case", "stat")
    table = some.to_series().unstack("stat").reindex(columns=list(data["stat"].values)).reset_index()
    return table.loc[table["arm"].isin(facts.arms)]


def _discordance(facts: Facts) -> pd.DataFrame:
    import pandas as pd

    shares = categories(facts).rename_axis("egfr").reset_index().melt("egfr", var_name="crcl", value_name="share")
    return pd.concat([shares, dose_changes(facts)])


DATA: dict[str, Callable[[Facts], pd.DataFrame]] = {
    "population": population_numbers,
    "discordance": _discordance,
    "risk_by_arm": lambda facts: _stats(facts, "value", [facts.primary], facts.telling),
    "course": lambda facts: _stats(facts, "value", [o for c in curves_of(facts) for o in c.outcomes], facts.telling),
    "heatmap": _heatmap,
    "forest": lambda facts: _stats(facts, "difference", [facts.primary], facts.telling),
    "ranks": _ranks,
    "frontier": lambda facts: _stats(facts, "value", [facts.primary, facts.benefit], facts.telling),
    "dose_risk": _dose_risk,
    "dose_surface": _dose_surface,
    "fans": _fans,
    "exposure": lambda facts: _stats(facts, "value", [o for o in facts.outcomes if "_ratio_" in o], facts.strata),
    "peak_clock": lambda facts: _stats(
        facts, "value", [o for o in facts.outcomes if o.startswith("peak_clock_")], facts.telling
    ),
    "tornado": _tornado,
    "uncertainty": variances,
    "sensitivity": _sensitivity,
}
"""The table of each figure."""
