"""Two cards compared as like with like: only where both were measured on the same images."""

from dataclasses import dataclass

from calibration.diagnosis.facts import IntervalEstimate
from calibration.diagnosis.figures import accuracy_difference, ece_difference, gap_difference
from model_store.bundle.card import Card


@dataclass(frozen=True)
class CardComparison:
    """Card `second` minus card `first`, with 95 % intervals.

    Attributes:
        first, second: the versions.
        n: answers on which each was measured.
        accuracy: difference of the shares of right answers; None of findings.
        gap: difference of confidence minus accuracy; of findings, of probability minus presence.
        ece: difference of the calibration error.
    """

    first: int
    second: int
    n: int
    accuracy: IntervalEstimate | None
    gap: IntervalEstimate
    ece: IntervalEstimate


def compare_cards(first: Card, second: Card) -> CardComparison | None:
    """Compare two cards; None if other images measured each, or none did."""
    sums = [each.calibration.sums for each in (first, second)]
    if not sums[0].total or _measured_on(first) != _measured_on(second):
        return None
    return CardComparison(
        first.version,
        second.version,
        sums[0].total,
        None if first.accuracy is None else accuracy_difference(sums),
        gap_difference(sums),
        ece_difference(sums),
    )


def _measured_on(card: Card) -> tuple[object, ...]:
    reference = card.calibration
    return (
        card.provenance.fingerprint,
        card.classes,
        reference.reference_split,
        reference.sums.total,
    )
