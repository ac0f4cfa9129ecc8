"""Two versions compared: the difference of their cards, their diagrams, and fields that differ."""

from typing import Any, Final, NamedTuple

from markupsafe import Markup

from calibration.measures.reliability import ReliabilityBin, reliability
from console.formatting import counted_labels
from model_store.bundle.bundle import Bundle
from model_store.bundle.comparison import BundleDifference, compare_cards, difference
from model_store.bundle.diagram import DiagramScale, reliability_diagram, scale_of
from monitoring.diagnosis.live_comparison import card_comparison_words

_LONGEST: Final = 44  # characters of a value that differs
_MOST_VALUES: Final = 12  # of a list that is printed
_DRAWN: Final = ("version", "calibration.reference_split")  # shown in another way


class VersionComparison(NamedTuple):
    """Two bundles compared.

    Attributes:
        same: whether they are the same in every byte.
        cards: how the second card differs from the first, or why that cannot be said: then there
            are no diagrams.
        diagrams: heading, drawing and bins of the reference data of each card.
        references: the data on which each card was measured.
        fields: what else differs: its name and both values.
        lists: names of longer lists that differ.
        files: names of files that differ.
    """

    same: bool
    cards: str
    diagrams: list[tuple[str, Markup, list[ReliabilityBin]]]
    references: list[str]
    fields: list[tuple[str, str, str]]
    lists: list[str]
    files: list[str]


def compare_versions(first: Bundle, second: Bundle) -> VersionComparison:
    differences, cards = difference(first, second), compare_cards(first.card, second.card)
    files = [each.field for each in differences if each.field.startswith("file ")]
    fields = [each for each in differences if not each.field.startswith(("file ", *_DRAWN))]
    lists = [each for each in fields if _is_long(each.first) or _is_long(each.second)]
    scale = scale_of(reliability(each.card.calibration.sums) for each in (first, second))
    return VersionComparison(
        same=not differences,
        cards=card_comparison_words(cards),
        diagrams=[_diagram(each, scale) for each in (first, second) if cards is not None],
        references=list(map(_reference, (first, second))),
        fields=[_row(each) for each in fields if each not in lists],
        lists=[each.field for each in lists],
        files=[each.removeprefix("file ") for each in files],
    )


def _diagram(bundle: Bundle, scale: DiagramScale) -> tuple[str, Markup, list[ReliabilityBin]]:
    version, bins = bundle.card.version, reliability(bundle.card.calibration.sums)
    drawn = reliability_diagram(bins, of=f"the reference of version {version}", scale=scale)
    return f"Version {version}, on its reference data", drawn, bins


def _reference(bundle: Bundle) -> str:
    """The data that the card's measures come from: two cards may have measured different images."""
    calibration = bundle.card.calibration
    return f"{calibration.reference_split}, {counted_labels(int(calibration.sums.n.sum()))}"


def _is_long(value: Any) -> bool:
    """Whether a value is a list of records, or too long to be read."""
    return isinstance(value, list) and (
        len(value) > _MOST_VALUES or any(isinstance(each, list | dict) for each in value)
    )


def _row(each: BundleDifference) -> tuple[str, str, str]:
    return each.field, _short(each.first), _short(each.second)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    text = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
