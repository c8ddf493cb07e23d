"""CVVH and CAPD beside haemodialysis: by hand, by superposition, and what is refused."""

import re
from typing import get_args

import numpy as np
import pytest

from vtrial import InputError, draw_parameters, draw_patients, load_model, load_scenario, simulate
from vtrial.dialysis import Modality, Sessions, changes
from vtrial.kinetics import superposition
from vtrial.model import DIALYSES
from vtrial.patients import groups_of
from vtrial.policy import Reaction
from vtrial.treatment import dose, expose_reference

MODEL = ("name: baclofen_pregabalin", "name: renal_replacement")
STRATA = 'strata: ["18-49 G1", "75-84 G4"]'


def on(sessions):
    """Edit: one stratum on dialysis, with sessions or between them."""
    own = f"sessions: {{{sessions}}}, " if sessions else ""
    return STRATA, f"strata: [{{name: DIALYSED, AGE: [65 year, 75 year], dialysis: true, {own}weight: 1}}]"


def test_modalities_are_those_of_the_model():
    assert get_args(Modality.__value__) == DIALYSES
    given = load_model("renal_replacement").omega({p.name: 0.25 for p in load_model("renal_replacement").params})
    assert {f"{drug}.CL_{m}" for drug in ("baclofen", "pregabalin") for m in DIALYSES} <= {*given}


def test_what_runs_by_hand():
    filtration = Sessions(modality="CVVH", first="4 h", hours="72 h")
    rescue = Sessions(first="10 h", hours="4 h")
    assert changes([rescue, filtration], 100) == (
        [4, 10, 14, 76], [(), ("CVVH",), ("CVVH", "HD"), ("CVVH",), ()],
    )  # fmt: skip
    always = Sessions(modality="CAPD", first="0 h", hours="7 d")
    assert changes([always], 168) == ([], [("CAPD",)])


@pytest.mark.parametrize("modality", ["CVVH", "CAPD"])
def test_all_the_time_it_is_another_clearance(scenario, modality):
    """Concentrations of superposition with CL + CL_CAPD: the closed form knows nothing of sessions."""
    loaded = scenario(MODEL, on(f"modality: {modality}, first: 0 h, hours: 72 h"))
    theta = draw_parameters(loaded.model, loaded.draws, 7)
    cohort = draw_patients(loaded, theta, patients=2)
    found = simulate(loaded, cohort, "ARM1_GUIDELINE", expose_reference(loaded, theta)).isel(stratum=0)
    (group,) = groups_of(loaded, cohort)
    given = dose(loaded, group, [loaded.arm("ARM1_GUIDELINE")])
    times = np.linspace(0, 72, 40_001)
    for d, i in ((0, 0), (7, 1)):
        item = given.item[0, d, i]
        own = {name: float(values[d, i]) for name, values in group.own.items() if "." in name}
        for drug, table, row in zip(loaded.model.drugs, given.table, given.row, strict=True):
            regimen, par = table[row[item]], dict(own)
            par[f"{drug.name}.CL"] += par[f"{drug.name}.CL_{modality}"]
            conc, _ = superposition(drug, par, regimen.time, regimen.amt, times)
            auc = float(found[f"auc_{drug.name}_72h"][d, i])
            assert auc == pytest.approx(np.trapezoid(conc, times), rel=1e-5)


def test_it_lowers_exposure_the_more_it_clears(scenario):
    given = ("", "modality: CAPD, first: 0 h, hours: 72 h", "modality: CVVH, first: 0 h, hours: 72 h",
             "first: 0 h, hours: 72 h")  # fmt: skip
    auc = []
    for sessions in given:
        loaded = scenario(MODEL, on(sessions))
        theta = draw_parameters(loaded.model, loaded.draws, 7)
        cohort = draw_patients(loaded, theta, patients=6)
        found = simulate(loaded, cohort, "ARM1_GUIDELINE", expose_reference(loaded, theta))
        auc.append(float(found["auc_baclofen_72h"].mean()))
    assert auc == sorted(auc, reverse=True)


def test_a_reaction_names_its_modality():
    rescue = Reaction(seen=2, do="dialyse", modality="CVVH", after="4 h", hours="72 h")
    assert rescue.session(24.0).modality == "CVVH"
    assert str(rescue) == "seen at level 2: dialyse by CVVH after 4 h for 72 h"


WRONG = {
    "unknown": ((MODEL, on("modality: CVVHD, first: 4 h, hours: 72 h")), "given 'CVVHD'"),
    "lacking": ((on("modality: CVVH, first: 4 h, hours: 72 h"),), "(models/renal_replacement.py does)"),
}


@pytest.mark.parametrize(("edits", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said(write, edits, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_scenario(write(*edits))
    with pytest.raises(ValueError, match="'modality' does not belong to 'stop'"):
        Reaction(seen=2, do="stop", modality="CVVH")
