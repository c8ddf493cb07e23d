"""Baclofen and pregabalin, both cleared by the kidney, both sedating.

Research software: not for dosing decisions in patients.

Kinetics
    Baclofen: two compartments, first-order absorption with lag. Renal clearance is proportional to the true
    GFR in mL/min (raw Cockcroft-Gault as measured, pk 1.02 1.09 1.12 1.42), plus a non-renal clearance with
    allometric weight. Volumes and clearances are systemic: the dose enters as F * amt. Two compartments and not
    one, because the one-compartment popPK models miss the observed peak by about 40% (pk, disagreements).
    Pregabalin: one compartment, apparent parameters, first-order absorption with lag, fasted or fed; CL/F is
    linear in GFR up to a cap (Shoji 2011, pk 4.01-4.06; seen as a third-party transcription, hence A2).
    True GFR = Cockcroft-Gault * exp(eta_GFR): prescribers see creatinine, the kidney does as it does.
    A session of haemodialysis adds CL_HD to CL; for pregabalin the systemic clearance by dialysis over F, as its
    parameters are apparent.
Sedation
    Structure and priors of `evidence/sedation.yaml`: potency relative to the C50 of coma, a response surface,
    log-normal sensitivity, age, uraemia, tolerance, a ladder of thresholds r_1 < r_2 < r_3 = 1.
Sources
    Row by row in `evidence/pk.yaml` (pk:...) and `evidence/pd.yaml` (pd:...), with grades.
"""

import numpy as np

from vtrial.model import Beta, Drug, Fixed, HalfNormal, LogNormal, Model, Normal, Param, Uniform, greater, lesser

LITRES_PER_HOUR = 0.06  # from mL/min
NORMAL_GFR = 105.0  # mL/min, where the published omegas of clearance were estimated (pk 1.45)
LEAST_OMEGA_CL = 0.10  # floor of omega of clearance once the error of Cockcroft-Gault is taken out (sedation.yaml)


def typical(theta, cov):
    """Parameters of a patient whose etas are zero, given theta and covariates (GFR is the true one, mL/min)."""
    size = cov["WT"] / 70.0
    allometric = size ** theta["allometry_CL"]
    baclofen_renal = LITRES_PER_HOUR * theta["baclofen.slope_CLr"] * cov["GFR"]
    lean = cov["IBW"] / 62.0
    pregabalin_renal = theta["pregabalin.slope_CL"] * lesser(cov["GFR"], theta["pregabalin.CrCL_cap"])
    return {
        "baclofen.CL": baclofen_renal + theta["baclofen.CL_nonrenal"] * allometric,
        "baclofen.V": theta["baclofen.V"] * size,
        "baclofen.Q": theta["baclofen.Q"] * allometric,
        "baclofen.V2": theta["baclofen.V2"] * size,
        "baclofen.ka": theta["baclofen.ka"],
        "baclofen.tlag": theta["baclofen.tlag"],
        "baclofen.F": theta["baclofen.F"],
        "baclofen.ke0": theta["baclofen.ke0"],
        "baclofen.C50": theta["baclofen.C50"],
        "baclofen.CL_HD": theta["baclofen.CL_HD"],
        "pregabalin.CL": (pregabalin_renal + theta["pregabalin.CL_nonrenal"]) * lean ** theta["pregabalin.IBW_on_CL"],
        "pregabalin.V": theta["pregabalin.V"]
        * lean ** theta["pregabalin.IBW_on_V"]
        * (cov["BMI"] / 25.0) ** theta["pregabalin.BMI_on_V"]
        * (cov["AGE"] / 59.0) ** theta["pregabalin.AGE_on_V"]
        * theta["pregabalin.female_on_V"] ** cov["SEX"],
        "pregabalin.ka": theta["pregabalin.ka"] * theta["pregabalin.food_on_ka"] ** cov["FED"],
        "pregabalin.tlag": theta["pregabalin.tlag"] * theta["pregabalin.food_on_tlag"] ** cov["FED"],
        "pregabalin.F": 1.0,
        "pregabalin.ke0": theta["pregabalin.ke0"],
        "pregabalin.C50": theta["pregabalin.C50"],
        "pregabalin.CL_HD": theta["pregabalin.CL_HD"] / theta["pregabalin.F_systemic"],
        "A": patient_factor(theta, cov),
    }


