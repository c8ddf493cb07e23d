"""Kinetics by a right-hand side: the linear kernel where they are linear, closed forms and mass balance elsewhere."""

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.special import lambertw
from typer.testing import CliRunner

from vtrial import draw_parameters, draw_patients, expose_reference, load_model, load_scenario, run, simulate
from vtrial.block import blocks_of
from vtrial.cli import app
from vtrial.kinetics import Grid, Sedation, System, expose, superposition
from vtrial.kinetics.nonlinear import Unsolved, expose_nonlinear
from vtrial.library import MODELS
from vtrial.model import Drug, check_fixed
from vtrial.model.dynamics import Dynamics, effect_site, linear, michaelis_menten, target_mediated, together, turnover
from vtrial.problem import InputError
from vtrial.treatment import trace_example

DEFAULT = {
    "CL": 6.0, "V": 40.0, "Q": 8.0, "V2": 25.0, "Q3": 1.0, "V3": 60.0, "ka": 1.7, "MTT": 1.2, "dur": 2.3, "tlag": 0.0,
    "F": 0.8, "ke0": 0.6, "C50": 1.0,
}  # fmt: skip
R, OMEGA = np.array([0.108, 0.4, 1.0]), 0.6
ADAPTING = {"A": 1.7, "alpha": 1.5, "tolerance_fold": 1.8, "tolerance_t_half": 60.0}
TID = (np.array([0.0, 8.0, 16.0]), np.array([10.0, 10.0, 20.0]))
OFF_GRID = (np.array([0.0, 7.3, 7.31, 15.999, 24.25, 31.7]), np.array([10.0, 5.0, 2.0, 20.0, 1.0, 7.0]))
MIXED = (np.array([0.0, 5.1, 24.0, 30.3]), np.array([10.0, 30.0, 8.0, 20.0]), np.array([0.0, 3.37, 0.0, 2.0]))
ONCE = (np.array([0.0]), np.array([100.0]))


def parameters(drugs, **par):
    """Parameters of the drugs, the default ones but for those given: `ka=...` or `two_ka=...`."""
    return {f"{d.name}.{p}": par.get(f"{d.name}_{p}", par.get(p, x)) for d in drugs for p, x in DEFAULT.items()}


def sedation_of(n, surface="loewe", *, levels=True, **given):
    given = {"A": 1.0, "alpha": 0.0, "tolerance_fold": 1.0, "tolerance_t_half": 24.0} | given
    values = (np.broadcast_to(np.asarray(value, float), n).copy() for value in given.values())
    r = R[None] if levels else np.empty((1, 0))
    return Sedation(surface, *values, np.zeros(n, int), r, np.array([OMEGA]))


def solve(dynamics, par, *regimens, rows=None, n=1, windows=(24.0,), step=0.5, sedation=None, **options):
    """Expose patients to regimens, which each drug has in common, by default all patients to the first."""
    doses = [(list(regimens), np.zeros(n, int) if rows is None else np.asarray(rows))] * len(dynamics.drugs)
    sedation = sedation or sedation_of(n, levels=False)
    return expose_nonlinear(dynamics, par, doses, np.zeros(n), sedation, Grid(step, windows), **options)


def worst(found, truth):
    """Largest error over the largest value, of trajectories along the first axis."""
    return (np.abs(found - truth).max(0) / np.abs(truth).max(0)).max()


FIELDS = ("peak", "peak_time", "cmax", "auc", "time_at", "last")


def same_bytes(a, b):
    return all(getattr(a, field).tobytes() == getattr(b, field).tobytes() for field in FIELDS)


# -------------------------------------------------------------------- the linear kernel, where it is linear

ONE, TWO = Drug("one", 1), Drug("two", 2)
STRUCTURES = {
    "one": (ONE,),
    "two": (TWO,),
    "three": (Drug("three", 3),),
    "transit": (Drug("transit", 2, "transit", 3),),
    "zero order": (Drug("zero", 1, "zero_order"),),
    "iv": (Drug("iv", 2, "iv"),),
    "both": (TWO, ONE),
}


def both_doors(drugs, regimens, rows, par, surface="loewe", windows=(24.0, 48.0), **options):
    """What the linear kernel and the ODE solver say of the same patients."""
    n = len(rows)
    doses, origin = [(list(regimens), np.asarray(rows))] * len(drugs), np.zeros(n)
    what = (par, doses, origin, sedation_of(n, surface, **ADAPTING), Grid(0.5, windows))
    dynamics = together(*(effect_site(linear(drug)) for drug in drugs))
    return expose(System.of(drugs), *what, **options), expose_nonlinear(dynamics, *what, **options)


def assert_same(kernel, solved):
    # the kernel refines its maxima to about 1e-8, and a maximum is flat: its time is known to the root of that
    (kernel, kernel_trace), (solved, solved_trace) = kernel, solved
    for field in ("peak", "cmax", "auc"):
        assert getattr(solved, field) == pytest.approx(getattr(kernel, field), rel=1e-7), field
    assert solved.peak_time == pytest.approx(kernel.peak_time, abs=1e-3)
    assert solved.time_at == pytest.approx(kernel.time_at, abs=1e-5)
    assert np.array_equal(solved_trace.time, kernel_trace.time)
    for field in ("conc", "Ce", "drive"):
        assert worst(getattr(solved_trace, field), getattr(kernel_trace, field)) < 1e-8, field


