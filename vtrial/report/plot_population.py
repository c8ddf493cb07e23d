"""Figures of the population: beside its survey, and where two measures of its renal function disagree."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vtrial.population.compare import DECADES
from vtrial.report import style
from vtrial.report.facts import Facts
from vtrial.report.plot_risks import arm_names

PANELS = {
    "eGFR, mL/min/1.73 m²: 5%, 50%, 95%": ("eGFR p5", "eGFR p50", "eGFR p95"),
    "share of each eGFR category, %": ("share G1", "share G2", "share G3a", "share G3b", "share G4", "share G5"),
    "mean weight, kg": ("F mean WT", "M mean WT"),
    "mean height, cm": ("F mean HT", "M mean HT"),
}
"""What the panels of the population show."""
INK = (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY)


def population_numbers(facts: Facts) -> pd.DataFrame:
    """Numbers of the survey and of the covariate model: panel, statistic, band, survey, se, model."""
    held = facts.result["survey"].to_dataset().to_dataframe()
    by_sex = held["band"].str.extract(r"^([FM]) (.*)")
    sexed = by_sex[0].notna()
    held.loc[sexed, "statistic"] = by_sex[0][sexed] + " " + held["statistic"][sexed]
    held.loc[sexed, "band"] = by_sex[1][sexed]
    panel = {statistic: title for title, some in PANELS.items() for statistic in some}
    held.insert(0, "panel", [panel.get(statistic, "") for statistic in held["statistic"]])
    once = ~held["statistic"].str.startswith("eGFR") | held["band"].isin(list(DECADES))  # wider bands repeat them
    return held.loc[once & (held["panel"] != "")]


def population(facts: Facts) -> Figure | None:
    """Draw what a covariate model gives beside the survey that it was fitted to.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None if the population is no covariate model with a survey.
    """
    if "survey" not in facts.result.children:
        return None
    numbers = population_numbers(facts)
    figure = style.new_figure(5.2)
    for axes, (title, statistics) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        _held_against(axes, numbers.loc[numbers["panel"] == title], statistics)
        axes.set_title(title, loc="left")
    figure.supxlabel("age, years", size=8)
    handles = [
        Line2D([], [], color=style.GREY, marker="o", ms=4, lw=1, label="survey ± 2 SE"),
        Line2D([], [], color=style.GREY, marker="D", ms=5, mfc="none", lw=0, label="virtual population"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _held_against(axes: Axes, numbers: pd.DataFrame, statistics: tuple[str, ...]) -> None:
    bands = list(dict.fromkeys(numbers["band"]))
    for k, (statistic, ink) in enumerate(zip(statistics, INK, strict=False)):
        own = numbers[numbers["statistic"] == statistic].set_index("band").reindex(bands)
        x = np.arange(len(bands)) + 0.12 * (k - (len(statistics) - 1) / 2)
        axes.errorbar(x, own["survey"], 2 * own["se"], fmt="o", ms=3, color=ink, lw=1, label=statistic.split(" ")[-1])
        axes.plot(x, own["model"], "D", ms=5, mfc="none", mec=ink, mew=0.8)
        last = own["model"].iloc[-1]
        name = {"F": "women", "M": "men"}.get(statistic.split(" ")[0], statistic.split(" ")[-1])
        axes.annotate(name, (x[-1], last), (6, 0), textcoords="offset points", size=6.5, va="center", color=ink)
    if statistics[0].startswith("share"):
        axes.set_yscale("log")
    axes.set_xticks(range(len(bands)), bands, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(bands) + 0.1)
    axes.grid(axis="y")


def dose_changes(facts: Facts) -> pd.DataFrame:
    """Share whose dose on day 1 is less or more with the two measures exchanged: arm, drug, stratum, less, more.

    Only arms and drugs whose rule asks for renal function somewhere.
    """
    found = facts.result["discordance"].to_dataset()
    whole = (found["changed"] * found["weight"]).sum("stratum").expand_dims(stratum=[facts.strata[-1]])
    rows = []
    for stratum in facts.telling:
        some = whole.sel(stratum=stratum) if stratum == facts.strata[-1] else found["changed"].sel(stratum=stratum)
        for arm in facts.arms:
            for drug in facts.drugs:
                if (
                    arm in found["arm"].values
                    and float(found["changed"].sel(arm=arm, drug=drug, change="same").min()) < 1
                ):
                    less, _, more = some.sel(arm=arm, drug=drug).values.tolist()
                    rows.append({"arm": arm, "drug": drug, "stratum": stratum, "less": less, "more": more})
    return pd.DataFrame(rows, columns=["arm", "drug", "stratum", "less", "more"])


def categories(facts: Facts) -> pd.DataFrame:
    """Share of the people of an eGFR category in each category of clearance: rows eGFR, columns CRCL; NaN for none."""
    found = facts.result["discordance"].to_dataset()
    joint = (found["share"] * found["weight"]).sum("stratum").transpose("egfr", "crcl").values
    with np.errstate(invalid="ignore"):
        shares = joint / joint.sum(1, keepdims=True)
    return pd.DataFrame(shares, index=found["egfr"].values, columns=found["crcl"].values)


def discordance(facts: Facts) -> Figure | None:
    """Draw where eGFR and creatinine clearance disagree, and whose dose depends on which is read.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    matplotlib.figure.Figure or None
        None for named patients.
    """
    if "discordance" not in facts.result.children:
        return None
    changes = dose_changes(facts)
    rows = list(dict.fromkeys(zip(changes["arm"], changes["drug"], strict=True)))
    strata = facts.telling if rows else []
    figure = style.new_figure(max(2.6, 1.3 + 0.16 * len(rows)))
    panels = figure.subplots(1, 1 + len(strata), width_ratios=[1.5, *[1.0] * len(strata)], squeeze=False)[0]
    _cross_table(panels[0], categories(facts))
    names = arm_names(facts)
    for k, (axes, stratum) in enumerate(zip(panels[1:], strata, strict=True)):
        own = changes[changes["stratum"] == stratum]
        axes.barh(range(len(rows)), -100 * own["less"], color=style.BLUE, height=0.65)
        axes.barh(range(len(rows)), 100 * own["more"], color=style.VERMILLION, height=0.65)
        style.name_rows(axes, [f"{names[arm]}, {drug}" if k == 0 else "" for arm, drug in rows])
        axes.axvline(0, color=style.BLACK, lw=0.6)
        reach = max(5.0, 105 * float(changes[["less", "more"]].to_numpy().max()))
        axes.set_xlim(-reach, reach)
        axes.xaxis.set_major_formatter(lambda x, _: f"{abs(x):g}%")
        axes.tick_params(axis="x", labelsize=6.5)
        axes.tick_params(axis="y", labelsize=6)
        axes.set_title(facts.name_of(stratum), loc="left")
    handles = [Patch(color=style.BLUE, lw=0, label="given less if the other measure is read"),
               Patch(color=style.VERMILLION, lw=0, label="given more")]  # fmt: skip
    if rows:
        figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def _cross_table(axes: Axes, shares: pd.DataFrame) -> None:
    cmap = style.colours("cividis")
    axes.imshow(shares.to_numpy(), cmap=cmap, vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(shares.to_numpy()):
        for j, share in enumerate(row):
            if np.isfinite(share) and share >= 0.005:
                ink = "white" if style.on_dark(cmap(float(share))) else "black"
                axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", size=6.5, color=ink)
    axes.set_xticks(range(shares.shape[1]), list(shares.columns), rotation=60)
    axes.set_yticks(range(shares.shape[0]), list(shares.index))
    axes.set_xlabel("clearance (Cockcroft-Gault), mL/min")
    axes.set_ylabel("eGFR (CKD-EPI 2021), per 1.73 m²")
    axes.set_title("% of each row", loc="left")
