"""What report, terminal and page print, whatever the number of labels: no figure that cannot be,
nothing said twice.
"""

import io
import re
from collections import Counter
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from candor.terminal.report import report_tables
from model_store.bundle.card import CalibrationCard
from monitoring.errors import AnswersSpooled, FeedbackInvalid, ItemsRejected
from monitoring.findings.probability_scores import LATEST
from monitoring.findings.status import Status
from monitoring.reports.page_data import read_page_data
from monitoring.reports.report import Report
from serving.pages.models import model_page
from tests.builders.answers import CLASSES, label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel

IMPOSSIBLE = re.compile(
    r"\[-, -\]|-0\.0+(?![0-9])|\bnan\b|\binf\b|\b1 (labels|answers|items|slices|comparisons)\b"
)
ONE_POINT = re.compile(r"95 % interval ([+-]?[\d.]+)( %)? to \1( %)?\b")


def fill(
    monitored: MonitoredModel,
    labels: int,
    *,
    wrong: int = 0,
    confidence: float = 0.75,
    served: int = 0,
) -> Report:
    """Label that many answers; every `wrong`-th is wrong, none at 0."""
    monitored.serve(
        *(make_row(n, confidence=confidence, predicted=n % 2) for n in range(max(labels, served)))
    )
    names = (CLASSES[n % 2 if not wrong or n % wrong else 1 - n % 2] for n in range(labels))
    if labels:
        monitored.label(*(label(n, name) for n, name in enumerate(names)))
    return read_page_data(monitored.ledger, "pneumonia").report


def printed(monitored: MonitoredModel) -> tuple[str, str]:
    """The terminal's text, and the page's without marks and pictures."""
    found = read_page_data(monitored.ledger, "pneumonia")
    console = Console(width=2_000, record=True, file=io.StringIO())
    for part in report_tables(found.report):
        console.print(part)
    page = re.sub(r"<(svg|style).*?</\1>", "", model_page(found), flags=re.S)
    page = re.sub(
        r"<h2>History</h2>.*?</section>", "", page, flags=re.S
    )  # a record: it may repeat the evidence
    return console.export_text(), unescape(
        re.sub(r"</(p|li|h\d|td|th|div|span|section)>", "\n", page)
    )


def sentences(text: str) -> list[str]:
    parts = re.split(r"(?<=[.!?]) |\n", re.sub(r"<[^>]+>", "", text))
    return [part.strip(" -") for part in parts if len(part.strip(" -")) > 30]


@pytest.mark.parametrize(
    ("labels", "wrong", "confidence", "served"),
    [
        *(
            (n, wrong, p, 0)
            for n in (0, 1, 2, 20, 100)
            for wrong, p in ((0, 0.999), (1, 0.75), (4, 0.75))
        ),
        (99, 3, 0.95, 0),
        (100, 0, 0.995, 0),
        (150, 2, 0.95, 0),
        (150, 2, 0.95, 4_000),
        (1, 0, 0.75, 1_000),
        (300, 4, 0.82, 300),
    ],
)
def test_nothing_that_cannot_be_and_nothing_twice(
    tmp_path: Path, clock: Clock, labels: int, wrong: int, confidence: float, served: int
) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        report = fill(monitored, labels, wrong=wrong, confidence=confidence, served=served)
        for text in printed(monitored):
            assert not (found := IMPOSSIBLE.search(text)), text[
                max(0, found.start() - 80) : found.end() + 40
            ]
            assert not ONE_POINT.search(text)
            assert [each for each, count in Counter(sentences(text)).items() if count > 1] == []
        if report.status in (Status.EARLY, Status.NO_LABELS):
            assert report.slices is not None
            assert not report.slices.significant  # no "too early" beside "miscalibrated"
            assert not any("at this look" in line for line in report.recommendation.evidence)


def test_a_hundred_right_answers_at_99_percent_are_no_finding(monitored: MonitoredModel) -> None:
    """More than a third of all calibrated models show that."""
    report = fill(monitored, 100, confidence=0.99)
    assert report.status is Status.OK
    assert report.measures.signed_gap_lower < 0 < report.measures.signed_gap_upper


def test_differences_of_one_sign_are_not_said_to_cancel(monitored: MonitoredModel) -> None:
    report = fill(monitored, 120, wrong=60, confidence=0.999)
    assert "cancel" not in report.verdict
    assert (
        "Within bins of similar confidence the differences average 1.6 points (ECE)"
        in report.verdict
    )