@pytest.mark.parametrize("drugs", STRUCTURES.values(), ids=STRUCTURES.keys())
def test_a_linear_right_hand_side_is_the_linear_kernel(drugs):
    par = parameters(
        drugs, ka=np.array([0.4, 1.7, 8.0, 3.0]), tlag=np.array([0.0, 0.37, 1.5, 0.24]),
        ke0=np.array([0.3, 0.8, 0.05, 5.0]), CL=np.array([2.0, 6.0, 9.0, 0.5]),
    )  # fmt: skip
    regimens = (TID, MIXED if drugs[0].absorption == "iv" else OFF_GRID, ONCE)
    assert_same(*both_doors(drugs, regimens, [0, 1, 1, 2], par, trace=True))


@pytest.mark.parametrize("surface", ["loewe", "greco", "bliss"])
def test_every_surface_is_that_of_the_linear_kernel(surface):
    par = parameters((TWO, ONE), tlag=np.array([0.0, 0.4]), one_C50=0.3)
    assert_same(*both_doors((TWO, ONE), (OFF_GRID, TID), [0, 1], par, surface, (6.0, 24.0, 72.0), trace=True))


@pytest.mark.parametrize("drug", [ONE, TWO], ids=["one", "two"])
def test_linear_against_the_closed_form(drug):
    par = parameters((drug,), tlag=0.37)
    _, trace = solve(effect_site(linear(drug)), par, OFF_GRID, windows=(48.0,), trace=True)
    conc, Ce = superposition(drug, par, *OFF_GRID, trace.time)
    assert max(worst(trace.conc[:, 0, 0], conc), worst(trace.Ce[:, 0, 0], Ce)) < 1e-9


def test_cmax_is_wanted_in_the_first_windows_only_and_windows_are_cumulative():
    par = parameters((ONE,))
    (kernel, _), (solved, _) = both_doors((ONE,), (TID,), [0], par, windows=(6.0, 12.0, 24.0), cmax_windows=2)
    assert solved.cmax == pytest.approx(kernel.cmax, rel=1e-7)
    assert solved.cmax[0, 2, 0] == 0 < solved.cmax[0, 0, 0] <= solved.cmax[0, 1, 0]
    whole, _ = solve(effect_site(linear(ONE)), par, TID, windows=(6.0, 12.0, 24.0))
    assert np.array_equal(whole.cmax[:, :2], solved.cmax[:, :2])
    assert whole.cmax[0, 2, 0] > whole.cmax[0, 1, 0]  # the third dose is the highest
    assert (np.diff(solved.peak, axis=1) >= 0).all()


def test_stiff_rates_against_the_linear_kernel():
    hard = parameters((TWO,), ka=np.array([200.0, 0.05]), ke0=np.array([0.02, 90.0]), CL=np.array([1e-6, 30.0]))
    (kernel, _), (solved, _) = both_doors((TWO,), (OFF_GRID,), [0, 0], hard)
    assert solved.peak == pytest.approx(kernel.peak, rel=1e-7)
    assert solved.cmax == pytest.approx(kernel.cmax, rel=1e-7)


def test_no_dose_is_exactly_nothing():
    for dynamics in (effect_site(linear(ONE)), turnover(linear(ONE), "inhibit loss")):
        par = parameters((ONE,)) | {"one.kin": 0.3, "one.kout": 0.7, "one.Imax": 1.0, "one.IC50": 1.0}
        for nothing in ((np.empty(0), np.empty(0)), (np.array([0.0, 3.0]), np.zeros(2))):
            found, trace = solve(dynamics, par, nothing, sedation=sedation_of(1, **ADAPTING), trace=True)
            assert not any(getattr(found, field).any() for field in FIELDS)
            assert not trace.drive.any()


def test_a_dose_at_the_end_of_a_window_belongs_to_the_next():
    regimen, par = (np.array([0.0, 12.0, 24.0]), np.array([10.0, 500.0, 9000.0])), parameters((ONE,), F=1.0, ke0=50.0)
    found, _ = solve(effect_site(linear(replace(ONE, absorption="iv"))), par, regimen, windows=(12.0, 24.0))
    assert found.cmax[0, 0, 0] == pytest.approx(10.0 / 40.0, rel=1e-9)
    assert found.cmax[0, 1, 0] == pytest.approx((500.0 + 10.0 * np.exp(-12.0 * 6.0 / 40.0)) / 40.0, rel=1e-9)


# --------------------------------------------------------------------------------------- Michaelis-Menten

MM = {"iv.Vmax": 5.0, "iv.Km": 2.0, "iv.V": 10.0, "iv.tlag": 0.0, "iv.F": 1.0, "iv.C50": 1.0}
IV = Drug("iv", 1, "iv")


def schnell_mendoza(start, elapsed, Km=2.0, rate=0.5):
    """Concentration after a bolus: C = Km W(C0 / Km exp((C0 - Vmax/V t) / Km)); J Theor Biol 1997 187:207-12."""
    return Km * lambertw(start / Km * np.exp((start - rate * elapsed) / Km)).real


def test_michaelis_menten_bolus_is_the_lambert_function():
    found, trace = solve(michaelis_menten(IV), MM, ONCE, windows=(24.0, 72.0), trace=True)
    assert trace.conc[1:, 0, 0] == pytest.approx(schnell_mendoza(10.0, trace.time[1:]), rel=1e-7)
    assert found.cmax[0, :, 0] == pytest.approx([10.0, 10.0], rel=1e-9)
    # the area between two concentrations: dC / C' integrates to V (C^2 / 2 + Km C) / Vmax
    ends = schnell_mendoza(10.0, np.array([24.0, 72.0]))
    areas = [10.0 / 5.0 * ((10.0**2 - C**2) / 2 + 2.0 * (10.0 - C)) for C in ends]
    assert found.auc[0, :, 0] == pytest.approx(areas, rel=1e-9)


