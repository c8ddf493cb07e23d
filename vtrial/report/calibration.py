"""The report of a calibration: what was observed, how it is fitted, what was learnt, what the answer rests on."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from vtrial.calibration import criticise
from vtrial.calibration.evidence import Evidence
from vtrial.model import Model
from vtrial.model.posterior import SIMULATES
from vtrial.report import digits
from vtrial.report.facts import NOTICE
from vtrial.report.refits import by_refit, integrated_of, predictions, risks_of_refits
from vtrial.scenario import Scenario


def risks_of(result: xr.DataTree) -> dict[str, Any]:
    """The primary risk by draw, of each arm and stratum of a run on all draws of a posterior."""
    risk = result["risk"].to_dataset()["mean"].sel(outcome=_primary(result))
    return {
        f"{arm}, {stratum}": risk.sel(arm=arm, stratum=stratum).to_numpy()
        for stratum in (str(name) for name in risk["stratum"].values)
        for arm in (str(name) for name in risk["arm"].values)
    }


def _primary(result: xr.DataTree) -> str:
    return str(result["sensitivity"].to_dataset().attrs["outcome"])


def write_calibration(
    model: Model,
    evidence: Evidence,
    calibrated: xr.DataTree,
    scenario: Scenario,
    result: xr.DataTree,
    folder: Path | str,
    *,
    refits: Mapping[str, xr.DataTree] | None = None,
) -> None:
    """Write the report of a calibration into a folder that exists.

    Parameters
    ----------
    model : Model
    evidence : Evidence
        What it was calibrated on.
    calibrated : xarray.DataTree
        The posterior file.
    scenario : Scenario
        With sensitivities: what the calibration is asked.
    result : xarray.DataTree
        A run of it on all draws of the posterior.
    folder : path
        Gets `report.html`, tables as CSV, and `figures/NAME.svg` and `.png`.
    refits : dict of str to xarray.DataTree
        Other calibrations, by what they are for.
    """
    from vtrial.report import plot_calibration as plot
    from vtrial.report import style
    from vtrial.report.markup import inline
    from vtrial.report.page import environment

    folder = Path(folder)
    posterior, risks = calibrated["posterior"].to_dataset(), risks_of(result)
    found, every = criticise.pieces(model, evidence, posterior), {SIMULATES: calibrated} | dict(refits or {})
    integrated = integrated_of(model, evidence, every)
    tables = {
        "fit": criticise.fit_table(found),
        "parameters": criticise.prior_and_posterior(model, evidence, posterior),
        "power_scaling": criticise.power_scaling(model, evidence, posterior, found, risks),
        "without_targets": criticise.without_targets(integrated[SIMULATES], risks),
        "by_study": criticise.by_study(integrated[SIMULATES]),
        "assumptions": _assumptions(model, evidence, posterior, scenario, result),
        "diagnostics": calibrated["diagnostics"].to_dataset().to_dataframe(),
    }
    if refits:
        implied = risks_of_refits(scenario, result["theta"].to_dataset(), every)
        tables |= {"refits": predictions(integrated, every), "refit_risks": _risks(implied)}
        tables["without_targets"] = by_refit(tables["without_targets"], implied)
    bars = _bars(tables["assumptions"], tables.get("refit_risks"))
    with style.styled():
        drawn = {
            "fit_of_events": plot.fit_of_events(tables["fit"]),
            "fit_of_kinetics": plot.fit_of_kinetics(tables["fit"]),
            "prior_and_posterior": plot.prior_and_posterior(tables["parameters"]),
            "power_scaling": plot.power_scaling(tables["power_scaling"]),
            "tornado": plot.tornado(bars),
        }
        figures = {
            name: (style.write_figure(figure, "svg"), style.write_figure(figure, "png"))
            for name, figure in drawn.items()
        }
    (folder / "figures").mkdir(exist_ok=True)
    for name, (svg, png) in figures.items():
        (folder / "figures" / f"{name}.svg").write_bytes(svg)
        (folder / "figures" / f"{name}.png").write_bytes(png)
    for name, table in tables.items():
        (folder / f"{name}.csv").write_text(table.to_csv(float_format="%.5g", lineterminator="\n"))
    page = environment(autoescape=True).get_template("calibration.html.j2").render(
        notice=NOTICE, model=model, evidence=evidence, attrs=calibrated.attrs, tables=tables, risks=_risks(risks),
        figures={name: inline(svg) for name, (svg, _) in figures.items()}, result=result.attrs, number=_number,
        khat_limit=criticise.KHAT_LIMIT, carried=_carried(bars),
        divergences=calibrated["diagnostics"].attrs["divergences"],
    )  # fmt: skip
    (folder / "report.html").write_text(page, encoding="utf-8", newline="\n")


def _assumptions(
    model: Model, evidence: Evidence, posterior: xr.Dataset, scenario: Scenario, result: xr.DataTree
) -> pd.DataFrame:
    """The primary risk under each named assumption, put in place of the draws, and reweighted for the evidence."""
    from vtrial.calibration.held import log_ratios
    from vtrial.calibration.joint import Joint

    asked = scenario.spec.sensitivities
    assert asked is not None
    free = {str(name) for name in posterior.data_vars}
    held = {name: scenario.varied(case).fix for name, case in asked.cases.items()}
    held = {name: fix for name, fix in held.items() if fix and {*fix} <= free}
    ratios = log_ratios(Joint(model, evidence), posterior, held)
    weights = {name: criticise.smoothed(ratio) for name, ratio in ratios.items()}
    found, rows = result["sensitivity"].to_dataset(), []
    for where in product(*(found[dim].values for dim in ("arm", "stratum", "case"))):
        one = found.sel(dict(zip(("arm", "stratum", "case"), where, strict=True)))
        weight, khat = weights.get(where[-1], (np.nan, np.nan))
        rows.append({
            "arm": where[0], "stratum": where[1], "case": where[2], "change": str(one["change"].item()),
            **{stat: float(one["value"].sel(stat=stat)) for stat in ("mean", "mcse", "lo", "hi")},
            "reweighted": float(np.sum(weight * one["mean"].to_numpy())), "khat": khat,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _bars(assumptions: pd.DataFrame, implied: pd.DataFrame | None) -> pd.DataFrame:
    """Assumptions and other calibrations, as cases; their risks over the scenario's, ``fold``."""
    bars = assumptions
    if implied is not None:
        own = implied.reset_index(names="name")
        own[["refit", "arm", "stratum"]] = own["name"].str.extract("(.*?): (.*?), (.*)")
        own = own[own["refit"] != SIMULATES].assign(case="refit: " + own["refit"])
        bars = pd.concat([bars, own[["arm", "stratum", "case", "mean", "mcse"]]], ignore_index=True)
    # the scenario itself comes first
    return bars.assign(fold=bars["mean"] / bars.groupby(["arm", "stratum"])["mean"].transform("first"))


