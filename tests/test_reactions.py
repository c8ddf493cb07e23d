"""Arms that react: doses by hand, each patient followed one look at a time, and what is refused."""

import numpy as np
import pytest
from conftest import SOBOL, edited
from scipy.special import ndtri

from vtrial import draw_parameters, draw_patients, load_scenario, run, simulate
from vtrial.patients import groups_of
from vtrial.policy import Reaction, Regimen, Rounds
from vtrial.spec import InputError
from vtrial.treatment import expose_reference, follow
from vtrial.treatment.expose import expose_items
from vtrial.treatment.given import Items, dose

# ----------------------------------------------------------------------------------------------- doses by hand

TID = Regimen("baclofen", [0, 6, 12, 24, 30, 36, 48, 54, 60], [5, 5, 5, 10, 10, 10, 15, 15, 15])
"""Three days of 5, 10 and 15 mg three times a day, 72 h."""


@pytest.mark.parametrize(
    ("reaction", "doses"),
    [
        ({"do": "stop"}, [5, 5, 5, 10, 0, 0, 0, 0, 0]),
        ({"do": "hold"}, [5, 5, 5, 10, 0, 0, 15, 15, 15]),
        ({"do": "reduce", "to": "50 %"}, [5, 5, 5, 10, 5, 5, 7.5, 7.5, 7.5]),
        ({"do": "back", "days": 1}, [5, 5, 5, 10, 5, 5, 10, 10, 10]),
        ({"do": "back", "days": 2}, [5, 5, 5, 10, 5, 5, 5, 5, 5]),
        ({"do": "back", "days": 9}, [5, 5, 5, 10, 5, 5, 5, 5, 5]),
        ({"do": "stay"}, [5, 5, 5, 10, 10, 10, 10, 10, 10]),
        ({"do": "stop", "drugs": ["pregabalin"]}, TID.amt.tolist()),
        ({"do": "dialyse", "after": "2 h", "hours": "4 h"}, TID.amt.tolist()),
    ],
    ids=lambda value: value["do"] + str(value.get("days", "")) if isinstance(value, dict) else "",
)
def test_doses_from_a_round_on_by_hand(reaction, doses):
    """Looked at at 30 h, before the dose of that hour; the next round is at 48 h."""
    found = Reaction(seen=1, **reaction).rewritten(TID, 30.0, 48.0, 72.0)
    assert found.time.tolist() == TID.time.tolist()
    assert found.amt.tolist() == doses


def test_a_session_is_asked_for_at_the_round():
    asked = Reaction(seen=3, do="dialyse", after="2 h", hours="4 h").session(24.0)
    assert asked is not None
    assert asked.until(100) == [(26.0, 30.0)]
    assert Reaction(seen=3, do="stop").session(24.0) is None


def test_rounds_are_at_clock_times_after_the_first_dose():
    assert Rounds(clock=["20:00", "08:00"]).times(8.0, 49.0) == [12.0, 24.0, 36.0, 48.0]
    assert Rounds(clock=["08:00"]).times(20.0, 24.0) == [12.0]
    assert Rounds(clock=["08:00"]).times(20.0, 12.0) == []


# ------------------------------------------------------------------------------- against one look at a time

DRUGS = "drugs: {baclofen: {dose: 15 mg, freq: TID}, pregabalin: {dose: 150 mg, freq: BID}}"
REACTING = {
    "STOP": '{D, rounds: {clock: ["08:00"]}, reactions: [{seen: 2, do: stop}]}',
    "HOLD": '{D, rounds: {clock: ["08:00", "20:00"]}, reactions: [{seen: 1, do: hold}]}',
    "LADDER": '{D, rounds: {clock: ["14:00"]}, reactions: [{seen: 1, do: reduce, to: 50 %, drugs: [baclofen]}, '
    "{seen: 2, do: hold}, {seen: 3, do: stop}]}",
    "RESCUED": '{D, rounds: {clock: ["20:00"]}, reactions: [{seen: 2, do: stop}, '
    "{seen: 2, do: dialyse, after: 2 h, hours: 4 h}]}",
    "MONITORED": "{D, monitoring: [{drug: pregabalin, at: [12 h, 36 h], target: [1 mg/L, 3 mg/L], delay: 10 h, "
    'cv: 0 %}], rounds: {clock: ["14:00"]}, reactions: [{seen: 2, do: hold}]}',
}