def test_michaelis_menten_boluses_off_the_grid_each_start_the_closed_form_anew():
    times, amts = np.array([0.0, 3.37, 3.5, 20.01]), np.array([30.0, 100.0, 10.0, 60.0])
    found, _ = solve(michaelis_menten(IV), MM, (times, amts), windows=(3.0, 24.0), step=1.0)
    C, tops = 0.0, []
    for i, amt in enumerate(amts):
        C += amt / 10.0
        tops.append(C)
        if i < 3:
            C = float(schnell_mendoza(C, times[i + 1] - times[i]))
    assert found.cmax[0, :, 0] == pytest.approx([tops[0], max(tops)], rel=1e-9)


@pytest.mark.parametrize("drug", [ONE, TWO], ids=["one", "two"])
def test_far_below_km_michaelis_menten_is_linear(drug):
    # Vmax C / (Km + C) = CL C (1 - C/Km + ...): relative errors fall as 1 / Km, and are below Cmax / Km
    par, name, errors = parameters((drug,), tlag=0.2), drug.name, []
    truth, _ = solve(effect_site(linear(drug)), par, TID)
    for Km in (1e3, 1e4):
        own = par | {f"{name}.Km": Km, f"{name}.Vmax": par[f"{name}.CL"] * Km}
        found, _ = solve(effect_site(michaelis_menten(drug)), own, TID)
        errors.append([float(getattr(found, f).item() / getattr(truth, f).item() - 1) for f in ("peak", "cmax", "auc")])
    assert (np.array(errors) > 0).all()
    assert (np.array(errors[0]) < truth.cmax.item() / 1e3).all()
    assert errors[0] == pytest.approx([10 * e for e in errors[1]], rel=0.01)


def test_saturation_makes_exposure_rise_faster_than_the_dose():
    one, two = (solve(michaelis_menten(IV), MM, (ONCE[0], amt * ONCE[1]), windows=(240.0,))[0] for amt in (1, 2))
    assert two.auc.item() / one.auc.item() == pytest.approx((20.0**2 / 2 + 2 * 20) / (10.0**2 / 2 + 2 * 10), rel=1e-9)


def reading(dynamics, *what):
    """The same dynamics, showing something else as the concentration: its integral and trace come with it."""
    return [replace(dynamics, conc=lambda x, par, read=read: [read(x, par)]) for read in what]


@pytest.mark.parametrize("drug", [ONE, TWO], ids=["one", "two"])
def test_michaelis_menten_balances_mass(drug):
    name, bodies = drug.name, range(1 + drug.compartments)
    dynamics, grid = michaelis_menten(drug, parallel=True), {"windows": (12.0,), "trace": True}
    par = parameters((drug,), V=8.0) | {f"{name}.Vmax": 3.0, f"{name}.Km": 0.4}

    def elimination(x, par):
        C = x[drug.compartments] / par[f"{name}.V"]  # central comes last
        return 3.0 * C / (0.4 + C) + 6.0 * C

    gone = solve(reading(dynamics, elimination)[0], par, OFF_GRID, **grid)[0].auc.item()
    left = sum(solve(d, par, OFF_GRID, **grid)[1].conc[-1].item()
               for d in reading(dynamics, *(lambda x, par, i=i: x[i] for i in bodies)))  # fmt: skip
    assert gone + left == pytest.approx(0.8 * 17.0, rel=1e-9)


# ----------------------------------------------------------------------------------------------- turnover

RESPONSE = {"kin": 3.0, "kout": 0.25, "Imax": 0.8, "IC50": 0.4, "Smax": 2.5, "SC50": 0.7}
ACTIONS = {  # R' with H = most C / (half + C)
    "inhibit production": lambda R, H: 3.0 * (1 - H) - 0.25 * R,
    "inhibit loss": lambda R, H: 3.0 - 0.25 * (1 - H) * R,
    "stimulate production": lambda R, H: 3.0 * (1 + H) - 0.25 * R,
    "stimulate loss": lambda R, H: 3.0 - 0.25 * (1 + H) * R,
}


def effect_of(action, C):
    return 0.8 * C / (0.4 + C) if "inhibit" in action else 2.5 * C / (0.7 + C)


def responding(drug, **par):
    return parameters((drug,), **par) | {f"{drug.name}.{name}": value for name, value in RESPONSE.items()}


@pytest.mark.parametrize("action", ACTIONS)
def test_turnover_goes_to_its_steady_state(action):
    infusion = (np.array([0.0]), np.array([3.0 * 400.0]), np.array([400.0]))  # 3 mg/h
    found, trace = solve(
        turnover(linear(IV), action), responding(IV, F=1.0), infusion, windows=(400.0,), step=4.0, trace=True
    )
    H = effect_of(action, 3.0 / 6.0)
    R = 12.0 * {"production": 1 + H, "loss": 1 / (1 + H)}[action.split()[1]]
    if "inhibit" in action:
        R = 12.0 * {"production": 1 - H, "loss": 1 / (1 - H)}[action.split()[1]]
    assert trace.conc[-1].item() == pytest.approx(0.5, rel=1e-9)
    assert trace.Ce[-1].item() == pytest.approx(abs(R - 12.0), rel=1e-9)
    assert found.peak.item() == pytest.approx(abs(R - 12.0), rel=1e-9)


