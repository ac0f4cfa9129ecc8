"""What Prometheus is told agrees with the page: whose labels are heard, and whether accuracy is
what it was.
"""

import math
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from monitoring.metrics.accuracy_gauges import AccuracyGauges
from monitoring.metrics.window_gauges import WindowGauges
from monitoring.reports.page_data import read_page_data
from serving.pages.models import model_page
from tests.builders.answers import CLASSES, NOW_NS, label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel


def fill(
    monitored: MonitoredModel, numbers: range, *, wrong: int, audit: float | None = None
) -> None:
    """Answers at .75, the card's accuracy; every `wrong`-th one is wrong."""
    rows = (
        make_row(n, confidence=0.75, predicted=n // 4 % 2, served_at_ns=NOW_NS) for n in numbers
    )
    monitored.serve(*(row._replace(audit=audit) for row in rows))
    monitored.label(*(label(n, CLASSES[(n // 4 + (n % wrong == 0)) % 2]) for n in numbers))


class Scraped:
    """The gauges of one ledger, kept between scrapes like those of a server."""

    def __init__(self, monitored: MonitoredModel) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(AccuracyGauges(monitored.ledger))
        self.registry.register(WindowGauges(monitored.ledger))

    def __call__(self, name: str, version: str = "1", **labels: str) -> float:
        found = self.registry.get_sample_value(
            f"candor_{name}", {"model": "pneumonia", "version": version} | labels
        )
        assert found is not None
        return found


def test_the_gauges_hear_whom_the_page_hears(monitored: MonitoredModel) -> None:
    gauge = Scraped(monitored)
    fill(monitored, range(400), wrong=2)  # chosen: half of them wrong
    assert gauge("calibration_overconfidence_ratio", window="all") == pytest.approx(0.25)
    assert gauge("calibration_audit_decides") == 0
    assert gauge("accuracy_lower") == 1
    fill(monitored, range(1_000, 1_200), wrong=4, audit=0.1)  # drawn: right as often as on the card
    found = read_page_data(monitored.ledger, "pneumonia")
    report = found.report
    assert report.selection.audit_decides
    for window in ("all", "last:500"):
        of_window = read_page_data(monitored.ledger, "pneumonia", window=window).report
        for name in ("ece", "noise_floor"):
            expected = getattr(of_window.measures, name)
            assert gauge(f"calibration_{name}_ratio", window=window) == pytest.approx(expected)
        assert gauge("calibration_labels", window=window) == of_window.measures.n == 200
    assert gauge("calibration_audit_decides") == 1
    assert gauge("accuracy_lower") == 0
    assert gauge("accuracy_ratio") == report.accuracy.live == 0.75
    assert gauge("accuracy_reference_ratio") == report.accuracy.reference == 0.75
    assert [each.labeled.total for each in found.days] == [200]  # the chart by day, too
    assert "of audited answers alone" in model_page(found)


def test_accuracy_is_lower_until_another_version_serves(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        gauge = Scraped(monitored)
        assert math.isnan(gauge("accuracy_ratio"))
        assert math.isnan(gauge("accuracy_difference_upper_ratio"))
        assert gauge("accuracy_lower") == 0
        monitored.recorder.promote(monitored.watched_version_id).result()
        fill(monitored, range(400), wrong=2)
        report = read_page_data(monitored.ledger, "pneumonia").report
        assert report.accuracy.answer == "lower"
        assert gauge("accuracy_lower") == 1
        assert gauge("accuracy_difference_upper_ratio") == report.accuracy.difference_upper < 0
        assert gauge("accuracy_difference_lower_ratio") == report.accuracy.difference_lower
        second = monitored.recorder.register(make_card(version=2))
        monitored.recorder.promote(second).result()
        assert gauge("accuracy_lower") == 0
        assert gauge("accuracy_ratio") == 0.5
        assert gauge("accuracy_lower", version="2") == 0


def test_answers_without_labels_reach_the_verdict_too(monitored: MonitoredModel) -> None:
    """Ever more answers of another confidence are served: then the labels are of other answers, and
    no longer tell.
    """
    gauge = Scraped(monitored)
    fill(monitored, range(400), wrong=2)
    assert gauge("accuracy_lower") == 1
    monitored.serve(*(make_row(n, confidence=0.99) for n in range(10_000, 20_000)))
    report = read_page_data(monitored.ledger, "pneumonia").report
    assert gauge("accuracy_lower") == (report.accuracy.answer == "lower")


def test_a_ledger_that_cannot_be_read_costs_these_gauges_only(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gauges = AccuracyGauges(monitored.ledger)

    def locked() -> None:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr(monitored.ledger, "read", locked)
    assert list(gauges.collect()) == []
    assert "could not be read for /metrics" in caplog.text
