"""The part of the explorer that lays the trajectories of two arms over each other."""

from __future__ import annotations

from typing import Any

from vtrial.report.facts import Facts
from vtrial.report.plot_exposure import BAND_NAMES, bands_of
from vtrial.report.style import BLUE, VERMILLION

POINTS = 200
"""Times of a curve, about: the page carries them all."""


def fans(facts: Facts) -> dict[str, Any] | None:
    """What the page needs to compare two arms of the example patient; None if the scenario asked for no examples.

    Returns
    -------
    dict or None
        ``choices`` (name, label, options, value), ``curves`` (by name their label and unit), ``time`` (h), ``bands``
        (arm, curve, quantile of `BANDS`, time), ``names`` of the quantiles.
    """
    if "examples" not in facts.result.children:
        return None
    traces = {arm: node.to_dataset() for arm, node in facts.result["examples"].children.items()}
    curves = {f"{what} {drug}": f"{words} of {drug}, mg/L" for drug in facts.drugs for what, words in CURVES.items()}
    curves["drive"] = "sedation drive of a patient of median sensitivity, 1 being that of coma"
    time = next(iter(traces.values()))["time"].values
    thin = slice(None, None, max(1, len(time) // POINTS))
    bands = {
        arm: {
            f"{what} {drug}".strip(): _rounded(found[:, thin])
            for (what, drug), found in bands_of(trace, facts.drugs).items()
        }
        for arm, trace in traces.items()
    }
    arms = [(arm, arm) for arm in traces]
    return {
        "choices": [
            ("curve", "Curve", list(curves.items()), "drive"),
            ("first", "Arm (blue)", arms, arms[0][0]),
            ("second", "Arm (red)", arms, arms[-1][0]),
        ],
        "data": {"curves": curves, "time": time[thin].tolist(), "bands": bands, "names": BAND_NAMES, "view": _view()},
    }


CURVES = {"conc": "concentration", "Ce": "effect-site concentration"}


def _rounded(bands: Any) -> list[list[float]]:
    return [[float(f"{x:.4g}") for x in band] for band in bands]


def _view() -> dict[str, Any]:
    """Bands of 90% and 50% and the median of both arms, over time."""
    colour = {"field": "which", "type": "nominal", "legend": None,
              "scale": {"domain": ["first", "second"], "range": [BLUE, VERMILLION]}}  # fmt: skip
    x = {"field": "time", "type": "quantitative", "axis": {"title": "h since the start of the trial", "grid": False}}

    def y(field: str) -> dict[str, Any]:
        return {"field": field, "type": "quantitative", "axis": {"title": None}}

    def band(low: str, high: str, opacity: float) -> dict[str, Any]:
        return {"mark": {"type": "area", "opacity": opacity},
                "encoding": {"x": x, "y": y(low), "y2": {"field": high}, "color": colour}}  # fmt: skip

    return {
        "height": 260,
        "title": {"text": {"expr": "label"}},
        "layer": [
            band("q5", "q95", 0.18),
            band("q25", "q75", 0.3),
            {"mark": {"type": "line"}, "encoding": {"x": x, "y": y("q50"), "color": colour}},
        ],
    }
