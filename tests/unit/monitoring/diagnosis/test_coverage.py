"""What no label speaks for, how old is too old, windows, and answers like earlier ones."""

import math
from typing import Any

import numpy as np
import pytest

from calibration.diagnosis.answers import Tag
from calibration.diagnosis.facts import AnswerGroup
from monitoring.diagnosis.answer_record import AnswerRecord
from monitoring.diagnosis.coverage import (
    DAY_S,
    Count,
    LabelCoverage,
    find_clock,
    find_unchecked,
    first_day,
    is_old,
    rhythm_of,
)
from monitoring.errors import QueryInvalid
from monitoring.ledger.schema import DAY_NS
from monitoring.reports.page_data import window_since
from tests.builders.answers import NOW_NS


def bins(**counts: int) -> np.ndarray:
    """Answers by bin: `b14=3` is three with a confidence above 14/15."""
    found = np.zeros(15, dtype=np.int64)
    for name, count in counts.items():
        found[int(name[1:])] = count
    return found


def named(
    labels: np.ndarray, served: np.ndarray, recent: dict[str, Count] | None = None, **due: Count
) -> list[tuple[str, ...]]:
    whole = Count(int(served.sum()), int(labels.sum()))
    slices = {name.replace("__", ":").replace("_is_", "="): each for name, each in due.items()}
    coverage = LabelCoverage({"": whole} | slices, recent or {}, np.stack([served, labels]))
    return [(each.group.key, *each.group.values) for each in find_unchecked(coverage)]


def test_neighboring_bins_without_labels_are_one_range() -> None:
    served = bins(b8=500, b9=200, b12=200, b14=100)
    assert named(bins(b8=100, b9=50), served) == [("confidence", "0.80-1.00")]
    assert named(bins(b8=200, b14=40), bins(b8=500, b14=500)) == []


def test_kinds_with_few_labels_are_named_and_rare_ones_only_without_any() -> None:
    found = named(
        bins(b14=300),
        bins(b14=1000),
        predicted__a=Count(100, 5),
        predicted__b=Count(800, 280),
        predicted__c=Count(40, 2),
        tag__site_is_X=Count(25, 0),
        tag__site_is_Y=Count(10, 0),
        true__a=Count(500, 0),
    )
    assert found == [("predicted", "a"), ("tag:site", "X")]


def test_a_site_whose_labels_ended_is_named() -> None:
    recent = {"": Count(200, 150), "tag:site=X": Count(50, 0)}
    site = Count(500, 200)
    assert named(bins(b14=700), bins(b14=1000), recent, tag__site_is_X=site) == [("tag:site", "X")]


def test_missing_labels_move_the_gap_between_their_worst_cases() -> None:
    """8 of 10 answers of confidence .9 have a label, 7 of them right: the gap is .9 - 7/8."""
    count = Count(10, 8, 9.0, 7.2, 7.0)
    hidden = LabelCoverage({"": count}, {}, np.zeros((2, 15))).hidden(audit=False)
    assert hidden.estimate == pytest.approx(0.025)
    assert (hidden.lower, hidden.upper) == pytest.approx((0.0, 0.2))


def test_the_usual_pause_and_delay_say_what_is_long() -> None:
    days = np.arange(60) * DAY_S
    daily = rhythm_of(days, days + 2 * DAY_S, days)
    assert (daily.labels_s, daily.answers_s, daily.delay_s) == (14 * DAY_S, 28 * DAY_S, 2 * DAY_S)
    monthly = rhythm_of(days, np.repeat(np.arange(1, 7) * 30, 10) * DAY_S, days)
    assert monthly.labels_s == 90 * DAY_S


def test_an_upload_of_all_labels_at_once_says_nothing_about_delays() -> None:
    days = np.arange(60) * DAY_S
    uploaded = rhythm_of(days, np.full(60, 100 * DAY_S), days)
    assert (uploaded.labels_s, uploaded.delay_s) == (14 * DAY_S, 0.0)


def test_without_labels_nothing_is_old() -> None:
    none = np.zeros(0)
    assert rhythm_of(none, none, none).delay_s == 0
    assert not is_old(math.nan, 1e9, DAY_S)
    assert is_old(0.0, 2 * DAY_S, DAY_S)


def labeled_daily() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """When 3,000 answers were served and labeled, and of which of four devices they are."""
    rng = np.random.default_rng(0)
    came = np.sort(rng.uniform(0, 100, 3_000)) * DAY_S
    return came, came + rng.exponential(3, 3_000) * DAY_S, rng.integers(0, 4, 3_000)


@pytest.mark.parametrize("days", [25, -25])
def test_a_device_whose_clock_is_weeks_off_is_found(days: int) -> None:
    served, received, device = labeled_daily()
    tags = {"device": Tag(device, ("a", "b", "c", "d"))}
    assert find_clock(served, received, tags) is None
    found = find_clock(served - days * DAY_S * (device == 2), received, tags)
    assert found is not None
    assert found.group == AnswerGroup("tag:device", ("c",))
    assert found.behind_s == pytest.approx(days * DAY_S, abs=DAY_S)


def test_a_device_that_was_taken_away_has_no_wrong_clock() -> None:
    served, received, device = labeled_daily()
    kept = (device != 2) | (served < 70 * DAY_S)
    tags = {"device": Tag(device[kept], ("a", "b", "c", "d"))}
    assert find_clock(served[kept], received[kept], tags) is None


def test_windows_that_cannot_be_are_refused() -> None:
    for window in ("", "day", "days", "days:0", "days:10001", "days:1e3", "1 day", "last:500"):
        with pytest.raises(QueryInvalid):
            first_day(window, now_ns=0)
    assert first_day("days:30", now_ns=1_000 * DAY_NS) == 971


def test_a_beginning_that_cannot_be_is_refused() -> None:
    for text in ["30", "d", "0d", "99999d", "2026-13-01", "tomorrow", "2030-01-01", "", "1" * 500]:
        with pytest.raises(QueryInvalid):
            window_since(text, now_ns=NOW_NS)


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
