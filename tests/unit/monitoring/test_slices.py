import pytest

from calibration.bins import BinSums
from monitoring.ledger.sums import LedgerSums
from monitoring.reports.slices import Slice, measure_slices

LABELED = BinSums.from_predictions([0.8] * 100, [True] * 70 + [False] * 30)
SUMS = LedgerSums(LABELED, LABELED.n, LABELED.confidence)


def width(known: tuple[Slice, ...]) -> float:
    return known[0].gap_upper - known[0].gap_lower


def test_intervals_of_slices_hold_together_and_count_what_labels_are_worth() -> None:
    alone, many = (
        measure_slices({f"tag:site={site}": SUMS for site in range(n)}, worth=1).known
        for n in (1, 50)
    )
    alike = measure_slices({"tag:site=0": SUMS}, worth=0.25).known
    assert alone[0].gap_lower > 0 > many[0].gap_lower
    assert width(alike) == pytest.approx(2 * width(alone), rel=0.1)
