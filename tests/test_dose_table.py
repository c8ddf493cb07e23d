"""The largest allowed start: found as if every start had been tried, by the risks that a run gives."""

from itertools import product

import numpy as np
import pytest
from conftest import edited
from hypothesis import given, settings
from hypothesis import strategies as st

from vtrial import load_scenario, optimise, run
from vtrial.dose_table.candidates import Dose, Start, dominance, starts_that_exist
from vtrial.dose_table.search import best_allowed
from vtrial.policy import load_policies
from vtrial.report.doses import dose_rows, order_text, write_doses
from vtrial.spec import InputError

ASKED = (
    "\noptimise: {outcome: level3_72h, below: 0.0001, probability: 0.7, most: {baclofen: 15 mg, pregabalin: 75 mg}}\n"
)
FEW = ("reference_patient:", f"{ASKED.strip()}\nreference_patient:")


@st.composite
def problems(draw):
    """Points in the order of what they give, and a constraint that allows nothing above what it refuses."""
    points = draw(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40, unique=True))
    points = sorted({(0, 0), *points}, key=lambda p: (min(p), sum(p), p))
    a, b, limit = draw(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 30)))
    return points, [a * x + b * y + x * y <= limit for x, y in points]


@settings(max_examples=300, deadline=None)
@given(problems())
def test_search_finds_what_trying_every_candidate_finds(problem):
    points, allowed = problem
    worse = np.array([[p[0] <= q[0] and p[1] <= q[1] for q in points] for p in points])
    tried = []

    def try_one(i):
        tried.append(i)
        return allowed[i]

    best, count = best_allowed(worse, try_one)
    assert best == max(i for i, fits in enumerate(allowed) if fits)
    assert count == len(tried) == len(set(tried))
    assert 0 not in tried


def test_what_gives_more_at_each_time_by_hand():
    def one(baclofen=(0, ""), pregabalin=(0, "")):
        return Start((Dose("baclofen", *baclofen), Dose("pregabalin", *pregabalin)))

    starts = [
        one(),
        one((5, "TID")),  # at 8, 14 and 20 h
        one((5, "TID"), (75, "EVENING")),
        one((10, "QD"), (75, "EVENING")),  # less baclofen at 14
        one((0, ""), (75, "EVENING")),  # first dose at another time: windows do not agree
        one((10, "TID"), (75, "BID")),  # at 8 and 20 h
    ]
    more = dominance(starts, 8.0)
    by_hand = {(0, j) for j in range(6)} | {(i, i) for i in range(6)} | {(1, 2), (1, 5), (2, 5), (3, 5)}
    assert {(int(i), int(j)) for i, j in np.argwhere(more)} == by_hand


def test_starts_are_all_that_a_pharmacy_can_fill():
    most, usual = {"baclofen": 15.0, "pregabalin": 75.0}, {"baclofen": 15.0, "pregabalin": 150.0}
    policies = load_policies()
    starts = starts_that_exist(["baclofen", "pregabalin"], policies, most, usual)
    by_hand = [
        1 + sum(amt * n <= most[drug] for amt in policies.strengths[drug].units for n in (1, 1, 2, 3)) for drug in most
    ]
    assert len(starts) == len(set(starts)) == np.prod(by_hand)
    assert starts[0] == Start((Dose("baclofen"), Dose("pregabalin")))
    values = [one.value(usual) for one in starts]
    assert values == sorted(values)
    assert starts[-1].value(usual)[:2] == (0.5, 1.5)  # all the pregabalin allowed, half of the usual


@pytest.fixture(scope="module")
def few(scenario):
    return scenario(FEW)


@pytest.fixture(scope="module")
def found(few):
    return optimise(few, threads=1)


def test_finds_what_a_run_of_every_start_finds(few, found, write):
    """Brute force: all starts as arms of one scenario, run, and the best of those whose risks fit."""
    usual = dict(zip(few.drugs, found.attrs["usual"], strict=True))
    assert usual == {"baclofen": 15.0, "pregabalin": 150.0}  # 5 mg tid and 75 mg bid, ARM1_GUIDELINE
    starts = starts_that_exist(few.drugs, few.policies, {"baclofen": 15.0, "pregabalin": 75.0}, usual)[1:]
    arms = {
        f"S{i}": ", ".join(
            f"{d.drug}: {{dose: {d.amt:g} mg, freq: {d.freq}}}" if d.freq else f"{d.drug}: null" for d in start.doses
        )
        for i, start in enumerate(starts)
    }
    define = "".join(f"    {name}: {{drugs: {{{drugs}}}}}\n" for name, drugs in arms.items())
    listed = ("arms: [ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]", f"arms: [ARM1_GUIDELINE, {', '.join(arms)}]")
    risk = run(load_scenario(write(listed, ("  start:", f"  define:\n{define}  start:"))), threads=1)["risk"]["mean"]
    coma = risk.sel(outcome="level3_72h")
    fits = (coma < 0.0001).mean("draw") >= 0.7
    for s, stratum in enumerate(found["stratum"].values):
        own = fits.sel(stratum=stratum)
        best = max((i for i, name in enumerate(arms) if own.sel(arm=name)), default=None)
        assert best is not None
        assert not own.all(), "the case is too easy to tell a search from none"
        chosen = zip(found["amt"].values[s], found["freq"].values[s], strict=True)
        assert [(d.amt, d.freq) for d in starts[best].doses] == [(amt, str(freq)) for amt, freq in chosen]
        at_best = coma.sel(arm=f"S{best}", stratum=stratum)
        assert float((at_best < 0.0001).mean()) >= 0.7
        assert int(found["tried"][s]) < len(starts) / 2


