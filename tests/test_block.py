"""A run in blocks: within its memory, every draw once, and the same numbers however it is cut."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import SOBOL

from vtrial import draw_parameters, draw_patients, run, simulate
from vtrial.block import ENOUGH, Block, Prepared, blocks_of, memory_bytes, reduce_block
from vtrial.endpoint import counted
from vtrial.moments import reduce_patients
from vtrial.patients import columns, draw_group
from vtrial.problem import InputError
from vtrial.treatment import dose, part_of, treat

PARTS = ("mean", "noise", "paired_noise", "treated")


@pytest.fixture(scope="module")
def theta(tiny):
    return draw_parameters(tiny.model, tiny.draws, 7)


@pytest.fixture(scope="module")
def spread(scenario, theta):
    """The scenario with patients spread by Sobol, prepared."""
    return Prepared.of(scenario(*SOBOL), theta)


@pytest.fixture(scope="module")
def prepared(tiny, theta):
    return Prepared.of(tiny, theta)


# ------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize(
    ("given", "mebibytes"), [("1 GiB", 1024), ("512MiB", 512), ("64 Mibyte", 64), ("1.048576 GB", 1000)]
)
def test_memory_is_read_with_its_unit(given, mebibytes):
    assert memory_bytes(given) / 2**20 == pytest.approx(mebibytes)


@pytest.mark.parametrize("given", ["1024", "much", "5 mg", "-1 GiB", "0 GiB", "", "nan GiB"])
def test_what_is_no_memory_is_refused_in_one_message(tiny, given):
    with pytest.raises(InputError, match="memory: ") as error:
        run(tiny, memory=given)
    assert len(error.value.problems) == 1


@pytest.mark.parametrize("memory", [1.0, 5e7, 2e8, 1e12])
@pytest.mark.parametrize("threads", [1, 3, 64])
def test_blocks_hold_every_draw_of_every_stratum_once(tiny, memory, threads):
    large = replace(tiny, draws=5000, patients=50)
    strata = ["18-49 G1", "75-84 G4"]
    blocks = blocks_of(large, strata, arms=3, memory=memory, threads=threads)
    assert [(b.stratum, d) for b in blocks for d in b.draws] == [(s, d) for s in strata for d in range(5000)]
    assert max(len(b.draws) for b in blocks) * 50 <= ENOUGH


def test_less_memory_and_more_threads_make_smaller_blocks(tiny):
    def patients(memory, threads):
        large = replace(tiny, draws=100_000, patients=10)
        return 10 * len(blocks_of(large, ["75-84 G4"], arms=12, memory=memory, threads=threads)[0].draws)

    sizes = [patients(memory, 1) for memory in (2e6, 6e7, 7e7, 1e12)]
    assert sizes == sorted(set(sizes))
    assert sizes[0] == 10
    assert patients(8e7, 2) < patients(8e7, 1)


CHILD = """
import json, sys
from dataclasses import replace
from pathlib import Path
from vtrial import load_scenario, run

def peak():
    # in MiB; not ru_maxrss, which starts at what the parent takes
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

