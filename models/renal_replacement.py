"""Baclofen and pregabalin under haemofiltration and peritoneal dialysis, beside haemodialysis.

Research software: not for dosing decisions in patients.

What this adds to `baclofen_pregabalin` is prior, in no calibration: one clearance of each drug by CVVH and by CAPD.
Baclofen: by CVVH 2.4 L/h in one overdose (pk 2.06, A); by CAPD no measurement was found, 0.3 L/h is 8 to 10 L/d of
effluent times the unbound fraction of 0.68 (pk 2.14, B). Pregabalin: none was found for either. What is not bound
passes at the rate of the effluent. Baclofen is bound to 0.35 (pk 1.11) or 0.30 (pk 1.34), so that 2.4 L/h is an effluent
of 2.4 / 0.675 = 3.6 L/h; pregabalin is not bound (pk 4.13): 3.6 L/h by the same filter. Machines set to 25 mL/kg/h
(recalled) clear 1.75 L/h at 70 kg; `model.fix` holds both drugs at another effluent. By CAPD 9 L/d is 0.375 L/h. As its
parameters are apparent, these are over F, as CL_HD is.
"""

from dataclasses import replace

from vtrial.model import Fixed, LogNormal, Param, load_model

BASE = load_model("baclofen_pregabalin")


def typical(theta, cov):
    """Parameters of a patient whose etas are zero: those of the model that is extended, and clearances by dialysis."""
    return BASE.typical(theta, cov) | {
        "baclofen.CL_CVVH": theta["baclofen.CL_CVVH"],
        "baclofen.CL_CAPD": theta["baclofen.CL_CAPD"],
        "pregabalin.CL_CVVH": theta["pregabalin.CL_CVVH"] / theta["pregabalin.F_systemic"],
        "pregabalin.CL_CAPD": theta["pregabalin.CL_CAPD"] / theta["pregabalin.F_systemic"],
    }


def omega(theta):
    """SD of each eta."""
    own = [f"{drug}.CL_{modality}" for drug in ("baclofen", "pregabalin") for modality in ("CVVH", "CAPD")]
    return BASE.omega(theta) | dict.fromkeys(own, theta["omega_CL_effluent"])


# fmt: off
PARAMS = (
    Param("baclofen.CL_CVVH", LogNormal(2.4, 0.30), "L/h", "baclofen clearance by CVVH", ("pk:2.06",), "A"),
    Param("baclofen.CL_CAPD", LogNormal(0.3, 0.40), "L/h", "baclofen clearance by CAPD: effluent times unbound fraction", ("pk:2.14",), "B"),
    Param("pregabalin.CL_CVVH", LogNormal(3.6, 0.40), "L/h", "pregabalin clearance by CVVH, systemic: the effluent that baclofen tells", ("pk:2.06", "pk:1.11", "pk:1.34", "pk:4.13"), "B"),
    Param("pregabalin.CL_CAPD", LogNormal(0.375, 0.40), "L/h", "pregabalin clearance by CAPD, systemic: effluent", ("pk:2.14", "pk:4.13"), "B"),
    Param("omega_CL_effluent", Fixed(0.25), "1", "SD of log clearance by CVVH and CAPD between patients, as of haemodialysis", (), "B"),
)
# fmt: on

MODEL = replace(
    BASE,
    name="renal_replacement",
    title="Baclofen and pregabalin under haemodialysis, CVVH and CAPD",
    params=(*BASE.params, *PARAMS),
    typical=typical,
    omega=omega,
    extends=BASE,
    limits=(
        *BASE.limits,
        "Clearance by CVVH rests on one overdose of baclofen; that of pregabalin by CVVH and of both by CAPD is the flow of "
        "effluent times the unbound fraction, and was not measured.",
        "CVVH and CAPD clear at one rate while they run: no filter that clots, no dwell that comes to equilibrium.",
    ),
)