def test_the_start_is_judged_on_the_patients_of_the_next_seed(scenario):
    """With parameters at their medians the seed moves patients alone: a run with the next one has the same risks."""
    median = ("  draws_from: prior", "  parameters: median")
    found = optimise(scenario(FEW, median), threads=1)
    doses = zip(found["drug"].values, found["amt"].values[1], found["freq"].values[1], strict=True)
    drugs = ", ".join(f"{drug}: {{dose: {amt:g} mg, freq: {freq}}}" for drug, amt, freq in doses)
    best = ("  start:", f"  define:\n    BEST: {{drugs: {{{drugs}}}}}\n  start:")
    listed = ("arms: [ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]", "arms: [ARM1_GUIDELINE, BEST]")
    seed = scenario().spec.simulation.seed
    coma = run(scenario(median, best, listed, (f"seed: {seed}", f"seed: {seed + 1}")), threads=1)["risk"]["mean"]
    expected = coma.sel(outcome="level3_72h", stratum=str(found["stratum"].values[1]))
    for ours, theirs in (("start", "BEST"), ("ARM1_GUIDELINE", "ARM1_GUIDELINE")):
        own = found.isel(stratum=1).sel(arm=ours)
        assert float(own["risk"].sel(stat="mean")) == pytest.approx(float(expected.sel(arm=theirs).mean()), rel=1e-12)
        assert float(own["allowed"]) == float((expected.sel(arm=theirs) < 0.0001).mean())


def test_risk_grows_with_what_dominates_patient_by_patient(few):
    """What lets the search leave starts out: the order is exact on common patients, not only on average."""
    from vtrial.block import Prepared, blocks_of, reduce_block

    draws = few.parameters("prior")
    baclofen, pregabalin = [(5.0, "QD"), (5.0, "BID"), (10.0, "TID")], [(25.0, "QD"), (50.0, "BID")]
    arms = [Start((Dose("baclofen", *b), Dose("pregabalin", *p))).arm() for b, p in product(baclofen, pregabalin)]
    block, *_ = blocks_of(few, ["75-84 G4"], arms=len(arms), memory=2**29, threads=1)
    mean = reduce_block(Prepared.of(few, draws), block, arms, 0)[0].mean
    coma = mean[:, [outcome.name for outcome in few.outcomes].index("level3_72h")].reshape(3, 2, -1)
    assert (np.diff(coma, axis=0) >= 0).all()
    assert (np.diff(coma, axis=1) >= 0).all()


def test_same_bits_with_more_threads_and_other_strata(few, found, scenario):
    again = optimise(few, threads=3, memory="1 kB")
    assert again["risk"].values.tobytes() == found["risk"].values.tobytes()
    alone = optimise(scenario(FEW, ('strata: ["18-49 G1", "75-84 G4"]', 'strata: ["75-84 G4"]')))
    assert alone["risk"].sel(stratum="75-84 G4").equals(found["risk"].sel(stratum="75-84 G4"))


def test_nothing_is_allowed_where_everything_is_too_much(scenario):
    none = scenario((FEW[0], FEW[1].replace("below: 0.0001, probability: 0.7", "below: 1.0e-30, probability: 1.0")))
    found = optimise(none)
    assert (found["freq"] == "").all()
    assert (found["risk"].sel(arm="start", stat="mean") == 0).all()
    assert (found["value"] == 0).all()


def test_table_says_what_was_found(found, tmp_path):
    table = dose_rows(found)
    assert len(table) == found.sizes["stratum"] * found.sizes["arm"]
    start = table[(table["arm"] == "start") & (table["stratum"] == "18-49 G1")].iloc[0]
    s = list(found["stratum"].values).index("18-49 G1")
    assert start["baclofen"] == f"{float(found['amt'][s, 0]):g} mg {found['freq'].values[s, 0]}"
    assert start["mean"] == float(found["risk"].sel(arm="start", stat="mean")[s])
    write_doses(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"doses.csv", "doses.nc", "report.md", "figures"}
    page = (tmp_path / "report.md").read_text()
    assert start["baclofen"] in page
    assert "not for dosing decisions" in page


def test_table_says_where_it_is_not_monotone(found):
    assert order_text(found.assign(row=("stratum", ["a", "a"]), value=("stratum", [1.0, 0.5]))).endswith("nowhere.")
    grown = order_text(found.assign(row=("stratum", ["a", "a"]), value=("stratum", [0.5, 1.0])))
    assert grown.endswith("before: 75-84 G4 after 18-49 G1.")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("outcome: level3_72h,", "outcome: level3_73h,", "no endpoint gives 'level3_73h'"),
        ("outcome: level3_72h,", "outcome: cmax_baclofen_24h,", "not the risk of a level"),
        ("below: 0.0001", "below: 1.5", "less than 1"),
        ("probability: 0.7", "probability: 0", "greater than 0"),
        ("most: {baclofen", "most: {baclofn", "did you mean 'baclofen'"),
        ("baclofen: 15 mg", "baclofen: 15", "unit"),
    ],
)
def test_bad_input_is_told_where_it_is(scenario, old, new, said):
    with pytest.raises(InputError, match=said) as error:
        scenario((FEW[0], edited(FEW[1], (old, new))))
    assert "tiny.yaml:" in str(error.value)


def test_a_scenario_that_does_not_ask_is_refused(scenario):
    with pytest.raises(InputError, match="says nothing of 'optimise'"):
        optimise(scenario())


def test_a_reference_without_a_drug_is_refused(scenario):
    with pytest.raises(InputError, match="ARM10_BAC_ONLY gives the reference patient no pregabalin"):
        optimise(scenario(FEW, ("reference: ARM1_GUIDELINE", "reference: ARM10_BAC_ONLY")))
