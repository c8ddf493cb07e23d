"""The page follows ICH M15, prints the equations of its model, and goes to paper."""

import json
import re
import zlib

import numpy as np
import pytest
import xarray as xr
from test_report import figures, page, patients, standard  # noqa: F401

from vtrial.model import load_model
from vtrial.problem import InputError
from vtrial.report import pdf
from vtrial.report.facts import Facts
from vtrial.report.learnt import learnt
from vtrial.report.markup import formula
from vtrial.report.page import TITLES, render_html, render_markdown


def sections(text):
    return re.findall(r'<h2 id="(\w+)">', text)


def test_sections_come_in_the_order_of_their_titles_and_the_contents_lead_to_each(page):  # noqa: F811
    found = sections(page)
    assert found == [name for name in TITLES if name in found]
    assert set(TITLES) - set(found) <= {"doses", "worth"}
    assert re.findall(r'<li><a href="#(\w+)">', page) == found


def test_one_arm_has_no_contrasts_in_the_contents(patients):  # noqa: F811
    """What a result does not have is neither a section nor a link."""
    text = render_html(patients, [])
    assert "course" not in sections(text)
    assert '"#course"' not in text


def test_figures_are_numbered_in_the_order_of_the_page(page, figures):  # noqa: F811
    numbers = [int(n) for n in re.findall(r"<b>Figure (\d+)\.", page)]
    assert numbers == list(range(1, len(figures) + 1))


def test_equations_of_the_model_are_on_the_page(standard, page):  # noqa: F811
    told = json.loads(standard.attrs["equations"])
    lines = [line for group in told for line in group["lines"]]
    assert page.count("<math ") == len(lines) > 20
    for line in lines:
        assert str(formula(line)) in page


def test_equation_from_a_file_injects_nothing():
    for latex in (r"\mathrm{<script>alert(1)</script>}", r"x < y \text{</math><img src=x onerror=alert(1)>}"):
        assert not re.search(r"<(script|img)", formula(latex))


def test_result_of_an_earlier_version_says_that_it_has_no_equations(standard):  # noqa: F811
    old = standard.copy()
    old.attrs = {name: value for name, value in standard.attrs.items() if name != "equations"}
    params = [{k: v for k, v in p.items() if k != "quantiles"} for p in json.loads(standard.attrs["params"])]
    old.attrs["params"] = json.dumps(params)
    assert "which an earlier version wrote" in render_html(old, [])


def test_prior_interval_is_that_of_the_prior(standard):  # noqa: F811
    param = next(p for p in json.loads(standard.attrs["params"]) if p["name"] == "alpha")
    assert param["quantiles"] == [float(load_model("baclofen_pregabalin").param("alpha").prior.quantile(p)) for p in
                                  (0.025, 0.25, 0.5, 0.75, 0.975)]  # fmt: skip
    low, median, high = (1.5 * np.exp(0.9 * z) for z in (-1.959964, 0.0, 1.959964))  # log-normal(1.5, 0.9)
    assert learnt(Facts(standard), param)["before"] == f"{median:.3g} ({low:.3g} to {high:.3g})"


def test_shrinkage_is_of_the_middle_half():
    draws = np.linspace(10.0, 20.0, 1001)  # its middle half is 5 wide
    result = xr.DataTree.from_dict({"/theta": xr.Dataset({"x": ("draw", draws), "c": ("draw", np.full(1001, 3.0))})})
    told = learnt(Facts(result), {"name": "x", "quantiles": [0.0, 5.0, 15.0, 25.0, 30.0]})
    assert told == {"before": "15 (0 to 30)", "after": "15 (10.2 to 19.8)", "shrinkage": "75%"}
    fixed = learnt(Facts(result), {"name": "c", "quantiles": [3.0] * 5})
    assert fixed == {"before": "3", "after": "3", "shrinkage": "–"}


def test_markdown_has_the_assessment_too(standard):  # noqa: F811
    assert "Question of interest, context of use, assessment (ICH M15)" in render_markdown(standard, [])


def test_pdf_is_tagged_and_the_same_twice(standard, figures):  # noqa: F811
    try:
        pdf.converter()
    except InputError as error:
        pytest.skip(str(error))
    text = render_html(standard, figures, paper=True)
    assert not re.search(r"<script|<math|<select", text)
    assert text.count('<img alt="') >= 20
    made = pdf.to_pdf(text)
    assert made.startswith(b"%PDF-")
    streams = re.findall(rb"/FlateDecode[^>]*>>\nstream\n(.*?)\nendstream", made, re.DOTALL)
    assert b"/StructTreeRoot" in b"".join(zlib.decompress(stream) for stream in streams)
    assert pdf.to_pdf(text) == made


def test_pdf_without_a_converter_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "weasyprint", None)
    with pytest.raises(InputError, match=r"pip install 'vtrial\[pdf\]'"):
        pdf.converter()
