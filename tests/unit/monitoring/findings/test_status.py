import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.measures import Measures
from monitoring.findings.status import Status, assess


def measures(n: int, accuracy: float, confidence: float) -> Measures:
    correct = np.arange(n) < round(n * accuracy)
    return Measures.from_sums(BinSums.from_predictions(np.full(n, confidence), correct))


def test_the_verdict_says_how_much_and_which_way() -> None:
    status, sentence = assess(measures(624, 0.75, 0.85))
    assert status is Status.OFF
    assert sentence.startswith(
        "In 624 labeled answers, confidence exceeds accuracy by 10.0 percentage points (95 % interval "
    )
    assert "The model was on average 85.0 % confident and right 75.0 % of the time." in sentence
    status, sentence = assess(measures(1000, 0.9, 0.8))
    assert status is Status.OFF
    assert "confidence falls short of accuracy by 10.0 percentage points (95 % interval 8." in sentence


def test_chance_is_no_finding_and_few_labels_are_early() -> None:
    assert assess(measures(1000, 0.8, 0.81)).status is Status.OK
    assert assess(measures(99, 0.8, 0.99)).status is Status.EARLY
    assert assess(measures(1, 1.0, 0.99)).sentence.startswith("In 1 labeled answer, confidence")


def test_gaps_that_cancel_are_found_by_ece() -> None:
    confidence = np.repeat([0.6, 0.9], 500)
    correct = np.concatenate([np.arange(500) < 400, np.arange(500) < 350])  # +0.2 and -0.2
    found = Measures.from_sums(BinSums.from_predictions(confidence, correct))
    assert found.signed_gap == pytest.approx(0)
    status, sentence = assess(found)
    assert status is Status.OFF
    assert "they average 20.0 points (ECE); a calibrated model would show 1.4 by chance" in sentence
    assert "cancel" not in assess(measures(624, 0.75, 0.85)).sentence
