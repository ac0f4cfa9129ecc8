import math

import pytest

from calibration.bins import BinSums
from monitoring.metrics.counters import MonitorMetrics
from tests.builders.answers import label, make_row
from tests.builders.monitored import MonitoredModel

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
    # 0.75 lies in (11/15, 12/15]
    assert shares == [1.0 if number == 11 else 0.0 for number in range(15)]


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


def test_two_sets_of_metrics_do_not_share_a_registry(monitored: MonitoredModel) -> None:
    with pytest.raises(ValueError, match="Duplicated"):
        MonitorMetrics(monitored.registry)
