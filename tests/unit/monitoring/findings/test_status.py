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


def test_the_verdict_says_how_much_and_which_way() -> None:
    status, sentence = assess(measures(624, 0.75, 0.85))
    assert status is Status.OFF
    assert sentence.startswith(
        "In 624 labeled answers, confidence exceeds accuracy by 10.0 percentage points (95 % "
        "interval "
    )
    assert "The model was on average 85.0 % confident and right 75.0 % of the time." in sentence
    status, sentence = assess(measures(1000, 0.9, 0.8))
    assert status is Status.OFF
    assert (
        "confidence falls short of accuracy by 10.0 percentage points (95 % interval 8.0 to 11.7)"
        in sentence
    )


def test_chance_is_no_finding_and_few_labels_are_early() -> None:
    assert assess(measures(1000, 0.8, 0.81)).status is Status.OK
    assert assess(measures(99, 0.8, 0.99)).status is Status.EARLY


@pytest.mark.parametrize(
    (
        "n",
        "right",
        "words",
    ),  # Agresti and Coull's interval of the accuracy: .83 of 1, .54 of 3 and .19 of 20 at most
    [
        (
            1,
            0,
            "confidence exceeds accuracy by 99.0 percentage points (95 % interval 15.7 to 100.0)",
        ),
        (
            1,
            1,
            "confidence falls short of accuracy by 1.0 percentage points (95 % interval -82.3 to "
            "4.9)",
        ),
        (
            3,
            0,
            "confidence exceeds accuracy by 99.0 percentage points (95 % interval 37.3 to 100.0)",
        ),
        (
            20,
            0,
            "confidence exceeds accuracy by 99.0 percentage points (95 % interval 80.0 to 100.0)",
        ),
    ],
)
def test_a_few_labels_that_agree_are_not_certain(n: int, right: int, words: str) -> None:
    assert words in assess(measures(n, right / n, 0.99)).sentence


def test_a_quality_manager_can_act_on_each_sentence() -> None:
    """Whole sentences, as a report shows them."""
    nothing = assess(Measures.from_sums(BinSums.zeros()))
    assert (
        nothing.sentence
        == "No answer has a label yet, so the model's confidence cannot be checked."
    )
    assert assess(measures(200, 0.75, 0.75)).sentence == (
        "In 200 labeled answers, confidence equals accuracy to within 0.1 percentage points (95 % "
        "interval -5.5 to "
        "6.5). The model was on average 75.0 % confident and right 75.0 % of the time. Chance "
        "alone can explain this "
        "difference."
    )
    assert assess(measures(50, 0.8, 0.9)).sentence.endswith(
        " Fewer than 100 labels are too few to rely on."
    )
    assert assess(measures(624, 0.75, 0.85)).sentence.endswith(
        " At this look, this is more than chance explains. The drift alarm is not active."
    )
    assert assess(measures(624, 0.75, 0.85), DRIFT).sentence.endswith(
        " The drift alarm has been active since label 686. A model that is calibrated in each "
        "predicted class raises a "
        "false alarm at most once in 100,000 labels on average."
    )
    top_label = assess(measures(624, 0.75, 0.85), replace(DRIFT, class_wise=False)).sentence
    assert (
        " A calibrated model raises a false alarm at most once in 100,000 labels on average."
        in top_label
    )


def test_gaps_that_cancel_are_found_by_ece() -> None:
    confidence = np.repeat([0.6, 0.9], 500)
    correct = np.concatenate([np.arange(500) < 400, np.arange(500) < 350])  # +0.2 and -0.2
    found = Measures.from_sums(BinSums.from_predictions(confidence, correct))
    assert found.signed_gap == pytest.approx(0)
    status, sentence = assess(found)
    assert status is Status.OFF
    assert (
        "the differences average 20.0 points (ECE); a calibrated model would show 1.4 by chance"
        in sentence
    )
    assert "cancel" not in assess(measures(624, 0.75, 0.85)).sentence