@pytest.mark.parametrize("action", ACTIONS)
def test_turnover_is_the_equation_of_the_response_itself(action):
    # R and not its shift, the concentration from the closed form, an explicit Runge-Kutta method
    par = responding(ONE, tlag=0.25)
    found, trace = solve(turnover(linear(ONE), action), par, OFF_GRID, windows=(48.0,), step=0.05, trace=True)

    def slope(t, R):
        C = superposition(ONE, par, *OFF_GRID, [t])[0][0]
        return ACTIONS[action](R, effect_of(action, C))

    R, shifts = np.array([12.0]), []
    cuts = [0.0, *(OFF_GRID[0] + 0.25), 48.0]
    for a, b in pairwise(cuts):
        times = trace.time[(trace.time > a) & (trace.time <= b)]
        piece = solve_ivp(slope, (a, b), R, "DOP853", np.union1d(times, b), rtol=1e-10, atol=1e-12)
        shifts, R = [*shifts, *np.abs(piece.y[0, : len(times)] - 12.0)], piece.y[:, -1]
    assert worst(trace.Ce[1:, 0, 0], np.array(shifts)) < 1e-8
    assert found.peak.item() == pytest.approx(max(shifts), rel=1e-4)  # highest on a grid of 3 min
    assert found.peak.item() >= max(shifts) * (1 - 1e-9)


def test_weak_stimulation_of_production_is_an_effect_site():
    # far below SC50 the shift of the response follows Smax R0 / SC50 conc with rate kout; errors fall as 1 / SC50
    par, errors = parameters((ONE,), ke0=0.25), []
    truth, _ = solve(effect_site(linear(ONE)), par, TID)
    for half in (1e3, 1e4):
        own = responding(ONE) | {"one.SC50": half, "one.C50": 2.5 * 12.0 / half}
        found, _ = solve(turnover(linear(ONE), "stimulate production"), own, TID)
        errors.append(1 - found.peak.item() / truth.peak.item())
    assert 0 < errors[0] < truth.cmax.item() / 1e3
    assert errors[0] == pytest.approx(10 * errors[1], rel=0.01)


# --------------------------------------------------------------------------------------- target-mediated

TARGET = {"kon": 4.0, "koff": 0.3, "kint": 0.08, "kdeg": 0.05, "R0": 0.6}


def targeted(drug, par=TARGET, **other):
    return parameters((drug,), **other) | {f"{drug.name}.{name}": value for name, value in par.items()}


@pytest.mark.parametrize("drug", [ONE, TWO, Drug("two", 2, "iv")], ids=["one", "two", "iv"])
def test_without_target_disposition_is_linear(drug):
    truth, _ = solve(effect_site(linear(drug)), parameters((drug,)), OFF_GRID, windows=(48.0,))
    found, _ = solve(
        effect_site(target_mediated(drug)), targeted(drug, TARGET | {"R0": 0.0}), OFF_GRID, windows=(48.0,)
    )
    for field in ("peak", "cmax", "auc"):
        assert getattr(found, field) == pytest.approx(getattr(truth, field), rel=1e-8)


def test_high_doses_saturate_the_target():
    # all drug leaves by CL or as complex: CL AUC = dose - loss, and the target lets no more pass than its production,
    # V kdeg R0 t, and what there was, V R0
    drug, shares = Drug("x", 1, "iv"), []
    for dose in (10.0, 1e3, 1e5):
        par = targeted(drug, F=1.0, CL=6.0)
        found, _ = solve(target_mediated(drug), par, (ONCE[0], np.array([dose])), windows=(500.0,), step=5.0)
        shares.append(6.0 * found.auc.item() / dose)
        assert dose * (1 - shares[-1]) <= 40.0 * 0.6 * (1 + 0.05 * 500.0)
    assert shares[0] < 0.8 < 0.99 < shares[2] < 1


def test_target_mediated_balances_mass_of_drug_and_of_target():
    par, infusion = targeted(IV, F=1.0), (np.array([0.0]), np.array([60.0]), np.array([7.7]))
    show = (lambda x, par: x[0], lambda x, par: x[1], lambda x, par: x[2])
    parts = [solve(d, par, infusion, windows=(30.0,), trace=True) for d in reading(target_mediated(IV), *show)]
    drug, free, bound = (trace.conc[-1].item() for _, trace in parts)
    drug_area, free_area, bound_area = (found.auc.item() for found, _ in parts)
    assert drug + 40.0 * bound + 6.0 / 40.0 * drug_area + 40.0 * 0.08 * bound_area == pytest.approx(60.0, rel=1e-9)
    made, lost = 0.05 * 0.6 * 30.0, 0.05 * free_area + 0.08 * bound_area
    assert free + bound == pytest.approx(0.6 + made - lost, rel=1e-9)


def test_traces_of_drug_see_a_constant_target():
    # R = R0 makes it linear in drug and complex: the exponential of the matrix
    par = targeted(IV, F=1.0)
    _, trace = solve(target_mediated(IV), par, (ONCE[0], np.array([1e-7])), trace=True)
    A = np.array([[-6.0 / 40.0 - 4.0 * 0.6, 0.3 * 40.0], [4.0 * 0.6 / 40.0, -0.3 - 0.08]])
    truth = np.array([expm(A * t)[0, 0] for t in trace.time[1:]]) * 1e-7 / 40.0
    assert trace.conc[1:, 0, 0] == pytest.approx(truth, rel=1e-6)


