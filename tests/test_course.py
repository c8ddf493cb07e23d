"""The course of sedation: maxima of later windows, onset, recovery, and mixtures of arms."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import SOBOL
from scipy.special import ndtr

from vtrial import draw_parameters, draw_patients, run, simulate
from vtrial.endpoint import Onset, Recovery, Seen, derived, outcomes, restarts, windows
from vtrial.endpoint.course import half_time
from vtrial.estimand import Derived, Estimands, Outcome, Sums, estimate
from vtrial.kinetics import Grid, Sedation, System, expose
from vtrial.kinetics.nonlinear import expose_nonlinear
from vtrial.model import Drug, load_model
from vtrial.model.dynamics import effect_site, linear, together
from vtrial.pharmacodynamics import both_levels
from vtrial.treatment import expose_reference

MODEL = load_model("baclofen_pregabalin")
DRUGS = (Drug("one", 1), Drug("two", 2))
DEFAULT = {"CL": 6.0, "V": 40.0, "Q": 8.0, "V2": 25.0, "ka": 1.7, "tlag": 0.2, "F": 0.8, "ke0": 0.6, "C50": 1.0}
REGIMEN = (np.array([0.0, 8.0, 16.0, 24.0, 33.3, 48.0]), np.array([10.0, 10.0, 20.0, 5.0, 40.0, 7.0]))
WINDOWS = (6.0, 12.0, 30.0, 36.0, 50.0, 72.0)
RESTARTS = (12.0, 36.0, 50.0)
COURSE = (
    "  - {kind: cmax, within: 24 h}",
    "  - {kind: cmax, within: 24 h}\n"
    "  - {kind: onset, level: [1, 3], times: [2 h, 8 h, 24 h, 72 h]}\n"
    "  - {kind: recovery, from_level: 2, to_level: 1, at: 30 h, times: [6 h, 24 h], until: 72 h}",
)
STOP = ("  horizon: 72 h", "  horizon: 72 h\n  stop: 30 h")
MIX = (
    "  start:",
    "  define:\n    MIX: {mix: {ARM0_INDEX: 0.3, ARM10_BAC_ONLY: 0.2, ARM1_GUIDELINE: 0.5}}\n  start:",
)
ARMS = "[ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]"


# -------------------------------------------------------------------------------------------- maxima that start anew


def exposed(way, *, restart=RESTARTS, surface="greco", n=9):
    """Patients who go by modes, step by step, or by a right-hand side of the model's own; with their trajectories."""
    rng = np.random.default_rng(3)
    par = {f"{d.name}.{p}": x * rng.lognormal(0, 0.3, n) for d in DRUGS for p, x in DEFAULT.items() if p != "F"}
    par |= {f"{d.name}.F": 0.8 for d in DRUGS}
    zeros = np.zeros(n, int)
    sedation = Sedation(
        surface,
        np.ones(n),
        np.full(n, 1.5),
        np.full(n, 1.8),
        np.full(n, 60.0),
        zeros,
        np.array([[0.1]]),
        np.array([0.6]),
    )
    given = par, [([REGIMEN], zeros)] * 2, np.zeros(n), sedation, Grid(0.5, WINDOWS, restart)
    if way == "right-hand side":
        return expose_nonlinear(together(*(effect_site(linear(drug)) for drug in DRUGS)), *given, trace=True)
    system = System.of(DRUGS)
    fine = (*given[:-1], Grid(1 / 64, WINDOWS))
    tracks = expose(system, *fine, trace=True)[1]
    if way == "steps":
        rows = {name: np.stack([par[name]] * 2) for name in ("one.CL", "two.CL")}
        return expose(system, par | rows, *given[1:], changes=[40.0], rows=[0, 1])[0], tracks
    return expose(system, *given)[0], tracks


