"""Estimated performance of a real ledger: its rows, and scenes that could mislead."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from calibration.drift.state import DriftSettings
from calibration.measures.confusion import confusion_matrix
from calibration.measures.expected_confusion import ProbabilitySums, expected_confusion
from monitoring.diagnosis.expected_performance import EstimateStatus, ExpectedPerformance
from monitoring.diagnosis.words import estimate_words
from monitoring.feedback import FeedbackItem
from monitoring.ledger import PredictionRow
from monitoring.reports.report import calibration_report
from tests.builders.answers import DAY_NS, NOW_NS, make_card, prediction_id, row_of
from tests.builders.monitored import Clock, MonitoredModel

THREE = ("normal", "bacterial", "viral")


@dataclass
class Scene:
    """Answers of a model with three classes, and their truth."""

    monitored: MonitoredModel
    probabilities: np.ndarray
    labels: np.ndarray

    def serve(self, *, audit: Sequence[int] = (), days_ago: int = 0) -> None:
        at_ns = NOW_NS - days_ago * DAY_NS
        for start in range(0, len(self.labels), 500):
            self.monitored.serve(
                *(self._row(i, at_ns, i in audit) for i in range(start, self._end(start)))
            )

    def label(self, numbers: Sequence[int], *, days_ago: int = 0) -> None:
        at_ns = NOW_NS - days_ago * DAY_NS
        items = [
            FeedbackItem(THREE[self.labels[i]], prediction_id(i, at_ns=at_ns)) for i in numbers
        ]
        self.monitored.label(*items)

    def found(self) -> ExpectedPerformance:
        return calibration_report(self.monitored.ledger, "pneumonia").expected_performance

    def _end(self, start: int) -> int:
        return min(start + 500, len(self.labels))

    def _row(self, number: int, at_ns: int, audited: bool) -> PredictionRow:
        known = {"watched_version_id": self.monitored.watched_version_id}
        audit = 0.2 if audited else None
        return row_of(number, self.probabilities[number], at_ns=at_ns, audit=audit, **known)


def scene(
    monitored: MonitoredModel, n: int = 1_200, *, sharpness: float = 1.0, seed: int = 0
) -> Scene:
    """Calibrated answers; `sharpness` 2 doubles their log-odds, so that they are overconfident."""
    rng = np.random.default_rng(seed)
    p = np.exp(2 * rng.normal(size=(n, 3)))
    p /= p.sum(axis=1, keepdims=True)
    labels = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1)
    sharp = p**sharpness
    return Scene(monitored, sharp / sharp.sum(axis=1, keepdims=True), labels)


@pytest.fixture
def three(tmp_path_factory: pytest.TempPathFactory) -> MonitoredModel:
    folder = tmp_path_factory.mktemp("ledger")
    settings = DriftSettings(average_run_length=1e5)
    return MonitoredModel(
        folder / "ledger.db", Clock(), card=make_card(classes=THREE), settings=settings
    )


def test_the_estimate_is_that_of_the_rows(three: MonitoredModel) -> None:
    shown = scene(three)
    shown.serve()
    alone = shown.found().from_confidence
    expected = expected_confusion(
        ProbabilitySums.from_probabilities(shown.probabilities), reference=[1e12] * 3
    )
    np.testing.assert_allclose(alone.confusion, expected.counts, atol=1e-3)
    assert alone.accuracy.value == pytest.approx(shown.probabilities.max(axis=1).mean(), abs=1e-6)
    assert alone.answers == 1_200
    # The card's 100 reference answers widen the interval by sqrt(1 + 1200 / 100).
    assert alone.accuracy.deviation == pytest.approx(
        expected.accuracy.deviation * np.sqrt(13), rel=1e-3
    )


def test_before_labels_nothing_has_checked_it(three: MonitoredModel) -> None:
    """Once answers have changed, not even its interval is known."""
    shown = scene(three)
    shown.serve(days_ago=2)
    assert shown.found().status is EstimateStatus.NOT_CHECKED
    viral = scene(three, sharpness=3.0, seed=1)
    viral.probabilities = np.sort(viral.probabilities, axis=1)
    viral.serve(days_ago=1)
    found = shown.found()
    assert found.status is EstimateStatus.INPUT_CHANGED
    accuracy = found.from_confidence.accuracy
    assert (accuracy.lower, accuracy.upper) == (0.0, 1.0)
    assert found.corrected is None
    assert found.checked == ()


def test_when_labels_agree_estimate_and_truth_stand_side_by_side(three: MonitoredModel) -> None:
    shown = scene(three)
    shown.serve()
    shown.label(range(600))
    found = shown.found()
    assert found.status is EstimateStatus.AGREES
    truth = confusion_matrix(shown.probabilities[:600], shown.labels[:600])
    by_name = {(each.name, each.of): each.shown for each in found.checked}
    assert by_name["accuracy", None] == pytest.approx(truth.trace() / 600)
    assert by_name["sensitivity", "viral"] == pytest.approx(truth[2, 2] / truth[2].sum())
    everything = confusion_matrix(shown.probabilities, shown.labels)
    assert (
        found.corrected.accuracy.lower
        <= everything.trace() / 1_200
        <= found.corrected.accuracy.upper
    )


def test_with_every_label_the_corrected_estimate_is_the_truth(three: MonitoredModel) -> None:
    shown = scene(three, sharpness=1.5)
    shown.serve()
    shown.label(range(1_200))
    corrected = shown.found().corrected
    np.testing.assert_allclose(
        corrected.confusion, confusion_matrix(shown.probabilities, shown.labels), atol=1e-3
    )
    assert corrected.accuracy.upper - corrected.accuracy.lower < 1e-3


def test_an_active_alarm_contradicts_it_and_the_labels_correct_it(three: MonitoredModel) -> None:
    shown = scene(three, sharpness=2.5)
    shown.serve()
    shown.label(range(600))
    report = calibration_report(three.ledger, "pneumonia")
    found = report.expected_performance
    assert report.drift.active
    assert found.status is EstimateStatus.CONTRADICTED
    truth = (shown.probabilities.argmax(axis=1) == shown.labels).mean()
    assert found.from_confidence.accuracy.value > truth + 0.05
    assert found.corrected.accuracy.lower <= truth <= found.corrected.accuracy.upper
    three.recorder.acknowledge("pneumonia").result()
    assert shown.found().status is EstimateStatus.CONTRADICTED  # the labels are still there


def test_an_audit_decides_the_check_and_the_correction(three: MonitoredModel) -> None:
    """A perfect model whose wrong answers are labeled first; the audit knows."""
    shown = scene(three, 1_500)
    audit = range(0, 1_500, 5)
    wrong = np.flatnonzero(shown.probabilities.argmax(axis=1) != shown.labels)
    shown.serve(audit=audit)
    shown.label([number for number in wrong.tolist() if number % 5])
    complaints = shown.found()
    assert complaints.status is EstimateStatus.CONTRADICTED
    three.recorder.acknowledge("pneumonia", audit=True).result()
    shown.label(audit)
    found = shown.found()
    assert found.audit
    assert found.labels == 300
    assert found.status is EstimateStatus.AGREES
    truth = (shown.probabilities.argmax(axis=1) == shown.labels).mean()
    assert abs(found.corrected.accuracy.value - truth) < 0.03


def test_answers_without_all_probabilities_are_not_estimated(three: MonitoredModel) -> None:
    shown = scene(three, 100)
    shown.serve()
    bare = [shown._row(i, NOW_NS - DAY_NS, False)._replace(probabilities=b"") for i in range(50)]
    three.serve(*bare)
    found = shown.found()
    assert found.status is EstimateStatus.UNKNOWN
    assert "lack the probabilities" in estimate_words(found)
    three.ledger.close()


def test_no_answers_no_estimate(three: MonitoredModel) -> None:
    found = scene(three, 1).found()
    assert found.status is EstimateStatus.UNKNOWN
    assert found.rows() == []
