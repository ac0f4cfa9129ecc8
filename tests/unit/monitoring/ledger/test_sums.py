"""Sums by column, days in equal steps, and the class that a label means."""

import json
from unicodedata import normalize

import numpy as np

from calibration.bins import BinSums
from monitoring.ledger.days import Days, gather
from monitoring.ledger.watched_version import WatchedVersion


def day(number: int, *, labels: int = 100, confidence: float = 0.8, right: float = 0.8) -> Days:
    correct = np.arange(labels) < right * labels
    return Days(
        number, number, 2 * labels, BinSums.from_predictions(np.full(labels, confidence), correct)
    )


def test_days_are_gathered_in_equal_steps_and_nothing_is_lost() -> None:
    days = [day(number) for number in (*range(100, 130), *range(180, 200))]
    steps = gather(days, most=10)
    assert [(each.first, each.last) for each in steps] == [
        (100, 109),
        (110, 119),
        (120, 129),
        (180, 189),
        (190, 199),
    ]
    assert sum(each.labeled.total for each in steps) == 100 * len(days)
    assert sum(each.served for each in steps) == 200 * len(days)
    assert gather(days, most=1_000) == days
    assert str(steps[0]) == "1970-04-11 to 1970-04-20"
    assert gather([], most=10) == []


def test_accents_that_a_mac_decomposes_are_the_same_class() -> None:
    composed, decomposed = (normalize(form, "Fibröse") for form in ("NFC", "NFD"))
    for served, labeled in ((composed, decomposed), (decomposed, composed)):
        card = json.dumps({"classes": ["Polyp", served]})
        row = WatchedVersion(1, "polyps", 1, "0" * 64, "", card, 0, None)
        assert row.label_index(labeled) == row.label_index(served) == 1
        assert row.label_index("Fibrose") is None
