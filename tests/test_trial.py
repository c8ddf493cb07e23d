"""The whole path: the same bytes whatever the blocks and threads, pairing, files, and honest Monte Carlo errors."""

import json

import numpy as np
import pytest
import xarray as xr
from conftest import SOBOL

from vtrial import draw_parameters, load_result, run, save_result
from vtrial.patients import draw_patients
from vtrial.spec import InputError
from vtrial.treatment import expose_reference, simulate


def same_bytes(a, b):
    """Whether two trees or data sets hold the same numbers, to the bit."""
    a, b = ({n: v.values for g in x.subtree for n, v in g.data_vars.items()} for x in map(as_tree, (a, b)))
    return a.keys() == b.keys() and all(a[n].tobytes() == b[n].tobytes() for n in a if a[n].dtype.kind == "f")


def as_tree(x):
    return x if isinstance(x, xr.DataTree) else xr.DataTree(x)


# ---------------------------------------------------------------------------- what does not change a result


def test_same_seed_same_bytes(tiny, result):
    again = run(tiny, threads=1)
    assert same_bytes(result, again)
    assert result.attrs == again.attrs


@pytest.fixture(scope="module", params=["plain", "sobol"])
def sampled(request, scenario, result):
    """Tell how to load the tiny scenario with edits in a sampling scheme, and its result there."""
    edits = SOBOL if request.param == "sobol" else ()
    return lambda *more: scenario(*edits, *more), run(scenario(*edits), threads=1) if edits else result


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("memory", ["1 kB", "18 MiB", "4 GiB"])
def test_threads_and_memory_leave_every_bit(sampled, whole, monkeypatch, threads, memory):
    monkeypatch.setattr("vtrial.block.FEWEST", 16)  # small blocks, though the scenario is small
    load, _ = sampled
    assert same_bytes(whole, run(load(PARTS), threads=threads, memory=memory))


def test_sampling_moves_the_patients(scenario, result):
    found = run(scenario(*SOBOL), threads=1)
    assert found.attrs["sampling"] == "sobol"
    assert not np.any(means(found).sel(outcome="level1_24h") == means(result).sel(outcome="level1_24h"))
    assert same_bytes(found["theta"], result["theta"])  # draws of the parameters stay


def test_other_seed_other_numbers(scenario, result):
    other = run(scenario(("seed: 7", "seed: 8")), threads=1)
    assert not np.any(
        other["risk"]["mean"].sel(outcome="level1_24h") == result["risk"]["mean"].sel(outcome="level1_24h")
    )


def means(tree):
    return tree["risk"]["mean"]


def test_dropping_and_reordering_arms_leaves_the_others(sampled):
    load, before = sampled
    fewer = run(load(("[ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]", "[ARM10_BAC_ONLY, ARM1_GUIDELINE]")), threads=1)
    arms = ["ARM10_BAC_ONLY", "ARM1_GUIDELINE"]
    assert np.array_equal(means(fewer).sel(arm=arms), means(before).sel(arm=arms), equal_nan=True)


def test_more_strata_in_another_order_leave_the_others(sampled):
    load, before = sampled
    more = run(load(('["18-49 G1", "75-84 G4"]', '["75-84 G4", "65-74 G3a", "18-49 G1"]')), threads=1)
    strata = ["18-49 G1", "75-84 G4"]
    assert np.array_equal(means(more).sel(stratum=strata), means(before), equal_nan=True)


def test_more_draws_leave_the_first(sampled):
    load, before = sampled
    more = run(load(("  draws: 20", "  draws: 31")), threads=1)
    assert np.array_equal(means(more).sel(draw=range(20)), means(before), equal_nan=True)


def test_more_endpoints_leave_the_others(scenario, result):
    more = run(
        scenario(("- {kind: auc, within: 72 h}", "- {kind: auc, within: 72 h}\n  - {kind: auc, within: 12 h}")),
        threads=1,
    )
    found, before = (tree["estimates"]["value"].sel(outcome=result["estimates"]["outcome"]) for tree in (more, result))
    # a further window may move a rounding, not a result
    assert found.values == pytest.approx(before.values, rel=1e-12, nan_ok=True)


def test_more_patients_leave_the_first(tiny):
    theta = draw_parameters(tiny.model, tiny.draws, 7)
    few, many = draw_patients(tiny, theta, patients=8), draw_patients(tiny, theta, patients=21)
    assert few.identical(many.isel(patient=slice(8)))


def test_more_patients_move_all_of_them_when_spread_by_sobol(scenario):
    spread = scenario(*SOBOL)
    theta = draw_parameters(spread.model, 3, 7)
    few, many = draw_patients(spread, theta, patients=8), draw_patients(spread, theta, patients=16)
    assert not (few["GFR"].values == many["GFR"].values[..., :8]).all()
    with pytest.raises(InputError, match=r"given 21: .*a power of two, at least 4; the nearest are 16 and 32"):
        draw_patients(spread, theta, patients=21)