def reacting(name, body, *edits):
    """Edits: the tiny scenario with one arm that reacts beside its reference."""
    define = f"  define:\n    {name}: {body.replace('D,', DRUGS + ',', 1)}\n  start:"
    arms = ("[ARM0_INDEX, ARM1_GUIDELINE, ARM10_BAC_ONLY]", f"[ARM1_GUIDELINE, {name}]")
    return ("  start:", define), arms, *edits


def one_look_at_a_time(loaded, group, arm, patient, sensitivity):
    """Peaks of drive times sensitivity of one patient within each window, followed from round to round.

    Trajectories are the kernel's, doses are rewritten here, and level and concentration are read off the trajectory.
    """
    plan = dose(loaded, group, [arm])
    doses = {t[0].drug: [*zip(t[k].time, t[k].amt, strict=True)]
             for t, k in ((t, int(row[patient])) for t, row in zip(plan.table, plan.row, strict=True))}  # fmt: skip
    r = [float(group.theta[name][patient // group.shape[1]]) for name in ("r_1", "r_2")] + [1.0]
    rounds = arm.rounds.times(8.0, 72.0)
    samples = [(time, one) for one in arm.monitoring for time in one.at]
    sessions = ()

    def exposed():
        table = [[Regimen(drug, *np.array(own).T)] for drug, own in doses.items()]
        items = Items(table, [np.zeros(1, np.int64)] * 2, np.array([patient]))
        return expose_items(loaded, group, items, sessions, trace=True)

    for now, monitoring in sorted([*samples, *((time, None) for time in rounds)], key=lambda look: look[0]):
        _, track = exposed()
        here = np.flatnonzero(track.time == now)[0]
        if monitoring is not None:
            conc, (low, high) = track.conc[here, [*doses].index(monitoring.drug), 0], monitoring.target
            factor = np.clip(np.sqrt(low * high) / conc, 0.5, 2) if not low <= conc <= high else 1
            doses[monitoring.drug] = [  # capsules of 25 mg; half-way between two, the smaller dose
                (t, np.ceil(amt * factor / 25 - 0.5) * 25 if t >= now + monitoring.delay else amt)
                for t, amt in doses[monitoring.drug]
            ]
            continue
        j, drive = rounds.index(now), track.drive[here, 0, 0]
        level = sum(sensitivity * drive >= threshold for threshold in r)
        deepest = max((one.seen for one in arm.reactions if one.seen <= level), default=None)
        following = rounds[j + 1] if j + 1 < len(rounds) else 1e9
        for one in (one for one in arm.reactions if one.seen == deepest):
            if one.do == "dialyse" and not sessions:
                sessions = (one.session(now),)
            factor, until = {"stop": (0, 1e9), "hold": (0, following), "reduce": (0.5, 1e9)}.get(one.do, (1, 1e9))
            for drug in one.drugs or (doses if one.do != "dialyse" else ()):
                doses[drug] = [(t, amt * (factor if now <= t < until else 1)) for t, amt in doses[drug]]
    return exposed()[0].peak[0, :, 0] * sensitivity


@pytest.mark.parametrize("name", REACTING)
def test_shares_are_what_following_each_sensitivity_gives(scenario, name):
    """Risks of a patient are the part of a fine ladder of sensitivities that reaches the level, each one followed by
    itself; and a patient who is counted does what one of his own sensitivity does."""
    counted = "  - {kind: level_reached, level: [1, 2, 3], within: [72 h], estimator: counting}\n  - {kind: cmax"
    loaded = scenario(*reacting(name, REACTING[name], ("  - {kind: cmax", counted)))
    theta = draw_parameters(loaded.model, 4, 7)
    cohort = draw_patients(loaded, theta, strata=["75-84 G4"], patients=4)
    found = simulate(loaded, cohort, name, expose_reference(loaded, theta)).isel(stratum=0)
    (group,) = groups_of(loaded, cohort)
    arm, steps, split = loaded.arm(name), 24, 0
    for patient in (0, 5, 10, 15):
        d, i = divmod(patient, 4)
        omega_S, r = float(group.theta["omega_S"][d]), [float(group.theta[f"r_{k}"][d]) for k in (1, 2)] + [1.0]
        upper = (np.arange(steps) + 0.5) / steps
        peaks = np.array([
            one_look_at_a_time(loaded, group, arm, patient, s)[-1] for s in np.exp(omega_S * ndtri(1 - upper))
        ])  # fmt: skip
        for k in (1, 3):
            expected = np.mean(peaks >= r[k - 1])
            assert float(found[f"level{k}_72h"][d, i]) == pytest.approx(expected, abs=1 / steps)
        own = one_look_at_a_time(loaded, group, arm, patient, np.exp(omega_S * float(group.z[0].ravel()[patient])))
        for k in (1, 2, 3):
            assert float(found[f"level{k}_72h_counted"][d, i]) == float(own[-1] >= r[k - 1])
        split += len(np.unique(peaks / np.exp(omega_S * ndtri(1 - upper)))) > 1
    assert split  # some patient takes more than one course


# ------------------------------------------------------------------------------------------- what follows from theory


def risks(loaded, **options):
    return run(loaded, threads=1, **options)["risk"]["mean"]


def test_a_reaction_that_changes_nothing_leaves_the_risks_of_its_doses(scenario):
    plain = scenario(*reacting("PLAIN", "{D, role: core}"))
    idle = scenario(*reacting("IDLE", '{D, rounds: {clock: ["08:00"]}, reactions: [{seen: 1, do: reduce, to: 100 %}]}'))
    ours, theirs = risks(idle).sel(arm="IDLE"), risks(plain).sel(arm="PLAIN")
    assert ours.values == pytest.approx(theirs.values, rel=1e-9)


def test_whoever_is_always_thought_to_be_in_coma_stops_at_the_first_round(scenario):
    always = '{clock: ["08:00"], misjudged: [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]]}'
    ours = scenario(*reacting("ALL", f"{{D, rounds: {always}, reactions: [{{seen: 3, do: stop}}]}}"))
    theirs = scenario(
        *reacting("PLAIN", "{D, role: core}", ("  horizon: 72 h", "  horizon: 72 h\n  stop: 24 h")),
        ("arms: [ARM1_GUIDELINE, PLAIN]", "arms: [PLAIN, ARM1_GUIDELINE]"),
        ("  reference: ARM1_GUIDELINE", "  reference: PLAIN"),
        ("  - {arm: ARM1_GUIDELINE, outcome", "  - {arm: PLAIN, outcome"),
    )
    found, expected = risks(ours).sel(arm="ALL"), risks(theirs).sel(arm="PLAIN")
    assert found.values == pytest.approx(expected.values, rel=1e-9)


def test_errors_at_rounds_are_as_frequent_as_they_say(scenario):
    """Of patients on a dose that does nothing, a fraction is thought drowsy at each of three rounds, and stops."""
    dull = '{drugs: {baclofen: {dose: 0.001 mg, freq: QD}, pregabalin: null}, rounds: {clock: ["07:00"], '
    dull += (
        "misjudged: [[0.7, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, reactions: [{seen: 1, do: stop}]}"
    )
    loaded = scenario(*reacting("DULL", dull))
    theta = draw_parameters(loaded.model, 20, 7)
    (group,) = groups_of(loaded, draw_patients(loaded, theta, strata=["75-84 G4"], patients=100))
    given = follow(loaded, group, loaded.arm("DULL"), multiple=1.0)
    doses = np.array([np.count_nonzero(regimen.amt) for regimen in given.table[0]])[given.row[0]]
    assert np.array_equal(np.sort(given.patient), np.arange(2000))  # nobody's course depends on his sensitivity
    for number, expected in ((1, 0.3), (2, 0.7 * 0.3), (3, 0.7**2 * 0.3), (4, 0.7**3)):
        assert np.mean(doses == number) == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 2000))


def test_who_is_seen_and_stopped_is_sedated_for_a_shorter_time(scenario):
    loaded = scenario(*reacting("STOP", REACTING["STOP"].replace("seen: 2", "seen: 1")))
    plain = scenario(*reacting("PLAIN", "{D, role: core}"))
    ours = run(loaded, threads=1)["estimates"]["value"].sel(arm="STOP", stat="mean")
    theirs = run(plain, threads=1)["estimates"]["value"].sel(arm="PLAIN", stat="mean")
    assert (ours.sel(outcome="time_level1_72h") < theirs.sel(outcome="time_level1_72h")).all()
    assert (ours.sel(outcome="auc_baclofen_72h") < theirs.sel(outcome="auc_baclofen_72h")).all()
    assert ours.sel(outcome="level1_24h").values == pytest.approx(theirs.sel(outcome="level1_24h").values, rel=1e-6)


MISJUDGED = (
    '{D, rounds: {clock: ["08:00", "20:00"], misjudged: [[0.9, 0.1, 0, 0], [0.2, 0.7, 0.1, 0], [0, 0.1, 0.9, 0], '
    "[0, 0, 0.1, 0.9]]}, reactions: [{seen: 1, do: reduce, to: 50 %}, {seen: 2, do: hold}, {seen: 3, do: stop}, "
    "{seen: 3, do: dialyse, after: 2 h, hours: 4 h}]}"
)


MEASURED = MISJUDGED.replace(
    "reactions:",
    "monitoring: [{drug: baclofen, at: [24 h], target: [0.05 mg/L, 0.1 mg/L], delay: 4 h, cv: 20 %}], reactions:",
)


@pytest.mark.parametrize("sampling", [(), SOBOL], ids=["plain", "sobol"])
def test_threads_blocks_and_other_arms_leave_every_bit(scenario, monkeypatch, sampling):
    monkeypatch.setattr("vtrial.block.FEWEST", 16)
    define, arms = reacting("SEEN", MEASURED)
    first = run(scenario(*sampling, define, arms), threads=1)
    more = arms[0], "[ARM1_GUIDELINE, ARM0_INDEX, SEEN]"
    second = run(scenario(*sampling, define, more), threads=3, memory="1 kB")
    for name in ("value", "difference"):
        ours = first["estimates"][name]
        theirs = second["estimates"][name].sel(arm=ours["arm"])
        assert ours.values.tobytes() == np.ascontiguousarray(theirs.values).tobytes()


def test_a_mixture_of_arms_that_react_is_their_mean(scenario):
    (_, define), (old, _) = reacting("SEEN", MISJUDGED)
    define = define.replace("\n  start:", "\n    MIX: {mix: {SEEN: 0.25, ARM1_GUIDELINE: 0.75}}\n  start:")
    found = risks(scenario(("  start:", define), (old, "[ARM1_GUIDELINE, SEEN, MIX]")))
    mean = 0.25 * found.sel(arm="SEEN") + 0.75 * found.sel(arm="ARM1_GUIDELINE")
    assert found.sel(arm="MIX").values == pytest.approx(mean.values, rel=1e-12)


# ------------------------------------------------------------------------------------------------ what is refused

REFUSED = {
    "no such level": ("seen: 3, do: stop", "seen: 4, do: stop", "given 4: the model's levels are 1 "),
    "drug not given": ("do: hold", "do: hold, drugs: [pregablin]", "does not give 'pregablin'; did you mean 'pregaba"),
    "without to": ("do: reduce, to: 50 %", "do: reduce", "'reduce' needs 'to'"),
    "to without use": ("do: hold", "do: hold, to: 50 %", "'to' does not belong to 'hold'"),
    "session off the steps": ("after: 2 h", "after: 2.2 h", "2.2 h is not a multiple of simulation.step, 0.5 h"),
    "round off the steps": ('"08:00", "20:00"', '"08:10", "20:00"', "is not a multiple of simulation.step"),
    "round twice": ('"08:00", "20:00"', '"08:00", "08:00"', "come twice: 8 h"),
    "rows do not sum": ("[0.9, 0.1, 0, 0]", "[0.9, 0.2, 0, 0]", "row 0 of 'misjudged' sums to 1.1, not to 1"),
    "rows of other lengths": ("[0.9, 0.1, 0, 0]", "[0.9, 0.1, 0]", "row 0 of 'misjudged' has 3 entries"),
    "too few rows": (", [0, 0, 0.1, 0.9]]", "]", "3 rows"),
    "unknown deed": ("do: hold", "do: holt", "holt"),
    "reactions without rounds": ("rounds: {", "note: x, runds: {", "unknown key 'runds'; did you mean 'rounds'?"),
    "no reaction": (MISJUDGED[MISJUDGED.index("reactions: ") :], "reactions: []}", "go together"),
}


@pytest.mark.parametrize(("old", "new", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_with_reactions_is_said_with_file_and_line(write, old, new, message):
    body = edited(MISJUDGED, (old, new))
    path = write(*reacting("SEEN", body))
    with pytest.raises(InputError) as error:
        load_scenario(path)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "SEEN: {" in text)
    assert any(message in p.message and p.line == line for p in error.value.problems), error.value


def test_independent_action_and_examples_are_refused_for_arms_that_react(write):
    body = reacting("SEEN", MISJUDGED)
    examples = (
        "reference_patient:",
        "examples:\n  patient: {name: x, age: 60 year, sex: M, height: 176 cm, weight: 70 kg, scr: 1 mg/dL}\n"
        "  arms: [SEEN]\nreference_patient:",
    )
    with pytest.raises(InputError) as error:
        load_scenario(write(*body, ("surface: greco", "surface: bliss"), examples))
    assert "with bliss each drug has one of its own" in str(error.value)
    assert "'SEEN' reacts to what is seen: it has no one trajectory" in str(error.value)
