"""Figures of the largest allowed starts, and of what the scenario's arms risk where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from vtrial.report import digits
from vtrial.report.doses import grid_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def doses_figure(found: xr.Dataset) -> Figure | None:
    """Draw the largest allowed start by row and column of the strata; None if they have none."""
    from vtrial.report import style
    from vtrial.report.plot_risks import KDIGO

    if (grid := grid_of(found)) is None:
        return None
    rows, columns = grid
    value = found["value"].values
    figure = style.new_figure(1.1 + 0.62 * len(rows))
    axes = figure.subplots()
    image, cmap = np.full((len(rows), len(columns)), np.nan), style.colours("cividis")
    top = max(float(value.max()), 1e-9)
    for s in range(found.sizes["stratum"]):
        i, j = rows.index(str(found["row"].values[s])), columns.index(str(found["column"].values[s]))
        image[i, j] = value[s]
        ink = "white" if style.on_dark(cmap(value[s] / top)) else "black"
        doses = zip(found["amt"].values[s], found["freq"].values[s], strict=True)
        lines = [f"{amt:g} {freq.replace('EVENING', 'EVE')}" if freq else "–" for amt, freq in doses]
        mean, mcse = (float(found["risk"].sel(arm="start", stat=stat)[s]) for stat in ("mean", "mcse"))
        text = "\n".join([*lines, f"risk {digits.probability(mean, mcse)}"])
        axes.text(j, i, text, ha="center", va="center", size=6.2, color=ink, linespacing=1.25)
    drawn = axes.imshow(image, cmap=cmap, vmin=0, vmax=top, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(KDIGO if {"G1", "G4"} <= set(columns) else "column of the strata")
    axes.set_ylabel("age band, years" if all("-" in row or "+" in row for row in rows) else "row of the strata")
    axes.set_title(f"mg of {' / '.join(map(str, found['drug'].values))} (EVE: at 20:00)", loc="left")
    figure.colorbar(drawn, ax=axes, label="least daily dose relative\nto the reference arm's", pad=0.01)
    return figure


def guidelines_figure(found: xr.Dataset) -> Figure | None:
    """Draw the risk of the scenario's arms where the starts are, marked where it is not allowed; None without rows."""
    from matplotlib.colors import ListedColormap

    from vtrial.report import style
    from vtrial.report.plot_risks import KDIGO

    grid, arms = grid_of(found), [str(arm) for arm in found["arm"].values if arm != "start"]
    if grid is None or not arms:
        return None
    rows, columns = grid
    across = min(3, len(arms))
    down = -(-len(arms) // across)
    figure = style.new_figure(0.8 + down * (0.45 + 0.19 * len(rows)))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    colours = ListedColormap(["#F4B8A0", "#D9E8F0"])
    for axes, arm in zip(panels.flat, arms, strict=False):
        image = np.full((len(rows), len(columns)), np.nan)
        for s in range(found.sizes["stratum"]):
            own = found.sel(arm=arm).isel(stratum=s)
            i, j = rows.index(str(own["row"].values)), columns.index(str(own["column"].values))
            image[i, j] = float(own["allowed"]) >= found.attrs["probability"]
            mean, mcse = (float(own["risk"].sel(stat=stat)) for stat in ("mean", "mcse"))
            text = digits.number(100 * mean, 100 * mcse) if mean >= 5e-5 else "<.01"
            short = text.removeprefix("0") if text.startswith("0.") else text
            axes.text(j, i, short, ha="center", va="center", size=5.8)
        axes.imshow(image, cmap=colours, vmin=0, vmax=1, aspect="auto")
        axes.set_title(arm, loc="left")
        axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    for axes in panels.flat[len(arms) :]:
        axes.set_visible(False)
    figure.supxlabel(KDIGO if {"G1", "G4"} <= set(columns) else "column of the strata", size=8)
    figure.supylabel("age band, years" if all("-" in row or "+" in row for row in rows) else "row", size=8)
    below, share = digits.probability(found.attrs["below"]), found.attrs["probability"]
    figure.suptitle(
        f"{found.attrs['outcome']}: mean risk in %; red: below {below} in less than {share:.0%} of draws", size=8
    )
    return figure
