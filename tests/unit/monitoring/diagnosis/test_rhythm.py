"""How old is too old."""

import math

import numpy as np

from monitoring.diagnosis.coverage import DAY_S, is_old, rhythm_of


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