def _carried(bars: pd.DataFrame) -> list[str]:
    """For each arm and stratum: its risk, and the three cases that move it most."""
    lines = []
    for where, some in bars.groupby(bars["arm"] + ", " + bars["stratum"], sort=False):
        base, others = some.iloc[0], some.iloc[1:]
        most = others.reindex(np.log(others["fold"]).abs().sort_values(ascending=False).index[:3])
        moved = "; ".join(f"{one.case} ×{digits.number(one.fold, 0.01)}" for one in most.itertuples())
        risk = f"{digits.probability(base['mean'], base['mcse'])} (MCSE {digits.error(base['mcse'], percent=True)})"
        lines.append(f"{where}: {risk}. Moved most by: {moved}.")
    return lines


def _risks(risks: dict[str, Any]) -> pd.DataFrame:
    rows = {}
    for name, risk in risks.items():
        lo, median, hi = np.quantile(risk, [0.025, 0.5, 0.975])
        mcse = risk.std(ddof=1) / len(risk) ** 0.5
        rows[name] = {"mean": risk.mean(), "mcse": mcse, "median": median, "lo": lo, "hi": hi}
    return pd.DataFrame(rows).T


def _number(value: Any, column: str) -> str:
    """Three digits, but R-hat by the digit of its limit, and whole numbers whole; a dash for what is not known."""
    if isinstance(value, str):
        return value
    if column == "rhat" and np.isfinite(value):
        return f"{value:.3f}"
    return f"{value:.0f}" if float(value).is_integer() else digits.number(float(value))
