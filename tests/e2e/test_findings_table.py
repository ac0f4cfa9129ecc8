"""Fourteen findings on a phone, a tablet, a screen and A4: no figure is cut off, two screens."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from calibration.calibrators.temperature import sigmoid
from console.report_document import report_page
from monitoring.ledger import Ledger
from monitoring.reports.findings import findings_report
from tests.builders.browser import assert_fits, open_page
from tests.builders.findings import findings_card
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import Process

pytestmark = pytest.mark.nightly
NAMES = (
    "Pleural_Thickening",
    "Edema",
    "Enlarged Cardiomediastinum",
    *(f"Finding {n}" for n in range(11)),
)
PAPER_PX = 695  # A4 without its margins
CUT_OFF = """
() => [...document.querySelectorAll(".findings :is(th, td)")].filter((each) => each.checkVisibility())
  .filter((each) => each.getBoundingClientRect().right > document.documentElement.clientWidth
    || each.scrollWidth > each.clientWidth).map((each) => each.textContent)
"""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with labels of fourteen findings, of which two are said too often."""
    path = tmp_path_factory.mktemp("findings") / "ledger.db"
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 1.5, (400, len(NAMES)))
    present = rng.random(logits.shape) < sigmoid(logits - np.array([2.0, 2.0, *[0.0] * 12]))
    with MonitoredModel(path, Clock(), card=findings_card(NAMES)) as chest:
        chest.serve_findings(range(400), sigmoid(logits))
        chest.label_findings(range(400), present)
    return path


def test_an_overview_says_each_interval_and_fits_unfolded(ledger: Path, browser: Browser) -> None:
    monitor = Process("monitor", ledger.parent, ledger=f"sqlite:///{ledger}")
    try:
        with open_page(browser, width=1440) as page:
            page.goto(f"{monitor.url}/models/chest/report/page")
            assert_fits(page, 1440, 900)
            assert page.locator(".verdict .word").inner_text().count(NAMES[0]) == 1
            intervals = page.locator(".lines tbody small").all_text_contents()
            assert len(intervals) == len(NAMES)
            assert all(re.fullmatch(r"\(.+ to .+\)", each) for each in intervals)
            page.evaluate(
                "document.querySelectorAll('details').forEach((each) => (each.open = true))"
            )
            for width in (1440, 390):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate(CUT_OFF) == [], width
                assert_fits(page, width, None)
    finally:
        monitor.stop()


def test_no_figure_is_cut_off(ledger: Path, browser: Browser) -> None:
    with Ledger(f"sqlite:///{ledger}") as opened:
        document = report_page(findings_report(opened, "chest"))
    modes = (("screen", 390), ("screen", 820), ("screen", 1200), ("print", PAPER_PX))
    with open_page(browser) as page:
        page.set_content(document)
        for media, width in modes:
            page.emulate_media(media=media)
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(CUT_OFF) == [], (media, width)
            assert page.locator(".findings td.n").count() == 8 * len(NAMES)
            high, wide = (
                page.evaluate(f"document.documentElement.scroll{side}")
                for side in ("Height", "Width")
            )
            assert wide <= width, (media, width)
            assert high <= 1_800 or media == "print", (media, width, high)