@pytest.mark.parametrize("surface", ["greco", "bliss"])
@pytest.mark.parametrize("way", ["modes", "steps"])
def test_maxima_since_a_restart_are_those_of_the_trajectory(way, surface):
    found, trace = exposed(way, surface=surface)
    begin = 0.0
    for w, end in enumerate(WINDOWS):
        inside = (trace.time >= begin - 1e-9) & (trace.time <= end + 1e-9)
        highest = trace.drive[inside].max(0)
        # a fine grid is not above the maximum, and below it by h^2 / 8 times the curvature at most
        assert (found.since[:, w] >= highest * (1 - 1e-9)).all()
        assert found.since[:, w] == pytest.approx(highest, rel=2e-4)
        begin = end if end in RESTARTS else begin


def test_a_right_hand_side_gives_the_same_maxima_since_a_restart():
    solved, kernel = exposed("right-hand side", n=3)[0], exposed("modes", n=3)[0]
    assert solved.since == pytest.approx(kernel.since, rel=1e-7)
    assert solved.peak == pytest.approx(kernel.peak, rel=1e-7)


@pytest.mark.parametrize("way", ["modes", "steps"])
def test_restarts_leave_all_else(way):
    with_, without = exposed(way)[0], exposed(way, restart=())[0]
    assert with_.peak == pytest.approx(without.peak, rel=1e-9)  # another bracket may be climbed to the same maximum
    assert with_.peak_time == pytest.approx(without.peak_time, abs=1e-3)
    assert without.since is without.peak
    for name in ("auc", "time_at", "cmax"):
        assert getattr(with_, name).tobytes() == getattr(without, name).tobytes()


def test_restarts_are_windows():
    with pytest.raises(ValueError, match=r"start anew at \[7.0\] h, which are not among the windows"):
        Grid(0.5, (6.0, 12.0), (7.0,))


# ---------------------------------------------------------------------------------------------- both levels


@pytest.mark.parametrize("channels", [1, 2])
def test_both_levels_are_those_counted_with_explicit_sensitivities(channels):
    rng = np.random.default_rng(8)
    early, late = np.array([0.9, 0.3])[:channels], np.array([0.15, 0.1])[:channels]
    S = np.exp(0.6 * rng.standard_normal((400_000, channels)))
    counted = ((S * early >= 0.7).any(1) & (S * late >= 0.12).any(1)).mean()
    exact = float(both_levels(list(early), list(late), 0.7, 0.12, 0.6))
    assert exact == pytest.approx(counted, abs=4 * np.sqrt(exact * (1 - exact) / 400_000))


def test_both_levels_of_one_channel_are_the_rarer_one():
    assert float(both_levels([0.5], [0.01], 1.0, 0.2, 0.6)) == pytest.approx(float(ndtr(np.log(0.01 / 0.2) / 0.6)))
    assert float(both_levels([0.0], [1.0], 1.0, 1.0, 0.6)) == 0


# ------------------------------------------------------------------------------------------------ onset


ONSET = Onset(kind="onset", level=[1, 3], times=["2 h", "8 h", "24 h"])
RECOVERY = Recovery(kind="recovery", from_level=3, to_level=1, at="48 h", times=["6 h", "5 d"], until="14 d")


def test_names_windows_and_restarts():
    assert [o.name for o in ONSET.outcomes(MODEL)] == [
        "onset1_2h", "onset1_8h", "onset1_24h", "free1_24h", "onset3_2h", "onset3_8h", "onset3_24h", "free3_24h",
    ]  # fmt: skip
    assert [d.outcome.name for d in derived([ONSET, RECOVERY], MODEL)] == [
        "median_onset1_24h", "median_onset3_24h", "unrecovered3to1_48h_6h", "unrecovered3to1_48h_5d",
    ]  # fmt: skip
    assert windows([ONSET, RECOVERY]) == (2, 8, 24, 48, 54, 168, 336)
    assert restarts([ONSET, RECOVERY]) == (54, 168)
    names = [o.name for o in outcomes([ONSET, RECOVERY], MODEL)]
    assert {name for d in derived([ONSET, RECOVERY], MODEL) for name in d.of} <= set(names)


