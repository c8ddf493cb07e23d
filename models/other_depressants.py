"""Baclofen and pregabalin with other depressants: oxycodone, dementia, the first days after an operation.

Research software: not for dosing decisions in patients.

It extends `baclofen_pregabalin`: who takes no oxycodone and is in no state is a patient of that model, to rounding, and
its posterior serves. What is added here was in no calibration. It is drawn from its priors, independent of the rest.

Oxycodone
    Immediate release, by mouth. One compartment with apparent parameters, first-order absorption with lag. The parent
    drug carries the effect (l1), so that no metabolite is modelled, as M6G of morphine would have to be. Part of CL/F
    falls with the true GFR:
    CL/F = CL (1 - s + s GFR / 105) (WT / 70)^0.75.
    Doses are mg of hydrochloride, as on the label, and so are CL/F, V/F.
    CL/F: 15 mg gave an AUC of 128 to 133 ug h/L, 30 mg one of 268 (l1): 115 L/h. V/F: half-life 3.6 to 3.9 h (l1): 600 L.
    s: a half-life of 5.7 h in patients between sessions of dialysis (h1), against 3.6 h, leaves 0.63 of CL at GFR 5.
    CL_HD: 8.4 L/h, SD 2.1, recovered from dialysate (h1); times 1 / F, as CL is apparent, F 0.60 to 0.87 (l1).
    ke0: the pupil follows plasma with a half-life of 14 min (p1); its sedation was not found.
    C50 of coma: patients after operations were awake at 75 ug/L (a1); above 0.2 mg/kg of blood poisoning is likely,
    0.3 may still be tolerated (f1); medians of fatal poisonings 0.38 and 0.64 mg/L (f2). Deaths are not comas, and
    most of the dead were used to opioids: the prior is wide.
Interaction
    alpha of the parent model, for every pair: a prior there, which rests on opioids with hypnotics too (pd D7 to D9).
States
    Factors on the drive, so on sensitivity. Both are judgements: no number was found.
Sources
    l1  US label of oxycodone hydrochloride tablets, 12.3 and Table 2
        (medlibrary.org/lib/rx/meds/oxycodone-hydrochloride-57/page/7, seen)
    p1  Ladebo 2020, population PK/PD of oxycodone in volunteers
        (researchprofiles.ku.dk, abstract seen)
    h1  Leuppi-Taegtmeyer 2019, Nephrol Dial Transplant 34:692-702 (abstract seen)
    a1  Choi, population pharmacokinetics and analgesic potency of oxycodone, PMC5237696 (abstract seen)
    f1  Oxycodone in femoral blood of fatal intoxications, J Anal Toxicol 2020 (abstract seen)
    f2  Kriikku 2022, Int J Legal Med 136:1577-1583 (abstract seen)
"""

from dataclasses import replace

from vtrial.model import Beta, Drug, Fixed, LogNormal, Param, Uniform, load_model

BASE = load_model("baclofen_pregabalin")
NORMAL_GFR = 105.0  # mL/min, of the volunteers whose clearance was found; as in the model that this one extends


def typical(theta, cov):
    """Parameters of a typical patient: those of the model that is extended, of oxycodone, and A in a state."""
    par = BASE.typical(theta, cov)
    size, renal = cov["WT"] / 70.0, theta["oxycodone.renal_share"]
    falls = 1.0 - renal + renal * cov["GFR"] / NORMAL_GFR
    of_state = theta["dementia_on_A"] ** cov["dementia"] * theta["postoperative_on_A"] ** cov["postoperative"]
    return par | {
        "oxycodone.CL": theta["oxycodone.CL"] * falls * size ** theta["allometry_CL"],
        "oxycodone.V": theta["oxycodone.V"] * size,
        "oxycodone.ka": theta["oxycodone.ka"],
        "oxycodone.tlag": theta["oxycodone.tlag"],
        "oxycodone.F": 1.0,
        "oxycodone.ke0": theta["oxycodone.ke0"],
        "oxycodone.C50": theta["oxycodone.C50"],
        "oxycodone.CL_HD": theta["oxycodone.CL_HD"] / theta["oxycodone.F_systemic"],
        "A": par["A"] * of_state,
    }