@pytest.mark.parametrize("edits", [(), SOBOL], ids=["plain", "sobol"])
def test_patients_of_some_draws_are_those_of_all(scenario, edits):
    tiny = scenario(*edits)
    theta = draw_parameters(tiny.model, tiny.draws, 7)
    some = draw_patients(tiny, theta.isel(draw=slice(5, 9)), strata=["75-84 G4"])
    assert some.identical(draw_patients(tiny, theta).sel(stratum=["75-84 G4"]).isel(draw=slice(5, 9)))


# -------------------------------------------------------------------------------------- pairing of the arms


def test_same_policy_in_two_arms_differs_by_exactly_zero(scenario):
    twin = (
        "  start:",
        "  define:\n    TWIN: {drugs: {baclofen: BAC_US_LABEL, pregabalin: PGB_FIXED_75_BID}}\n  start:",
    )
    found = run(scenario(twin, ("ARM0_INDEX, ARM1_GUIDELINE,", "TWIN, ARM1_GUIDELINE,")), threads=1)["estimates"]
    assert not found["difference"].sel(arm="TWIN", stat=["mean", "lo", "hi", "mcse"]).values.any()
    ratio = found["ratio"].sel(arm="TWIN", stat=["mean", "lo", "hi"]).values
    assert set(np.unique(ratio[np.isfinite(ratio)])) == {1.0}
    assert np.array_equal(found["p_safest"].sel(arm="TWIN"), found["p_safest"].sel(arm="ARM1_GUIDELINE"))


def test_twice_the_dose_is_twice_the_exposure_and_more_risk(tiny):
    theta = draw_parameters(tiny.model, tiny.draws, 7)
    cohort, reference = draw_patients(tiny, theta), expose_reference(tiny, theta)
    one, two = (simulate(tiny, cohort, "ARM0_INDEX", reference, multiple=m) for m in (1.0, 2.0))
    for name in ("cmax_baclofen_24h", "auc_pregabalin_72h"):
        assert np.array_equal(2 * one[name], two[name])
    assert (two["level3_24h"] > one["level3_24h"]).all()
    assert (two["time_level1_72h"] > one["time_level1_72h"]).all()


def test_deeper_levels_are_rarer_and_longer_windows_riskier(result):
    mean = means(result)
    assert (mean.sel(outcome="level3_72h") <= mean.sel(outcome="level1_72h")).all()
    assert (mean.sel(outcome="level2_24h") <= mean.sel(outcome="level1_24h")).all()
    assert (mean.sel(outcome="level3_24h") <= mean.sel(outcome="level3_72h")).all()


def test_risk_without_one_drug_is_lower(result):
    both, one = (means(result).sel(arm=arm, outcome="level3_72h") for arm in ("ARM0_INDEX", "ARM10_BAC_ONLY"))
    assert (one < both).all()


def test_without_interaction_greco_is_loewe_to_the_bit(scenario):
    greco = run(scenario(("{allometry_CL: 0.75}", "{alpha: 0}")), threads=1)
    loewe = run(scenario(("surface: greco", "surface: loewe")), threads=1)
    assert np.array_equal(means(greco), means(loewe), equal_nan=True)


def test_bliss_of_one_drug_is_loewe_of_it(scenario):
    bliss, loewe = (
        run(scenario(("surface: greco", f"surface: {s}")), threads=1)["estimates"] for s in ("bliss", "loewe")
    )
    one = {"arm": "ARM10_BAC_ONLY", "stat": "mean"}
    apart, added = (found["value"].sel(one) for found in (bliss, loewe))
    risks = ["level1_24h", "level3_72h"]
    # two drugs and one have their maxima bracketed by other steps: each is right to 1e-8 (test_nonlinear)
    assert apart.sel(outcome=risks).values == pytest.approx(added.sel(outcome=risks).values, rel=1e-8)
    # over time Bliss sums trapezoids of the scenario's step, Loewe takes Simpson's rule between doses: of the time
    # itself, about a day, the first errs by 0.1 h at most (h^2/12 times slopes), the second by less (test_kinetics)
    time = "time_level1_72h"
    assert apart.sel(outcome=time).values == pytest.approx(added.sel(outcome=time).values, abs=0.15)


def test_step_by_step_bliss_of_one_drug_is_loewe_of_it_over_time_too(scenario, monkeypatch):
    monkeypatch.setattr("vtrial.kinetics.system.System.has_modes", property(lambda self: False))
    bliss, loewe = (
        run(scenario(("surface: greco", f"surface: {s}")), threads=1)["estimates"] for s in ("bliss", "loewe")
    )
    what = {"arm": "ARM10_BAC_ONLY", "stat": "mean", "outcome": "time_level1_72h"}
    # Bliss uses scipy's normal distribution, Loewe the polynomials of vtrial.kinetics.functions
    assert bliss["value"].sel(what).values == pytest.approx(loewe["value"].sel(what).values, rel=1e-5)


# ------------------------------------------------------------------------------------ counting, the oracle

