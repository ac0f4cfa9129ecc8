"""Where the evidence of calibrated models stands."""

import numpy as np
import pytest

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from monitoring.diagnosis.detectors import Drift, calm_evidence


def drift(labels: int, log_threshold: float = 11.5) -> Drift:
    return Drift(
        log_evalue=5.0,
        log_threshold=log_threshold,
        active=False,
        direction=None,
        labels=labels,
        alarm_label=None,
        average_run_length=100_000,
        tolerance=0.01,
    )


def test_calm_evidence_is_about_half_an_alarm() -> None:
    assert calm_evidence(drift(50)) is None
    few, many = calm_evidence(drift(300)), calm_evidence(drift(20_000))
    assert (round(few.lower, 2), round(few.upper, 2)) == (0.43, 0.48)
    assert (round(many.lower, 2), round(many.upper, 2)) == (0.55, 0.66)
    assert calm_evidence(drift(10**7)) == many
    halved = calm_evidence(drift(300, log_threshold=23))
    assert (halved.lower, halved.upper) == pytest.approx((few.lower / 2, few.upper / 2))


def test_a_simulated_calm_stream_stands_there() -> None:
    rng, inside = np.random.default_rng(5), 0
    for _ in range(20):
        detector = DriftDetector(DriftSettings(class_count=2))
        confidence = 0.5 + rng.beta(1, 0.56, 1_000) / 2
        detector.update_many(confidence, rng.random(1_000) < confidence, rng.integers(0, 2, 1_000))
        usual = calm_evidence(drift(1_000, detector.log_threshold))
        inside += usual.lower <= detector.log_evalue / detector.log_threshold <= usual.upper
    assert inside >= 14
