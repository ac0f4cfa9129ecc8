"""What the console promises, on 5,000 answers at 8 sites, two of them overconfident."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.builders.browser import assert_fits, assert_usable, open_page
from tests.builders.hospitals import BROKEN, MODEL, fill_hospitals, stock_hospitals
from tests.builders.processes import Process

PAGES = {
    "models": "/",
    "overview": f"/models/{MODEL}/report/page",
    "slices": f"/slices/{MODEL}",
    "answers": f"/models/{MODEL}/answers/page",
    "versions": f"/versions/{MODEL}",
    "recalibrate": f"/recalibrate/{MODEL}",
    "preview": f"/recalibrate/{MODEL}?version=1&preview=yes&chosen_labels=yes",
    "try": f"/try/{MODEL}",
    "label": f"/label/{MODEL}",
    "report": f"/report/{MODEL}",
    "api": "/docs",
}
SCREEN, PHONE = 900, 844
LEAST_PX = 12.0
OBSERVE = """
window.shifts = [];
new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((each) => each.value)))
  .observe({ type: "layout-shift", buffered: true });
"""
SMALLEST = """
() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let smallest = [1000, ""];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest("title, script, style")) continue;
    const matrix = element.ownerSVGElement ? element.getScreenCTM() : null;
    const scale = matrix ? Math.hypot(matrix.a, matrix.b) : 1;
    const size = scale * parseFloat(getComputedStyle(element).fontSize);
    if (size < smallest[0]) smallest = [size, text];
  }
  return smallest;
}
"""
GREEN = """
() => {
  const probe = document.createElement("i");
  document.body.append(probe);
  probe.setAttribute("class", "ok");
  const green = getComputedStyle(probe).getPropertyValue("--good");
  const color = document.createElement("canvas").getContext("2d");
  const shade = (text) => { color.clearRect(0, 0, 1, 1); color.fillStyle = text; color.fillRect(0, 0, 1, 1);
    return String(color.getImageData(0, 0, 1, 1).data); };
  const wanted = new Set([shade("#1a7f4b"), shade("#4cc38a")]);
  if (!green.includes("#1a7f4b")) throw new Error("the green of the style sheet is another one: " + green);
  const painted = (each) => {
    const style = getComputedStyle(each);
    const words = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    return [words && style.color, style.backgroundColor, parseFloat(style.borderLeftWidth) && style.borderLeftColor,
      ...(each.ownerSVGElement ? [style.fill, style.stroke].filter((paint) => paint !== "none") : [])];
  };
  return [...document.querySelectorAll("main *")].filter((each) => each.checkVisibility())
    .filter((each) => painted(each).some((found) => found && wanted.has(shade(found))))
    .map((each) => each.textContent.trim().slice(0, 60));
}
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger, beside its store."""
    folder = tmp_path_factory.mktemp("filled")
    card = stock_hospitals(folder / "store")
    fill_hospitals(folder / "ledger.db", card=card, others=3)
    return folder / "ledger.db"


@pytest.fixture(scope="module")
def hospitals(filled: Path) -> Iterator[Process]:
    """A server on the ledger, which no test changes."""
    running = watch(filled)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def own(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server on a copy of the ledger, which tests change; the last one ends it."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(filled, folder)
    shutil.copytree(filled.parent / "store", folder / "store")
    running = watch(folder / filled.name)
    yield running
    running.stop()


def watch(path: Path) -> Process:
    folder = path.parent
    ledger, store = f"sqlite:///{path}", folder / "store"
    process = Process("serve", folder, ledger=ledger, store=store, drift_tags="site")
    return process.await_ready()


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")


def words(page: Page, *places: str) -> str:
    return " ".join(page.locator(place).first.inner_text() for place in places)


def test_the_first_screen_says_what_who_and_since_in_ninety_words(
    hospitals: Process, browser: Browser
) -> None:
    with open_page(browser, width=1280) as page:
        page.goto(hospitals.url + PAGES["overview"])
        expect(page.locator(".clock.live")).to_have_text(re.compile(r"\d [A-Z]+"))
        assert_fits(page, 1440, SCREEN)
        shapes = page.locator(".chart").first.locator("svg.wide .mark")
        kinds = set(shapes.evaluate_all("all => all.map(one => one.getAttribute('class'))"))
        expect(page.locator(".legend").first.locator("svg.key")).to_have_count(len(kinds))
        said = words(page, ".verdict", ".todo")
        assert said.startswith("Alarm")
        assert all(site in said for site in BROKEN)
        assert re.search(r"Since \d+ \w+ \d{4}", said)
        assert len(said.split()) <= 90
        for place in (".verdict", ".todo", ".chart svg.wide"):
            box = page.locator(place).first.bounding_box()
            assert box["y"] + box["height"] <= SCREEN
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(GREEN) == []
        page.goto(f"{hospitals.url}/models/model-00/report/page")
        assert page.evaluate(GREEN) != []


def test_the_chart_shows_the_affected_beside_the_rest(hospitals: Process, browser: Browser) -> None:
    with open_page(browser) as page:
        page.goto(hospitals.url + PAGES["overview"])
        chart = page.locator(".chart svg.wide").first
        assert chart.locator(".affected").count() == chart.locator(".others").count() > 30
        assert chart.locator(".mark.alarm").count() >= 1
        chart.focus()
        said = []
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            page.keyboard.press(key)
            said.append(page.locator(".chart svg.wide ~ .readout").first.inner_text())
        assert said[0] == said[2] != said[1]
        point = chart.locator(".affected").last
        first, last = (point.get_attribute(f"data-{name}") for name in ("first", "last"))
        point.locator("circle").click()
        page.wait_for_url("**/answers/page?*")
        asked = dict(parse_qsl(urlsplit(page.url).query))
        assert set(asked["site"].split(",")) == set(BROKEN)
        assert (asked["from"], asked["to"]) == (first, last)
        tags = page.locator(".cases .explain").all_inner_texts()
        assert tags
        assert all(any(f"site {site}" in each for site in BROKEN) for each in tags)
        page.go_back()
        chart.locator(".others").last.locator("circle").click()
        page.wait_for_url("**/answers/page?*others=1*")
        tags = page.locator(".cases .explain").all_inner_texts()
        assert tags
        assert not any(f"site {site}" in each for site in BROKEN for each in tags)


def test_tabs_stay_where_they_are_and_one_pattern_names_every_page(
    hospitals: Process, browser: Browser
) -> None:
    places, titles = set(), set()
    with open_page(browser, width=1440) as page:
        for name in ("overview", "slices", "answers", "versions", "try", "label", "report"):
            page.goto(hospitals.url + PAGES[name])
            places.add(page.locator(".tabs").evaluate("each => each.getBoundingClientRect().top"))
            titles.add(page.locator("h1:visible").inner_text())
    assert len(places) == 1
    assert titles == {MODEL}


def test_a_remedy_is_one_screen(hospitals: Process, browser: Browser) -> None:
    with open_page(browser, width=1440) as page:
        page.goto(hospitals.url + PAGES["preview"])
        assert_fits(page, 1440, SCREEN)
        page.locator("form").get_by_role("link", name="more").click()  # of the groups named
        expect(page.get_by_role("heading", name="All groups")).to_be_visible()
        for row in page.locator("section", has_text="All groups").locator("tr.alarm").all():
            before, after = re.findall(r"[+-][\d.]+", row.locator("td").last.text_content() or "")
            assert abs(float(after)) > abs(float(before)), row.text_content()


def test_models_are_searched_narrowed_and_sorted_by_the_address(
    hospitals: Process, browser: Browser
) -> None:
    with open_page(browser, script=False) as page:
        page.goto(hospitals.url)
        names = page.locator(".models a.name")
        expect(names).to_have_count(4)
        expect(names.first).to_have_text(MODEL)
        expect(page.locator(".models svg.spark")).to_have_count(4)
        expect(page.locator(".models small").first).to_have_text(re.compile(r"^\(.+ to .+\)$"))
        page.get_by_role("link", name="fine 3").click()
        expect(names).to_have_count(3)
        page.get_by_role("link", name="model", exact=True).click()
        page.get_by_label("A part of a name").fill("-02")
        page.get_by_role("button", name="Search").click()
        expect(names).to_have_text(["model-02"])
        for part in ("q=-02", "state=fine", "sort=model"):
            assert part in page.url


def test_every_page_is_two_screens_light_and_accessible(
    hospitals: Process, browser: Browser
) -> None:
    with open_page(browser, width=1280) as page:
        page.add_init_script(OBSERVE)
        for name, path in PAGES.items():
            page.set_viewport_size({"width": 1280, "height": SCREEN})
            answered = page.goto(hospitals.url + path)
            assert len(answered.body()) <= 300_000, name
            assert answered.header_value("content-encoding") == "gzip", name
            assert sum(page.evaluate("window.shifts")) < 0.001, name  # 0.1 is called good
            assert_usable(page, name)
            for width, most in ((390, 2 * PHONE), (2560, 2 * SCREEN)):
                assert_fits(page, width, most, name)
                if name != "report":  # a sheet of paper
                    assert page.evaluate(SMALLEST)[0] >= LEAST_PX - 0.01, (name, width)
            unfold(page)
            assert_fits(page, 390, None, name)


def test_a_note_is_a_mark_on_the_chart_and_stands_in_the_report(
    own: Process, browser: Browser
) -> None:
    with open_page(browser) as page:
        page.goto(own.url + PAGES["overview"])
        page.locator("#history summary").click()
        page.get_by_label("Add a note").fill("the scanner at UKE was replaced")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator(".chart svg.wide .mark.noted").first).to_be_attached()
        page.get_by_role("link", name="Report").click()
        expect(page.locator(".paper")).to_contain_text("the scanner at UKE was replaced")


def test_the_report_has_two_sheets_of_paper(
    hospitals: Process, browser: Browser, tmp_path: Path
) -> None:
    with open_page(browser) as page:
        page.goto(hospitals.url + PAGES["report"])
        with page.expect_download() as loading:
            page.get_by_role("link", name="As one file").click()
        file = tmp_path / "report.html"
        loading.value.save_as(file)
        for address in (page.url, file.as_uri()):
            page.goto(address)
            printed = page.pdf(format="A4", prefer_css_page_size=True)
            assert len(re.findall(rb"/Type */Page\b", printed)) == 2, address
        page.goto(hospitals.url + PAGES["overview"])
        page.emulate_media(media="print")
        expect(page.locator("form:visible")).to_have_count(0)


def test_a_manager_acknowledges_with_three_clicks(own: Process, browser: Browser) -> None:
    with open_page(browser) as page:
        page.goto(own.url)
        page.get_by_role("link", name=MODEL).first.click()
        page.get_by_label("What was found, and done").click()
        page.keyboard.type("a new scanner")
        page.get_by_role("button", name="Acknowledge").click()
        expect(page.get_by_role("status").first).to_contain_text("Acknowledged")
        expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
        expect(page.locator(".verdict")).not_to_contain_text("Alarm")


def test_a_server_that_stopped_is_noticed_and_nothing_stays_green(
    own: Process, browser: Browser
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.clock.install(time=0)
    page.goto(own.url)
    expect(page.locator(".clock.live")).to_be_visible()
    own.stop()
    page.clock.pause_at(600_000)
    page.clock.run_for(10_000)  # of the page's time, which stands still otherwise
    expect(page.get_by_role("alert")).to_contain_text("Server away since")
    assert page.locator(".clock.live").count() == 0
    muted, good = (
        page.locator("main").evaluate(
            "(each, name) => getComputedStyle(each).getPropertyValue(name)", name
        )
        for name in ("--muted", "--good")
    )
    assert muted == good
    context.close()
