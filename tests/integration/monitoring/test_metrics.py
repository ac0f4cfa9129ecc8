import math

import pytest

from monitoring.metrics.counters import MonitorMetrics
from tests.builders.answers import label, make_row
from tests.builders.monitored import MonitoredModel

COUNTED = (
    *("predictions_total", "feedback_total", "feedback_duplicates_total"),
    *("calibration_drift_alarms_total", "feedback_delay_seconds_count"),
)


def test_every_series_is_born_at_zero(monitored: MonitoredModel) -> None:
    for name in COUNTED:
        assert monitored.metric(name) == 0, name
    for to in ("correct", "incorrect"):
        assert monitored.metric("feedback_corrections_total", to=to) == 0
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


def test_answers_and_labels_are_counted(monitored: MonitoredModel) -> None:
    monitored.serve(*(make_row(number) for number in range(3)))
    monitored.label(label(0), label(1, "normal"))
    monitored.label(label(0, "normal"), label(1, "normal"))
    assert [monitored.metric(name) for name in COUNTED] == [3, 2, 1, 0, 2]
    assert monitored.metric("feedback_corrections_total", to="incorrect") == 1


def test_two_sets_of_metrics_do_not_share_a_registry(monitored: MonitoredModel) -> None:
    with pytest.raises(ValueError, match="Duplicated"):
        MonitorMetrics(monitored.registry)
