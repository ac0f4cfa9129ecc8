"""On a phone no page scrolls sideways, however long ids, classes and sites are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.builders.answers import label, make_card, make_row
from tests.builders.browser import assert_fits, open_page
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import Process

LONG = "A" * 30 + "b" * 30  # without a place to break
MODEL = f"m{LONG}"
CLASSES = (f"normal{LONG[6:]}", f"pneumo{LONG[6:]}")
PAGES = (
    "/",
    f"/models/{MODEL}/report/page",
    f"/models/{MODEL}/answers/page",
    f"/models/{MODEL}/answers/page?wrong=1&site={LONG}",
    f"/slices/{MODEL}",
    f"/label/{MODEL}",
    f"/label/{MODEL}?queue=random",
    f"/report/{MODEL}",
)


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Process]:
    card = make_card(MODEL, classes=CLASSES)
    with MonitoredModel(tmp_path / "ledger.db", Clock(), card=card) as monitored:
        for number in range(200):
            row = make_row(number, request_id=f"{LONG[:55]}{number:05}")
            monitored.serve(row._replace(tags=f'{{"site":"{LONG}"}}'))
        monitored.label(*(label(number, CLASSES[number % 2]) for number in range(150)))
    process = Process("monitor", tmp_path, ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    yield process
    process.stop()


def test_no_page_scrolls_sideways(monitor: Process, browser: Browser) -> None:
    """The page to label was 830 pixels wide, that of chosen answers 725."""
    with open_page(browser, width=390) as page:
        for path in PAGES:
            answered = page.goto(monitor.url + path)
            assert answered is not None
            assert answered.ok, path
            for width in (390, 320):
                assert_fits(page, width, None, path)