scenario = load_scenario(sys.argv[1])
run(replace(scenario, draws=2), threads=2)
before = peak()
run(replace(scenario, draws=int(sys.argv[2]), patients=int(sys.argv[3])), threads=2, memory=sys.argv[4])
print(json.dumps(peak() - before))
"""


def growth(path, draws, patients, memory):
    """Growth of the peak of a process's memory, MiB, by a run after a small one.

    Of two processes the second: the small run meets no patient who goes step by step, and the first process compiles
    what those need within what is measured, if no cache spares it.
    """
    child = [sys.executable, "-c", CHILD, str(path), str(draws), str(patients), memory]
    _, second = (subprocess.run(child, check=True, capture_output=True, text=True).stdout for _ in range(2))
    return json.loads(second)


linux = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux gives it")


@linux
def test_the_memory_allowed_is_what_a_run_takes(write):
    path = write(*LIGHT)
    little, much = (growth(path, 1200, 100, memory) for memory in ("24 MiB", "1 GiB"))
    assert little < 24 + 24  # beside the patients at work: draws and sums, and heap that malloc keeps
    assert much > little + 16


@linux
def test_memory_does_not_grow_with_the_patients_of_a_draw(write):
    path = write(*LIGHT)
    few, many = (growth(path, 2, patients, "24 MiB") for patients in (10_000, 50_000))
    assert many < 2 * few  # five times the patients


LIGHT = (
    (
        "[ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]",
        "[ARM0_INDEX, ARM1_GUIDELINE, ARM2_LABEL_RENAL, ARM3_VLAV_SPC, ARM4_AJKD_SPC, ARM5_ICES, ARM6_HALF_BOTH]",
    ),
    ("  horizon: 72 h", "  horizon: 24 h"),
    ("level: [1, 3], within: [24 h, 72 h]}", "level: [1, 3], within: [24 h]}"),
    ("  - {kind: auc, within: 72 h}\n", ""),
    ("  - {kind: time_at_level, level: [1], within: 72 h}\n", ""),
    ("primary: level3_72h", "primary: level3_24h"),
    ("outcome: level3_72h", "outcome: level3_24h"),
)  # fmt: skip


# -------------------------------------------------------------------------- what does not change a number


def test_patients_in_parts_are_those_at_once(tiny, prepared, monkeypatch):
    block = Block("75-84 G4", range(3, 9))
    (whole,) = reduce_block(prepared, block, tiny.arms, 1)
    monkeypatch.setattr("vtrial.block.PART", 3)
    (parts,) = reduce_block(prepared, block, tiny.arms, 1)
    assert parts.n == whole.n == tiny.patients
    for name in PARTS:
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-20)


@pytest.mark.parametrize("part", [3, 4, 5, 8])
def test_noise_of_patients_spread_evenly_is_between_the_halves_in_whatever_parts_they_come(
    spread, theta, monkeypatch, part
):
    scenario, block, arms = spread.scenario, Block("75-84 G4", range(3, 9)), spread.scenario.arms
    group = draw_group(
        scenario,
        spread.scheme,
        {name: values[3:9] for name, values in columns(theta).items()},
        *("75-84 G4", range(3, 9), range(8)),
        z=False,
    )
    outcomes = treat(scenario, group, arms, part_of(spread.reference, slice(3, 9)))
    y = np.moveaxis(outcomes.value[outcomes.item], -1, 1)  # arm, outcome, draw, patient
    monkeypatch.setattr("vtrial.block.PART", part)
    (found,) = reduce_block(spread, block, arms, 1)
    np.testing.assert_allclose(found.mean, y.mean(-1), rtol=1e-12)
    np.testing.assert_allclose(found.treated, outcomes.treated.mean(-1), rtol=1e-12)
    for noise, values in ((found.noise, y), (found.paired_noise, y - y[1])):
        first, second = values[..., :4].mean(-1), values[..., 4:].mean(-1)
        np.testing.assert_allclose(noise, (first - second) ** 2 / 4, rtol=1e-9, atol=1e-20)
    assert not found.paired_noise[1].any()
    assert found.paired_noise[0].any()


def test_patients_of_a_part_are_those_of_all_to_the_bit(spread, theta):
    def drawn(patients):
        given = spread.scenario, spread.scheme, columns(theta), "75-84 G4", range(20)
        return draw_group(*given, patients, z=True)

    every = drawn(range(8))
    for patients in (range(3), range(3, 6), range(6, 8)):
        part = drawn(patients)
        for name, values in every.own.items():
            assert np.array_equal(part.own[name], values[:, patients.start : patients.stop]), name
        for some, values in zip(part.z, every.z, strict=True):
            assert np.array_equal(some, values[:, patients.start : patients.stop])


def test_arms_leave_each_other_as_they_are_to_the_bit(tiny, prepared):
    block = Block("75-84 G4", range(20))
    (whole,) = reduce_block(prepared, block, tiny.arms, 1)
    (some,) = reduce_block(prepared, block, [tiny.arms[1], tiny.arms[2]], 0)
    for name in PARTS:
        assert getattr(whole, name)[1:].tobytes() == getattr(some, name).tobytes()


def test_all_arms_at_once_are_each_arm_alone(tiny, theta, prepared):
    group = draw_group(tiny, tiny.scheme(8), columns(theta), "75-84 G4", range(20), range(8), z=False)
    outcomes = treat(tiny, group, tiny.arms, prepared.reference)
    cohort = draw_patients(tiny, theta, strata=["75-84 G4"])
    for arm, items, treated in zip(tiny.arms, outcomes.item, outcomes.treated, strict=True):
        alone = simulate(tiny, cohort, arm, prepared.reference).isel(stratum=0)
        for o, outcome in enumerate(tiny.outcomes):
            assert np.array_equal(outcomes.value[items, o], alone[outcome.name], equal_nan=True)
        assert np.array_equal(np.moveaxis(treated, 0, -1), alone["treated"])


def test_items_hold_what_their_arm_gives_and_no_treatment_twice(tiny, theta):
    group = draw_group(tiny, tiny.scheme(8), columns(theta), "75-84 G4", range(20), range(8), z=False)
    twice = [*tiny.arms, tiny.arms[0]]
    given, alone = dose(tiny, group, twice), [dose(tiny, group, [arm]) for arm in twice]

    def doses(found, arm, patient):
        item = found.item[arm].ravel()[patient]
        assert found.patient[item] == patient
        rows = [table[row[item]] for table, row in zip(found.table, found.row, strict=True)]
        return tuple((row.time.tobytes(), row.amt.tobytes()) for row in rows)

    for patient in range(160):
        each = [doses(one, 0, patient) for one in alone]
        assert [doses(given, a, patient) for a in range(4)] == each
        assert len(set(given.item.reshape(4, -1)[:, patient])) == len(set(each))
    assert len(np.unique(given.item)) == len(given.patient)


def test_multiples_of_a_dose_are_those_of_runs_of_their_own(tiny, theta, prepared):
    block = Block("75-84 G4", range(20))
    one, two = reduce_block(prepared, block, tiny.arms[:1], 0, multiples=(1.0, 2.0))
    cohort = draw_patients(tiny, theta, strata=["75-84 G4"])
    found = simulate(tiny, cohort, tiny.arms[0], prepared.reference, multiple=2.0)["level3_72h"].isel(stratum=0)
    at = [outcome.name for outcome in tiny.outcomes].index("level3_72h")
    assert two.mean[0, at] == pytest.approx(found.values.mean(1), rel=1e-12)
    assert (two.mean[0, at] > one.mean[0, at]).all()


def test_sensitivities_are_drawn_only_to_be_counted(scenario, tiny, monkeypatch):
    counting = scenario(("level: [2], within: [24 h]}", "level: [2], within: [24 h], estimator: counting}"))
    assert [counted(s.spec.endpoints) for s in (tiny, counting)] == [False, True]
    words = []
    monkeypatch.setattr("vtrial.scheme.key", lambda seed, *given: words.append(given[0]) or (seed, 0))
    for s in (tiny, counting):
        reduce_block(Prepared.of(s, draw_parameters(s.model, 2, 7)), Block("75-84 G4", range(2)), s.arms, 0)
        assert ("sensitivity" in words) == (s is counting)


def test_reduced_blocks_are_the_outcomes_of_their_patients(tiny, theta, prepared):
    block = Block("18-49 G1", range(4, 20))
    (found,) = reduce_block(prepared, block, tiny.arms, 1)
    some = theta.isel(draw=slice(4, 20))
    cohort = draw_patients(tiny, some, strata=["18-49 G1"])
    reference = Prepared.of(tiny, some).reference
    values = [simulate(tiny, cohort, arm, reference)["level3_72h"].values[0] for arm in tiny.arms]
    at = [outcome.name for outcome in tiny.outcomes].index("level3_72h")
    items = np.arange(3 * 16 * 8).reshape(3, 16, 8)
    treated = np.ones((3, 1, 16, 8), bool)
    alone = reduce_patients(np.concatenate([v.reshape(-1, 1) for v in values]), items, treated, 1)
    for name in PARTS[:3]:
        assert np.array_equal(getattr(found, name)[:, at], getattr(alone, name)[:, 0])
