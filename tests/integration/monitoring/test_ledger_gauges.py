"""Prometheus gets what a page shows: the same labels count, a replaced version is quiet."""

import math
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy.exc import OperationalError

from calibration.bins import BinSums
from calibration.drift.state import DriftSettings
from calibration.measures import metrics
from monitoring.feedback import FeedbackItem
from monitoring.ledger.versions import VISIBLE_VERSIONS
from monitoring.metrics.ledger_gauges import LedgerGauges
from monitoring.reports.report import calibration_report
from tests.builders.answers import CLASSES, DAY_NS, label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import PATIENCE_S

SOON = DriftSettings(average_run_length=50)


class Scraped:
    """The gauges of one ledger, kept between scrapes like those of a server that is never busy."""

    def __init__(self, monitored: MonitoredModel) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(LedgerGauges(monitored.ledger, clock_s=lambda: 0.0))

    def __call__(self, name: str, version: str = "1", **labels: str) -> float:
        where = {"model": "pneumonia", "version": version, "finding": ""} | labels
        value = self.registry.get_sample_value(f"candor_{name}", where)
        assert value is not None
        return value


def ledger_names(monitored: MonitoredModel) -> set[str]:
    families = LedgerGauges(monitored.ledger).collect()
    samples = [sample for family in families for sample in family.samples]
    return {sample.labels["ledger"] for sample in samples if "ledger" in sample.labels}


def test_the_gauges_rest_on_the_labels_of_the_report(monitored: MonitoredModel) -> None:
    gauge = Scraped(monitored)
    monitored.answer(range(400), wrong=2, confidence=0.75, both=True)  # chosen: half of them wrong
    assert gauge("calibration_overconfidence_ratio", window="all") == pytest.approx(0.25)
    assert (gauge("calibration_audit_decides"), gauge("accuracy_lower")) == (0, 1)
    # drawn: right as often as on the card
    monitored.answer(range(1_000, 1_200), wrong=4, confidence=0.75, both=True, audit=0.1)
    for window, shown in (("all", "all"), ("7d", "days:7")):
        report = calibration_report(monitored.ledger, "pneumonia", window=shown)
        assert gauge("calibration_labels", window=window) == report.measures.n == 200
        for name in ("ece", "noise_floor"):
            expected = getattr(report.measures, name)
            assert gauge(f"calibration_{name}_ratio", window=window) == pytest.approx(expected)
    assert (gauge("calibration_audit_decides"), gauge("accuracy_lower")) == (1, 0)
    assert gauge("accuracy_ratio") == gauge("accuracy_reference_ratio") == 0.75
    # Served at another confidence: the labels are of other answers, and no longer tell.
    monitored.serve(*(make_row(n, confidence=0.99) for n in range(10_000, 20_000)))
    report = calibration_report(monitored.ledger, "pneumonia")
    assert gauge("accuracy_lower") == (report.diagnosis.accuracy.answer == "lower")


def test_measures_are_exact_and_follow_labels_and_corrections(
    monitored: MonitoredModel, clock: Clock
) -> None:
    gauge = Scraped(monitored)
    assert gauge("calibration_labels", window="all") == 0
    assert math.isnan(gauge("calibration_ece_ratio", window="all"))
    assert math.isnan(gauge("accuracy_ratio"))
    assert math.isnan(gauge("accuracy_difference_upper_ratio"))
    confidence = [0.6 + 0.3 * (number % 7) / 7 for number in range(600)]
    monitored.serve(*(make_row(number, confidence=p) for number, p in enumerate(confidence)))
    correct = [number % 3 > 0 for number in range(600)]
    monitored.label(*(label(number, CLASSES[right]) for number, right in enumerate(correct)))
    clock.now_ns += DAY_NS
    days = {"all": (0, 700), "28d": (0, 700), "7d": (0, 700), "1d": (600, 700)}
    monitored.serve(
        *(make_row(n, confidence=0.7, served_at_ns=clock.now_ns) for n in range(600, 700))
    )
    monitored.label(*(label(n, at_ns=clock.now_ns) for n in range(600, 700)))
    confidence, correct = [*confidence, *[0.7] * 100], [*correct, *[True] * 100]
    for window, (start, end) in days.items():
        sums = BinSums.from_predictions(confidence[start:end], correct[start:end])
        interval = metrics.signed_gap_interval(sums)
        expected = {
            "accuracy_ratio": metrics.accuracy(sums),
            "ece_ratio": metrics.ece(sums),
            "ece_lower_ratio": metrics.ece_interval(sums).lower,
            "ece_upper_ratio": metrics.ece_interval(sums).upper,
            "noise_floor_ratio": metrics.noise_floor(sums),
            "overconfidence_ratio": metrics.signed_gap(sums),
            "overconfidence_lower_ratio": interval.lower,
            "overconfidence_upper_ratio": interval.upper,
            "labels": end - start,
        }
        for name, value in expected.items():
            assert gauge(f"calibration_{name}", window=window) == pytest.approx(value), name
    before = gauge("calibration_overconfidence_ratio", window="all")
    monitored.label(label(599, "normal"))
    assert gauge("calibration_overconfidence_ratio", window="all") != pytest.approx(before)


