"""What no label speaks for."""

import numpy as np

from calibration.bins import BinSums
from monitoring.findings.unchecked import find_unchecked, not_checked
from monitoring.ledger.sums import LedgerSums


def bins(**counts: int) -> np.ndarray:
    """Answers by bin: `b14=3` is three with a confidence above 14/15."""
    found = np.zeros(15, dtype=np.int64)
    for name, count in counts.items():
        found[int(name[1:])] = count
    return found


def labels(n: np.ndarray) -> BinSums:
    confidence = np.repeat((np.arange(15) + 0.5) / 15, n)
    return BinSums.from_predictions(confidence, confidence > 0.5)


def names(labeled: np.ndarray, served: np.ndarray, **slices: tuple[int, int]) -> list[str]:
    """`slices`: labels and answers of each."""
    sums = {
        name.replace("__", ":"): LedgerSums(
            labels(bins(b14=n)), bins(b14=of), bins(b14=of).astype(float)
        )
        for name, (n, of) in slices.items()
    }
    return [each.name for each in find_unchecked(labels(labeled), served, sums)]


def test_neighboring_bins_without_labels_are_one_range() -> None:
    served = bins(b8=500, b9=200, b12=200, b14=100)
    assert names(bins(b8=100, b9=50), served) == ["answers with a confidence of 0.80 to 1.00"]
    assert names(bins(b9=50), served) == [
        "answers with a confidence of 0.53 to 0.60",
        "answers with a confidence of 0.80 to 1.00",
    ]


def test_a_few_labels_where_there_should_be_many_check_nothing() -> None:
    served = bins(b8=500, b14=500)
    assert names(bins(b8=200, b14=20), served) == ["answers with a confidence of 0.93 to 1.00"]
    assert names(bins(b8=200, b14=40), served) == []  # enough for a look of their own


def test_what_is_rare_or_in_proportion_is_not_named() -> None:
    assert names(bins(b8=100), bins(b8=960, b14=40)) == []
    assert names(bins(b8=90, b14=10), bins(b8=900, b14=100)) == []
    assert names(bins(), bins(b8=100)) == []


def test_slices_with_few_labels_are_named_by_their_share() -> None:
    named = names(
        bins(b14=300),
        bins(b14=1000),
        predicted__a=(5, 100),
        predicted__b=(280, 800),
        tag__x=(2, 200),
        true__a=(0, 500),
    )
    assert named == ["answers with x", 'answers of "a"']
    assert (
        names(bins(b14=300), bins(b14=1000), predicted__a=(2, 40)) == []
    )  # fewer than 5 % of the answers
    assert names(bins(b14=100), bins(b14=100), predicted__a=(10, 10)) == []  # all that there are


def test_at_most_three_kinds_are_named_in_a_sentence() -> None:
    of_class = LedgerSums(BinSums.zeros(), bins(b14=100), bins(b14=100).astype(float))
    slices = {f"predicted:{name}": of_class for name in "abcde"}
    sentence = not_checked(find_unchecked(labels(bins(b14=100)), bins(b14=1000), slices))
    assert [f'"{name}"' in sentence for name in "abcde"] == [True, True, True, False, False]
    assert not_checked(()) == ""
