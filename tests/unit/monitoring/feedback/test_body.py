import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.errors import BodyNotJson, FeedbackInvalid
from monitoring.feedback.body import LABELS, LIST_LIMIT, read_items
from monitoring.feedback.items import FeedbackItem, FeedbackResult, FeedbackStatus, Reason
from monitoring.http.json_body import parse

ID = "01920000-0000-7000-8000-000000000001"


def read_item(entry: Any) -> FeedbackItem:
    """Read one item, as JSON and as parsed JSON: both ways come to the same."""
    parsed = LABELS.convert(entry).item()
    assert LABELS.read(json.dumps(entry).encode()).item() == parsed
    return parsed


def read(body: Any) -> list[FeedbackItem | FeedbackResult]:
    items, single = read_items(json.dumps(body).encode())
    assert single is isinstance(body, dict)
    return items


def test_an_item_by_prediction_id() -> None:
    item = read_item(
        {"prediction_id": ID, "label": "normal", "source": "audit", "observed_at": "1970-01-02"}
    )
    expected = FeedbackItem("normal", UUID(ID).bytes, None, None, "audit", 86_400 * 10**9)
    assert item == expected


def test_an_item_by_request_id() -> None:
    item = read_item(
        {"model": "pneumonia", "request_id": "scan-1", "label": "normal", "source": None}
    )
    assert item == FeedbackItem("normal", None, "pneumonia", "scan-1", None, None)


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
    assert (
        read_item({"prediction_id": ID, "label": "a", "observed_at": text}).observed_at_ns
        == expected_ns
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"label": None}, "Field 'label' must be text; got null"),
        ({"label": float("nan")}, "Field 'label' must be text; got a number"),
        ({"label": 1}, "Field 'label' must be text; got a number"),
        ({"label": True}, "got true or false"),
        ({"label": ["normal"]}, "got a list"),
        ({"label": ""}, "must have at least 1 characters; got 0"),
        ({"label": "a" * 201}, "must have at most 200 characters; got 201"),
        ({"label": "a\0b"}, "without NUL characters"),
        ({"label": "\ud800"}, "without NUL characters"),
        ({"prediction_id": "a" * 10**6}, "got 1,000,000"),
        ({"prediction_id": 17}, "Field 'prediction_id' must be text"),
        ({"prediction_id": "scan-1"}, "must be the UUID from an answer; got 'scan-1'"),
        ({"source": {}}, "got an object"),
        ({"observed_at": "yesterday"}, "must be an ISO 8601 time; got 'yesterday'"),
        ({"observed_at": 1_700_000_000}, "Field 'observed_at' must be text"),
        ({"observed_at": "1969-12-31T23:59:59Z"}, "between 1970 and 2262"),
        ({"observed_at": "2500-01-01"}, "between 1970 and 2262"),
        ({"lable": "normal"}, "Field 'lable' is unknown"),
        ({"model": "pneumonia"}, "by 'prediction_id' alone"),
        ({"request_id": "scan-1"}, "by 'prediction_id' alone"),
        ({"prediction_id": None}, "by 'prediction_id' alone"),
        ({"prediction_id": None, "model": "pneumonia"}, "by 'prediction_id' alone"),
        ({"prediction_id": None, "request_id": "scan-1"}, "by 'prediction_id' alone"),
    ],
)
def test_what_is_no_item_is_refused_with_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FeedbackInvalid, match=sentence) as refusal:
        read_item({"prediction_id": ID, "label": "normal"} | changes)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    "body", [b"", b"{", b"label=normal", b"\xff\xfe", b"[" * 60_000, b"1" * 5_000]
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(BodyNotJson, match="must be JSON"):
        parse(body)


@pytest.mark.parametrize("body", [None, 3, "normal", [], True])
def test_feedback_is_an_object_or_a_list(body: Any) -> None:
    with pytest.raises(FeedbackInvalid, match="one object or a list"):
        read(body)


def test_a_list_is_bounded() -> None:
    assert len(read([{}] * LIST_LIMIT)) == LIST_LIMIT
    with pytest.raises(FeedbackInvalid, match=r"at most 10,000 items; got 10,001"):
        read([{}] * (LIST_LIMIT + 1))


def test_an_invalid_item_of_a_list_spares_the_others() -> None:
    good, bad = read([{"prediction_id": ID, "label": "normal"}, 7])
    assert isinstance(good, FeedbackItem)
    assert bad == FeedbackResult(
        FeedbackStatus.REJECTED, None, Reason.INVALID, "An item must be an object; got a number."
    )


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_fields = st.sampled_from(
    ["label", "prediction_id", "model", "request_id", "source", "observed_at", "other"]
)


@pytest.mark.slow
@given(st.lists(st.dictionaries(_fields, _json | st.just(ID))) | _json)
def test_any_json_is_read_or_refused_and_never_breaks(body: Any) -> None:
    try:
        items = read(body)
    except FeedbackInvalid:
        return
    assert all(isinstance(entry, FeedbackItem | FeedbackResult) for entry in items)