# ------------------------------------------------------------------------------------------- properties

CROWD = 7


def crowd(step=1.0, which=slice(None)):
    """Some patients on a saturable drug and one with turnover, each with parameters of his own."""
    rng = np.random.default_rng(11)
    dynamics = together(
        effect_site(michaelis_menten(TWO, parallel=True)), turnover(linear(ONE), "stimulate production")
    )
    values = parameters((TWO, ONE), tlag=0.3) | {f"one.{name}": value for name, value in RESPONSE.items()}
    values |= {"two.Vmax": 4.0, "two.Km": 0.1, "one.C50": 9.0}
    par = {name: value * np.exp(0.3 * rng.standard_normal(CROWD)) for name, value in values.items()}
    own = {name: par[name][which] for name in dynamics.parameters}
    n, rows = len(own["two.V"]), (np.arange(CROWD) % 2)[which]
    sedation = sedation_of(n, "greco", **ADAPTING)
    return solve(dynamics, own, TID, OFF_GRID, rows=rows, n=n, windows=(24.0, 48.0), step=step, sedation=sedation)[0]


@pytest.fixture(scope="module")
def everyone():
    return crowd()


@pytest.mark.parametrize("step", [0.25, 0.5, 2.0])
def test_the_step_of_the_grid_moves_no_peak(everyone, step):
    found = crowd(step)
    for field in ("peak", "cmax", "auc"):
        assert getattr(found, field) == pytest.approx(getattr(everyone, field), rel=1e-9)
    assert found.peak_time == pytest.approx(everyone.peak_time, abs=1e-3)


@settings(max_examples=5, deadline=None)
@given(which=st.permutations(range(CROWD)), n=st.integers(1, CROWD))
def test_permuted_and_divided_patients_keep_their_bytes(everyone, which, n):
    chosen = np.array(which[:n])
    found = crowd(which=chosen)
    for field in FIELDS:
        assert np.array_equal(getattr(found, field), getattr(everyone, field)[..., chosen])


@pytest.fixture
def restless():
    """Threads that change places every few calls, so within the steps of a solver too."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("restless")
def test_threads_keep_the_bytes(everyone):
    with ThreadPoolExecutor(3) as pool:
        assert all(same_bytes(found, everyone) for found in pool.map(lambda _: crowd(), range(3)))


def test_shifting_all_times_shifts_the_answer():
    par = dict(MM)
    here, _ = solve(michaelis_menten(IV), par, OFF_GRID)
    later = [([(OFF_GRID[0] + 100.5, OFF_GRID[1])], np.zeros(1, int))]
    there, _ = expose_nonlinear(
        michaelis_menten(IV), par, later, np.full(1, 100.5), sedation_of(1, levels=False), Grid(0.5, (24.0,))
    )
    for field in ("peak", "cmax", "auc"):
        assert getattr(there, field) == pytest.approx(getattr(here, field), rel=1e-9)


# --------------------------------------------------------------------------------------------- failures


def own_slope(slope):
    return replace(linear(IV), slope=slope)


@pytest.mark.parametrize(
    "slope",
    [
        lambda t, x, par: [x[0] ** 2 * par["iv.CL"]],  # infinite after 1 / (CL dose) hours
        lambda t, x, par: [x[0] * (np.nan if t > 3 and par["iv.CL"] else -1.0)],
        lambda t, x, par: [x[0], x[0]] if par["iv.CL"] else [x[0]],
    ],
    ids=["blows up", "not a number", "of the wrong shape"],
)
@pytest.mark.filterwarnings("ignore")
def test_an_unsolved_patient_is_named(slope):
    par = parameters((IV,), CL=np.array([0.0, 0.0, 1.0]))
    solve(own_slope(slope), {name: np.broadcast_to(v, 3)[:2] for name, v in par.items()}, ONCE, n=2)  # the others are
    with pytest.raises(Unsolved, match=r"patient 2 \(of 3, from 0\): .*iv\.CL 1\)") as caught:
        solve(own_slope(slope), par, ONCE, n=3)
    assert caught.value.patient == 2


def test_a_parameter_that_is_not_finite_is_named():
    with pytest.raises(Unsolved, match=r"patient 1 \(of 2, from 0\): iv\.Km not finite"):
        solve(michaelis_menten(IV), MM | {"iv.Km": np.array([1.0, np.nan])}, ONCE, n=2)


def test_an_effect_that_is_not_finite_is_no_result():
    blind = replace(linear(IV), Ce=lambda x, par: [x[0] * np.where(x[0] > 0, np.nan, 1.0)])
    with pytest.raises(Unsolved, match="effect is not finite"):
        solve(blind, parameters((IV,)), ONCE)


def test_an_infusion_into_an_absorption_with_a_duration_is_refused():
    zero = Drug("zero", 1, "zero_order")
    with pytest.raises(ValueError, match="tinf of zero"):
        solve(linear(zero), parameters((zero,)), (*ONCE, np.array([2.0])))
    with pytest.raises(ValueError, match="tinf of iv"):
        solve(michaelis_menten(IV), MM, (*ONCE, np.array([-2.0])))


def test_windows_that_are_no_whole_number_of_steps_are_refused():
    with pytest.raises(ValueError, match="multiples of the step"):
        solve(michaelis_menten(IV), MM, ONCE, windows=(24.1,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entry": ("elsewhere",)}, "entry"),
        ({"drugs": ("iv", "iv")}, "not all different"),
        ({"parameters": ("iv.CL", "iv.V", "iv.tlag", "iv.F")}, r"lack \['iv\.C50'\]"),
        ({"duration": ("iv.dur", None)}, "duration"),
    ],
)
def test_dynamics_that_do_not_fit_together_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(linear(IV), **change)


def test_effects_are_linked_to_one_drug_at_a_time():
    with pytest.raises(ValueError, match="each drug by itself"):
        effect_site(together(linear(ONE), linear(TWO)))


# ---------------------------------------------------------------------------------------- the whole path

EXAMPLES = """\
examples:
  patient: {name: index, age: 68 year, sex: F, height: 154 cm, weight: 65 kg, scr: 0.713 mg/dL}
  arms: [ARM0_INDEX]
