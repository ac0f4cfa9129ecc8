"""Fourteen findings on a phone, a tablet, a screen and A4: no figure is cut off, two screens."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from calibration.calibrators.temperature import sigmoid
from console.report_document import report_page
from monitoring.feedback import FeedbackItem
from monitoring.reports.findings import findings_report
from tests.builders.answers import prediction_id
from tests.builders.browser import open_page
from tests.builders.findings import findings_card
from tests.builders.monitored import Clock, MonitoredModel

pytestmark = pytest.mark.nightly
NAMES = ("Pleural_Thickening", "Enlarged Cardiomediastinum", *(f"Finding {n}" for n in range(12)))
PAPER_PX = 695  # A4 without its margins
CUT_OFF = """
() => [...document.querySelectorAll(".findings :is(th, td)")].filter((each) => each.checkVisibility())
  .filter((each) => each.getBoundingClientRect().right > document.documentElement.clientWidth
    || each.scrollWidth > each.clientWidth).map((each) => each.textContent)
"""


def test_no_figure_is_cut_off(tmp_path: Path, browser: Browser) -> None:
    logits = np.random.default_rng(0).normal(-1, 1.5, (200, len(NAMES)))
    card = findings_card(NAMES)
    with MonitoredModel(tmp_path / "ledger.db", Clock(), card=card) as chest:
        chest.serve_findings(range(200), sigmoid(logits))
        for number, row in enumerate(np.where(logits > -1, "present", "absent").tolist()):
            said = dict(zip(NAMES, row, strict=True))
            chest.label(FeedbackItem("", prediction_id(number), findings=said))
        document = report_page(findings_report(chest.ledger, card.name))
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
