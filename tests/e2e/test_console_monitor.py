"""The console of `candor monitor`, apart from the server that answers: acting with the model store,
and without it.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from calibration.calibrators.temperature import softmax
from model_store.store.store import Store
from tests.builders.browser import open_browser, open_page
from tests.builders.processes import Process, wait_until

TOKENS = (
    "a-token-for-everything admin eve; a-token-for-reading read rita; a-token-for-labeling "
    "read,feedback lea; "
    "a-token-for-trying predict tom"
)
ADMIN = {"authorization": "Bearer a-token-for-everything"}
ANSWERS, PAPER_PAGES = 160, 2
PAGES = (
    "/",
    "/models/tiny/report/page",
    "/label/tiny",
    "/versions/tiny",
    "/versions/tiny?first=1&second=2",
    "/recalibrate/tiny",
    "/recalibrate/tiny?preview=yes",
    "/sign-in",
    "/time-zone",
    "/nowhere",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def start_process(tiny_store: Store, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """What starts processes on one ledger and the store."""
    running: list[Process] = []

    def start(verb: str, **settings: str) -> Process:
        here = {
            "ledger": f"sqlite:///{tmp_path / 'ledger.db'}",
            "store": str(tiny_store.root),
            "threads": "1",
            "deadline_s": "300",
        }
        running.append(Process(verb, tmp_path, **(here | {"poll_s": "0.1"} | settings)))
        return running[-1]

    yield start
    for process in running:
        process.stop()


def label_answers(
    server: Process, monitor: Process, png: Callable[..., bytes], *, wrong: bool = False
) -> None:
    """Label real answers as if confidence were far too high; `wrong`: as if each were wrong."""
    rng, labels = np.random.default_rng(0), []
    for seed in range(ANSWERS):
        answer = server.client.post("/predictions/tiny", content=png(seed), headers=ADMIN).json()
        names = list(answer["probabilities"])
        honest = softmax(np.log(np.array([list(answer["probabilities"].values())]) + 1e-9) / 4)[0]
        label = (
            next(name for name in names if name != answer["predicted"])
            if wrong
            else str(rng.choice(names, p=honest))
        )
        labels.append({"prediction_id": answer["prediction_id"], "label": label})
    assert monitor.client.post("/feedback", json=labels, headers=ADMIN).status_code == 200


def url_of(process: Process) -> str:
    return str(process.client.base_url).rstrip("/")


def sign_in(page: Page, process: Process, token: str) -> None:
    page.goto(f"{url_of(process)}/sign-in")
    page.get_by_label("Your token").fill(token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Models")).to_be_visible()


def reach(page: Page, name: str) -> None:
    """Move the focus to a button with the Tab key alone."""
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement?.textContent?.trim() ?? ''")
        if focused.startswith(name):
            return
    raise AssertionError(f"the Tab key does not reach {name!r}")


def test_versions_are_acted_on_where_the_monitor_has_the_store_by_keyboard_alone(
    start_process: Callable[..., Process],
    tiny_store: Store,
    browser: Browser,
    png: Callable[..., bytes],
) -> None:
    server, monitor = (
        start_process("serve", monitor="apart", tokens=TOKENS),
        start_process("monitor", tokens=TOKENS),
    )
    server.await_ready()
    label_answers(server, monitor, png)
    with open_page(browser) as page:
        sign_in(page, monitor, "a-token-for-everything")
        page.goto(f"{url_of(monitor)}/models/tiny/report/page")
        for name, heading in (
            ("Recalibrate", "Recalibrate tiny"),
            ("Show what it would do", "Recalibrate tiny"),
        ):
            reach(page, name)
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
        expect(page.locator("main")).to_contain_text("labels measure what it does")
        page.get_by_label("Why").focus()
        page.keyboard.type("far too sure")
        reach(page, "Publish version 2")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text(
            "Version 2 is published, and answers nothing yet"
        )
        page.locator(
            "form", has=page.get_by_role("button", name="Put it into production")
        ).get_by_label("Why").focus()
        page.keyboard.type("better")
        reach(page, "Put it into production")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("Version 2 is in production")
        expect(page.locator(".log")).to_contain_text("eve production: set version 2: “better”")
    content = {"content": png(), "headers": ADMIN}
    wait_until(lambda: server.client.post("/predictions/tiny", **content).json()["version"] == 2)


def test_an_alarm_is_acknowledged_and_scopes_hold_on_the_monitor(
    start_process: Callable[..., Process],
    tiny_store: Store,
    browser: Browser,
    png: Callable[..., bytes],
) -> None:
    server, monitor = (
        start_process("serve", monitor="apart", tokens=TOKENS),
        start_process("monitor", tokens=TOKENS),
    )
    server.await_ready()
    label_answers(server, monitor, png, wrong=True)
    with open_page(browser) as page:
        page.goto(f"{url_of(monitor)}/versions/tiny")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()  # 401
        sign_in(page, monitor, "a-token-for-reading")
        page.goto(f"{url_of(monitor)}/models/tiny/report/page")
        expect(page.get_by_role("link", name="Versions")).to_be_visible()
        assert page.get_by_role("link", name="Recalibrate").count() == 0
        assert page.get_by_role("link", name="Label answers").count() == 0
        assert page.locator("form[method=post]").count() == 0
        for path, status, heading in (
            ("/recalibrate/tiny", 403, "You may not do this"),
            ("/label/tiny", 403, "You may not do this"),
            ("/versions/nowhere", 404, "This is not here"),
            ("/models/tiny/report/page?window=week", 422, "This cannot be taken"),
        ):
            answer = page.goto(url_of(monitor) + path)
            assert answer is not None
            assert answer.status == status
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
        sign_in(page, monitor, "a-token-for-everything")
        page.goto(f"{url_of(monitor)}/models/tiny/report/page")
        page.get_by_label("What was found, and done").fill("a new device")
        page.get_by_role("button", name="Acknowledge the alarm").click()
        expect(page.get_by_role("button", name="Acknowledge the alarm")).to_have_count(0)
    events = monitor.client.get("/models/tiny/report/history", headers=ADMIN).json()["events"]
    assert [each for each in events if each["kind"] == "acknowledged" and "eve" in each["sentence"]]


def test_a_monitor_without_a_store_says_where_to_act(
    start_process: Callable[..., Process],
    tmp_path: Path,
    browser: Browser,
    png: Callable[..., bytes],
) -> None:
    server = start_process("serve", monitor="apart")
    monitor = start_process("monitor", store=str(tmp_path / "none"))
    server.await_ready()
    assert server.client.post("/predictions/tiny", content=png()).status_code == 200
    with open_page(browser) as page:
        page.goto(f"{url_of(monitor)}/models/tiny/report/page")
        expect(page.locator("main")).to_contain_text(
            "use the console of the server that answers images"
        )
        assert page.get_by_role("link", name="Versions").count() == 0
        for path in ("/versions/tiny", "/recalibrate/tiny"):
            answer = page.goto(url_of(monitor) + path)
            assert answer is not None
            assert answer.status == 404
            expect(page.locator("main")).to_contain_text(
                "Use the console of the server that answers images"
            )
            expect(page.locator("main code").first).to_have_text("--store")


def test_times_are_in_the_zone_of_the_browser_or_in_the_one_that_was_chosen(
    start_process: Callable[..., Process], browser: Browser, png: Callable[..., bytes]
) -> None:
    server = start_process("serve")
    server.await_ready()
    for script, first in ((True, "Asia/Tokyo"), (False, "UTC")):
        context = browser.new_context(timezone_id="Asia/Tokyo", java_script_enabled=script)
        page = context.new_page()
        page.goto(f"{url_of(server)}/versions/tiny")
        expect(page.locator("footer")).to_contain_text(f"time zone {first}.")
        made = page.locator("time").first
        expect(made).to_contain_text("JST" if script else "UTC")
        if script:
            assert (made.get_attribute("title") or "").endswith(" UTC")
        page.get_by_role("link", name="Another time zone").click()
        page.get_by_label("Write times in").select_option("America/New_York")
        page.get_by_role("button", name="Choose").click()
        expect(page).to_have_url(f"{url_of(server)}/versions/tiny")
        expect(page.locator("time").first).to_contain_text(re.compile("E[SD]T"))
        page.get_by_role("link", name="Another time zone").click()
        expect(page.get_by_label("Write times in")).to_have_value("America/New_York")
        page.get_by_label("Write times in").select_option("")
        page.get_by_role("button", name="Choose").click()
        expect(page.locator("footer")).to_contain_text(f"time zone {first}.")
        context.close()
    refused = server.client.post(
        "/time-zone", data={"zone": "../etc/passwd"}, headers={"accept": "text/html"}
    )
    assert (refused.status_code, "There is no time zone" in refused.text) == (422, True)


@pytest.mark.parametrize("width", [320, 1200])
def test_every_page_of_the_monitor_is_accessible_fits_and_prints_in_short(
    start_process: Callable[..., Process],
    tiny_store: Store,
    browser: Browser,
    png: Callable[..., bytes],
    make_bundle: Any,
    width: int,
) -> None:
    tiny_store.publish("tiny", make_bundle)
    server, monitor = start_process("serve", monitor="apart"), start_process("monitor")
    server.await_ready()
    label_answers(server, monitor, png)
    for dark in (False, True):
        with open_page(browser, width=width, dark=dark) as page:
            for path in PAGES:
                page.goto(url_of(monitor) + path)
                found = Axe().run(page)
                assert found.violations_count == 0, f"{path}\n{found.generate_report()}"
                assert page.evaluate("document.documentElement.scrollWidth") <= width, path
                if (
                    width == 1200 and not dark and "/report" not in path
                ):  # an alarm may need more to say
                    printed = len(
                        re.findall(
                            rb"/Type\s*/Page[^s]", page.pdf(format="A4", print_background=True)
                        )
                    )
                    assert printed <= PAPER_PAGES, f"{path} prints on {printed} pages"
