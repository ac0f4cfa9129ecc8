"""Cards are compared where the same images measured both, and only there."""

import pytest

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card
from model_store.bundle.comparison import compare_cards
from monitoring.diagnosis.live_comparison import card_comparison_words
from tests.builders.bundles import build_card


def measured(version: int, right: int, *, n: int = 100, of: str = "0" * 64) -> Card:
    """A card of answers of confidence .8, measured on the data with that fingerprint."""
    sums = BinSums.from_predictions([0.8] * n, [True] * right + [False] * (n - right))
    calibration = CalibrationCard.from_reference(
        temperature=1.0, split="val", sums=sums, measures=Measures.from_sums(sums)
    )
    card = build_card(version=version)
    made = card.provenance.model_copy(update={"fingerprint": of})
    return card.model_copy(update={"calibration": calibration, "provenance": made})


def test_the_difference_on_the_same_images_has_an_interval() -> None:
    found = compare_cards(measured(1, 80), measured(2, 50))
    assert (found.first, found.second, found.n) == (1, 2, 100)
    assert found.accuracy.estimate == pytest.approx(-0.3)
    assert found.accuracy.lower < -0.3 < found.accuracy.upper < 0
    assert [found.gap.estimate, found.ece.estimate] == pytest.approx([0.3, 0.3])
    assert found.ece.lower > 0
    assert found.accuracy.in_points in card_comparison_words(found)


@pytest.mark.parametrize("other", [measured(2, 90, n=101), measured(2, 90, of="1" * 64)])
def test_figures_of_other_images_are_not_compared(other: Card) -> None:
    assert compare_cards(measured(1, 80), other) is None
    assert "different images" in card_comparison_words(None)