"""


@pytest.fixture(scope="module")
def small(write):
    return load_scenario(write(), size="small")


def with_model(scenario, **changes):
    return replace(scenario, model=replace(scenario.model, **changes))


def by_right_hand_side(scenario):
    """The same scenario, its linear model written as a right-hand side."""
    return with_model(scenario, dynamics=together(*(effect_site(linear(drug)) for drug in scenario.model.drugs)))


def estimates(scenario, **options):
    return run(scenario, **options)["estimates"]["value"]


@pytest.fixture(scope="module")
def solved(small):
    return by_right_hand_side(small)


@pytest.fixture
def step_by_step(monkeypatch):
    """Nobody goes by modes: the time at level is then summed on the scenario's step, as with a right-hand side."""
    monkeypatch.setattr("vtrial.kinetics.system.System.has_modes", property(lambda self: False))


@pytest.mark.usefixtures("step_by_step")
@pytest.mark.parametrize("surface", ["greco", "loewe", "bliss"])
def test_a_run_by_a_linear_right_hand_side_gives_the_linear_estimates(write, surface):
    scenario = load_scenario(write(("surface: greco", f"surface: {surface}")), size="small")
    kernel, found = estimates(scenario), estimates(by_right_hand_side(scenario))
    assert kernel.notnull().any()
    # risks go down to 1e-300: those below 1e-12 count as equal
    np.testing.assert_allclose(found, kernel, rtol=1e-5, atol=1e-12)
    assert not np.array_equal(found, kernel, equal_nan=True)  # another solver rounds otherwise


def test_trajectories_of_an_example_are_those_of_the_linear_kernel(write):
    scenario = load_scenario(write(("reference_patient:", EXAMPLES + "reference_patient:")), size="small")
    theta = draw_parameters(scenario.model, scenario.draws, 7)
    kernel, found = (trace_example(one, theta, "ARM0_INDEX") for one in (scenario, by_right_hand_side(scenario)))
    assert float(kernel["drive"].max()) > 0
    for name in ("conc", "Ce", "drive"):
        there, here = kernel[name].transpose("time", ...).values, found[name].transpose("time", ...).values
        assert 0 < worst(here, there) < 1e-8
    assert found.drop_vars(["conc", "Ce", "drive"]).identical(kernel.drop_vars(["conc", "Ce", "drive"]))


def test_blocks_and_threads_leave_every_bit_of_a_solved_run(solved, monkeypatch):
    one = estimates(solved, threads=1)
    monkeypatch.setattr("vtrial.block.FEW", 2)
    other = estimates(solved, threads=2)
    assert one.values.tobytes() == other.values.tobytes()


def test_a_solved_run_comes_in_small_blocks(small):
    # a thousand patients take minutes, in which no progress would show
    kernel = replace(small, draws=20, patients=8)

    def lengths(scenario):
        strata = [stratum.name for stratum in scenario.population.strata]
        return {len(block.draws) for block in blocks_of(scenario, strata, arms=3, memory=1e9, threads=1)}

    assert lengths(kernel) == {20}
    assert lengths(by_right_hand_side(kernel)) == {2}


def saturable(model, Km):
    """The model with baclofen saturating at Km (mg/L); its etas are those of a model whose clearance has none."""
    baclofen, pregabalin = model.drugs

    def typical(theta, cov):
        own = model.typical(theta, cov)
        return own | {"baclofen.Km": Km, "baclofen.Vmax": Km * own["baclofen.CL"]}

    return {
        "omega": lambda theta: {k: v for k, v in model.omega(theta).items() if k != "baclofen.CL"},
        "typical": typical,
        "dynamics": together(effect_site(michaelis_menten(baclofen)), effect_site(linear(pregabalin))),
    }


@pytest.mark.usefixtures("step_by_step")
def test_a_model_gives_the_parameters_that_its_right_hand_side_asks_for(small):
    far, near = (estimates(with_model(small, **saturable(small.model, Km))) for Km in (1e6, 0.1))
    steady = estimates(with_model(small, omega=saturable(small.model, 1.0)["omega"]))
    np.testing.assert_allclose(far, steady, rtol=1e-4, atol=1e-12)  # far from saturation
    what = {"outcome": "auc_baclofen_72h", "stat": "mean"}
    assert (near.sel(what) > 1.01 * steady.sel(what)).all()
    what["outcome"] = "auc_pregabalin_72h"
    np.testing.assert_allclose(near.sel(what), steady.sel(what), rtol=1e-5)


