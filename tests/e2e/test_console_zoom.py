"""Charts over time are read and looked at closely by mouse, by keyboard, and without script."""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from calibration.drift.state import DriftSettings
from model_store.store.store import Store
from monitoring.ledger.schema import DAY_NS
from tests.builders.answers import NOW_NS, label, make_row
from tests.builders.browser import open_page
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.servers import Start

pytestmark = pytest.mark.nightly
DAYS = 40
ERROR = ".chart svg.wide[aria-label^='Calibration error by day']"
GAP = ".chart svg.wide[aria-label^='Confidence minus accuracy by day']"


@pytest.fixture(scope="module")
def url(
    start_shared: Start, published_once: Store, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Ten labels a day over forty days; from day 30 on the model is overconfident."""
    clock, random = Clock(), np.random.default_rng(0)
    ledger = tmp_path_factory.mktemp("zoom") / "ledger.db"
    with MonitoredModel(
        ledger, clock, settings=DriftSettings(average_run_length=1000)
    ) as monitored:
        for day in range(DAYS):
            clock.now_ns = NOW_NS + day * DAY_NS
            for number in range(10 * day, 10 * day + 10):
                confidence = random.uniform(0.7, 0.95)
                right = random.random() < (confidence if day < 30 else confidence - 0.6)
                monitored.serve(make_row(number, confidence=confidence, served_at_ns=clock.now_ns))
                monitored.label(
                    label(number, "pneumonia" if right else "normal", at_ns=clock.now_ns)
                )
    server = start_shared(published_once, ledger=f"sqlite:///{ledger}")
    return f"{server.url}/models/pneumonia/report/page?window=all"


def days_of(page: Page, chart: str) -> tuple[str, str]:
    """The first and the last day of a chart's points."""
    points = page.locator(f"{chart} [data-first]")
    first, last = points.first.get_attribute("data-first"), points.last.get_attribute("data-last")
    assert first is not None
    assert last is not None
    return first, last


def readout(page: Page, chart: str) -> Locator:
    return page.locator(f"{chart} ~ .readout").first


def test_points_and_bins_are_read_and_opened(url: str, browser: Browser) -> None:
    """A click on a day: test_console_goals.py."""
    with open_page(browser) as page:
        page.goto(url)
        for chart in (ERROR, GAP):
            line, at = readout(page, chart), page.locator(chart)
            at.hover()
            said = page.locator(f"{chart} .pointed title").text_content() or ""
            expect(line).to_have_text(said)
            at.focus()
            page.keyboard.press("ArrowRight")
            expect(line).not_to_have_text(said)
        page.keyboard.press("Escape")
        expect(readout(page, GAP)).to_have_text("")
        expect(readout(page, "svg.square")).to_contain_text("use the arrow keys")
        assert page.evaluate("document.activeElement.matches('svg')")
        bins = page.locator("section:has(> svg.square)").first
        link = bins.locator("a[href*='bin=']").first.get_attribute("href") or "none"
        bins.locator("g:has(> title) circle").first.click()
        page.wait_for_url(lambda at: at.endswith(link))


def test_days_are_chosen_by_keyboard_and_by_dragging_and_given_up(
    url: str, browser: Browser
) -> None:
    with open_page(browser) as page:
        page.goto(url)
        assert days_of(page, ERROR) == ("2026-09-21", "2026-10-30")
        page.locator(ERROR).focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        for _ in range(5):
            page.keyboard.press("Shift+ArrowRight")
        expect(readout(page, ERROR)).to_contain_text("press Enter, or let go of the mouse")
        assert page.locator(f"{ERROR} .chosen").count() == 6
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{url}&since=2026-09-23&until=2026-09-28")
        for chart in (ERROR, GAP):
            expect(page.locator(f"{chart} [data-first]").first).to_have_attribute(
                "data-first", "2026-09-23"
            )
            assert days_of(page, chart) == ("2026-09-23", "2026-09-28")
        assert Axe().run(page).violations_count == 0
        assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
            "Calibration error"
        )
        page.keyboard.press("Escape")
        expect(page.locator(f"{ERROR} [data-first]")).to_have_count(DAYS)
        page.go_back()
        expect(page.locator(f"{ERROR} [data-first]")).to_have_count(6)
        page.get_by_role("link", name="All days").click()
        expect(page.locator(f"{ERROR} [data-first]")).to_have_count(DAYS)
        for chart, goes_back in ((GAP, True), (ERROR, False)):
            page.locator(chart).scroll_into_view_if_needed()
            points = page.locator(f"{chart} [data-first]")
            before = points.count()
            one, other = (
                points.nth(before // 4).bounding_box(),
                points.nth(before // 2).bounding_box(),
            )
            page.mouse.move(other["x"], other["y"])
            page.mouse.down()
            page.mouse.move(one["x"], one["y"], steps=5)
            page.mouse.up()
            expect(points).not_to_have_count(before)
            assert "since=" in page.url
            if goes_back:
                page.get_by_role("link", name="All days").click()
                expect(points).to_have_count(before)
        assert days_of(page, GAP) == days_of(page, ERROR)


def test_a_late_answer_for_all_days_does_not_replace_chosen_ones(
    url: str, browser: Browser
) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with open_page(browser) as page:
        page.goto(url)
        page.route(url, hold)
        page.evaluate("void (window.late = renew())")
        while not held:
            page.wait_for_timeout(10)
        page.locator(ERROR).focus()
        for key in ("ArrowRight", "Shift+ArrowRight", "Enter"):
            page.keyboard.press(key)
        chosen = page.locator(f"{GAP} [data-first]")
        expect(chosen).to_have_count(2)
        page.evaluate("document.activeElement.blur()")  # a part that is read stays anyway
        held[0].continue_()
        page.evaluate("window.late")  # until the page has taken the answer, or left it
        assert chosen.count() == 2  # at once: the next renewal would mend it


def test_without_script_a_form_leads_to_other_days(url: str, browser: Browser) -> None:
    with open_page(browser, script=False) as page:
        page.goto(url)
        assert page.locator(".readout").first.is_hidden()
        page.get_by_label("From").fill("2026-10-21")
        page.get_by_role("button", name="Show").press("Enter")
        assert days_of(page, ERROR) == ("2026-10-21", "2026-10-30")
        assert "until=2026-10-30" in page.url
        page.get_by_role("link", name="All days").click()
        assert days_of(page, ERROR) == ("2026-09-21", "2026-10-30")
