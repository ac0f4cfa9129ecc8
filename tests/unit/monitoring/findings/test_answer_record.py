"""The sentence beside a probability, in scenes in which it could mislead."""

from typing import Any

import pytest

from monitoring.findings.answer_record import AnswerRecord, shown


def record(**changes: Any) -> AnswerRecord:
    values: dict[str, Any] = {
        "predicted": "pneumonia",
        "confidence": 0.91,
        "lower": 13 / 15,
        "upper": 14 / 15,
        "served": 204,
        "labeled": 51,
        "right": 40,
        "mean_confidence": 0.905,
        "since": "2026-10-01",
        "alarm": False,
    }
    return AnswerRecord(**(values | changes))


def test_a_class_that_is_right_less_often_than_it_says_is_not_to_be_relied_on() -> None:
    assert record().sentences == (
        "The model says “pneumonia”, confidence 91 %. Do not rely on the 91 %. Of 51 such answers "
        "at 87 to 93 % since "
        "2026-10-01 that have a label, 40 were right (78 in 100; 95 % interval 65 to 88). 25 % of "
        "such answers have "
        "labels, which may not be typical."
    )


def test_a_class_that_is_right_as_often_as_it_says_gets_no_warning() -> None:
    said = record(predicted="normal", labeled=60, right=55, served=60).sentences
    assert "Do not rely" not in said
    assert "typical" not in said  # all of them have labels


@pytest.mark.parametrize("labeled", [0, 1, 29])
def test_few_labels_are_too_few_to_say_anything(labeled: int) -> None:
    found = record(labeled=labeled, right=0, mean_confidence=0.9 if labeled else float("nan"))
    assert not found.is_doubtful
    assert " in 100" not in found.sentences
    assert ("too few to say" if labeled else "No label of such answers") in found.sentences


def test_an_alarm_warns_whatever_the_labels_of_such_answers_show() -> None:
    said = record(labeled=60, right=55, alarm=True).sentences
    assert "Do not rely on the 91 %. The drift alarm of this version is active." in said


def test_a_confidence_at_the_edge_of_a_calibrated_bin_gets_no_warning() -> None:
    """With many labels the interval is narrower than the bin, so it cannot hold every confidence of
    the bin.
    """
    found = record(confidence=0.932, labeled=100_000, right=90_000, mean_confidence=0.9)
    assert not found.is_doubtful


def test_a_confidence_is_never_shown_as_certainty() -> None:
    assert [shown(each) for each in (0.9949, 0.995, 1.0)] == ["99 %", "over 99 %", "over 99 %"]
    assert "Do not rely on this confidence." in record(confidence=0.9999, alarm=True).sentences
