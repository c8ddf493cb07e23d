"""The model file against its evidence, a patient worked by hand, priors against scipy, posterior files."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from ruamel.yaml import YAML
from scipy import stats
from scipy.stats import ks_2samp

from vtrial.kinetics import Grid, Sedation, System, expose
from vtrial.library import MODELS
from vtrial.model import (
    GRADES,
    Beta,
    Fixed,
    HalfNormal,
    LogNormal,
    Normal,
    Param,
    Uniform,
    draw_parameters,
    evidence_rows,
    individual,
    load_model,
)
from vtrial.pharmacodynamics import level_probability
from vtrial.sample import key, normals
from vtrial.spec import InputError

MODEL = load_model("baclofen_pregabalin")
NAMES = {p.name for p in MODEL.params}


def evidence(name):
    return YAML(typ="safe").load((MODELS / "evidence" / f"{name}.yaml").read_text(encoding="utf-8"))


# -------------------------------------------------------------------------- parameters and evidence

ROWS = {f"{f}:{row['id']}": row["confidence"] for f in ("pk", "pd") for row in evidence(f)["rows"]}
# models/evidence/README.md: seen in third-party transcriptions, counted as A2
SECONDARY = {f"pk:4.0{i}" for i in range(1, 8)} | {"pk:1.18", "pk:1.21"}


@pytest.mark.parametrize("param", MODEL.params, ids=lambda p: p.name)
def test_grade_is_no_stronger_than_its_weakest_row(param):
    grades = ["A2" if row in SECONDARY and ROWS[row] == "A" else ROWS[row] for row in param.rows]
    weakest = max(map(GRADES.index, grades), default=GRADES.index("B"))  # no row at all: assumed
    assert GRADES.index(param.grade) >= weakest, (
        f"{param.grade}, but rows are {dict(zip(param.rows, grades, strict=True))}"
    )


def test_rows_are_found_with_their_source():
    found = evidence_rows(MODEL)
    assert set(found) == {row for p in MODEL.params for row in p.rows}
    assert all(row["source"].strip() and row["grade"] in GRADES for row in found.values())


def test_unknown_row_is_reported_with_the_nearest():
    wrong = Param("x", Fixed(1.0), "1", "x", ("pk:1.99",), "B")
    with pytest.raises(InputError, match=r"names row '1.99'.*Allowed"):
        evidence_rows(type(MODEL)(**{**vars(MODEL), "params": (wrong,)}))


def as_prior(row):
    match row["dist"]:
        case "lognormal":
            return LogNormal(row["median"], row["sdlog"], row.get("upper", math.inf))
        case "normal":
            return Normal(row["mean"], row["sd"])
        case "halfnormal":
            return HalfNormal(row["scale"])
        case "beta":
            return Beta(row["a"], row["b"])
        case "uniform":
            return Uniform(row["low"], row["high"])


SEDATION = {"baclofen_C50_level3": "baclofen.C50", "pregabalin_C50_level3": "pregabalin.C50"} | {
    name: name for name in ("omega_S", "r_1", "r_2", "b_age", "b_ur", "tolerance_fold", "tolerance_t_half", "alpha")
}
PK = {
    "baclofen": {
        "slope_CLr_per_CrCL": "slope_CLr", "CL_nonrenal_70kg": "CL_nonrenal", "bsv_CL_total": "omega_CL", "F": "F",
        "Vc_70kg": "V", "Q_70kg": "Q", "Vp_70kg": "V2", "ka": "ka", "tlag": "tlag", "ke0_sedation": "ke0",
    },
    "pregabalin": {
        "slope_CLF_per_CrCL": "slope_CL", "CrCL_cap": "CrCL_cap", "CLF_nonrenal": "CL_nonrenal", "bsv_CL": "omega_CL",
        "VF": "V", "ka_fasted": "ka", "tlag_fasted": "tlag", "ke0_sedation": "ke0",
    },
}  # fmt: skip


@pytest.mark.parametrize(("row", "name"), SEDATION.items())
def test_sedation_priors_are_those_of_the_evidence_file(row, name):
    assert MODEL.param(name).prior == as_prior(evidence("sedation")["priors"][row])


@pytest.mark.parametrize(("drug", "row", "name"), [(d, r, n) for d in PK for r, n in PK[d].items()])
def test_kinetic_priors_are_those_recommended_by_the_evidence(drug, row, name):
    rows = {r["name"]: r for r in evidence("pk")["recommended_priors"][drug]}
    assert MODEL.param(f"{drug}.{name}").prior == as_prior(rows[row])


def test_no_sedation_prior_of_the_evidence_is_left_out():
    elsewhere = {"ke0", "report_probability_level1", "background_somnolence"}  # kinetics, and calibration
    assert set(evidence("sedation")["priors"]) == set(SEDATION) | elsewhere


@pytest.mark.parametrize(("drug", "row", "name"), [
    ("baclofen", "Vc_70kg", "V"), ("baclofen", "ka", "ka"), ("baclofen", "ke0_sedation", "ke0"), ("baclofen", "F", "F"),
    ("pregabalin", "VF", "V"), ("pregabalin", "ka_fasted", "ka"), ("pregabalin", "ke0_sedation", "ke0"),
])  # fmt: skip
def test_fixed_omegas_are_the_bsv_of_the_evidence(drug, row, name):
    bsv = {r["name"]: r for r in evidence("pk")["recommended_priors"][drug]}[row]["bsv"]
    number = float(re.search(r"[\d.]+", str(bsv))[0])
    assert MODEL.param(f"{drug}.omega_{name}").prior == Fixed(number)


# --------------------------------------------------------------------------------------------- priors


@pytest.mark.parametrize(
    ("prior", "truth"),
    [
        (LogNormal(3.0, 0.5), stats.lognorm(0.5, scale=3.0)),
        (Normal(0.0126, 0.006), stats.norm(0.0126, 0.006)),
        (HalfNormal(0.9), stats.halfnorm(scale=0.9)),
        (Beta(82.9, 23.4), stats.beta(82.9, 23.4)),
        (Uniform(0.1, 0.4), stats.uniform(0.1, 0.3)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_quantiles_of_priors_are_scipys(prior, truth):
    p = np.array([1e-9, 0.01, 0.3, 0.5, 0.9, 1 - 1e-9])
    assert prior.quantile(p) == pytest.approx(truth.ppf(p), rel=1e-9)


def test_truncated_log_normal_is_the_log_normal_given_that_it_is_below():
    prior, whole, p = LogNormal(0.4, 0.4, upper=1.0), stats.lognorm(0.4, scale=0.4), np.linspace(0.01, 0.99, 9)
    assert whole.cdf(prior.quantile(p)) / whole.cdf(1.0) == pytest.approx(p, rel=1e-12)
    assert prior.quantile(1 - 2.0**-54) <= 1.0


def test_fixed_prior_is_its_value():
    assert Fixed(0.75).quantile(np.array([0.1, 0.9])).tolist() == [0.75, 0.75]


def test_names_of_thresholds_and_units_are_usable():
    assert len(NAMES) == len(MODEL.params)
    assert all(p.unit and p.label for p in MODEL.params)


# ------------------------------------------------------------------------------- a patient by hand

THETA = {p.name: float(p.prior.quantile(np.float64(0.5))) for p in MODEL.params}
THETA |= {"baclofen.tlag": 0.15, "baclofen.F": 0.78, "pregabalin.CL_nonrenal": 0.1, "b_ur": 0.6}
# 68 F 154 cm 65 kg Scr 0.713 mg/dL: Cockcroft-Gault (140-68) 65 / (72 0.713) 0.85 = 77.489 mL/min;
# IBW 45.5 + 2.3 (154/2.54 - 60) = 46.949 kg; BMI 65/1.54^2 = 27.408 kg/m2
INDEX = {"AGE": 68.0, "SEX": 1.0, "WT": 65.0, "IBW": 46.9488, "BMI": 27.4081, "CRCL": 77.489, "FED": 0.0}
BY_HAND = {
    "GFR": 77.489,
    "baclofen.CL": 5.8791,  # 0.06 77.489 + 1.3 (65/70)^0.75 = 4.64934 + 1.22972
    "baclofen.V": 25.0714,  # 27 65/70
    "baclofen.Q": 9.4594,  # 10 (65/70)^0.75
    "baclofen.V2": 18.5714,  # 20 65/70
    "baclofen.ka": 2.0,
    "baclofen.tlag": 0.15,
    "baclofen.F": 0.78,
    "baclofen.ke0": 0.8,
    "baclofen.C50": 3.0,
    "pregabalin.CL": 3.1103,  # (0.043 77.489 + 0.1) (46.9488/62)^0.354 = 3.43203 0.90625
    "pregabalin.V": 26.481,  # 35.6 (46.9488/62)^.819 (27.4081/25)^.525 (68/59)^-.125 .906
    "pregabalin.ka": 8.0,
    "pregabalin.tlag": 0.24,
    "pregabalin.F": 1.0,
    "pregabalin.ke0": 0.45,
    "pregabalin.C50": 60.0,
    "A": 1.25458,  # exp(0.0126 18); GFR above 60: no uraemia
}


@pytest.mark.parametrize(("name", "value"), BY_HAND.items())
def test_typical_patient_worked_by_hand(name, value):
    assert individual(MODEL, THETA, INDEX, {})[name] == pytest.approx(value, rel=2e-5)


def test_uraemia_food_and_the_cap_by_hand():
    uraemic = individual(MODEL, THETA, INDEX | {"CRCL": 15.0, "FED": 1.0}, {})
    assert uraemic["A"] == pytest.approx(math.exp(0.0126 * 18 + 0.6 * 0.75))  # (60 - 15) / 60 = 0.75
    assert uraemic["pregabalin.ka"] == pytest.approx(8.0 * 0.070)
    assert uraemic["pregabalin.tlag"] == pytest.approx(0.24 * 1.811)
    above, far = (individual(MODEL, THETA, INDEX | {"CRCL": x}, {}) for x in (107.0, 200.0))
    assert above["pregabalin.CL"] == far["pregabalin.CL"]  # CrCL_cap 107 mL/min
    assert above["baclofen.CL"] < far["baclofen.CL"]


def test_etas_act_on_the_log_or_on_the_logit_and_eta_of_gfr_reaches_clearance_and_uraemia():
    omega = MODEL.omega(THETA)
    off = individual(MODEL, THETA, INDEX, {"baclofen.V": 1.0, "baclofen.F": -2.0, "GFR": -1.5})
    assert off["baclofen.V"] == pytest.approx(BY_HAND["baclofen.V"] * math.exp(0.25), rel=1e-5)
    logit = math.log(0.78 / 0.22) - 2 * 0.3
    assert off["baclofen.F"] == pytest.approx(1 / (1 + math.exp(-logit)))
    assert off["GFR"] == pytest.approx(77.489 * math.exp(-0.3))
    assert off["baclofen.CL"] == pytest.approx(0.06 * off["GFR"] + 1.22972, rel=1e-5)
    assert off["A"] > BY_HAND["A"]  # GFR is 57.4 now: below 60
    assert set(omega) <= set(off)


def test_omega_of_clearance_without_the_error_of_cockcroft_gault():
    # sedation.yaml, pk_conventions: sqrt(omega_published^2 - 0.20^2 renal_share^2), not less than 0.10
    omega = MODEL.omega(THETA)
    share = 6.3 / 7.6  # of 0.06 105 + 1.3 L/h
    assert omega["baclofen.CL"] == pytest.approx(math.sqrt(0.25**2 - (0.2 * share) ** 2))
    assert omega["pregabalin.CL"] == 0.10  # 0.16^2 is less than (0.2 0.978)^2


def test_typical_runs_on_xarray_as_on_numpy():
    theta = draw_parameters(MODEL, 3, seed=1)
    cov = {name: np.array([value, 0.9 * value]) for name, value in INDEX.items()}
    labelled = {name: xr.DataArray(value, dims="patient") for name, value in cov.items()}
    here = individual(MODEL, {p: theta[p].values[:, None] for p in NAMES}, cov, {})
    there = individual(MODEL, {p: theta[p] for p in NAMES}, labelled, {})
    for name, value in there.items():
        shape = xr.broadcast(xr.DataArray(value), xr.DataArray(np.zeros((3, 2)), dims=("draw", "patient")))[0]
        numbers = shape.transpose("draw", "patient").values
        assert numbers == pytest.approx(np.broadcast_to(here[name], (3, 2)), rel=1e-14)


# ----------------------------------------------------------------------------------- draws of the prior


def test_thresholds_are_a_ladder_in_every_draw():
    theta = draw_parameters(MODEL, 20_000, seed=3)
    assert bool((theta["r_1"] < theta["r_2"]).all())
    assert bool((theta["r_2"] < 1).all())


def test_draws_are_those_of_the_prior_given_the_ladder():
    # oracle: numpy's own log-normals, rejected by hand; KS p below 1e-4 is one run in 10,000, and seeds are fixed
    theta, rng = draw_parameters(MODEL, 20_000, seed=3), np.random.default_rng(5)
    r_1, r_2 = (np.exp(np.log(m) + 0.4 * rng.standard_normal(100_000)) for m in (0.108, 0.40))
    keep = (r_1 < r_2) & (r_2 < 1)
    assert ks_2samp(theta["r_1"].values, r_1[keep]).pvalue > 1e-4
    assert ks_2samp(theta["r_2"].values, r_2[keep]).pvalue > 1e-4
    assert ks_2samp(theta["alpha"].values, np.exp(np.log(1.5) + 0.9 * rng.standard_normal(100_000))).pvalue > 1e-4


def test_more_draws_leave_the_first_as_they_were():
    few, many = draw_parameters(MODEL, 50, seed=3), draw_parameters(MODEL, 5000, seed=3)
    assert few.identical(many.isel(draw=slice(50)))


def test_fixing_a_parameter_leaves_the_others_as_they_were():
    free, fixed = draw_parameters(MODEL, 500, seed=3), draw_parameters(MODEL, 500, seed=3, fix={"alpha": 0.0})
    assert (fixed["alpha"] == 0).all()
    assert all(free[name].identical(fixed[name]) for name in NAMES - {"alpha"})


def test_fix_that_is_unknown_or_contradicts_the_ladder_is_refused():
    with pytest.raises(InputError, match="did you mean 'alpha'"):
        draw_parameters(MODEL, 5, seed=3, fix={"alhpa": 0.0})
    with pytest.raises(InputError, match="constraint"):
        draw_parameters(MODEL, 5, seed=3, fix={"r_1": 0.5, "r_2": 0.4})


# ------------------------------------------------------------------------------------- posterior files


def posterior_of(chains=2, draws=30, leave_out=()):
    """As ArviZ writes it: dims chain and draw, one variable per free parameter."""
    free = [p for p in MODEL.params if not isinstance(p.prior, Fixed) and p.name not in leave_out]
    rng = np.random.default_rng(0)
    value = {p.name: (("chain", "draw"), p.prior.quantile(rng.uniform(0.4, 0.6, (chains, draws)))) for p in free}
    return xr.Dataset(value, {"chain": range(chains), "draw": range(draws)})


def written(tmp_path, dataset, group="/posterior"):
    path = tmp_path / "fit.nc"
    xr.DataTree.from_dict({group: dataset}).to_netcdf(path, engine="h5netcdf")
    return path


def test_first_draws_of_a_posterior_are_of_all_its_chains(tmp_path):
    data = posterior_of()
    theta = draw_parameters(MODEL, 60, seed=1, posterior=written(tmp_path, data))
    assert np.array_equal(theta["alpha"].values, data["alpha"].values.T.ravel())
    assert (theta["allometry_CL"] == 0.75).all()  # fixed by the model, and not in the file
    assert theta.attrs["source"] == "posterior fit.nc"


def test_plain_file_over_draws_is_read(tmp_path):
    data = posterior_of(1).isel(chain=0, drop=True)
    theta = draw_parameters(MODEL, 30, seed=1, posterior=written(tmp_path, data, "/"))
    assert np.array_equal(theta["omega_S"].values, data["omega_S"].values)


def test_posterior_can_be_fixed_in_one_parameter(tmp_path):
    theta = draw_parameters(MODEL, 60, seed=1, posterior=written(tmp_path, posterior_of()), fix={"alpha": 5.0})
    assert (theta["alpha"] == 5).all()


def broken_posteriors():
    bad = posterior_of()
    bad["omega_S"][0, 3] = np.nan
    yield "nan", bad, "'omega_S' has values that are not finite"
    yield "lacks two", posterior_of(leave_out=("alpha", "baclofen.V")), "no parameter 'alpha'"
    yield "few", posterior_of(draws=29), "holds 58 draws of the parameters, 60 are asked for"


@pytest.mark.parametrize(
    ("data", "says"), [b[1:] for b in broken_posteriors()], ids=[b[0] for b in broken_posteriors()]
)
def test_unusable_posterior_is_an_input_error(tmp_path, data, says):
    path = written(tmp_path, data)
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        draw_parameters(MODEL, 60, seed=1, posterior=path)
    assert str(path) in str(caught.value)
    missing = [p for p in MODEL.params if p.name not in data and not isinstance(p.prior, Fixed)]
    assert len(caught.value.problems) >= len(missing)  # all at once


def test_truncated_missing_and_foreign_files_are_input_errors(tmp_path):
    whole = written(tmp_path, posterior_of()).read_bytes()
    for name, content in {"cut.nc": whole[: len(whole) // 2], "empty.nc": b"", "text.nc": b"alpha: 1\n"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not a readable posterior"):
            draw_parameters(MODEL, 60, seed=1, posterior=tmp_path / name)
    with pytest.raises(InputError, match=r"nowhere\.nc"):
        draw_parameters(MODEL, 60, seed=1, posterior=tmp_path / "nowhere.nc")


def test_posterior_that_breaks_the_ladder_is_an_input_error(tmp_path):
    # a posterior of another model may hold r_1 > r_2: level 1 would then be rarer than level 2
    data = posterior_of()
    data["r_1"][:] = 0.9
    with pytest.raises(InputError, match=r"r_1|constraint"):
        draw_parameters(MODEL, 60, seed=1, posterior=written(tmp_path, data))


# ------------------------------------------------------------------------------- parameters at their medians


def test_median_of_the_prior_is_the_same_in_every_draw():
    theta = draw_parameters(MODEL, 3, seed=1, median=True)
    assert theta["baclofen.C50"].values == pytest.approx([3.0] * 3)  # log-normals are written by their medians
    assert theta["b_ur"].values == pytest.approx([0.9 * 0.6744898] * 3)  # half-normal: scale times the 75% quantile
    assert theta.attrs["source"] == "prior median"
    drawn = draw_parameters(MODEL, 20_001, seed=3)["alpha"].median()
    # SD of a median over n draws: 1.2533 sd / sqrt(n), sd of log alpha 0.9: 0.8%
    assert float(theta["alpha"][0]) == pytest.approx(float(drawn), rel=0.03)


def test_median_of_a_posterior_is_of_all_its_draws_and_fixed_values_stay(tmp_path):
    data = posterior_of()
    path = written(tmp_path, data)
    theta = draw_parameters(MODEL, 100, seed=1, posterior=path, median=True, fix={"alpha": 5.0})  # it holds 60
    assert (theta["omega_S"] == np.median(data["omega_S"])).all()
    assert (theta["alpha"] == 5.0).all()
    assert (theta["allometry_CL"] == 0.75).all()
    assert theta.attrs["source"] == "posterior fit.nc median"


def test_medians_that_break_the_ladder_are_an_input_error():
    tight = replace(MODEL, constraint=lambda theta: theta["r_1"] > 0.2)
    with pytest.raises(InputError, match="medians of the parameters break the constraint of baclofen_pregabalin"):
        draw_parameters(tight, 5, seed=1, median=True)


# --------------------------------------------------------------------- prior predictive gates (sedation.yaml)

HEALTHY = {"AGE": 40.0, "SEX": 0.0, "WT": 70.0, "IBW": 71.4, "BMI": 22.6, "CRCL": 105.0, "FED": 0.0}  # 176 cm
DRAWS = 2000


def coma_probability(drug, times, amt, etas=False):
    """P(coma within 7 d) of the healthy 40-year-old, one for each prior draw, sensitivity integrated out."""
    draws = draw_parameters(MODEL, DRAWS, seed=1)
    theta = {name: draws[name].values for name in NAMES}
    z = {n: normals(key(1, "gate", n), range(DRAWS))[:, 0] for n in MODEL.omega(theta)} if etas else {}
    own = {name: np.broadcast_to(v, DRAWS).copy() for name, v in individual(MODEL, theta, HEALTHY, z).items()}
    none, given = (np.array([]), np.array([])), (np.asarray(times, float), np.full(len(times), float(amt)))
    doses = [([given if d.name == drug else none], np.zeros(DRAWS, int)) for d in MODEL.drugs]
    sedation = Sedation(
        "greco", own["A"], theta["alpha"], theta["tolerance_fold"], 24 * theta["tolerance_t_half"],
        np.zeros(DRAWS, int), np.zeros((1, 0)), np.array([1.0]),
    )  # fmt: skip
    found, _ = expose(System.of(MODEL.drugs), own, doses, np.zeros(DRAWS), sedation, Grid(0.5, (168.0,)))
    return level_probability([found.peak[0, 0]], 1.0, theta["omega_S"])


TID, BID = np.arange(0, 168, 8.0), np.arange(0, 168, 12.0)


@pytest.mark.parametrize("etas", [False, True], ids=["typical", "varied"])
@pytest.mark.parametrize(("drug", "times", "amt"), [("baclofen", TID, 5), ("pregabalin", BID, 75)])
def test_gate_coma_is_rare_in_the_healthy_on_starting_doses(drug, times, amt, etas):
    share = (coma_probability(drug, times, amt, etas) < 1e-3).mean()
    print(f"\ngate: {drug} {amt} mg, etas {etas}: prior P(P(coma, 7 d) < 1e-3) = {share:.4f}")
    assert share >= 0.9


@pytest.mark.parametrize("etas", [False, True], ids=["typical", "varied"])
def test_gate_coma_is_common_after_a_gram_of_baclofen(etas):
    share = (coma_probability("baclofen", [0.0], 1000, etas) > 0.2).mean()
    print(f"\ngate: baclofen 1000 mg once, etas {etas}: prior P(P(coma) > 0.2) = {share:.4f}")
    assert share >= 0.9