def made(peaks, since=None):
    """What endpoints see of two patients of one draw with such running maxima, one channel."""
    peaks = np.asarray(peaks, float)[None]
    exposure = type("Made", (), {"peak": peaks, "since": peaks if since is None else np.asarray(since, float)[None]})()
    r, omega = np.array([[0.1, 0.4, 1.0]]), np.array([0.5])
    zeros = np.zeros(2, int)
    return lambda ends: Seen(exposure, exposure, ends, zeros, r, omega, omega, omega, [], np.zeros(2))


def test_onset_is_the_running_maximum_and_time_free_the_area_above_the_curve():
    peaks = [[0.05, 0.0], [0.2, 0.0], [0.5, 0.0]]
    found = dict(
        zip((o.name for o in ONSET.outcomes(MODEL)), ONSET.evaluate(made(peaks)((2.0, 8.0, 24.0))), strict=True)
    )
    curve = ndtr(np.log(np.array([0.05, 0.2, 0.5]) / 0.1) / 0.5)
    assert [found[f"onset1_{t}"][0] for t in ("2h", "8h", "24h")] == pytest.approx(curve)
    expected = 24 - np.trapezoid([0, *curve], [0, 2, 8, 24])
    assert found["free1_24h"].tolist() == pytest.approx([expected, 24.0])


def test_median_onset_of_an_exponential_time_is_its_own_within_the_horizon():
    """P(T <= t | T <= H) = (1 - e^-kt) / (1 - e^-kH) is 1/2 at t = -log(1 - (1 - e^-kH) / 2) / k."""
    times = np.linspace(0, 30, 601)
    for k in (0.01, 0.1, 0.5):
        exact = -np.log(1 - (1 - np.exp(-30 * k)) / 2) / k
        assert half_time(times, 1 - np.exp(-k * times)) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("curve", [[0, 0.2, 0.2, 0.4], [0, 0, 0.5, 0.5], [0, 0.4, 0.4, 0.4]])
def test_median_onset_of_steps_lies_between_the_times_that_enclose_half(curve):
    times, half = np.array([0.0, 1.0, 5.0, 9.0]), curve[-1] / 2
    median = float(half_time(times, np.array(curve, float)))
    i = next(i for i in range(1, 4) if curve[i] >= half)
    assert times[i - 1] <= median <= times[i]
    assert np.interp(median, times, curve) == pytest.approx(half)


# ----------------------------------------------------------------------------------------------- recovery


def test_recovery_looks_at_the_maximum_before_and_at_those_that_start_later():
    # windows end at 48, 54, 168, 336 h; maxima since the restarts at 54 and 168 h
    peaks, since = [[2.0, 0.3]] * 4, [[2.0, 0.3], [1.5, 0.2], [0.3, 0.2], [0.05, 0.1]]
    values = RECOVERY.evaluate(made(peaks, since)((48.0, 54.0, 168.0, 336.0)))
    found = dict(zip((o.name for o in RECOVERY.outcomes(MODEL)), values, strict=True))
    early = ndtr(np.log(np.array([2.0, 0.3])) / 0.5)  # coma: r = 1
    late = {t: ndtr(np.log(np.array(peak) / 0.1) / 0.5) for t, peak in (("6h", [0.3, 0.2]), ("5d", [0.05, 0.1]))}
    assert found["reached3to1_48h"] == pytest.approx(early)
    for t, still in late.items():
        joint = np.minimum(early, still)  # the same sensitivity: who reaches the rarer reaches both
        assert found[f"unrecovered3to1_48h_{t}_joint"] == pytest.approx(joint)
        assert found[f"recovered3to1_48h_{t}_joint"] == pytest.approx(early - joint)


@pytest.fixture(scope="module")
def course(scenario):
    return scenario(COURSE, STOP)


@pytest.fixture(scope="module")
def followed(course):
    return run(course, threads=1)