def test_individual_parameters_of_a_right_hand_side_vary_and_have_units(small):
    model = saturable(small.model, 0.5)
    varied = with_model(small, **model | {"omega": lambda theta: {"baclofen.Vmax": 0.3, "baclofen.Km": 0.2}})
    cohort = draw_patients(varied, draw_parameters(varied.model, 3, 7))
    CL = cohort["baclofen.Vmax"] / cohort["baclofen.Km"]
    assert float(np.log(CL / cohort["baclofen.CL"]).std()) == pytest.approx(np.hypot(0.3, 0.2), rel=0.5)
    assert [cohort[f"baclofen.{name}"].attrs["units"] for name in ("Vmax", "Km", "CL")] == ["mg/h", "mg/L", "L/h"]


# ------------------------------------------------------------------------- patients that cannot be solved


def test_an_unsolved_patient_of_a_cohort_is_named(small):
    broken = with_model(small, **saturable(small.model, 0.5))
    theta = draw_parameters(broken.model, 3, 7)
    cohort, reference = draw_patients(broken, theta), expose_reference(broken, theta)
    assert cohort["baclofen.Km"].dims == ("stratum", "draw", "patient")
    cohort["baclofen.Km"] = cohort["baclofen.Km"].copy()
    cohort["baclofen.Km"][1, 2, 0] = np.nan
    says = r"^model baclofen_pregabalin gives 'baclofen\.Km' = nan to a patient: stratum '75-84 G4', draw 2, patient 0"
    with pytest.raises(InputError, match=says):
        simulate(broken, cohort, "ARM0_INDEX", reference)


HEADER = """
from dataclasses import replace
from vtrial.model import load_model
from vtrial.model.dynamics import Dynamics, effect_site, linear, michaelis_menten, together

LINEAR = load_model("baclofen_pregabalin")
baclofen, pregabalin = LINEAR.drugs
KINETICS = together(effect_site(linear(baclofen)), effect_site(linear(pregabalin)))
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Add a model to a library of one's own, under a name used once: models are loaded once."""
    folder = tmp_path / "models"
    shutil.copytree(MODELS, folder)
    monkeypatch.setattr("vtrial.model.load.MODELS", folder)
    return lambda name, code: (folder / f"{name}.py").write_text(HEADER + code, encoding="utf-8")


def test_a_patient_who_cannot_be_solved_ends_the_run_with_one_message(library, write, tmp_path):
    library(
        "explosive",
        "def slope(t, x, par):\n"
        "    *rows, last = KINETICS.slope(t, x, par)\n"
        "    slow = par['baclofen.CL'] < 4.0  # in renal failure, not in the reference patient\n"
        "    return [*rows, 100.0 * (1.0 + x[-1] ** 2) if slow and t > 30.0 else last]\n"
        "MODEL = replace(LINEAR, name='explosive', dynamics=replace(KINETICS, slope=slope))",
    )
    path = write(("name: baclofen_pregabalin", "name: explosive"))
    assert CliRunner().invoke(app, ["check", str(path)]).exit_code == 0
    before = sorted(tmp_path.iterdir())
    done = CliRunner().invoke(app, ["run", str(path), "-o", str(tmp_path / "out"), "--size", "small"])
    assert isinstance(done.exception, SystemExit)
    assert done.exit_code == 2
    errors = [line for line in done.stderr.splitlines() if not line.startswith("Compiling")]
    assert len(errors) == 2
    assert errors[0].startswith("error: model explosive cannot solve a patient: stratum '75-84 G4', draw ")
    assert "the solver stopped at 30.0" in errors[0]
    assert "baclofen.CL " in errors[0]
    assert errors[1] == "1 problem; nothing was written."
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("parameters=(*KINETICS.parameters, 'baclofen.Km')", "typical() gives no 'baclofen.Km'"),
        ("slope=lambda t, x, par: [0.0] * 6", "dynamics: slope gives an array of shape (6,)"),
        ("slope=lambda t, x, par: [par['k']] * 7", "dynamics: KeyError: 'k'"),
        ("slope=lambda t, x, par: [0.0] * 6 + [1 / (1 - x[0])]", "dynamics: slope of pregabalin.Ce is not finite"),
        ("conc=lambda x, par: [x[0]]", "dynamics: conc gives an array of shape (1,)"),
        ("Ce=lambda x, par: [x[0], x[0] * float('nan')]", "dynamics: Ce of pregabalin is not finite"),
        ("initial=lambda par: [1.0]", "dynamics: initial gives an array of shape (1,)"),
    ],
)
def test_a_right_hand_side_is_tried_when_its_model_is_loaded(library, change, says, request):
    name = f"tried_{request.node.callspec.indices['change']}"
    library(name, f"MODEL = replace(LINEAR, name='{name}', dynamics=replace(KINETICS, {change}))")
    with pytest.raises(InputError) as caught:
        load_model(name)
    assert len(caught.value.problems) == 1
    assert says in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("code", "line", "says"),
    [
        ("MODEL = (", 9, "was never closed"),
        ("import nosuchmodule", 9, "ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("raise RuntimeError('stop')", 9, "RuntimeError: stop"),
        ("def new(theta, cov):\n    return cov['HEIGHT']\nMODEL = replace(LINEAR, name='NAME', typical=new)", 10,
         "unknown name 'HEIGHT'"),
        ("def new(theta):\n    return 1 / 0\nMODEL = replace(LINEAR, name='NAME', omega=new)", 10, "ZeroDivisionError"),
        ("MODEL = replace(LINEAR, name='NAME', dynamics=together(effect_site(linear(baclofen))))", 9, "ValueError"),
    ],
)  # fmt: skip
def test_a_model_file_that_raises_is_named_with_its_line(library, code, line, says, request):
    name = f"raises_{request.node.callspec.indices['code']}"
    library(name, code.replace("NAME", name))
    with pytest.raises(InputError) as caught:
        load_model(name)
    (problem,) = caught.value.problems
    assert says in problem.message
    assert problem.file.name == f"{name}.py"
    assert problem.line == line


