"""How old is too old."""

import math

import numpy as np
import pytest

from calibration.diagnosis.answers import Tag
from calibration.diagnosis.facts import AnswerGroup
from monitoring.diagnosis.coverage import DAY_S, find_clock, is_old, rhythm_of


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
