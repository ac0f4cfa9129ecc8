"""Sums added up by column are sums added one by one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.ledger.slices import SliceKeys
from monitoring.ledger.sum_changes import Counted, DayBin, LabelKey, SumChanges

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
    keys: list[LabelKey] = []
    known: list[bytes] = []
    for p, predicted, true, tags in labels:
        bin_number = min(int(p * 15), 14)
        known.append(np.array([p, 1 - p], dtype="<f4").tobytes())
        single.label(
            Counted(DayBin(1, 7, bin_number), p, SliceKeys(predicted, tags, False), known[-1]), true
        )
        keys.append((1, 7, bin_number, predicted, tags, False, true))
    correct = np.array([predicted == true for _, predicted, true, _ in labels])
    many.label_many(keys, np.array([p for p, *_ in labels]), correct, known)
    assert many.labeled == single.labeled
    assert many._labeled == single._labeled
    assert many.classes.rows() == single.classes.rows()
