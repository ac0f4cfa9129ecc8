"""What holds for every page of the console: size, speed, stillness, text, paper."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from model_store.store.store import Store
from tests.builders.browser import open_page
from tests.builders.bundles import png
from tests.builders.processes import wait_until
from tests.builders.servers import Server, Start

pytestmark = pytest.mark.nightly
PAGES = (
    *(
        "/",
        "/try/tiny",
        "/label/tiny",
        "/versions/tiny",
        "/recalibrate/tiny",
        "/models/tiny/report/page",
    ),
    *("/sign-in", "/docs", "/nowhere", "/versions/tiny?compare=9"),
)
MOST_BYTES, LONGEST_MS, LEAST_PX, PAPER_PAGES = 300_000, 1_000, 12.0, 2
OBSERVE = """
window.shifts = [];
new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((each) => each.value)))
  .observe({ type: "layout-shift", buffered: true });
"""
MEASURE = """
() => {
  const [page] = performance.getEntriesByType("navigation");
  const files = performance.getEntriesByType("resource");
  const painted = performance.getEntriesByName("first-contentful-paint")[0];
  return {
    bytes: [page, ...files].reduce((sum, each) => sum + each.encodedBodySize, 0),
    plain: page.decodedBodySize,
    sent: page.encodedBodySize,
    painted_ms: painted ? painted.startTime : null,
    shifts: window.shifts,
  };
}
"""
PAINTED = "() => performance.getEntriesByName('first-contentful-paint').length > 0"
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


@pytest.fixture
def server(start: Start, tiny_store: Store) -> Server:
    """A server whose model has answers, labels, and a class diagram."""
    started = start(tiny_store)
    answers = [started.predict(png(seed)).json() for seed in range(40)]
    labels = [{"prediction_id": each["prediction_id"], "label": "normal"} for each in answers[:35]]
    assert started.client.post("/feedback", json=labels).status_code == 200
    return started


def test_every_page_is_small_fast_and_still(server: Server, browser: Browser) -> None:
    with open_page(browser) as page:
        page.add_init_script(OBSERVE)
        for path in PAGES:
            page.goto(server.url + path)
            wait_until(lambda: page.evaluate(PAINTED))
            page.wait_for_timeout(150)  # what a script moves, it moves by then
            found: dict[str, Any] = page.evaluate(MEASURE)
            if found["painted_ms"] > LONGEST_MS:  # a machine that does much else
                page.reload()
                wait_until(lambda: page.evaluate(PAINTED))
                found |= {"painted_ms": page.evaluate(MEASURE)["painted_ms"]}
            assert found["bytes"] <= MOST_BYTES, path
            assert found["shifts"] == [], path
            assert found["painted_ms"] <= LONGEST_MS, path
            assert found["sent"] < found["plain"], path  # compressed


def test_text_is_never_small_and_nothing_is_cut_off(server: Server, browser: Browser) -> None:
    with open_page(browser) as page:
        for path in PAGES:
            page.goto(server.url + path)
            for width in (320, 390, 820, 1200, 2560):
                page.set_viewport_size({"width": width, "height": 900})
                size, text = page.evaluate(SMALLEST)
                assert size >= LEAST_PX - 0.01, f"{path} at {width}: {size} px: {text}"
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (
                    f"{path} at {width}"
                )


def test_a_request_is_sent_from_the_page_of_the_api_by_keyboard(
    server: Server, browser: Browser, tmp_path: Any
) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    with open_page(browser) as page:
        page.goto(f"{server.url}/docs")
        page.locator("details.fold > summary").first.click()
        classify = page.locator("details.operation").first
        expect(classify.get_by_label("model", exact=True)).to_have_value("tiny")
        classify.locator("input[type=file]").set_input_files(tmp_path / "a.png")
        classify.get_by_label("model", exact=True).press("Enter")
        expect(classify.locator("[data-hint]")).to_contain_text("200 OK")
        expect(classify.locator("[data-answer]")).to_contain_text('"prediction_id"')
        expect(classify.locator("[data-sent]")).to_contain_text(
            "curl -X POST -H 'Content-Type: image/png'"
        )
        feedback = page.locator("details.operation", has_text="POST /feedback").first
        page.locator("details.fold > summary", has_text="Feedback").first.focus()
        page.keyboard.press("Enter")
        feedback.locator("summary").first.focus()
        page.keyboard.press("Enter")
        feedback.get_by_role("button", name="Send to this server").focus()
        page.keyboard.press("Enter")
        expect(feedback.locator("[data-hint]")).to_contain_text("422")
        expect(feedback.locator("[data-answer]")).to_contain_text('"error"')
    assert server.metric("candor_predictions_total") == 41


def test_the_page_of_a_model_prints_on_two_pages(server: Server, browser: Browser) -> None:
    with open_page(browser) as page:
        page.goto(f"{server.url}/models/tiny/report/page")
        assert pages_of(page) <= PAPER_PAGES
        page.emulate_media(media="print")
        expect(page.get_by_role("heading", name="tiny").first).to_be_visible()
        expect(page.locator("form:visible")).to_have_count(0)


def pages_of(page: Page) -> int:
    return len(re.findall(rb"/Type\s*/Page[^s]", page.pdf(format="A4", print_background=True)))
