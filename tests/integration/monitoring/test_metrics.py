import math
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from sqlalchemy.exc import OperationalError

from calibration.bins import BinSums
from calibration.measures import metrics
from monitoring.feedback import FeedbackItem
from monitoring.ledger.versions import VISIBLE_VERSIONS
from monitoring.metrics.counters import MonitorMetrics
from monitoring.metrics.window_gauges import WindowGauges
from tests.builders.answers import DAY_NS, label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel

PER_BIN = (
    *(
        "predictions_total",
        "prediction_confidence_total",
        "feedback_total",
        "feedback_confidence_total",
    ),
    *("feedback_correct_total", "feedback_variance_total", "feedback_squared_error_total"),
)


def test_every_series_is_born_at_zero(monitored: MonitoredModel) -> None:
    for bin_label in (f"{number:02d}" for number in range(15)):
        for name in PER_BIN:
            assert monitored.metric(name, bin=bin_label) == 0, name
        for to in ("correct", "incorrect"):
            for name in ("feedback_corrections_total", "feedback_corrections_confidence_total"):
                assert monitored.metric(name, bin=bin_label, to=to) == 0
    for name in (
        "feedback_duplicates_total",
        "calibration_drift_alarms_total",
        "feedback_delay_seconds_count",
    ):
        assert monitored.metric(name) == 0
    for reason in (
        "unknown_prediction",
        "expired",
        "unknown_label",
        "unknown_model",
        "invalid",
        "pending_full",
    ):
        assert (
            monitored.registry.get_sample_value(
                "candor_feedback_rejected_total", {"reason": reason}
            )
            == 0
        )
    assert monitored.metric("calibration_drift_active") == 0
    assert monitored.metric("calibration_drift_log_threshold") == pytest.approx(math.log(1e5))
    assert monitored.metric("calibration_drift_log_evalue") == -math.inf


def test_the_reference_is_that_of_the_card(monitored: MonitoredModel) -> None:
    shares = [
        monitored.metric("reference_confidence_bin_ratio", bin=f"{number:02d}")
        for number in range(15)
    ]
    assert shares == [
        1.0 if number == 11 else 0.0 for number in range(15)
    ]  # 0.75 lies in (11/15, 12/15]


def test_the_counters_are_the_bin_sums(monitored: MonitoredModel) -> None:
    confidences = [0.91, 0.92, 0.55]
    monitored.serve(
        *(make_row(number, confidence=confidence) for number, confidence in enumerate(confidences))
    )
    monitored.label(label(0), label(1, "normal"), label(2))
    sums = BinSums.from_predictions(confidences, [True, False, True])
    columns = (
        sums.n,
        sums.confidence,
        sums.n,
        sums.confidence,
        sums.correct,
        sums.variance,
        sums.squared_error,
    )
    for name, column in zip(PER_BIN, columns, strict=True):
        for number in range(15):
            assert monitored.metric(name, bin=f"{number:02d}") == pytest.approx(column[number]), (
                name
            )


def test_window_gauges_are_exact_and_follow_the_labels(monitored: MonitoredModel) -> None:
    monitored.registry.register(WindowGauges(monitored.ledger))
    assert monitored.metric("calibration_labels", window="all") == 0
    assert math.isnan(monitored.metric("calibration_ece_ratio", window="all") or 0)
    confidence = [0.6 + 0.3 * (number % 7) / 7 for number in range(600)]
    monitored.serve(*(make_row(number, confidence=p) for number, p in enumerate(confidence)))
    correct = [number % 3 > 0 for number in range(600)]
    monitored.label(
        *(label(number, "pneumonia" if right else "normal") for number, right in enumerate(correct))
    )
    for window, start in (("all", 0), ("last:500", 100)):
        sums = BinSums.from_predictions(confidence[start:], correct[start:])
        interval = metrics.signed_gap_interval(sums)
        expected = {
            "ece_ratio": metrics.ece(sums),
            "noise_floor_ratio": metrics.noise_floor(sums),
            "overconfidence_ratio": metrics.signed_gap(sums),
            "overconfidence_lower_ratio": interval.lower,
            "overconfidence_upper_ratio": interval.upper,
            "labels": 600 - start,
        }
        for name, value in expected.items():
            assert monitored.metric(f"calibration_{name}", window=window) == pytest.approx(value), (
                name
            )
    monitored.label(label(599, "normal"))  # a correction counts as well
    before = metrics.signed_gap(BinSums.from_predictions(confidence, correct))
    assert monitored.metric("calibration_overconfidence_ratio", window="all") != pytest.approx(
        before
    )


