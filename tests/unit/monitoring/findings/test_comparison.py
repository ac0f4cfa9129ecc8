"""A live measure against the card's, by hand."""

import math

import pytest

from calibration.bins import BinSums
from monitoring.findings.comparison import compare


def test_a_difference_is_live_minus_reference() -> None:
    live = BinSums.from_predictions([0.8] * 400, [True] * 240 + [False] * 160)
    reference = BinSums.from_predictions([0.8] * 400, [True] * 320 + [False] * 80)
    found = compare(live, reference)
    assert found.accuracy.difference == pytest.approx(-0.2)
    assert found.signed_gap.difference == pytest.approx(0.2)
    # by hand: variances a (1 - a) / 400, with 1.92 right and 1.92 wrong answers more for each
    # accuracy
    one, other = 241.92 / 403.84, 321.92 / 403.84
    spread = math.sqrt((one * (1 - one) + other * (1 - other)) / 400)
    assert found.signed_gap.upper - 0.2 == pytest.approx(1.96 * spread, rel=1e-4)
    assert found.accuracy.significant
    assert found.signed_gap.significant
    empty = compare(BinSums.zeros(), reference).accuracy
    assert math.isnan(empty.difference)
    assert not empty.significant
