"""Strict YAML: quantities, duplicates, lines, and nearest matches."""

from contextlib import suppress
from typing import Annotated, Literal

import pytest
from pydantic_core import PydanticCustomError

from vtrial.spec import Amount, Clock, Duration, InputError, Problem, Quantity, Spec, magnitude, parse, read_yaml


class Part(Spec):
    amt: Amount
    every: Duration = 24.0


class Whole(Spec):
    name: str
    kind: Literal["fast", "slow"] = "fast"
    at: Clock = 8.0
    parts: tuple[Part, ...] = ()
    share: Annotated[float, Quantity("%", low=0, high=100)] = 50.0


def read(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return parse(Whole, read_yaml(path))


# factors of the units, by definition
@pytest.mark.parametrize(
    ("given", "unit", "value"),
    [
        ("10 mg", "mg", 10), ("0.01 g", "mg", 10), ("500 ug", "mg", 0.5), ("7 d", "h", 168), ("2 week", "h", 336),
        ("30 min", "h", 0.5), ("8hr", "h", 8), ("1e2 mL/min", "L/h", 6), ("0.3 1/h", "1/h", 0.3),
        ("1.5 1/day", "1/h", 0.0625),
        (" 5  mg ", "mg", 5), ("-2 h", "h", -2), (".5 h", "h", 0.5), ("70 kg", "g", 70_000),
    ],
)  # fmt: skip
def test_quantities_are_converted(given, unit, value):
    assert magnitude(given, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (10, "bare number 10"), (10.5, "bare number 10.5"), ("10", "bare number 10"), ("10 mL", "another dimension"),
        ("10 mgg", "not a known unit"), ("mg", "not a number followed by a unit"), ("1,5 mg", "cannot be read"),
        ("ten mg", "not a number"), (True, "expected a quantity"), (None, "expected a quantity"),
        ([1], "expected a quantity"),
        ("10 mg/", "cannot be read|not a known|another dim"), ("nan mg", "not a number"), ("inf mg", "not a number"),
        ("1 2 mg", "cannot|another|not a"),
    ],
)  # fmt: skip
def test_quantities_without_number_or_unit_are_refused_with_an_example(given, says):
    with pytest.raises(PydanticCustomError, match=says) as caught:
        magnitude(given, "mg")
    assert "write e.g. '10 mg'" in str(caught.value)


@pytest.mark.parametrize("given", ["1e999 mg", "1e308 kg"])
def test_quantities_too_large_for_a_number_are_refused(tmp_path, given):
    with pytest.raises(InputError):
        read(tmp_path, f"name: a\nparts: [{{amt: {given}}}]")


def test_clock_without_quotes_is_text_in_yaml_1_2(tmp_path):
    assert read(tmp_path, "name: a\nat: 14:30").at == 14.5  # YAML 1.1 would read 870, base 60