def patient_factor(theta, cov):
    """Factor A on the sedative drive: age, and uraemia through the true GFR; 1 at age 50 and GFR above 60."""
    uraemia = greater((60.0 - cov["GFR"]) / 60.0, 0.0)
    return np.exp(theta["b_age"] * (cov["AGE"] - 50.0)) * np.exp(theta["b_ur"] * uraemia)


def omega(theta):
    """SD of each eta. Published omegas of clearance hold part of the error of Cockcroft-Gault: take it out."""

    def clearance(published, renal, nonrenal):
        share = renal / (renal + nonrenal)
        left = published**2 - (theta["omega_GFR"] * share) ** 2
        return greater(left, LEAST_OMEGA_CL**2) ** 0.5

    baclofen_renal = LITRES_PER_HOUR * theta["baclofen.slope_CLr"] * NORMAL_GFR
    pregabalin_renal = theta["pregabalin.slope_CL"] * NORMAL_GFR
    return {
        "GFR": theta["omega_GFR"],
        "baclofen.CL": clearance(theta["baclofen.omega_CL"], baclofen_renal, theta["baclofen.CL_nonrenal"]),
        "baclofen.V": theta["baclofen.omega_V"],
        "baclofen.ka": theta["baclofen.omega_ka"],
        "baclofen.F": theta["baclofen.omega_F"],
        "baclofen.ke0": theta["baclofen.omega_ke0"],
        "pregabalin.CL": clearance(theta["pregabalin.omega_CL"], pregabalin_renal, theta["pregabalin.CL_nonrenal"]),
        "pregabalin.V": theta["pregabalin.omega_V"],
        "pregabalin.ka": theta["pregabalin.omega_ka"],
        "pregabalin.ke0": theta["pregabalin.omega_ke0"],
        "baclofen.CL_HD": theta["baclofen.omega_CL_HD"],
        "pregabalin.CL_HD": theta["pregabalin.omega_CL_HD"],
    }


def constraint(theta):
    """Thresholds of the levels are a ladder: r_1 < r_2 < r_3 = 1."""
    return (theta["r_1"] < theta["r_2"]) & (theta["r_2"] < 1.0)


def _rows(prefix, text):
    return tuple(f"{prefix}:{row}" for row in text.split())