def test_a_scrape_without_new_labels_reads_no_sums(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gauges = WindowGauges(monitored.ledger)
    assert list(gauges.collect())
    monkeypatch.setattr("monitoring.metrics.window_gauges.window_sums", lambda *_, **__: 1 / 0)
    assert list(gauges.collect())
    monitored.serve(make_row(1))
    monitored.label(label(1))
    with pytest.raises(ZeroDivisionError):
        list(gauges.collect())


def test_coverage_counts_late_labels_where_they_belong(
    monitored: MonitoredModel, clock: Clock
) -> None:
    """Ten answers on one day; their labels come on the next, which has two answers."""
    monitored.registry.register(WindowGauges(monitored.ledger))
    assert math.isnan(monitored.metric("feedback_coverage_ratio") or 0)
    monitored.serve(*(make_row(number) for number in range(10)))
    clock.now_ns += DAY_NS
    monitored.serve(*(make_row(number, served_at_ns=clock.now_ns) for number in (10, 11)))
    monitored.label(*(label(number) for number in range(6)))
    assert monitored.metric("feedback_coverage_ratio") == 0.5
    assert monitored.metric("expected_accuracy_ratio") == pytest.approx(0.9)


def test_held_labels_are_shown(monitored: MonitoredModel) -> None:
    monitored.registry.register(WindowGauges(monitored.ledger))
    assert (
        monitored.registry.get_sample_value("candor_feedback_pending", {"model": "pneumonia"}) == 0
    )
    monitored.label(FeedbackItem("normal", None, "pneumonia", "scan-1"))
    assert (
        monitored.registry.get_sample_value("candor_feedback_pending", {"model": "pneumonia"}) == 1
    )


def test_of_two_cards_of_a_version_the_later_is_shown_once(
    monitored: MonitoredModel, clock: Clock
) -> None:
    clock.now_ns += 1
    second = monitored.recorder.register(make_card(temperature=2.0))
    monitored.serve(make_row(1, watched_version_id=second))
    monitored.label(label(1))
    monitored.registry.register(WindowGauges(monitored.ledger))
    text = generate_latest(monitored.registry).decode()
    assert (
        text.count('candor_calibration_labels{model="pneumonia",version="1",window="all"} 1.0') == 1
    )


def test_versions_of_long_ago_are_not_shown(monitored: MonitoredModel, clock: Clock) -> None:
    clock.now_ns += 91 * DAY_NS
    monitored.registry.register(WindowGauges(monitored.ledger))
    assert monitored.metric("calibration_labels", window="all") is None


def test_a_version_registered_long_ago_that_still_answers_is_shown(
    tmp_path: Path, clock: Clock
) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock) as monitored:
        clock.now_ns += 100 * DAY_NS
        later = clock.now_ns
        monitored.serve(make_row(1, served_at_ns=later))
        monitored.label(label(1, at_ns=later))
        monitored.registry.register(WindowGauges(monitored.ledger))
        assert monitored.metric("calibration_labels", window="all") == 1
        assert monitored.metric("calibration_drift_active") == 0
    with MonitoredModel(
        tmp_path / "ledger.db", clock, card=make_card(version=2)
    ) as monitored:  # a new process knows of it at once
        where = {"model": "pneumonia", "version": "1", "bin": "13"}
        assert monitored.registry.get_sample_value("candor_feedback_total", where) == 0


def test_of_a_model_only_so_many_versions_are_shown(
    monitored: MonitoredModel, clock: Clock
) -> None:
    for version in range(2, VISIBLE_VERSIONS + 3):
        clock.now_ns += 1
        monitored.recorder.register(make_card(version=version))
    monitored.registry.register(WindowGauges(monitored.ledger))
    assert monitored.metric("feedback_duplicates_total") is None
    assert monitored.metric("calibration_labels", window="all") is None
    versions = {
        sample.labels["version"]
        for family in monitored.registry.collect()
        for sample in family.samples
        if "version" in sample.labels
    }
    assert versions == {str(version) for version in range(3, VISIBLE_VERSIONS + 3)}
    monitored.serve(make_row(1))
    monitored.label(
        label(1), label(1)
    )  # a late label brings its version back, at the cost of the one unused longest
    assert monitored.metric("feedback_duplicates_total") == 1
    assert monitored.metric("feedback_total", bin="13") == 1
    assert monitored.metric("reference_confidence_bin_ratio", bin="11") == 1


def test_an_unreadable_ledger_costs_its_gauges_only(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monitored.registry.register(WindowGauges(monitored.ledger))

    def locked() -> None:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr(monitored.ledger, "read", locked)
    text = generate_latest(monitored.registry).decode()
    assert "candor_predictions_total" in text
    assert "candor_calibration_ece_ratio{" not in text
    assert "could not be read for /metrics" in caplog.text


def test_two_sets_of_metrics_do_not_share_a_registry(monitored: MonitoredModel) -> None:
    with pytest.raises(ValueError, match="Duplicated"):
        MonitorMetrics(monitored.registry)