def test_a_scrape_without_new_labels_reads_no_sums(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gauges = LedgerGauges(monitored.ledger)
    assert list(gauges.collect())
    monkeypatch.setattr("monitoring.metrics.ledger_gauges.read_day_sums", lambda *_, **__: 1 / 0)
    assert list(gauges.collect())
    monitored.serve(make_row(1))
    monitored.label(label(1))
    with pytest.raises(ZeroDivisionError):
        list(gauges.collect())


def test_coverage_counts_late_labels_where_they_belong(
    monitored: MonitoredModel, clock: Clock
) -> None:
    """Ten answers on one day; their labels come on the next, which has two answers."""
    gauge = Scraped(monitored)
    assert math.isnan(gauge("feedback_coverage_ratio", window="all"))
    monitored.serve(*(make_row(number) for number in range(10)))
    clock.now_ns += DAY_NS
    monitored.serve(*(make_row(number, served_at_ns=clock.now_ns) for number in (10, 11)))
    monitored.label(*(label(number) for number in range(6)))
    assert gauge("feedback_coverage_ratio", window="all") == 0.5
    assert gauge("feedback_coverage_ratio", window="1d") == 0
    assert gauge("expected_accuracy_ratio", window="1d") == pytest.approx(0.9)


def test_labels_that_wait_are_counted(monitored: MonitoredModel) -> None:
    registry = Scraped(monitored).registry
    for waiting in (0, 1):
        assert registry.get_sample_value("candor_feedback_pending", {"model": "pneumonia"}) == (
            waiting
        )
        monitored.label(FeedbackItem("normal", None, "pneumonia", "scan-1"))


def test_replicas_of_one_ledger_agree_and_those_of_another_are_told_apart(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "ledger.db"
    with (
        MonitoredModel(path, clock, settings=SOON) as one,
        MonitoredModel(path, clock, settings=SOON) as other,
    ):
        assert other.metric("calibration_drift_active") == 0
        one.answer(range(40), wrong=1, confidence=0.95)
        for replica in (one, other):
            assert replica.metric("calibration_drift_active") == 1
            assert (replica.metric("calibration_drift_log_evalue") or 0) >= math.log(50)
        other.recorder.acknowledge("pneumonia").result()
        assert one.metric("calibration_drift_active") == 0
        assert ledger_names(one) == ledger_names(other)
        clock.now_ns += 1
        with MonitoredModel(tmp_path / "another.db", clock) as stranger:
            assert ledger_names(stranger) != ledger_names(one)


def test_a_version_that_another_one_replaced_alarms_nobody(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=SOON) as monitored:
        gauge, drift = Scraped(monitored), monitored.metric
        monitored.recorder.promote(monitored.watched_version_id).result()
        monitored.answer(range(400), wrong=2, confidence=0.75, both=True)
        report = calibration_report(monitored.ledger, "pneumonia")
        assert (drift("calibration_drift_active"), gauge("accuracy_lower")) == (1, 1)
        assert gauge("diagnosis_state", state="alarm") == 1
        assert gauge("diagnosis_gap_ratio") == pytest.approx(0.25, abs=0.02)
        difference = report.diagnosis.accuracy.difference
        assert gauge("accuracy_difference_upper_ratio") == difference.upper < 0
        assert gauge("accuracy_difference_lower_ratio") == difference.lower
        clock.now_ns += 1
        (second,) = monitored.recorder.register(make_card(version=2))  # a canary replaces nobody
        assert drift("calibration_drift_active") == 1
        monitored.recorder.promote(second).result()
        assert (drift("calibration_drift_active"), gauge("accuracy_lower")) == (0, 0)
        assert gauge("diagnosis_state", state="alarm") == 0
        assert drift("calibration_drift_log_evalue") == -math.inf
        assert gauge("accuracy_ratio") == 0.5
        assert gauge("accuracy_lower", version="2") == 0
        monitored.recorder.promote(monitored.watched_version_id).result()  # not acknowledged
        assert drift("calibration_drift_active") == 1


def test_a_canary_that_was_never_in_production_does_alarm(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=SOON) as monitored:
        monitored.recorder.promote(*monitored.recorder.register(make_card(version=2))).result()
        monitored.answer(range(40), wrong=1, confidence=0.95)
        assert monitored.metric("calibration_drift_active") == 1


def test_of_two_cards_of_a_version_the_later_is_shown_once(
    monitored: MonitoredModel, clock: Clock
) -> None:
    clock.now_ns += 1
    (second,) = monitored.recorder.register(make_card(temperature=2.0))
    monitored.serve(make_row(1, watched_version_id=second))
    monitored.label(label(1))
    text = generate_latest(Scraped(monitored).registry).decode()
    sample = 'candor_calibration_labels{finding="",model="pneumonia",version="1",window="all"} 1.0'
    assert text.count(sample) == 1


def test_versions_are_shown_while_they_answer(tmp_path: Path, clock: Clock) -> None:
    path, of_labels = tmp_path / "ledger.db", "candor_calibration_labels"
    where = {"model": "pneumonia", "version": "1", "finding": ""}
    with MonitoredModel(path, clock) as monitored:
        registry = Scraped(monitored).registry
        clock.now_ns += 100 * DAY_NS
        assert registry.get_sample_value(of_labels, where | {"window": "all"}) is None
        monitored.serve(make_row(1, served_at_ns=clock.now_ns))
        monitored.label(label(1, at_ns=clock.now_ns))
        assert registry.get_sample_value(of_labels, where | {"window": "all"}) == 1
        assert monitored.metric("calibration_drift_active") == 0
    with MonitoredModel(path, clock, card=make_card(version=2)) as new:  # a new process knows it
        assert new.registry.get_sample_value("candor_feedback_total", where) == 0


def test_of_a_model_only_so_many_versions_are_shown(
    monitored: MonitoredModel, clock: Clock
) -> None:
    for version in range(2, VISIBLE_VERSIONS + 3):
        clock.now_ns += 1
        monitored.recorder.register(make_card(version=version))
    monitored.registry.register(LedgerGauges(monitored.ledger, clock_s=lambda: 0.0))
    versions = {
        sample.labels["version"]
        for family in monitored.registry.collect()
        for sample in family.samples
        if "version" in sample.labels
    }
    assert versions == {str(version) for version in range(3, VISIBLE_VERSIONS + 3)}
    monitored.serve(make_row(1))
    monitored.label(label(1), label(1))  # late labels bring their version back
    assert monitored.metric("feedback_duplicates_total") == 1
    assert monitored.metric("feedback_total") == 1


def test_an_unreadable_ledger_costs_its_gauges_only(
    monitored: MonitoredModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monitored.registry.register(LedgerGauges(monitored.ledger, clock_s=lambda: 0.0))

    def locked() -> None:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr(monitored.ledger, "read", locked)
    text = generate_latest(monitored.registry).decode()
    assert "candor_predictions_total" in text
    assert "candor_calibration_drift_active" not in text
    assert len(caplog.records) == 1


def test_a_ledger_without_history_has_no_samples(tmp_path: Path, clock: Clock) -> None:
    from monitoring.ledger.database import Ledger

    with Ledger(f"sqlite:///{tmp_path}/new.db", clock=clock) as ledger:
        samples = [each for family in LedgerGauges(ledger).collect() for each in family.samples]
    # no backup and no prune ever, and nothing about a version
    age, *values = [each.value for each in samples]
    assert (values, [each.labels for each in samples]) == ([0, 0], [{}] * 3)
    assert age < PATIENCE_S
