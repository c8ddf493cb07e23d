"""The interactive part of the page, in a real browser without a network: what is clicked is what the result holds."""

from __future__ import annotations

import copy
import csv
import io
import re
import shutil

import numpy as np
import pytest
import xarray as xr
from test_report import figures, standard  # noqa: F401 (fixtures)

from vtrial.report import estimates_csv
from vtrial.report.page import render_html

pytestmark = pytest.mark.browser

NUMBERS = {
    "mean": ("value", "mean"), "mcse": ("value", "mcse"), "median": ("value", "median"), "lo": ("value", "lo"),
    "hi": ("value", "hi"), "difference": ("difference", "mean"), "difference_lo": ("difference", "lo"),
    "difference_hi": ("difference", "hi"),
}  # fmt: skip
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "no Chromium: install one, e.g. apt-get install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield opened
        opened.close()


class Seen:
    """A page that is open, and what it asked for and complained of."""

    def __init__(self, browser, path, **options):
        self.page = browser.new_page(**{"viewport": {"width": 1100, "height": 900}, **options})
        self.requests, self.complaints = [], []
        self.page.on("request", lambda one: self.requests.append(one.url))
        self.page.on("console", lambda one: self.complaints.append(one.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("#explore-view-0 svg")
        self.page.wait_for_selector("#explore-table tbody tr")

    def column(self, by):
        """The numbers of a column of the table, by arm, in the order of the table."""
        place, found = [*NUMBERS].index(by), {}
        for row in self.page.locator("#explore-table tbody tr").all():
            number = row.locator("td").nth(place).get_attribute("data-value")
            found[row.locator("th").inner_text()] = float(number)
        return found


@pytest.fixture(scope="module")
def path(standard, figures, tmp_path_factory):  # noqa: F811
    found = tmp_path_factory.mktemp("explore") / "report.html"
    found.write_text(render_html(standard, figures), encoding="utf-8")
    return found


@pytest.fixture
def seen(browser, path):
    opened = Seen(browser, path)
    yield opened
    opened.page.close()


def test_the_page_asks_for_nothing_and_complains_of_nothing(seen, path):
    assert {url for url in seen.requests if not url.startswith("data:")} == {path.as_uri()}
    assert seen.complaints == []


def test_what_is_chosen_is_what_the_estimates_hold(seen, standard):  # noqa: F811
    rows = list(csv.DictReader(io.StringIO(estimates_csv(standard))))
    told = {(r["arm"], r["stratum"], r["outcome"], r["estimand"]): r for r in rows}
    for stratum, outcome in (("population", "level1_24h"), ("75-84 G4", "level3_24h"), ("65-74 G2 75-89", "onset3_6h")):
        seen.page.locator("#explore select[name=stratum]").select_option(stratum)
        seen.page.locator("#explore select[name=outcome]").select_option(outcome)
        for by, (estimand, stat) in NUMBERS.items():
            found = seen.column(by)
            assert set(found) == {"ARM1_GUIDELINE", "ARM0_INDEX", "ARM9_BEERS"}
            for arm, number in found.items():
                assert number == pytest.approx(float(told[arm, stratum, outcome, estimand][stat]), rel=1e-5), by


def test_the_keyboard_reaches_everything(seen):
    page = seen.page
    page.locator("#explore select[name=stratum]").focus()
    before = page.locator("#explore-said").inner_text()
    page.keyboard.press("ArrowUp")
    assert page.locator("#explore-said").inner_text() != before
    page.locator("#explore-table button[data-by=mean]").focus()
    page.keyboard.press("Enter")
    assert page.locator("#explore-table th[aria-sort]").get_attribute("aria-sort") == "ascending"
    rising = list(seen.column("mean").values())
    assert rising == sorted(rising)
    page.keyboard.press("Enter")
    assert page.locator("#explore-table th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert list(seen.column("mean").values()) == rising[::-1]


def test_the_sentence_and_the_pointer_say_the_numbers_of_the_table(seen):
    page = seen.page
    page.locator("#explore select[name=arm]").select_option("ARM0_INDEX")
    row = page.locator("#explore-table tbody tr", has_text="ARM0_INDEX").locator("td")
    said = page.locator("#explore-said").inner_text()
    mean, mcse, _, low, high = row.all_inner_texts()[:5]
    assert f"in {mean} (MCSE {mcse}), 90% interval {low} to {high}" in said
    page.locator("#explore-view-0 svg .mark-symbol path").last.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert "within 24 h in " in page.locator("#vg-tooltip-element").inner_text()


def test_tables_of_the_page_are_sorted_by_a_click(seen, standard):  # noqa: F811
    """Numbers by their size, whatever they are written as: 0.2%, 1,000, <0.0001%; names by the alphabet."""
    table = seen.page.locator("section[aria-labelledby=risks] table").last
    stratum = table.locator("caption").inner_text().split(" (")[0]
    value = standard["estimates"].to_dataset()["value"].sel(stratum=stratum, outcome="level3_24h", stat="mean")
    rising = [str(arm) for arm in value["arm"].values[np.argsort(value.values)]]
    head = table.locator("thead th").nth(1)
    assert head.inner_text() == "mean"
    for expected, order in ((rising, "ascending"), (rising[::-1], "descending")):
        head.locator("button").click()
        assert table.locator("tbody th").all_inner_texts() == expected
        assert head.get_attribute("aria-sort") == order
    table.locator("thead th button").first.click()
    assert table.locator("tbody th").all_inner_texts() == sorted(rising)


def test_trajectories_say_their_peaks(seen, standard):  # noqa: F811
    """The sentence below the fans holds the quantiles of the example patient's copies at the peak of the median."""
    page = seen.page
    trace = standard["examples/ARM0_INDEX"].to_dataset()
    for curve, values in (("conc baclofen", trace["conc"].sel(drug="baclofen")), ("drive", trace["drive"])):
        page.locator("#explore-fans select[name=curve]").select_option(curve)
        low, median, high = np.quantile(values.transpose("draw", "time").values, [0.05, 0.5, 0.95], axis=0)
        top = int(np.argmax([float(f"{x:.4g}") for x in median]))
        said = page.locator("#explore-fan-said").inner_text()
        found = re.search(
            r"ARM0_INDEX: the median peaks at (\S+) after (\S+) h, 90% of copies then (\S+) to (\S+);", said
        )
        assert found, said
        expected = [median[top], trace["time"].values[top], low[top], high[top]]
        assert [float(x) for x in found.groups()] == pytest.approx(expected, rel=1e-3)
    assert page.locator("#explore-fan svg .mark-area path").count() == 4  # two bands of each arm
    assert page.locator("#explore-fan svg .mark-line path").count() == 2


def test_names_from_files_are_text(browser, standard, figures, tmp_path):  # noqa: F811
    evil = '</script><img src=x onerror="window.hacked=1">\'${window.hacked=1}'
    page = render_html(_renamed(standard, "ARM0_INDEX", evil), figures)
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    opened = Seen(browser, tmp_path / "report.html")
    opened.page.locator("#explore select[name=arm]").select_option(evil)
    assert evil in opened.page.locator("#explore-table tbody").inner_text()
    assert evil in opened.page.locator("#explore-said").inner_text()
    opened.page.locator("#explore-view-0 svg .mark-symbol path").first.hover()
    assert opened.page.evaluate("window.hacked") is None
    assert opened.complaints == []
    opened.page.close()


def _renamed(result, old, new):
    """The same result with an arm by another name, wherever it stands."""

    def named(data):
        if "arm" not in data.coords:
            return data
        return data.assign_coords(arm=[new if str(arm) == old else str(arm) for arm in data["arm"].values])

    parts = {path: named(node.to_dataset(inherit=False)) for path, node in result.subtree_with_keys}
    found = xr.DataTree.from_dict({f"/{path}": data for path, data in parts.items() if "examples" not in path})
    found.attrs = copy.deepcopy(result.attrs)
    return found


@pytest.mark.parametrize("width", [360, 1100])
def test_it_fits_a_phone_and_a_desk(browser, path, width):
    opened = Seen(browser, path, viewport={"width": width, "height": 700})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    view = opened.page.locator("#explore-view-0 svg").bounding_box()
    assert 0.7 * min(width, 900) < view["width"] <= width
    opened.page.close()


def test_the_dark_page_has_light_ink(browser, path):
    opened = Seen(browser, path, color_scheme="dark")
    ink = opened.page.locator("#explore-view-0 svg .role-axis-label text").first
    red, green, blue = ink.evaluate("e => getComputedStyle(e).fill.match(/\\d+/g).map(Number)")[:3]
    assert min(red, green, blue) > 200
    opened.page.close()
