"""Scenarios: what is refused, where, and with which hint; the JSON schema; what a good one resolves to."""

import re

import pytest
from conftest import TINY, edited

from vtrial import load_scenario
from vtrial.library import SCENARIOS
from vtrial.model import load_model
from vtrial.scenario import ScenarioSpec, json_schema
from vtrial.spec import InputError, parse, read_yaml

# what is written, what it is changed to, and what the message must say
BROKEN = {
    "unknown key": ("title: tiny", "title: tiny\nendpoint: []", "unknown key 'endpoint'; did you mean 'endpoints'?"),
    "unknown key below": ("  horizon: 72 h", "  horizon: 72 h\n  titrat: true", "did you mean 'titrate'?"),
    "duplicate key": ("  seed: 7", "  seed: 7\n  seed: 8", "duplicate key 'seed', first given in line"),
    "missing key": ("  seed: 7\n", "", "the key 'seed' is missing"),
    "bare number": ("horizon: 72 h", "horizon: 72", "bare number 72: a unit is due here"),
    "bare number as text": ("horizon: 72 h", "horizon: '72'", "bare number 72: a unit is due here"),
    "other dimension": ("horizon: 72 h", "horizon: 7 mg", "'7 mg' is not a quantity in h"),
    "unknown unit": ("horizon: 72 h", "horizon: 72 hurs", "'hurs' is not a known unit"),
    "negative horizon": ("horizon: 72 h", "horizon: -72 h", "must be more than 0 h"),
    "sampling": ("  step: 30 min", "  step: 30 min\n  sampling: sobel", "did you mean 'sobol'?"),
    "Sobol of too few": (
        "  small: {draws: 3, patients: 2}", "  sampling: sobol\n  small: {draws: 3, patients: 2}",
        "simulation.small.patients: given 2: sampling sobol needs a power of two, at least 4; the nearest is 4",
    ),
    "Sobol of no power of two": (
        "  patients: 8\n", "  patients: 12\n  sampling: sobol\n",
        "simulation.patients: given 12: sampling sobol needs a power of two, at least 4; the nearest are 8 and 16",
    ),
    "parameters": ("  surface: greco", "  parameters: median_", "did you mean 'median'?"),
    "zero step": ("step: 30 min", "step: 0 h", "must be more than 0 h"),
    "model": ("name: baclofen_pregabalin", "name: baclofen_pregabaline", "did you mean 'baclofen_pregabalin'?"),
    "surface": ("surface: greco", "surface: grecko", "did you mean 'greco'?"),
    "food": ("  surface: greco", "  food: fastd", "did you mean 'fasted'?"),
    "parameter to fix": ("{allometry_CL: 0.75}", "{alhpa: 0}", "unknown parameter 'alhpa'; did you mean 'alpha'?"),
    "fix without unit": ("{allometry_CL: 0.75}", "{baclofen.ke0: 0.3}", "a unit is due here; write e.g. '10 1/h'"),
    "fix of other dimension": ("{allometry_CL: 0.75}", "{baclofen.ke0: 0.3 mg}", "another dimension"),
    "fix of plain with unit": ("{allometry_CL: 0.75}", "{alpha: 3 mg}", "a plain number is due here"),
    "fix by nothing": ("{allometry_CL: 0.75}", "{alpha: null}", "model.fix.alpha"),
    "fix not a number": ("{allometry_CL: 0.75}", "{alpha: .nan}", "alpha"),
    "fix infinite": ("{allometry_CL: 0.75}", "{alpha: .inf}", "alpha"),
    "fix a volume of nothing": ("{allometry_CL: 0.75}", "{baclofen.V: 0 L}", "baclofen.V"),
    "fix a negative spread": ("{allometry_CL: 0.75}", "{omega_S: -1}", "omega_S"),
    "infinite horizon": ("horizon: 72 h", "horizon: 1e999 h", "horizon"),
    "fix against the ladder": ("{allometry_CL: 0.75}", "{r_1: 0.9, r_2: 0.2}", "r_1|constraint"),
    "arm": ("ARM0_INDEX, ARM1", "ARM0_INDX, ARM1", "unknown arm 'ARM0_INDX'; did you mean 'ARM0_INDEX'?"),
    "arm twice": ("ARM0_INDEX, ARM1", "ARM0_INDEX, ARM0_INDEX, ARM1", "given twice: ARM0_INDEX"),
    "no arms": ("[ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]", "[]", "at least 1 item"),
    "policy": (
        "  start:", "  define:\n    MINE: {drugs: {baclofen: BAC_INDX, pregabalin: null}}\n  start:",
        "did you mean 'BAC_INDEX'?",
    ),
    "shares of a mixture": (
        "  start:", "  define:\n    MINE: {mix: {ARM0_INDEX: 0.3, ARM1_GUIDELINE: 0.6}}\n  start:",
        "treatment.define.MINE: the shares of the mixture sum to 0.9, not to 1",
    ),
    "arm of a mixture": (
        "  start:", "  define:\n    MINE: {mix: {ARM0_INDX: 0.3, ARM1_GUIDELINE: 0.7}}\n  start:",
        "treatment.define.MINE.mix.ARM0_INDX: unknown arm 'ARM0_INDX'; did you mean 'ARM0_INDEX'?",
    ),
    "mixture of mixtures": (
        "  start:",
        "  define:\n    A: {mix: {ARM0_INDEX: 1.0}}\n    B: {mix: {A: 0.5, ARM0_INDEX: 0.5}}\n  start:",
        "'A' is a mixture itself: name its components",
    ),
    "mixture and drugs": (
        "  start:", "  define:\n    MINE: {mix: {ARM0_INDEX: 1.0}, drugs: {baclofen: BAC_INDEX}}\n  start:",
        "an arm needs either 'drugs' or 'mix'",
    ),
    "frequency of a dose": (
        "  start:", "  define:\n    MINE: {drugs: {baclofen: {dose: 5 mg, freq: TIDD}}}\n  start:",
        "did you mean 'TID'?",
    ),
    "stop after the horizon": ("horizon: 72 h", "horizon: 72 h\n  stop: 4 d", "96 h is after treatment.horizon, 72 h"),
    "onset backwards": (
        "{kind: cmax, within: 24 h}", "{kind: onset, level: [1], times: [24 h, 12 h]}", "12 h do not increase",
    ),
    "onset beyond the horizon": (
        "{kind: cmax, within: 24 h}", "{kind: onset, level: [1], times: [24 h, 96 h]}",
        "endpoints.2.times: window 96 h is longer than treatment.horizon, 72 h",
    ),
    "level to recover from": (
        "{kind: cmax, within: 24 h}",
        "{kind: recovery, from_level: 4, to_level: 1, at: 24 h, times: [6 h], until: 72 h}",
        "endpoints.2.from_level: given 4: the model's levels are 1 somnolent, 2 stuporous, 3 coma",
    ),
    "no time left to recover": (
        "{kind: cmax, within: 24 h}",
        "{kind: recovery, from_level: 3, to_level: 1, at: 24 h, times: [6 h, 48 h], until: 72 h}",
        "endpoints.2.until: 72 h is not after the last time, 72 h",
    ),
    "drug": (
        "ARM10_BAC_ONLY]\n", "MINE]\n  define:\n    MINE: {drugs: {baclofene: BAC_INDEX}}\n",
        "did you mean 'baclofen'?",
    ),
    "own arm of a taken name": (
        "  start:", "  define:\n    ARM0_INDEX: {drugs: {baclofen: BAC_INDEX}}\n  start:",
        "exists already in arms.yaml",
    ),
    "start": ('start: "08:00"', 'start: "25:00"', "write a clock time between '00:00' and '23:59'"),
    "endpoint kind": ("kind: auc", "kind: aucc", "did you mean 'auc'?"),
    "endpoint key": ("{kind: auc, within: 72 h}", "{kind: auc, witin: 72 h}", "did you mean 'within'?"),
    "estimator": ("level: [2], within: [24 h]", "level: [2], within: [24 h], estimator: count", "mean 'counting'?"),
    "level 4": ("kind: time_at_level, level: [1]", "kind: time_at_level, level: [4]", "given 4: the model's levels"),
    "level 0": ("kind: time_at_level, level: [1]", "kind: time_at_level, level: [0]", "greater than or equal to 1"),
    "level is text": ("kind: time_at_level, level: [1]", "kind: time_at_level, level: [coma]", "integer"),
    "level is no list": ("kind: time_at_level, level: [1]", "kind: time_at_level, level: 1", "endpoints.5.level"),
    "same outcome twice": (
        "  - {kind: peak_clock, within: 24 h}", "  - {kind: cmax, within: 24 h}", "twice",
    ),
    "same level twice": ("kind: time_at_level, level: [1]", "kind: time_at_level, level: [1, 1]", "twice"),
    "time at level twice": (
        "  - {kind: peak_clock, within: 24 h}", "  - {kind: time_at_level, level: [1], within: 24 h}", "given twice",
    ),
    "window too long": ("{kind: auc, within: 72 h}", "{kind: auc, within: 73 h}", "longer than treatment.horizon"),
    "window off the grid": ("{kind: auc, within: 72 h}", "{kind: auc, within: 100 min}", "multiple of simulation.step"),
    "covariate": ('"75-84 G4"]', "{name: x, AEG: [75 year, null]}]", "did you mean 'AGE'?"),
    "stratum": ('"75-84 G4"]', '"75-84 G6"]', "did you mean '75-84 G"),
    "impossible range": ('"75-84 G4"]', "{name: x, AGE: [75 year, 65 year]}]", "impossible range"),
    "empty stratum": ('"75-84 G4"]', "{name: x, AGE: [119 year, 120 year]}]", "is empty"),
    "range without unit": ('"75-84 G4"]', "{name: x, AGE: [65, 75]}]", "a unit is due"),
    "weight 0": ('"75-84 G4"]', "{name: x, weight: 0}]", "greater than 0"),
    "weight infinite": ('"75-84 G4"]', "{name: x, weight: .inf}]", "finite"),
    "stratum twice": ('"75-84 G4"]', '"18-49 G1"]', "given twice: 18-49 G1"),
    "two sources": ("  model: us_adults", "  model: us_adults\n  patient: []", "population"),
    "population model": ("model: us_adults", "model: us_adlts", "did you mean 'us_adults'?"),
    "reference not an arm": ("reference: ARM1_GUIDELINE", "reference: ARM2_LABEL_RENAL", "is no arm of this scenario"),
    "primary": ("primary: level3_72h", "primary: level3_7d", "gives 'level3_7d'; did you mean 'level3_72h'?"),
    "limit's outcome": ("{outcome: level1_24h,", "{outcome: levl1_24h,", "did you mean 'level1_24h'?"),
    "limit 0": ("below: 0.1}", "below: 0}", "greater than 0"),
    "accept's arm": ("- {arm: ARM1_GUIDELINE", "- {arm: ARM1_GUIDLINE", "did you mean 'ARM1_GUIDELINE'?"),
    "accept's stat": ("stat: mcse", "stat: mse", "did you mean 'mcse'?"),
    "accept's stratum": ("stat: mcse", "stat: mcse, stratum: 75-84 G5", "did you mean '75-84 G4'?"),
    "seed is text": ("seed: 7", "seed: seven", "integer"),
    "seed negative": ("seed: 7", "seed: -7", "greater than or equal to 0"),
    "draws 0": ("  draws: 20", "  draws: 0", "greater than or equal to 1"),
    "draws a fraction": ("  draws: 20", "  draws: 20.5", "integer"),
    "interval": ("  primary:", "  interval: 95\n  primary:", "less than 1"),
    "patient without unit": ("age: 40 year", "age: 40", "a unit is due"),
    "patient too old": ("age: 40 year", "age: 140 year", "at most 120 year"),
    "patient's sex": ("sex: M", "sex: X", "reference_patient.sex"),
    "examples of no arm": (
        "simulation:", "examples:\n  patient: {age: 40 year, sex: M, height: 176 cm, weight: 70 kg, scr: 0.9 mg/dL}\n"
        "  arms: [ARM9_BEERS]\nsimulation:", "'ARM9_BEERS' is no arm of this scenario",
    ),
    "dose_risk's stratum": (
        "simulation:", "dose_risk: {arm: ARM0_INDEX, strata: [75-84 G9], multiples: [1, 2]}\nsimulation:",
        "unknown stratum '75-84 G9'",
    ),
    "dose_surface's stratum and drug": (
        "simulation:",
        "dose_surface: {strata: [75-84 G9], drugs: {baclofen: {freq: TID, doses: [5 mg, 10 mg]}, "
        "pregabaline: {freq: BID, doses: [25 mg, 50 mg]}}}\nsimulation:",
        "unknown drug 'pregabaline'; did you mean 'pregabalin'?",
    ),
    "dose_surface of one drug": (
        "simulation:",
        "dose_surface: {strata: [75-84 G4], drugs: {baclofen: {freq: TID, doses: [5 mg, 10 mg]}}}\nsimulation:",
        "at least 2 items",
    ),
    "dose_surface of doses that do not rise": (
        "simulation:",
        "dose_surface: {strata: [75-84 G4], drugs: {baclofen: {freq: TID, doses: [10 mg, 5 mg]}, "
        "pregabalin: {freq: BID, doses: [25 mg, 50 mg]}}}\nsimulation:",
        "given 10, 5: each must be above the one before",
    ),
    "dose_risk of the population": (
        "simulation:", "dose_risk: {arm: ARM0_INDEX, strata: [population], multiples: [1, 2]}\nsimulation:", "stratum",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_scenario_is_refused_with_file_line_and_hint(write, old, new, says):
    path = write((old, new))
    with pytest.raises(InputError, match=f"(?s){says if '|' in says else re.escape(says)}") as caught:
        load_scenario(path)
    lines = {problem.line for problem in caught.value.problems}
    text, first = path.read_text(), TINY[: TINY.index(old)].count("\n") + 1
    assert re.search(rf"{re.escape(str(path))}:\d+: ", str(caught.value))
    # the problem lies on a line that was edited, or on the one that opens what was edited
    touched = range(first - 1 if new == "" else first, first + max(new.count("\n"), 0) + 1)
    opener = {i + 1 for i, line in enumerate(text.splitlines()) if line.endswith(":")}
    assert lines & set(touched) or lines <= opener | {first - 1}, f"reported at {lines}, edited at {list(touched)}"


def test_many_mistakes_are_reported_at_once(write):
    names = ("unknown key", "bare number", "surface", "start", "endpoint kind", "patient's sex")
    edits = [BROKEN[name][:2] for name in names]
    with pytest.raises(InputError) as caught:
        load_scenario(write(*edits))
    assert len(caught.value.problems) == len(edits)
    lines = [problem.line for problem in caught.value.problems]
    assert lines == sorted(lines)


def test_arms_are_not_ranked_by_what_is_derived_from_means(write):
    onset = "{kind: cmax, within: 24 h}", "{kind: onset, level: [1], times: [12 h, 24 h]}"
    with pytest.raises(InputError, match="primary: 'median_onset1_24h' is derived from means of patients"):
        load_scenario(write(onset, ("primary: level3_72h", "primary: median_onset1_24h")))


def test_many_wrong_names_are_reported_at_once(write):
    names = ("arm", "primary", "parameter to fix", "limit's outcome", "accept's stratum", "window too long")
    with pytest.raises(InputError) as caught:
        load_scenario(write(*[BROKEN[name][:2] for name in names]))
    assert len(caught.value.problems) == len(names)


def test_wrong_level_and_wrong_names_are_reported_at_once(write):
    names = ("level 4", "primary", "accept's stratum")
    with pytest.raises(InputError) as caught:
        load_scenario(write(*[BROKEN[name][:2] for name in names]))
    assert len(caught.value.problems) == len(names)


def test_empty_stratum_and_wrong_names_are_reported_at_once(write):
    names = ("empty stratum", "primary", "arm")
    with pytest.raises(InputError) as caught:
        load_scenario(write(*[BROKEN[name][:2] for name in names]))
    assert len(caught.value.problems) == len(names)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "the file is empty"), (b"\xff\xfe", "not UTF-8"), (b"title: [", "not YAML"), (b"- a\n", "scenario.yaml:1")],
)
def test_file_that_is_no_scenario_is_refused(tmp_path, content, says):
    path = tmp_path / "scenario.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        load_scenario(path)
    with pytest.raises(InputError, match="No such file"):
        load_scenario(tmp_path / "none.yaml")