# fmt: off
PARAMS = (
    # name, prior, unit, what it is, evidence rows, grade of the weakest input
    Param("baclofen.slope_CLr", LogNormal(1.0, 0.10), "1", "baclofen renal clearance per GFR", _rows("pk", "1.02 1.09 1.12 1.42 1.45"), "D"),
    Param("baclofen.CL_nonrenal", LogNormal(1.3, 0.30), "L/h", "baclofen non-renal clearance at 70 kg", _rows("pk", "1.45 2.12"), "D"),
    Param("baclofen.omega_CL", LogNormal(0.25, 0.25), "1", "published SD of log CL between patients", _rows("pk", "1.10 1.14 1.21 1.24 1.28"), "A2"),
    Param("baclofen.F", Beta(82.9, 23.4), "1", "baclofen oral bioavailability", _rows("pk", "1.28 1.29 1.41"), "A2"),
    Param("baclofen.omega_F", Fixed(0.3), "1", "SD of logit F between patients", (), "B"),
    Param("baclofen.V", LogNormal(27.0, 0.15), "L", "baclofen central volume at 70 kg", _rows("pk", "1.03 1.31 1.34"), "A"),
    Param("baclofen.omega_V", Fixed(0.25), "1", "SD of log V between patients", _rows("pk", "1.15"), "B"),
    Param("baclofen.Q", LogNormal(10.0, 0.35), "L/h", "baclofen intercompartmental clearance at 70 kg", _rows("pk", "1.06"), "D"),
    Param("baclofen.V2", LogNormal(20.0, 0.25), "L", "baclofen peripheral volume at 70 kg", _rows("pk", "1.06 1.15"), "D"),
    Param("baclofen.ka", LogNormal(2.0, 0.25), "1/h", "baclofen absorption rate", _rows("pk", "1.16 1.19 1.22"), "A2"),
    Param("baclofen.omega_ka", Fixed(0.5), "1", "SD of log ka between patients", _rows("pk", "1.16"), "B"),
    Param("baclofen.tlag", Uniform(0.0, 0.4), "h", "baclofen absorption lag", _rows("pk", "1.26 1.34"), "B"),
    Param("baclofen.ke0", LogNormal(0.8, 0.6), "1/h", "baclofen effect-site rate", _rows("pk", "2.04 3.05 3.07 3.08 3.09 3.10 3.11"), "D"),
    Param("baclofen.omega_ke0", Fixed(0.4), "1", "SD of log ke0 between patients", (), "B"),
    Param("baclofen.C50", LogNormal(3.0, 0.5), "mg/L", "baclofen effect-site concentration of coma, median naive patient of 50 y", _rows("pd", "O1 O12d O12e") + _rows("pk", "5.01"), "B"),
    Param("pregabalin.slope_CL", LogNormal(0.043, 0.08), "L/h/(mL/min)", "pregabalin CL/F per GFR at IBW 62 kg", _rows("pk", "4.01 4.08 4.10 4.14 4.15"), "A2"),
    Param("pregabalin.CrCL_cap", LogNormal(107.0, 0.06), "mL/min", "GFR above which pregabalin CL/F rises no more", _rows("pk", "4.02"), "A2"),
    Param("pregabalin.CL_nonrenal", HalfNormal(0.15), "L/h", "pregabalin CL/F at GFR 0", _rows("pk", "4.01 4.15 4.17"), "A2"),
    Param("pregabalin.omega_CL", LogNormal(0.16, 0.20), "1", "published SD of log CL/F between patients", _rows("pk", "4.01"), "A2"),
    Param("pregabalin.IBW_on_CL", Fixed(0.354), "1", "exponent of IBW on CL/F", _rows("pk", "4.03"), "A2"),
    Param("pregabalin.V", LogNormal(35.6, 0.05), "L", "pregabalin V/F: man of 59 y, IBW 62 kg, BMI 25", _rows("pk", "4.04 4.13"), "A2"),
    Param("pregabalin.omega_V", Fixed(0.1), "1", "SD of log V/F between patients", _rows("pk", "4.04"), "A2"),
    Param("pregabalin.IBW_on_V", Fixed(0.819), "1", "exponent of IBW on V/F", _rows("pk", "4.04"), "A2"),
    Param("pregabalin.BMI_on_V", Fixed(0.525), "1", "exponent of BMI on V/F", _rows("pk", "4.04"), "A2"),
    Param("pregabalin.AGE_on_V", Fixed(-0.125), "1", "exponent of age on V/F", _rows("pk", "4.04"), "A2"),
    Param("pregabalin.female_on_V", Fixed(0.906), "1", "V/F of women relative to men", _rows("pk", "4.04"), "A2"),
    Param("pregabalin.ka", LogNormal(8.0, 0.20), "1/h", "pregabalin absorption rate, fasted", _rows("pk", "4.05 4.06"), "A2"),
    Param("pregabalin.omega_ka", Fixed(0.79), "1", "SD of log ka between patients", _rows("pk", "4.05"), "A2"),
    Param("pregabalin.food_on_ka", Fixed(0.070), "1", "ka fed relative to fasted", _rows("pk", "4.06"), "A2"),
    Param("pregabalin.tlag", LogNormal(0.24, 0.10), "h", "pregabalin absorption lag, fasted", _rows("pk", "4.05 4.06"), "A2"),
    Param("pregabalin.food_on_tlag", Fixed(1.811), "1", "lag fed relative to fasted", _rows("pk", "4.06"), "A2"),
    Param("pregabalin.ke0", LogNormal(0.45, 0.6), "1/h", "pregabalin effect-site rate", _rows("pk", "4.22 4.26 5.15"), "D"),
    Param("pregabalin.omega_ke0", Fixed(0.4), "1", "SD of log ke0 between patients", (), "B"),
    Param("pregabalin.C50", LogNormal(60.0, 0.47), "mg/L", "pregabalin effect-site concentration of coma, median naive patient of 50 y", _rows("pd", "O14s O15 O16"), "B"),
    Param("allometry_CL", Fixed(0.75), "1", "exponent of weight on non-renal CL and Q", (), "B"),
    Param("omega_GFR", Fixed(0.20), "1", "SD of log true GFR around Cockcroft-Gault", (), "B"),
    Param("omega_S", LogNormal(0.6, 0.35), "1", "SD of log sensitivity between patients", _rows("pd", "O10 O12a O12b O12d O12e"), "B"),
    Param("r_1", LogNormal(0.108, 0.4), "1", "drive of somnolence relative to coma", _rows("pd", "D15"), "B"),
    Param("r_2", LogNormal(0.40, 0.4, upper=1.0), "1", "drive of stupor relative to coma", _rows("pd", "D15"), "B"),
    Param("b_age", Normal(0.0126, 0.006), "1/year", "log drive per year of age above 50", _rows("pd", "D17 B9"), "B"),
    Param("b_ur", HalfNormal(0.9), "1", "log drive gained from GFR 60 to 0 mL/min", _rows("pd", "O12a"), "B"),
    Param("tolerance_fold", LogNormal(1.8, 0.35), "1", "drive needed after adaptation, relative to naive", _rows("pd", "P10"), "B"),
    Param("tolerance_t_half", LogNormal(8.0, 0.6), "day", "half-time of adaptation", _rows("pd", "P10 P11"), "B"),
    Param("alpha", LogNormal(1.5, 0.9), "1", "interaction: product term of the Greco surface", _rows("pd", "D7 D8 D9 D10 D11 D12"), "B"),
    Param("baclofen.CL_HD", LogNormal(7.7, 0.35), "L/h", "baclofen clearance by haemodialysis", _rows("pk", "2.01 2.05 2.07"), "B"),
    Param("baclofen.omega_CL_HD", Fixed(0.25), "1", "SD of log CL_HD of baclofen between patients", (), "B"),
    Param("pregabalin.CL_HD", LogNormal(6.5, 0.25), "L/h", "pregabalin clearance by haemodialysis, systemic", _rows("pk", "4.11 4.18 4.19"), "A2"),
    Param("pregabalin.omega_CL_HD", Fixed(0.20), "1", "SD of log CL_HD of pregabalin between patients", (), "B"),
    Param("pregabalin.F_systemic", Beta(185.4, 18.3), "1", "pregabalin oral bioavailability: apparent to systemic clearance", _rows("pk", "4.09 4.10"), "A2"),
)
# fmt: on

