"""Endpoints: their names, windows, and values worked by hand from made-up exposures."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import norm

from vtrial.endpoint import (
    Auc,
    Cmax,
    LevelReached,
    PeakClock,
    Seen,
    TimeAtLevel,
    concentration_windows,
    evaluate,
    levels_timed,
    outcomes,
    window_name,
    windows,
)
from vtrial.model import load_model

MODEL = load_model("baclofen_pregabalin")
LEVEL = LevelReached(kind="level_reached", level=[1, 3], within=["24 h", "7 d"])
CMAX, AUC = Cmax(kind="cmax", within="24 h"), Auc(kind="auc", within="7 d")
CLOCK, TIME = PeakClock(kind="peak_clock", within="24 h"), TimeAtLevel(kind="time_at_level", level=[2], within="7 d")


@pytest.mark.parametrize(
    ("hours", "name"), [(0.5, "0.5h"), (24, "24h"), (72, "72h"), (96, "4d"), (168, "7d"), (100, "100h"), (2160, "90d")]
)
def test_windows_are_named_in_hours_to_three_days_and_in_days_beyond(hours, name):
    assert window_name(hours) == name


def test_outcomes_are_named_after_level_window_and_estimator():
    assert [o.name for o in LEVEL.outcomes(MODEL)] == ["level1_24h", "level1_7d", "level3_24h", "level3_7d"]
    counted = LEVEL.model_copy(update={"estimator": "counting"})
    assert next(o.name for o in counted.outcomes(MODEL)) == "level1_24h_counted"
    assert [o.name for o in CMAX.outcomes(MODEL)] == [
        "cmax_baclofen_24h", "cmax_pregabalin_24h", "cmax_ratio_baclofen_24h", "cmax_ratio_pregabalin_24h",
    ]  # fmt: skip
    assert [o.name for o in TIME.outcomes(MODEL)] == ["time_level2_7d"]
    every = [o.name for o in outcomes([LEVEL, counted, CMAX, AUC, CLOCK, TIME], MODEL)]
    assert len(set(every)) == len(every)


def test_windows_levels_and_concentrations_wanted_are_gathered_from_all_endpoints():
    assert windows([AUC, CLOCK, LEVEL]) == (24.0, 168.0)
    assert levels_timed([LEVEL, TIME]) == (2,)
    assert levels_timed([LEVEL]) == ()
    assert concentration_windows([LEVEL, CMAX, AUC], (12.0, 24.0, 168.0)) == 2
    assert concentration_windows([LEVEL, AUC], (24.0, 168.0)) == 0


@dataclass
class Made:
    """An exposure made up by hand: two drugs or channels, two windows."""

    peak: np.ndarray
    peak_time: np.ndarray
    cmax: np.ndarray
    auc: np.ndarray
    time_at: np.ndarray


def made(n, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    peak = np.sort(rng.uniform(0.05, 2, (channels, 2, n)), axis=1)
    return Made(
        peak, rng.uniform(0, 24, (channels, 2, n)), rng.random((2, 2, n)), rng.random((2, 2, n)), rng.random((1, 2, n))
    )


def seen(channels=1, **changed):
    """Two draws of three patients."""
    exposure, reference = made(6, channels), made(2, channels, seed=9)
    for name, value in changed.items():
        setattr(exposure, name, value)
    z = list(np.random.default_rng(2).standard_normal((channels, 6)))
    r = np.array([[0.1, 0.4, 1.0], [0.2, 0.5, 1.0]])
    draw = np.repeat([0, 1], 3)
    omega, one = np.array([0.5, 0.8]), np.ones(2)
    return Seen(exposure, reference, (24.0, 168.0), draw, r, omega, one, one, z, np.full(6, 8.0))


def test_level_is_reached_with_the_probability_of_the_draws_own_threshold_and_omega():
    what = seen()
    values = dict(zip([o.name for o in LEVEL.outcomes(MODEL)], LEVEL.evaluate(what), strict=True))
    peak = what.exposure.peak[0]  # window, patient
    for name, r, w in [("level1_24h", (0.1, 0.2), 0), ("level3_7d", (1.0, 1.0), 1)]:
        for d, omega in zip((slice(0, 3), slice(3, 6)), (0.5, 0.8), strict=True):
            expected = norm.cdf(np.log(peak[w, d] / r[d.start // 3]) / omega)
            assert values[name][d] == pytest.approx(expected)


def test_who_has_the_weeks_peak_on_the_first_day_has_its_probability_too():
    first = seen().exposure.peak[:, 0]
    later = np.where(np.arange(6) % 2, first, 1.5 * first)
    values = LEVEL.evaluate(seen(peak=np.stack([first, later], 1)))
    alone = [LEVEL.evaluate(seen(peak=np.stack([peak, peak], 1)))[0] for peak in (first, later)]
    assert [values[w].tobytes() for w in (0, 1)] == [one.tobytes() for one in alone]


def test_counted_level_is_zero_or_one_and_agrees_patient_by_patient():
    what = seen(channels=2)
    counted = LEVEL.model_copy(update={"estimator": "counting"}).evaluate(what)
    drive = [np.exp(np.repeat([0.5, 0.8], 3) * z) for z in what.z]
    peaks = what.exposure.peak[:, 1]
    hit = (drive[0] * peaks[0] >= 1) | (drive[1] * peaks[1] >= 1)
    assert np.array_equal(counted[3], hit.astype(float))


def test_ratios_are_to_the_reference_patient_of_the_same_draw():
    what = seen()
    value = dict(zip([o.name for o in outcomes([CMAX, AUC], MODEL)], evaluate([CMAX, AUC], what), strict=True))
    cmax, base = what.exposure.cmax[1, 0], what.reference.cmax[1, 0]
    assert np.array_equal(value["cmax_pregabalin_24h"], cmax)
    assert value["cmax_ratio_pregabalin_24h"] == pytest.approx(cmax / np.repeat(base, 3))
    auc, base = what.exposure.auc[0, 1], what.reference.auc[0, 1]
    assert value["auc_ratio_baclofen_7d"] == pytest.approx(auc / np.repeat(base, 3))


def test_time_at_level_is_that_of_its_window():
    what = seen()
    assert np.array_equal(TIME.evaluate(what)[0], what.exposure.time_at[0, 1])


def test_peaks_fall_in_quarters_of_the_day_and_in_the_night():
    time = np.array([0.0, 3.99, 4.0, 10.0, 14.0, 16.0])  # after 08:00: at 08:00 11:59 12:00 18:00 22:00 24:00
    what = seen(peak_time=np.stack([np.stack([time, time])]))
    value = [v.tolist() for v in CLOCK.evaluate(what)]
    assert value == [
        [0, 0, 0, 0, 0, 1],  # 00-06
        [1, 1, 0, 0, 0, 0],  # 06-12
        [0, 0, 1, 0, 0, 0],  # 12-18
        [0, 0, 0, 1, 1, 0],  # 18-24
        [0, 0, 0, 0, 1, 1],  # the night, 22-07
    ]


def test_under_independent_action_the_higher_channel_sets_the_clock():
    peak = np.array([[[0.1] * 6] * 2, [[0.2] * 6] * 2])
    time = np.array([[[0.0] * 6] * 2, [[12.0] * 6] * 2])  # 08:00 and 20:00
    assert CLOCK.evaluate(seen(channels=2, peak=peak, peak_time=time))[3].all()


def test_the_undosed_peak_at_no_time():
    nobody = CLOCK.evaluate(seen(peak=np.zeros((1, 2, 6))))
    assert not any(v.any() for v in nobody)