def test_size_small_is_taken_or_refused(write):
    small = load_scenario(write(), size="small")
    assert (small.draws, small.patients) == (3, 2)
    with pytest.raises(InputError, match=r"add simulation\.small"):
        load_scenario(write(("  small: {draws: 3, patients: 2}\n", "")), size="small")


def test_good_scenario_resolves_all_that_it_names(tiny):
    assert [arm.id for arm in tiny.arms] == ["ARM0_INDEX", "ARM1_GUIDELINE", "ARM10_BAC_ONLY"]
    assert tiny.windows == (24.0, 72.0)
    assert (tiny.draws, tiny.patients, tiny.spec.treatment.start) == (20, 8, 8.0)
    assert tiny.fix == {"allometry_CL": 0.75}
    assert {"level3_72h", "cmax_ratio_baclofen_24h"} <= {outcome.name for outcome in tiny.outcomes}
    assert sum(s.weight for s in tiny.population.strata) == pytest.approx(1)


def test_fixed_quantities_are_converted_to_the_models_unit(scenario):
    found = scenario(("{allometry_CL: 0.75}", "{baclofen.ke0: 7.2 1/day, alpha: 0, tolerance_t_half: 48 h}")).fix
    assert found == pytest.approx({"baclofen.ke0": 0.3, "alpha": 0.0, "tolerance_t_half": 2.0})