def test_recovery_is_that_counted_with_explicit_sensitivities(scenario):
    """One old patient for each draw: of many sensitivities, which drive was high before, and which still is."""
    course = scenario(COURSE, STOP, ("age: 40 year, sex: M", "age: 80 year, sex: F"), ("scr: 0.9", "scr: 4"))
    theta, n = draw_parameters(course.model, 20, 7), 200_000
    exposure = expose_reference(course, theta)
    r = np.stack([theta["r_1"], theta["r_2"], np.ones(20)], -1)
    own = theta["omega_S"].values
    seen = Seen(exposure, exposure, course.windows, np.arange(20), r, own, own, own, [], np.zeros(20))
    recovery = next(e for e in course.spec.endpoints if isinstance(e, Recovery))
    names = [o.name for o in recovery.outcomes(course.model)]
    found = dict(zip(names, recovery.evaluate(seen), strict=True))
    S = np.exp(theta["omega_S"].values[:, None] * np.random.default_rng(5).standard_normal((20, n)))
    before = S * exposure.peak[0, course.windows.index(30.0), :, None] >= r[:, 1:2]
    for t, start in (("6h", 36.0), ("24h", 54.0)):
        at, end = course.windows.index(start), course.windows.index(72.0)
        late = exposure.since[0, at + 1 : end + 1].max(0)
        counted = (before & (S * late[:, None] >= r[:, :1])).mean(1)
        exact = found[f"unrecovered2to1_30h_{t}_joint"]
        error = np.sqrt(exact * (1 - exact) / n)
        assert (np.abs(exact - counted) <= 4.5 * error + 1e-5).all()
        assert found[f"recovered2to1_30h_{t}_joint"] == pytest.approx(found["reached2to1_30h"] - exact, abs=1e-15)
    assert exact.max() > 1e-3


def test_estimates_hold_the_ratio_of_means_and_the_median_of_the_curve_of_each_draw(course, followed):
    value = followed["estimates"]["value"].sel(stat="mean")
    theta = followed["theta"].to_dataset()
    cohort, reference = draw_patients(course, theta), expose_reference(course, theta)
    found = simulate(course, cohort, "ARM0_INDEX", reference).mean("patient")
    ratio = found["unrecovered2to1_30h_6h_joint"] / found["reached2to1_30h"]
    curve = np.stack([found[f"onset1_{t}"].values for t in ("2h", "8h", "24h", "72h")], -1)
    median = [half_time(np.array([0.0, 2, 8, 24, 72]), np.array([0, *own])) for own in curve.reshape(-1, 4)]
    for s, stratum in enumerate(("18-49 G1", "75-84 G4")):
        cell = value.sel(arm="ARM0_INDEX", stratum=stratum)
        assert float(cell.sel(outcome="unrecovered2to1_30h_6h")) == pytest.approx(float(ratio[s].mean()), rel=1e-9)
        expected = np.mean(np.reshape(median, curve.shape[:2])[s])
        assert float(cell.sel(outcome="median_onset1_72h")) == pytest.approx(expected, rel=1e-9)


def test_estimates_of_the_course_have_their_monte_carlo_error_and_their_order(followed):
    value = followed["estimates"]["value"]
    mcse = value.sel(stat="mcse", outcome=["median_onset1_72h", "free3_72h", "unrecovered2to1_30h_24h"])
    assert (mcse > 0).all()
    mean = value.sel(stat="mean")
    onset = [mean.sel(outcome=f"onset1_{t}") for t in ("2h", "8h", "24h", "72h")]
    assert all((later >= earlier).all() for earlier, later in pairwise(onset))
    assert onset[2].values.tobytes() == mean.sel(outcome="level1_24h").values.tobytes()
    assert (mean.sel(outcome="unrecovered2to1_30h_24h") <= mean.sel(outcome="unrecovered2to1_30h_6h")).all()
    assert ((mean.sel(outcome="median_onset1_72h") > 0) & (mean.sel(outcome="median_onset1_72h") < 72)).all()


def test_noise_of_a_ratio_is_that_of_its_residuals():
    """The variance of mean(a) / mean(b) is that of a - R b, over n and the mean of b squared."""
    rng = np.random.default_rng(4)
    b = rng.random((1, 1, 300))
    a = b * rng.random((1, 1, 300))

    def moments(x):
        return x.mean(-1), x.var(-1, ddof=1) / x.shape[-1]

    means, noises = zip(*(moments(x) for x in (a, b, b - a)), strict=True)
    (number,) = RECOVERY.model_copy(update={"times": (6.0,)}).derived(MODEL)
    ratio = number.value(*means)
    expected = (a - ratio[..., None] * b).var(-1, ddof=1) / 300 / means[1] ** 2
    assert number.noise(means, noises) == pytest.approx(expected, rel=1e-10)