def omega(theta):
    """SD of each eta."""
    own = ("CL", "V", "ka", "ke0", "CL_HD")
    return BASE.omega(theta) | {f"oxycodone.{name}": theta[f"oxycodone.omega_{name}"] for name in own}


# fmt: off
PARAMS = (
    Param("oxycodone.CL", LogNormal(115.0, 0.15), "L/h", "oxycodone CL/F at 70 kg and GFR 105 mL/min (label)", (), "D"),
    Param("oxycodone.omega_CL", Fixed(0.25), "1", "SD of log CL/F between patients (SD of AUC in the label)", (), "D"),
    Param("oxycodone.renal_share", Beta(8.0, 12.0), "1", "share of CL/F that is proportional to GFR", (), "D"),
    Param("oxycodone.V", LogNormal(600.0, 0.15), "L", "oxycodone V/F at 70 kg (label)", (), "D"),
    Param("oxycodone.omega_V", Fixed(0.25), "1", "SD of log V/F between patients", (), "B"),
    Param("oxycodone.ka", LogNormal(2.4, 0.35), "1/h", "oxycodone absorption rate, for a peak at 1.4 h (label)", (), "D"),
    Param("oxycodone.omega_ka", Fixed(0.5), "1", "SD of log ka between patients", (), "B"),
    Param("oxycodone.tlag", Uniform(0.0, 0.5), "h", "oxycodone absorption lag", (), "B"),
    Param("oxycodone.ke0", LogNormal(3.0, 0.5), "1/h", "oxycodone effect-site rate, as of the pupil", (), "B"),
    Param("oxycodone.omega_ke0", Fixed(0.4), "1", "SD of log ke0 between patients", (), "B"),
    Param("oxycodone.C50", LogNormal(0.35, 0.6), "mg/L", "oxycodone effect-site concentration of coma, median naive patient of 50 y", (), "B"),
    Param("oxycodone.CL_HD", LogNormal(8.4, 0.15), "L/h", "oxycodone clearance by haemodialysis, systemic", (), "A"),
    Param("oxycodone.omega_CL_HD", Fixed(0.25), "1", "SD of log CL_HD of oxycodone between patients", (), "D"),
    Param("oxycodone.F_systemic", Beta(29.0, 10.5), "1", "oxycodone oral bioavailability: apparent to systemic clearance (label)", (), "D"),
    Param("dementia_on_A", LogNormal(1.5, 0.35), "1", "factor of dementia on the drive", (), "B"),
    Param("postoperative_on_A", LogNormal(1.4, 0.35), "1", "factor of the first days after an operation on the drive", (), "B"),
)
# fmt: on

MODEL = replace(
    BASE,
    name="other_depressants",
    title="Baclofen and pregabalin with oxycodone, dementia, the first days after an operation",
    drugs=(*BASE.drugs, Drug("oxycodone", compartments=1)),
    params=(*BASE.params, *PARAMS),
    typical=typical,
    omega=omega,
    extends=BASE,
    states=("dementia", "postoperative"),
    limits=(
        *BASE.limits,
        "The C50 of coma of oxycodone is a judgement between awake patients and fatal poisonings; its risk alone, and "
        "what it adds, are no firmer than that.",
        "Every pair of drugs interacts by the same alpha; no data tell those of oxycodone apart.",
        "Tolerance to oxycodone is that of the other two, and starts with the first dose of any drug: patients are naive.",
        "Oxycodone is the drug itself: no metabolites, no CYP3A4 or CYP2D6 inhibitors or inducers, no food, no effect of "
        "age but through weight and GFR.",
        "Sedation alone is modelled, not respiratory depression, which may kill before coma.",
        "Dementia and the state after an operation are factors on the drive whose size is assumed; a state lasts for the "
        "whole time, and changes no kinetics.",
    ),
)
