"""Two bundles side by side: the fields and files that differ, and their cards compared as like with
like, which is only where both were measured on the same images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from calibration.measures.estimates import (
    IntervalEstimate,
    accuracy_difference,
    ece_difference,
    gap_difference,
)
from model_store.bundle.bundle import Bundle
from model_store.bundle.card import Card
from model_store.bundle.manifest import describe


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


# Names of fields of a card, at any depth, that were measured on images.
_FIGURES: Final = {
    *("bins", "measures", "confusion", "recall", "answers", "contradicted", "before", "after"),
    *("promise", "labeled", "positives", "coverage", "coverage_reference", "mean_set_size"),
    *("input_reference", "flagged", "max_difference"),
}


class BundleDifference(NamedTuple):
    """A field that differs. A value is None where a bundle does not have the field."""

    field: str
    first: Any
    second: Any


def difference(first: Bundle, second: Bundle) -> list[BundleDifference]:
    """Return the fields of the cards that differ, then the files that differ, by their hash.

    What was measured is left out: beside each other, figures without an interval compare nothing.
    """
    fields = _fields("", _described(first), _described(second))
    return [field for field in fields if field.first != field.second]


def _described(bundle: Bundle) -> dict[str, Any]:
    files = {f"file {name}": entry.sha256 for name, entry in describe(bundle.folder).items()}
    card: dict[str, Any] = _without_figures(bundle.card.model_dump(mode="json", exclude={"files"}))
    return card | files


def _without_figures(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_figures(x) for name, x in value.items() if name not in _FIGURES}
    return list(map(_without_figures, value)) if isinstance(value, list) else value


def _fields(path: str, first: Any, second: Any) -> Iterator[BundleDifference]:
    one, other = ({} if each is None else each for each in (first, second))
    if isinstance(one, dict) and isinstance(other, dict) and (one or other):
        for name in dict.fromkeys((*one, *other)):
            yield from _fields(f"{path}.{name}" if path else name, one.get(name), other.get(name))
    else:
        yield BundleDifference(path, first, second)