@pytest.mark.parametrize(("name", "value"), [
    ("baclofen.C50", "nan"), ("baclofen.F", "nan"), ("pregabalin.tlag", "nan"), ("baclofen.tlag", "-0.1"),
    ("pregabalin.V", "0.0"), ("A", "inf"),
])  # fmt: skip
def test_patients_with_impossible_parameters_end_the_run(library, write, tmp_path, name, value, request):
    model = f"impossible_{request.node.callspec.indices['name']}"
    library(
        model,
        "import numpy as np\n"
        "def typical(theta, cov):\n"
        "    given = LINEAR.typical(theta, cov)\n"
        f"    wrong = np.where(cov['GFR'] < 30.0, float('{value}'), given['{name}'])  # not the reference patient\n"
        f"    return given | {{'{name}': wrong}}\n"
        f"MODEL = replace(LINEAR, name='{model}', typical=typical)",
    )
    path = write(("name: baclofen_pregabalin", f"name: {model}"))
    before = sorted(tmp_path.iterdir())
    done = CliRunner().invoke(app, ["run", str(path), "-o", str(tmp_path / "out"), "--size", "small"])
    assert done.exit_code == 2, done.stdout
    assert (
        f"error: model {model} gives '{name}' = {float(value):g} to a patient: stratum '75-84 G4', draw " in done.stderr
    )
    assert sorted(tmp_path.iterdir()) == before


def test_an_eta_that_nothing_reads_is_refused(library):
    # a clearance left in omega() beside saturable elimination would silently have no effect
    library(
        "inert",
        "def typical(theta, cov):\n"
        "    return LINEAR.typical(theta, cov) | {'baclofen.Km': 1.0, 'baclofen.Vmax': 1.0}\n"
        "KINETICS = together(effect_site(michaelis_menten(baclofen)), effect_site(linear(pregabalin)))\n"
        "MODEL = replace(LINEAR, name='inert', typical=typical, dynamics=KINETICS)",
    )
    with pytest.raises(InputError, match=r"omega\(\) names 'baclofen\.CL', which nothing reads"):
        load_model("inert")


@pytest.mark.parametrize(("name", "least"), [("baclofen.Km", 1e-9), ("baclofen.Vmax", 0.0), ("baclofen.own", -1e9)])
def test_a_parameter_of_a_right_hand_side_is_checked_when_fixed(small, name, least):
    # b_age, whose prior allows every number, stands for it; of a name of the model's own no sign is known
    typical = small.model.typical
    changed = replace(small.model, typical=lambda theta, cov: typical(theta, cov) | {name: theta["b_age"]})
    assert not check_fixed(changed, {"b_age": max(least, -1.0)})
    refused = [text for _, text in check_fixed(changed, {"b_age": -1.0})]
    assert refused == ([f"given -1: gives '{name}' = -1 in a typical patient"] if least > -1.0 else [])
    assert bool(check_fixed(changed, {"b_age": 0.0})) == (least > 0.0)


def test_a_model_has_the_dynamics_of_its_own_drugs(small):
    with pytest.raises(ValueError, match="dynamics of"):
        replace(small.model, dynamics=linear(IV))


def test_own_dynamics_need_no_ready_made_part():
    # x' = -k x written by hand: the trace is the exponential
    decay = Dynamics(
        drugs=("x",), states=("body",), parameters=("k", "x.tlag", "x.F", "x.C50"), entry=("body",),
        slope=lambda t, x, par: -par["k"] * x, conc=lambda x, par: x, Ce=lambda x, par: x,
        initial=lambda par: [5.0],
    )  # fmt: skip
    _, trace = solve(decay, {"k": 0.3, "x.tlag": 0.0, "x.F": 1.0, "x.C50": 1.0}, (np.empty(0), np.empty(0)), trace=True)
    assert trace.conc[:, 0, 0] == pytest.approx(5.0 * np.exp(-0.3 * trace.time), rel=1e-8)


def test_what_begins_and_ends_within_an_hour_is_not_stepped_over():
    """Elimination 5 /h from 100 to 101 h, else 0.02 /h: what is left is exp(-0.02 (t - 1) - 5) of the dose."""

    def slope(t, x, par):
        return [-(5.0 if 100.0 <= t < 101.0 else 0.02) * x[0]]

    def conc(x, par):
        return [x[0]]

    pulse = Dynamics(("x",), ("body",), ("x.tlag", "x.F", "x.C50"), ("body",), slope, conc, conc, breaks=(100.0, 101.0))
    par = {"x.tlag": 0.0, "x.F": 1.0, "x.C50": 1.0}
    both = together(pulse, effect_site(linear(Drug("y", 1))))
    for dynamics in (pulse, both):
        _, track = solve(dynamics, par | parameters([Drug("y", 1)]), ONCE, windows=(168.0,), trace=True)
        assert track.conc[-1, 0, 0] == pytest.approx(100 * np.exp(-0.02 * 167 - 5), rel=1e-6)
    with pytest.raises(ValueError, match="not all finite"):
        replace(pulse, breaks=(np.inf,))
