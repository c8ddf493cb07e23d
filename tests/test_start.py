"""What a command imports before it does its work, and what it says about its own time."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from vtrial.cli import app
from vtrial.library import SCENARIOS
from vtrial.stage import OTHER, Profile, profiled, stage


def ran(*args, report="", **environment):
    """Run the command line in a process of its own, and have it print something at its end."""
    code = f"import atexit, sys\nfrom vtrial.cli import app\n{report}\napp({[str(a) for a in args]!r})"
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def imported(*args):
    """Modules that a command has imported when it ends."""
    done = ran(*args, report="atexit.register(lambda: print('\\nIMPORTED', *sys.modules))")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("IMPORTED")[2].split())


SAMPLERS = {"pymc", "pytensor", "arviz", "arviz_stats", "nutpie"}


def test_help_imports_no_numbers_labels_figures_or_schemas():
    heavy = {"numpy", "scipy", "scipy.stats", "numba", "xarray", "pandas", "matplotlib", "pydantic", "pint"}
    assert not imported("--help") & (heavy | SAMPLERS)


def test_check_imports_no_compiler_labels_figures_or_sampler():
    heavy = {"numba", "llvmlite", "xarray", "pandas", "matplotlib", "scipy.stats", "h5netcdf"}
    assert not imported("check", SCENARIOS / "starting_dose.yaml") & (heavy | SAMPLERS)


@pytest.mark.slow
def test_only_a_run_that_compiles_announces_it(write, tmp_path):
    def said():
        run = ("run", write(), "-o", tmp_path / "out", "--size", "small", "--threads", 1)
        done = ran(*run, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        assert done.returncode == 0, done.stderr
        return done.stderr.count("Compiling the kernels")

    assert [said(), said()] == [1, 0]


# --------------------------------------------------------------------------------------------- profile


def test_profile_of_a_run_tells_every_stage_and_shares_that_sum_to_1(write, tmp_path):
    run = ["run", str(write()), "-o", str(tmp_path / "out"), "--size", "small", "--threads", "2", "--profile"]
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 0, done.output
    shares = {
        name.strip(): float(share) for name, share in re.findall(r"^(.*?) +[\d.]+ +([\d.]+)% ", done.output, re.M)
    }
    assert set(shares) >= {
        "start-up", "read the scenario", "draw parameters", "reference patient", "draw patients", "dose", "kinetics",
        "endpoints", "reduce", "estimate", "provenance", "save", "report", "other",
    }  # fmt: skip
    assert sum(shares.values()) == pytest.approx(100, abs=0.05 * len(shares))
    assert re.search(r"36 patient-trajectories in [\d.]+ s, start to report: [\d,]+/s", done.output)


def test_a_stage_inside_another_is_a_part_of_it_and_one_that_runs_alone_is_not():
    with profiled() as profile, stage("outer"), stage("inner"), stage("compile", alone=True), stage("innermost"):
        pass
    assert list(profile.costs) == ["start-up", "outer", "compile", OTHER]


def test_threads_share_the_wall_clock_and_keep_their_own_processor_time(monkeypatch):
    now = SimpleNamespace(thread=1, wall=10.0, cpu={1: 5.0, 2: 0.0})
    clocks = SimpleNamespace(
        perf_counter=lambda: now.wall,
        thread_time=lambda: now.cpu[now.thread],
        process_time=lambda: sum(now.cpu.values()),
    )
    monkeypatch.setattr("vtrial.stage.time", clocks)
    monkeypatch.setattr("vtrial.stage.get_ident", lambda: now.thread)

    def later(thread, *, wall, **cpu):
        now.thread, now.wall = thread, now.wall + wall
        for name, seconds in cpu.items():
            now.cpu[int(name[1:])] += seconds

    profile = Profile()
    later(1, wall=1.0, t1=0.5)
    profile.enter("kinetics")
    later(2, wall=2.0, t1=2.0)
    profile.enter("reduce")
    later(1, wall=4.0, t1=3.0, t2=4.0)
    profile.enter("compile", alone=True)
    later(1, wall=8.0, t1=8.0)
    profile.leave(alone=True)
    profile.leave()
    later(2, wall=1.0, t2=1.0)
    profile.leave()
    profile.finish()
    found = {name: (cost.wall, cost.cpu) for name, cost in profile.costs.items()}
    expected = {"start-up": (5.0, 5.0), "kinetics": (4.0, 5.0), "reduce": (3.0, 5.0), "compile": (8.0, 8.0)}
    assert found == expected | {OTHER: (1.0, 0.5)}


def test_a_stage_that_fails_is_left():
    with profiled() as profile:
        with pytest.raises(ZeroDivisionError), stage("first"):
            raise ZeroDivisionError
        with stage("second"):
            pass
    assert list(profile.costs) == ["start-up", "first", "second", OTHER]


def test_without_a_profile_a_stage_leaves_no_trace():
    with stage("unseen"):
        pass
    with profiled() as profile:
        pass
    assert list(profile.costs) == ["start-up", OTHER]
