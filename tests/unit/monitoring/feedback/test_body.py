import json
from typing import Any

import pytest

from monitoring.errors import FeedbackInvalid
from monitoring.feedback.body import LABELS
from monitoring.feedback.items import FeedbackItem

ID = "01920000-0000-7000-8000-000000000001"


def read_item(entry: Any) -> FeedbackItem:
    """Read one item, as JSON and as parsed JSON: both ways come to the same."""
    parsed = LABELS.convert(entry).item()
    assert LABELS.read(json.dumps(entry).encode()).item() == parsed
    return parsed


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.000001", 1_000),
        ("2026-11-25T12:00:00Z", 1_795_608_000 * 10**9),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(text: str, expected_ns: int) -> None:
    item = read_item({"prediction_id": ID, "label": "a", "observed_at": text})
    assert item.observed_at_ns == expected_ns


def test_a_patient_is_a_text_without_margins() -> None:
    item = {"prediction_id": ID, "label": "a"}
    found = [read_item(item | {"patient": each}).patient for each in (" MRN-17 ", 17, None)]
    assert found == ["MRN-17", "17", None]


def test_what_is_no_item_is_refused_in_few_words() -> None:
    for changes in [
        *({"label": label} for label in (None, float("nan"), 1, True, ["normal"], "", "a" * 201)),
        *({"label": label} for label in ("a\0b", "\ud800")),
        *({"prediction_id": value} for value in ("a" * 10**6, 17, "scan-1")),
        {"source": {}},
        *({"observed_at": at} for at in ("yesterday", 1_700_000_000, "1969-12-31T23:59:59Z")),
        {"observed_at": "2500-01-01"},
        {"lable": "normal"},
        {"patient": "a\nb"},
        {"model": "pneumonia"},
        {"request_id": "scan-1"},
        {"prediction_id": None},
        {"prediction_id": None, "model": "pneumonia"},
        {"prediction_id": None, "request_id": "scan-1"},
    ]:
        with pytest.raises(FeedbackInvalid) as refusal:
            read_item({"prediction_id": ID, "label": "normal"} | changes)
        assert len(str(refusal.value)) < 250
