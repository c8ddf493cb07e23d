"""Micro benchmarks (`make bench`): W1 on each engine, the main scenario end to end. `make test` leaves them out."""

import numpy as np
import pytest
import w1
from main_scenario import scenario, trajectories

from vtrial import run

pytestmark = pytest.mark.bench
N = 10_000


@pytest.fixture(scope="module")
def patients():
    return w1.draw(N)


@pytest.mark.parametrize("kind", ["modal", "propagator"])
def test_reference_against_the_ode(kind):
    assert w1.errors(w1.C(kind), w1.draw(w1.C.lanes)) < 1e-9


@pytest.mark.parametrize("name", ["A", "B"])
def test_inputs_have_their_cv(name):
    CL = w1.draw(200_000)[f"{name}.CL"]
    assert np.median(CL) == pytest.approx(w1.TYPICAL[f"{name}.CL"], rel=0.01)
    assert CL.std() / CL.mean() == pytest.approx(w1.CV[f"{name}.CL"], rel=0.02)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "engine", [w1.C("modal"), w1.C("propagator"), w1.run_numpy], ids=["C modal", "C propagator", "NumPy"]
)
def test_w1_of_others(benchmark, patients, engine, threads):
    best = time_w1(benchmark, engine, patients, threads)
    assert np.allclose(best, w1.C()(patients)[1], rtol=1e-9, atol=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_w1(benchmark, patients, threads):
    best = time_w1(benchmark, w1.run_vtrial, patients, threads)
    seen = w1.agreement(best, patients)
    assert seen.good, str(seen)


def time_w1(benchmark, engine, patients, threads):
    benchmark.group, benchmark.extra_info["patients"] = f"W1, {threads} thread(s)", N
    return benchmark.pedantic(engine, (patients, w1.W1, threads), rounds=5, warmup_rounds=1, iterations=1)[1]


def test_main_scenario_small(benchmark):
    asked = scenario(60, 10)
    benchmark.extra_info["trajectories"] = trajectories(asked)
    result = benchmark.pedantic(run, (asked,), rounds=3, warmup_rounds=1, iterations=1)
    assert result["estimates"]["value"].sizes["arm"] == len(asked.arms)