@pytest.mark.parametrize("name", [p.name for p in load_model("baclofen_pregabalin").params])
def test_every_parameter_can_be_fixed_in_its_own_unit(scenario, name):
    param = load_model("baclofen_pregabalin").param(name)
    given = "0.5" if param.unit == "1" else f'"0.5 {param.unit}"'
    assert scenario(("{allometry_CL: 0.75}", f"{{{name}: {given}}}")).fix == pytest.approx({name: 0.5})


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("size", ["full", "small"])
def test_scenarios_of_the_house_load(path, size):
    assert load_scenario(path, size=size).arms


# ----------------------------------------------------------------------------------------- JSON schema


def refers(schema, node):
    """Follow $ref."""
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return node


def accepts(schema, node, value):
    """A small validator: types, required and unknown keys, enumerations, unions (what an editor checks)."""
    node = refers(schema, node)
    for word in ("anyOf", "oneOf"):
        if word in node and not any(accepts(schema, option, value) for option in node[word]):
            return False
    if "const" in node and value != node["const"]:
        return False
    if "enum" in node and value not in node["enum"]:
        return False
    if "pattern" in node and isinstance(value, str) and not re.search(node["pattern"], value):
        return False
    kinds = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "null": type(None)}
    if node.get("type") in kinds and not isinstance(value, kinds[node["type"]]):
        return False
    if isinstance(value, dict) and "properties" in node:
        known = node["properties"]
        if set(node.get("required", ())) - set(value) or (
            node.get("additionalProperties") is False and set(value) - set(known)
        ):
            return False
        return all(accepts(schema, known[k], v) for k, v in value.items() if k in known)
    if isinstance(value, list) and "items" in node:
        return all(accepts(schema, node["items"], item) for item in value)
    return True


def test_schema_is_closed_and_its_references_exist():
    schema = json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(ScenarioSpec.model_fields)
    for reference in re.findall(r"'\$ref': '([^']*)'", str(schema)):
        assert reference.removeprefix("#/$defs/") in schema["$defs"]


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda p: p.stem)
def test_schema_accepts_the_scenarios_of_the_house(path):
    schema = json_schema()
    assert accepts(schema, schema, read_yaml(path).data)


SHAPES = (
    "unknown key", "unknown key below", "missing key", "surface", "endpoint kind", "bare number", "endpoint key",
    "covariate", "accept's stat",
)  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_schema_refuses_what_the_program_refuses(tmp_path, name):
    path = tmp_path / "broken.yaml"
    path.write_text(edited(TINY, BROKEN[name][:2]))
    schema = json_schema()
    assert not accepts(schema, schema, read_yaml(path).data)


def test_schema_validator_of_this_file_accepts_the_tiny_scenario(write):
    schema, document = json_schema(), read_yaml(write())
    assert accepts(schema, schema, document.data)
    assert parse(ScenarioSpec, document).title == "tiny"
