"""Printed equations are those that run: symbols put back into numbers give what the model functions give."""

import dataclasses

import numpy as np
import pytest
import sympy

from vtrial.equations import Traced, _expression, _is_of_two, _largest, _symbol, _Symbols, equations
from vtrial.model import Drug, Fixed, Param, greater, lesser, load_model, model_names
from vtrial.model.dynamics import effect_site, michaelis_menten, together, turnover

MODEL = load_model("baclofen_pregabalin")
X, Y = sympy.symbols("x y", real=True)


def told(model, title):
    return next(one for one in equations(model, "greco") if one.title == title)


@pytest.mark.parametrize("function", [MODEL.typical, lambda theta, cov: MODEL.omega(theta)], ids=["typical", "omega"])
def test_symbols_put_back_give_the_numbers(function):
    """With `greater` and `lesser` printed as max and min, on both sides of every bend."""
    rng = np.random.default_rng(7)
    theta, cov = _Symbols(), _Symbols()
    found = {name: _expression(value).replace(_is_of_two, _largest) for name, value in function(theta, cov).items()}
    assert "Abs" not in str(found.values())
    for gfr in (20.0, 59.0, 61.0, 140.0):
        numbers = {name: rng.uniform(0.2, 1.5) for name in theta}
        people = {name: rng.uniform(20.0, 90.0) for name in cov} | {"GFR": gfr, "SEX": 1.0, "FED": 1.0}
        numbers["pregabalin.CrCL_cap"] = 100.0
        values = {traced.expression: people[name] for name, traced in cov.items()}
        values |= {traced.expression: numbers[name] for name, traced in theta.items()}
        expected = function(numbers, people)
        for name, expression in found.items():
            assert float(expression.subs(values)) == pytest.approx(float(expected[name]), rel=1e-12), name


def test_larger_and_smaller_are_printed_as_such():
    larger, smaller = greater(Traced(X), Traced(Y) + 2.0), lesser(Traced(X), 3.0)
    assert _expression(larger).replace(_is_of_two, _largest) == sympy.Max(X, Y + 2)
    assert _expression(smaller).replace(_is_of_two, _largest) == sympy.Min(X, 3)


def test_kinetics_are_those_of_the_textbook():
    """One compartment by mouth: dA/dt = ka depot - CL / V A, and the effect site after it."""
    one = dataclasses.replace(MODEL, drugs=(Drug("x", 1),))
    depot, central, site = told(one, "Kinetics").lines
    assert depot.endswith(r"= - \mathrm{ka}_{x} \cdot x_{\mathrm{depot,\ x}}")
    assert r"- \frac{\mathrm{CL}_{x} \cdot x_{\mathrm{central,\ x}}}{V_{x}}" in central
    assert r"\mathrm{ka}_{x} \cdot x_{\mathrm{depot,\ x}}" in central
    assert site.startswith(r"\frac{d}{d t} \mathrm{Ce}_{x} = \mathrm{ke0}_{x} \cdot")


def test_kinetics_of_a_right_hand_side_are_its_own():
    parts = effect_site(michaelis_menten(Drug("x", 1, "iv"))), turnover(michaelis_menten(Drug("y", 1)), "inhibit loss")
    model = dataclasses.replace(MODEL, drugs=(Drug("x", 1, "iv"), Drug("y", 1)), dynamics=together(*parts))
    group = told(model, "Kinetics")
    assert len(group.lines) == 5
    assert r"\mathrm{Vmax}_{x}" in group.lines[0]
    assert r"\mathrm{kout}_{y}" in group.lines[-1]
    assert "Solved exactly" not in group.note
    assert "x into x.central" in group.note


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("surface", ["greco", "loewe", "bliss"])
def test_every_model_of_the_library_prints(name, surface):
    groups = equations(load_model(name), surface)
    assert all(group.lines for group in groups)
    sedation = groups[-1].lines
    assert any(r"\alpha" in line for line in sedation) == (surface == "greco")
    assert any(r"\prod_d" in line for line in sedation) == (surface == "bliss")


def test_model_that_asks_for_values_is_said_not_to_print():
    """A branch on symbols has no answer: better no equation than the one of one branch."""

    def typical(theta, cov):
        return MODEL.typical(theta, cov) | {"A": 1.0 if cov["AGE"] > 50.0 else 2.0}

    group = told(dataclasses.replace(MODEL, typical=typical), "Typical values")
    assert not group.lines
    assert "cannot be printed" in group.note


def test_added_parameter_is_printed():
    def typical(theta, cov):
        par = MODEL.typical(theta, cov)
        return par | {"A": par["A"] * theta["frailty"] ** cov["SEX"]}

    param = Param("frailty", Fixed(1.3), "1", "factor on the drive of women", (), "B")
    model = dataclasses.replace(MODEL, typical=typical, params=(*MODEL.params, param))
    (line,) = [line for line in told(model, "Typical values").lines if line.startswith(r"\mathrm{TVA} ")]
    assert r"\mathrm{frailty}^{\mathrm{SEX}}" in line


def test_published_omega_is_not_taken_for_the_one_that_is_used():
    lines = told(MODEL, "Individual values").lines
    (line,) = [line for line in lines if line.startswith(_symbol("baclofen.omega_CL").name)]
    assert r"\theta_{\mathrm{omega\ CL,\ baclofen}}" in line
