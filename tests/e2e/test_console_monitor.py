"""The console of `candor monitor`, with the model store and without it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from model_store.store.store import Store
from tests.builders.browser import label_answers, open_page, sign_in
from tests.builders.bundles import png
from tests.builders.processes import Process, wait_until

TOKENS = (
    "a-token-for-everything admin eve; a-token-for-reading read rita; a-token-for-labeling "
    "read,feedback lea; "
    "a-token-for-trying predict tom"
)
ADMIN = {"authorization": "Bearer a-token-for-everything"}
ANSWERS = 160


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
        running.append(Process(verb, tmp_path, **(here | settings)))
        return running[-1]

    yield start
    for process in running:
        process.stop()


def reach(page: Page, name: str) -> None:
    """Move the focus to a button with the Tab key alone."""
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement?.textContent?.trim() ?? ''")
        if focused.startswith(name):
            return
    raise AssertionError(f"the Tab key does not reach {name!r}")


def test_versions_are_acted_on_where_the_monitor_has_the_store_by_keyboard_alone(
    start_process: Callable[..., Process], tiny_store: Store, browser: Browser
) -> None:
    server, monitor = (
        start_process("serve", monitor="apart", tokens=TOKENS),
        start_process("monitor", tokens=TOKENS),
    )
    server.await_ready()
    label_answers(server, count=ANSWERS, monitor=monitor, headers=ADMIN)
    with open_page(browser) as page:
        sign_in(page, monitor, "a-token-for-everything")
        page.goto(f"{monitor.url}/versions/tiny")
        for name, heading in (
            ("Recalibrate", "Recalibrate tiny"),
            ("Show what it would do", "Recalibrate tiny"),
        ):
            reach(page, name)
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
        page.get_by_label("Why").focus()
        page.keyboard.type("far too sure")
        reach(page, "Publish version 2 and put it into production")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("Version 2 is in production")
        expect(page.locator(".log")).to_contain_text(
            "eve production: set version 2: “far too sure”"
        )
    content = {"content": png(), "headers": ADMIN}
    wait_until(lambda: server.client.post("/predictions/tiny", **content).json()["version"] == 2)
