from dataclasses import replace

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from monitoring.findings.drift import Drift
from monitoring.findings.status import Status, assess

DRIFT = Drift(
    log_evalue=12.0,
    log_threshold=11.5,
    active=True,
    direction="over",
    labels=700,
    alarm_label=686,
    average_run_length=100_000,
    tolerance=0.01,
)


def measures(n: int, accuracy: float, confidence: float) -> Measures:
    correct = np.arange(n) < round(n * accuracy)
    return Measures.from_sums(BinSums.from_predictions(np.full(n, confidence), correct))


@pytest.mark.parametrize(
    ("n", "accuracy", "confidence", "status"),
    [
        (0, 0.0, 0.9, Status.NO_LABELS),
        (99, 0.8, 0.99, Status.EARLY),
        (1_000, 0.8, 0.81, Status.OK),
        (624, 0.75, 0.85, Status.OFF),
        (1_000, 0.9, 0.8, Status.OFF),
    ],
)
def test_chance_is_no_finding(n: int, accuracy: float, confidence: float, status: Status) -> None:
    found = measures(n, accuracy, confidence)
    assert assess(found).status is status
    if n:
        assert assess(found, DRIFT).status is Status.ALARM
        assert assess(found, replace(DRIFT, alarm_label=None)).status is status


@pytest.mark.parametrize(
    ("n", "right", "interval"),  # Agresti and Coull's interval of the accuracy
    [
        (1, 0, "15.7 to 100.0"),
        (1, 1, "-82.3 to 4.9"),
        (3, 0, "37.3 to 100.0"),
        (20, 0, "80.0 to 100.0"),
        (200, 150, "18.5 to 30.5"),
    ],
)
def test_the_interval_that_is_quoted_is_that_of_the_gap(n: int, right: int, interval: str) -> None:
    assert f"interval {interval})" in assess(measures(n, right / n, 0.99)).sentence


def test_gaps_that_cancel_are_found_by_ece() -> None:
    confidence = np.repeat([0.6, 0.9], 500)
    correct = np.concatenate([np.arange(500) < 400, np.arange(500) < 350])  # +0.2 and -0.2
    found = Measures.from_sums(BinSums.from_predictions(confidence, correct))
    assert found.signed_gap == pytest.approx(0)
    status, sentence = assess(found)
    assert status is Status.OFF
    assert "cancel" in sentence
    assert "cancel" not in assess(measures(624, 0.75, 0.85)).sentence
    one_sign = measures(120, 118 / 120, 0.999)  # an ECE of one sign does not cancel
    assert "cancel" not in assess(one_sign).sentence
