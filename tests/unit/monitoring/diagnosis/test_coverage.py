"""What no label speaks for, and what it could hide."""

import numpy as np
import pytest

from monitoring.diagnosis.coverage import Count, LabelCoverage, find_unchecked


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