def test_whole_spec_is_read_and_frozen(tmp_path):
    spec = read(
        tmp_path, 'name: a\nkind: slow\nat: "14:30"\nparts: [{amt: 10 mg}, {amt: 1 g, every: 8 h}]\nshare: 20 %'
    )
    assert (spec.at, spec.kind, spec.share) == (14.5, "slow", 20)
    assert [(p.amt, p.every) for p in spec.parts] == [(10, 24), (1000, 8)]
    with pytest.raises(ValueError, match="frozen"):
        spec.name = "b"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("name: a\nkidn: slow", 2, "unknown key 'kidn'; did you mean 'kind'?"),
        ("name: a\nkind: slw", 2, "did you mean 'slow'?"),
        ("kind: slow", 1, "the key 'name' is missing"),
        ("name: a\nparts:\n  - amt: 10 mg\n  - {amt: 1 mg, evry: 8 h}", 4, "did you mean 'every'?"),
        ("name: a\nparts:\n  - amt: 10 mg\n  - every: 8 h", 4, "the key 'amt' is missing"),
        ("name: a\nparts:\n  - amt: 0 mg", 3, "must be more than 0 mg"),
        ("name: a\nshare: 101 %", 2, "at most 100 %"),
        ('name: a\nat: "24:00"', 2, "clock time"),
        ("name: a\nname: b", 2, "duplicate key 'name', first given in line 1"),
        ("name: a\nparts: [{amt: 1 mg, amt: 2 mg}]", 2, "duplicate key 'amt'"),
        ("name: [a", 1, "not YAML"),
        ("name: a\n\tkind: slow", 2, "not YAML"),
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("- a\n- b", 1, "dict|mapping|Whole"),
        ("just text", 1, "dict|mapping|Whole"),
    ],
)  # fmt: skip
def test_each_mistake_is_placed_and_explained(tmp_path, text, line, says):
    with pytest.raises(InputError, match=says) as caught:
        read(tmp_path, text)
    (problem,) = caught.value.problems
    assert f"spec.yaml:{problem.line}: " in str(caught.value)
    assert problem.line in ((line, line + 1) if "not YAML" in says else (line,))


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, 'kidn: slow\nat: "25:00"\nparts:\n  - amt: 10\n  - {amt: 5 mL, evry: 8 h}\n')
    found = [(p.line, p.where[-1]) for p in caught.value.problems]
    assert found == sorted(found, key=lambda place: place[0])
    assert set(found) == {(1, "kidn"), (1, "name"), (2, "at"), (4, "amt"), (5, "amt"), (5, "evry")}


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", "name: Bénédicte".encode("latin-1")])
def test_file_that_is_not_utf8_is_refused(tmp_path, content):
    with pytest.raises(InputError, match="not UTF-8 text"):
        read(tmp_path, content)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path)


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x", "a: 0o17\nb: 0x1F", "a: .inf\nb: -.inf", "a: 1_000", "a: !!str 3"])
def test_unusual_yaml_is_read_or_refused_but_never_breaks(tmp_path, text):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with suppress(InputError):
        assert read_yaml(path).data["a"] is not None


def test_numbers_follow_yaml_1_2(tmp_path):
    path = tmp_path / "numbers.yaml"
    path.write_text("a: 017\nb: 1e3\nc: yes\nd: null\ne: 0o17\nf: true\ng: '1'\nh: -.inf\n")
    data = read_yaml(path).data
    assert data == {"a": 17, "b": 1000.0, "c": "yes", "d": None, "e": 15, "f": True, "g": "1", "h": float("-inf")}


def test_problem_reads_as_place_keys_and_message():
    assert str(Problem("too large", ("parts", 0, "amt"), "a.yaml", 3)) == "a.yaml:3: parts.0.amt: too large"
    assert str(InputError(["one", "two"])) == "one\ntwo"


# ---------------------------------------------------------------------------------------- kept documents


def test_a_long_file_reads_the_same_from_the_cache_and_problems_are_never_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("vtrial.spec.user_cache_path", lambda name: tmp_path / "cache")
    text = "a: 1\nb: [x, 2.5, null, true]\nc:\n  d: .inf\n" + "".join(f"k{i}: v{i}\n" for i in range(1000))
    file = tmp_path / "long.yaml"
    file.write_text(text, encoding="utf-8")
    first = read_yaml(file)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".json"]
    monkeypatch.setattr("vtrial.spec._compose", lambda *_: pytest.fail("read again"))
    again = read_yaml(file)
    assert (again.data, again.lines, again.text) == (first.data, first.lines, first.text)
    assert again.problem(("c", "d"), "x").line == 4
    monkeypatch.undo()
    monkeypatch.setattr("vtrial.spec.user_cache_path", lambda name: tmp_path / "other")
    file.write_text(text + "a: 2\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(InputError, match="duplicate key 'a'"):
            read_yaml(file)
    assert not (tmp_path / "other").exists()