MODEL = Model(
    name="baclofen_pregabalin",
    title="Baclofen and pregabalin: renal clearance, effect site, ordinal sedation",
    drugs=(Drug("baclofen", compartments=2), Drug("pregabalin", compartments=1)),
    params=PARAMS,
    covariates=("AGE", "SEX", "WT", "IBW", "BMI", "CRCL", "FED"),
    typical=typical,
    omega=omega,
    constraint=constraint,
    logit=("baclofen.F",),
    levels=("awake", "somnolent", "stuporous", "coma"),
    limits=(
        "No factorial baclofen x pregabalin sedation data exist: the interaction alpha is a prior and stays one.",
        "No human ke0 of sedation was found for either drug: both are priors from CSF, dogs, rats and case timelines.",
        "Concentrations of coma come from overdose and case reports, selected because they were severe.",
        "The uraemia effect rests on single anuric cases; slow brain washout would look the same.",
        "About 5% of prior draws have a tolerance fold below 1, that is, sensitisation.",
        "Between-subject variabilities were found without correlations: etas are independent.",
        "True GFR is Cockcroft-Gault with actual weight and 20% error, as the PK sources measured it: no cap, and the "
        "age bias of Cockcroft-Gault is in it. Arms that dose by CKD-EPI see a metric centred elsewhere.",
        "Clearance by haemodialysis rests on few cases, which for baclofen differ 6.7-fold; all sessions of a patient "
        "clear alike, and no rebound beyond that of two compartments is modelled.",
        "Taking that error out of the published omega of pregabalin CL/F leaves less than its floor of 0.10.",
    ),
)