BOTH = (
    "  - {kind: level_reached, level: [2], within: [24 h]}",
    "  - {kind: level_reached, level: [1, 2], within: [24 h]}\n"
    "  - {kind: level_reached, level: [1, 2], within: [24 h], estimator: counting}",
)
ONCE = (
    "  - {kind: level_reached, level: [1, 3], within: [24 h, 72 h]}",
    "  - {kind: level_reached, level: [3], within: [72 h]}",
)


@pytest.mark.parametrize("surface", ["greco", "loewe", "bliss"])
def test_counting_agrees_with_integrating_within_its_error(scenario, surface):
    # counted minus integrated, patient by patient, has mean zero: its SD over draws is its own Monte Carlo error
    mean = means(
        run(
            scenario(ONCE, BOTH, ("surface: greco", f"surface: {surface}"), ("  draws: 20", "  draws: 300")),
            threads=1,
        )
    )  # fmt: skip
    for level in (1, 2):
        gap = mean.sel(outcome=f"level{level}_24h_counted") - mean.sel(outcome=f"level{level}_24h")
        mcse = gap.std("draw", ddof=1) / np.sqrt(300)
        assert float(mcse.sum()) > 0
        assert (abs(gap.mean("draw")) <= 4 * mcse + 1e-12).all()


# --------------------------------------------------------------------------------------- results on disk


def test_result_is_the_same_after_a_file(result, tmp_path):
    save_result(result, tmp_path / "r.nc")
    again = load_result(tmp_path / "r.nc")
    assert again.identical(result) or (same_bytes(again, result) and dict(again.attrs) == dict(result.attrs))
    assert again.attrs["seed"] == 7
    assert [p.name for p in tmp_path.iterdir()] == ["r.nc"]


def test_result_carries_its_provenance(result, tiny):
    attrs = result.attrs
    assert attrs["scenario"] == tiny.text
    assert attrs["draws"] == 20
    assert attrs["parameters"] == "prior"
    assert json.loads(attrs["fixed"]) == {"allometry_CL": 0.75}
    assert {"numpy", "vtrial", "python"} <= set(json.loads(attrs["versions"]))
    assert len({attrs[f"{x}_sha256"] for x in ("scenario", "model", "policies")}) == 3


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_result_is_an_input_error(result, tmp_path, keep):
    path = tmp_path / "r.nc"
    save_result(result, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(InputError, match=r"r\.nc: not a readable netCDF file"):
        load_result(path)


def test_missing_and_foreign_files_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_result(tmp_path / "none.nc")
    xr.DataTree.from_dict({"/estimates": xr.Dataset({"a": 1})}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="not a result of vtrial: no risk, theta"):
        load_result(tmp_path / "other.nc")


def test_interrupted_save_leaves_the_old_file_and_no_other(result, tmp_path, monkeypatch):
    path = tmp_path / "r.nc"
    path.write_text("before")

    def broken(self, part, **_):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.DataTree, "to_netcdf", broken)
    with pytest.raises(KeyboardInterrupt):
        save_result(result, path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("r.nc", "before")]


def test_progress_counts_to_the_total(tiny, monkeypatch):
    seen = []
    monkeypatch.setattr("vtrial.block.FEWEST", 16)
    run(tiny, threads=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2 * 20 * 8 * 3, 2 * 20 * 8 * 3)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) > 2


def test_error_in_progress_stops_the_run(tiny):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny, threads=1, progress=stop)


PARTS = (
    "simulation:",
    "sensitivities: {arms: [ARM0_INDEX], strata: [75-84 G4], cases: {none: {fix: {alpha: 0}}}}\n"
    "examples:\n  patient: {age: 68 year, sex: F, height: 154 cm, weight: 65 kg, scr: 0.713 mg/dL}\n"
    "  arms: [ARM0_INDEX]\n"
    "dose_risk: {arm: ARM0_INDEX, strata: [75-84 G4], multiples: [1, 2, 4]}\nsimulation:",
)


@pytest.fixture(scope="module")
def whole(sampled):
    load, _ = sampled
    return run(load(PARTS), threads=1)


def test_examples_and_dose_risk_are_kept(whole, sampled):
    found, (_, result) = whole, sampled
    example = found["examples"]["ARM0_INDEX"]
    assert dict(example["conc"].sizes) == {"draw": 20, "time": 145, "drug": 2}
    assert float(example["conc"].isel(time=0).max()) == 0.0
    risk = found["dose_risk"]["value"].sel(stat="mean", stratum="75-84 G4", outcome="level3_72h")
    assert (np.diff(risk) > 0).all()
    own = result["estimates"]["value"].sel(arm="ARM0_INDEX", stratum="75-84 G4", outcome="level3_72h")
    assumed = found["sensitivity"]["value"].sel(arm="ARM0_INDEX", stratum="75-84 G4")
    same = found["dose_risk"]["value"].sel(stratum="75-84 G4", outcome="level3_72h", multiple=1)
    for other in (same, assumed[0]):  # every statistic, the inner share too
        assert other.values == pytest.approx(own.values, rel=1e-12)
    assert float(assumed[1].sel(stat="mean")) < float(own.sel(stat="mean"))