def test_what_is_derived_where_nobody_has_it_is_not_known_and_warns_of_nothing():
    sums = Sums.empty(1, 1, 2, 1, 5)
    for part in (sums.mean, sums.noise, sums.paired_noise, sums.treated):
        part[:] = 0.0
    names = ["a", "b"]
    number = Derived(Outcome("r", "1", "r"), ("a", "b"), _ratio_of)
    found = estimate(
        sums, Estimands(reference="x", primary="a"), arms=["x"], strata=["s"], drugs=["d"], weight=np.ones(1),
        outcomes=[Outcome(name, "1", name) for name in names], derived=[number],
    )  # fmt: skip
    assert np.isnan(found["value"].sel(outcome="r", stat="mean")).all()


def _ratio_of(a, b):
    with np.errstate(invalid="ignore"):
        return a / b


# ------------------------------------------------------------------------------------------------ mixtures


@pytest.mark.parametrize("sampling", [(), SOBOL], ids=["plain", "sobol"])
def test_a_mixture_is_the_weighted_mean_of_its_components(scenario, sampling):
    found = run(scenario(*sampling, MIX, (ARMS, "[MIX, ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]")), threads=1)
    mean = found["risk"]["mean"]
    parts = {"ARM0_INDEX": 0.3, "ARM10_BAC_ONLY": 0.2, "ARM1_GUIDELINE": 0.5}
    expected = sum(share * mean.sel(arm=arm) for arm, share in parts.items())
    assert mean.sel(arm="MIX").values == pytest.approx(expected.values, rel=1e-12)
    treated = found["estimates"]["treated"].sel(arm="MIX", drug="pregabalin")
    assert treated.values == pytest.approx(0.8)


def test_a_mixture_is_the_same_to_the_bit_whatever_arms_stand_beside_it(scenario, monkeypatch):
    monkeypatch.setattr("vtrial.block.FEWEST", 16)
    first = run(scenario(MIX, (ARMS, "[MIX, ARM0_INDEX, ARM1_GUIDELINE]")), threads=1)
    second = run(scenario(MIX, (ARMS, "[ARM1_GUIDELINE, MIX]")), threads=3, memory="1 kB")
    for name in ("value", "difference", "ratio"):
        ours, theirs = (tree["estimates"][name].sel(arm="MIX").values for tree in (first, second))
        assert ours.tobytes() == theirs.tobytes()


def test_a_mixture_can_be_the_reference(scenario):
    found = run(scenario(MIX, (ARMS, "[MIX, ARM1_GUIDELINE]"), ("reference: ARM1_GUIDELINE", "reference: MIX")))
    assert not found["estimates"]["difference"].sel(arm="MIX", stat="mean").values.any()
    assert (found["estimates"]["value"].sel(arm="MIX", outcome="cmax_ratio_baclofen_24h", stat="mean") > 0).all()


def test_a_mixture_of_one_arm_and_itself_under_another_name_is_that_arm(scenario):
    twin = (
        "  start:",
        "  define:\n    TWIN: {drugs: {baclofen: {dose: 5 mg, freq: TID}, pregabalin: {dose: 75 mg, freq: BID}}}\n"
        "    MIX: {mix: {ARM1_GUIDELINE: 0.25, TWIN: 0.75}}\n  start:",
    )
    found = run(scenario(twin, (ARMS, "[MIX, ARM1_GUIDELINE, TWIN]")), threads=1)["estimates"]["difference"]
    assert not found.sel(arm="TWIN", stat="mean").values.any()  # doses in the scenario are those of the policies
    assert found.sel(arm="MIX", stat="mean").values == pytest.approx(0, abs=1e-14)
