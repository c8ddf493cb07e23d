"""Doses that go wrong: by hand, as often as they say, and the same in all arms."""

import numpy as np
import pytest
from conftest import edited

from vtrial import draw_parameters, draw_patients, load_scenario, run
from vtrial.patients import groups_of
from vtrial.spec import InputError
from vtrial.treatment import dose

ARMS = "arms: [ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]"
GIVEN = "drugs: {baclofen: {dose: 5 mg, freq: TID}, pregabalin: {dose: 75 mg, freq: BID}}"


def slipped(slips, name="WRONG"):
    """Edits: the tiny scenario with an arm whose doses go wrong."""
    return ("  start:", f"  define:\n    {name}: {{{GIVEN}, slips: [{slips}]}}\n  start:"), (
        ARMS,
        f"arms: [ARM1_GUIDELINE, {name}]",
    )


def amounts(loaded, arm, patients=2, drug=0):
    theta = draw_parameters(loaded.model, 5, 7)
    (group,) = groups_of(loaded, draw_patients(loaded, theta, strata=["75-84 G4"], patients=patients))
    given = dose(loaded, group, [loaded.arm(arm)])
    return np.array([given.table[drug][k].amt[:9] for k in given.row[drug]])[given.item.ravel()]


@pytest.mark.parametrize(
    ("slips", "baclofen", "pregabalin"),
    [
        ("{drug: baclofen, doses: [1], times: 10}", [50] + [5] * 8, [75] * 6),
        ("{drug: pregabalin, doses: [2, 3], times: 0}", [5] * 9, [75, 0, 0, 75, 75, 75]),
        ("{drug: baclofen, times: 5}", [25] * 9, [75] * 6),
        ("{drug: baclofen, times: 2}, {drug: baclofen, doses: [9], times: 0}", [10] * 8 + [0], [75] * 6),
    ],
    ids=["ten-fold", "missed", "five-fold", "two slips"],
)
def test_doses_that_certainly_go_wrong_by_hand(scenario, slips, baclofen, pregabalin):
    loaded = scenario(*slipped(slips))
    assert (amounts(loaded, "WRONG") == baclofen).all()
    assert (amounts(loaded, "WRONG", drug=1)[:, :6] == pregabalin).all()


def test_doses_go_wrong_as_often_as_they_say_each_by_itself(scenario):
    loaded = scenario(*slipped("{drug: baclofen, times: 0, chance: 20 %, doses: [1, 2, 4]}"))
    missed = amounts(loaded, "WRONG", patients=400) == 0
    assert not missed[:, [2, 4, 5, 6, 7, 8]].any()
    assert missed[:, [0, 1, 3]].mean(0) == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 2000))
    assert np.corrcoef(missed[:, [0, 1, 3]].T) == pytest.approx(np.eye(3), abs=4 / np.sqrt(2000))


def test_a_probability_for_each_patient_is_a_mixture(scenario):
    (old, new), (arms, _) = slipped("{drug: baclofen, doses: [1], times: 10}")
    mix = "\n    RARELY: {mix: {ARM1_GUIDELINE: 0.99, WRONG: 0.01}}\n  start:"
    loaded = scenario((old, new.replace("\n  start:", mix)), (arms, "arms: [ARM1_GUIDELINE, WRONG, RARELY]"))
    risk = run(loaded, threads=1)["risk"]["mean"]
    mean = 0.99 * risk.sel(arm="ARM1_GUIDELINE") + 0.01 * risk.sel(arm="WRONG")
    assert risk.sel(arm="RARELY").values == pytest.approx(mean.values, rel=1e-12)
    coma = risk.sel(outcome="level3_24h")
    assert (coma.sel(arm="WRONG") > coma.sel(arm="ARM1_GUIDELINE")).all()


def test_chance_is_the_same_in_every_arm_and_block(scenario, monkeypatch):
    monkeypatch.setattr("vtrial.block.FEWEST", 16)
    edit, arms = slipped("{drug: baclofen, times: 0, chance: 30 %}")
    first = run(scenario(edit, arms), threads=1)
    second = run(scenario(edit, (ARMS, "arms: [ARM1_GUIDELINE, ARM0_INDEX, WRONG]")), threads=3, memory="1 kB")
    ours, theirs = (tree["estimates"]["value"] for tree in (first, second))
    assert ours.values.tobytes() == np.ascontiguousarray(theirs.sel(arm=ours["arm"]).values).tobytes()


GOOD = "{drug: baclofen, doses: [1], times: 10, chance: 5 %}"
REFUSED = {
    "drug": ("drug: baclofen", "drug: baclofn", "the arm does not give 'baclofn'; did you mean 'baclofen'?"),
    "number of a dose": ("doses: [1]", "doses: [0]", "greater than or equal to 1"),
    "less than nothing": ("times: 10", "times: -1", "greater than or equal to 0"),
    "never": ("chance: 5 %", "chance: 0 %", "0"),
    "bare chance": ("chance: 5 %", "chance: 5", "a unit is due here"),
    "unknown key": ("times: 10", "tmes: 10", "unknown key 'tmes'; did you mean 'times'?"),
}


@pytest.mark.parametrize(("old", "new", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_with_slips_is_said_with_file_and_line(write, old, new, message):
    path = write(*slipped(edited(GOOD, (old, new))))
    with pytest.raises(InputError) as error:
        load_scenario(path)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "WRONG: {" in text)
    assert any(message in p.message and p.line == line for p in error.value.problems), error.value
