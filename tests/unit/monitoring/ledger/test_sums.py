"""Sums by column, days in equal steps, and the class that a label means."""

import json
from unicodedata import normalize

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.bins import BinSums
from monitoring.ledger.days import Days, gather
from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.schema import DAY_NS
from monitoring.ledger.sum_changes import SumChanges
from monitoring.ledger.watched_version import WatchedVersion

_labels = st.lists(
    st.tuples(
        st.floats(0, 1, width=32),
        st.integers(0, 1),
        st.integers(0, 1),
        st.sampled_from([None, '{"a": "b"}']),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=50)
@given(_labels)
def test_sums_by_column_are_sums_one_by_one(
    labels: list[tuple[float, int, int, str | None]],
) -> None:
    single, many = SumChanges(), SumChanges()
    answers = [
        PredictionRow(
            *(bytes(16), 1, None, predicted, p),
            np.array([p, 1 - p], dtype="<f4").tobytes(),
            *(7 * DAY_NS, tags),
        )
        for p, predicted, _, tags in labels
    ]
    trues = [true for _, _, true, _ in labels]
    many.label(answers, trues)
    for answer, true in zip(answers, trues, strict=True):
        single.label([answer], [true])
    assert many.labeled == single.labeled == {1: len(labels)}
    assert many._labeled == single._labeled


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
