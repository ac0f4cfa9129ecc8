"""Whether earlier answers like this one contradict its confidence."""

import math
from typing import Any

from monitoring.diagnosis.answer_record import AnswerRecord


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


def test_enough_labels_or_an_alarm_make_a_confidence_doubtful() -> None:
    for changes, is_doubtful in [
        ({}, True),  # right 78 times in 100
        ({"labeled": 60, "right": 55, "served": 60}, False),
        ({"labeled": 60, "right": 55, "alarm": True}, True),
        ({"labeled": 0, "right": 0, "mean_confidence": math.nan}, False),
        ({"labeled": 1, "right": 0}, False),
        ({"labeled": 29, "right": 0}, False),  # too few to say anything
        # With many labels the interval is narrower than the bin.
        (
            {"confidence": 0.932, "labeled": 100_000, "right": 90_000, "mean_confidence": 0.9},
            False,
        ),
    ]:
        found = record(**changes)
        assert found.is_doubtful is is_doubtful
        assert ("Do not rely" in found.sentences) is is_doubtful
        assert (" in 100" in found.sentences) is (found.labeled >= 30)