def test_advice_asks_for_no_fewer_labels_than_the_verdict_does(monitored: MonitoredModel) -> None:
    report = fill(monitored, 30, confidence=0.99)
    assert report.recommendation.what_to_do[0] == (
        "Label at least 100 answers. They show confidence minus accuracy to within 5 points."
    )


def test_a_model_that_was_off_from_its_first_label_is_not_asked_what_changed(
    monitored: MonitoredModel,
) -> None:
    report = fill(monitored, 200, wrong=2, confidence=0.95)
    assert report.drift is not None
    assert report.drift.alarm is not None
    assert report.drift.alarm["since"]["from_first"]
    said = " ".join((*report.recommendation.what_to_do, *report.recommendation.evidence))
    assert "so the error may have been there from the first label on." in said
    assert "Find out what changed" not in said
    assert report.recommendation.what_to_do[0].startswith(
        "Nothing need have changed, since the error may have been"
    )


def test_a_card_that_shows_the_error_is_quoted(tmp_path: Path, clock: Clock) -> None:
    """It was 95 % confident and right 80 times in 100 on its reference data, before it was ever
    served.
    """
    sums = BinSums.from_predictions([0.95] * 400, [n % 5 > 0 for n in range(400)])
    calibration = CalibrationCard.from_reference(
        temperature=1.0, split="validation", sums=sums, measures=Measures.from_sums(sums)
    )
    card = make_card().model_copy(update={"calibration": calibration})
    with MonitoredModel(tmp_path / "ledger.db", clock, card=card) as monitored:
        report = fill(monitored, 300, wrong=5, confidence=0.95)
    assert report.recommendation.what_to_do[0] == (
        "Nothing need have changed: on its own card, confidence exceeded accuracy by 15.0 points "
        "on the reference data "
        "already."
    )
    assert report.accuracy.answer != "lower"
    assert report.recommendation.what_to_do[1] == (
        "Recalibrate: `candor recalibrate pneumonia`, then `candor promote pneumonia VERSION`."
    )


def test_live_reports_show_nll_and_brier_score_of_the_current_labels(
    monitored: MonitoredModel,
) -> None:
    rng = np.random.default_rng(3)
    confidence, predicted, true = (
        rng.uniform(0.5, 1, 60),
        rng.integers(0, 2, 60),
        rng.integers(0, 2, 60),
    )
    rows = [
        make_row(n, confidence=p, predicted=k)
        for n, (p, k) in enumerate(zip(confidence.tolist(), predicted.tolist(), strict=True))
    ]
    monitored.serve(*rows)
    monitored.label(*(label(n, CLASSES[1 - k]) for n, k in enumerate(true)))
    monitored.label(*(label(n, CLASSES[k]) for n, k in enumerate(true)))  # corrections
    probabilities = np.array([np.frombuffer(row.probabilities, dtype="<f4") for row in rows])
    expected = Measures.from_probabilities(probabilities, true)
    measures = read_page_data(monitored.ledger, "pneumonia").report.measures
    assert measures.nll == pytest.approx(expected.nll)
    assert measures.brier == pytest.approx(expected.brier)
    last = read_page_data(monitored.ledger, "pneumonia", window="last:10").report.measures
    assert last.nll == pytest.approx(
        Measures.from_probabilities(probabilities[-10:], true[-10:]).nll
    )
    terminal, page = printed(monitored)
    assert f"{expected.nll:.3f}" in terminal
    assert f"{expected.brier:.3f}" in page
    assert f"latest {LATEST:,} labels" not in page


def test_one_item_is_not_all_items() -> None:
    assert str(ItemsRejected(FeedbackInvalid, "why", results=[{}])) == "The item was rejected: why"
    assert (
        str(ItemsRejected(FeedbackInvalid, "why", results=[{}, {}]))
        == "All 2 items were rejected; the first: why"
    )
    assert "1 answer is not in it yet" in str(AnswersSpooled(1))


def test_tables_of_labels_are_left_out_until_there_are_labels(monitored: MonitoredModel) -> None:
    fill(monitored, 0, served=120)
    text, _ = printed(monitored)
    assert "Estimated before labels" in text
    assert not re.search(r"^(Reliability|Slices)\b", text, flags=re.M)
    assert "Drift detector: no alarm, no labels since the last reset." in text
    monitored.label(*(label(n, CLASSES[n % 2]) for n in range(30)))
    text, _ = printed(monitored)
    assert re.search(r"^Reliability\b", text, flags=re.M)
    assert re.search(r"^Slices, worst first", text, flags=re.M)
