"""Two versions side by side: measures and diagrams of their cards, and fields that differ.

Tables of numbers, such as bins and confusion matrices, are drawn or counted, never printed.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from calibration.measures.reliability import reliability
from calibration.measures.summary import MEASURES
from model_store.bundle.bundle import Bundle, BundleDifference, difference
from model_store.bundle.card_comparison import MEASURED, compare_cards
from model_store.bundle.diagram import DiagramScale, scale_of
from monitoring.diagnosis.live_comparison import card_comparison_words
from serving.pages.files import FiledDiagram, HeldFile, filed_diagram, held_csv
from serving.pages.formatting import counted_labels

_LONGEST: Final = 44  # characters of a value that differs
_MOST_VALUES: Final = 12  # of a list that is printed
_DRAWN: Final = ("version", *MEASURED, "calibration.reference_split")  # shown in another way


class ComparedMeasure(NamedTuple):
    """A measure of both cards, as text."""

    title: str
    first: str
    second: str


class VersionComparison(NamedTuple):
    """Two bundles compared.

    Attributes:
        same: whether they are the same in every byte.
        cards: how the second card differs from the first, or why that cannot be said: then there
            are no diagrams and no measures.
        diagrams: of the reference data of each card.
        measures: those of both cards.
        fields: what else differs: its name and both values.
        matrices: names of tables of numbers that differ.
        files: names of files that differ.
        table: measures and fields as a file.
    """

    same: bool
    cards: str
    diagrams: list[FiledDiagram]
    measures: list[ComparedMeasure]
    fields: list[tuple[str, str, str]]
    matrices: list[str]
    files: list[str]
    table: HeldFile


def compare_versions(first: Bundle, second: Bundle) -> VersionComparison:
    """Compare two bundles of a model."""
    differences, cards = difference(first, second), compare_cards(first.card, second.card)
    files = [each.field for each in differences if each.field.startswith("file ")]
    fields = [each for each in differences if not each.field.startswith(("file ", *_DRAWN))]
    matrices = [each for each in fields if _is_matrix(each.first) or _is_matrix(each.second)]
    scale = scale_of(reliability(each.card.calibration.sums) for each in (first, second))
    shown = [_row(each) for each in fields if each not in matrices]
    return VersionComparison(
        same=not differences,
        cards=card_comparison_words(cards),
        diagrams=[_diagram(each, scale) for each in (first, second) if cards is not None],
        measures=list(_measures(first, second, alike=cards is not None)),
        fields=shown,
        matrices=[each.field for each in matrices],
        files=[each.removeprefix("file ") for each in files],
        table=_table(first, second, shown, alike=cards is not None),
    )


def _diagram(bundle: Bundle, scale: DiagramScale) -> FiledDiagram:
    version, bins = bundle.card.version, reliability(bundle.card.calibration.sums)
    heading = f"Version {version}, on its reference data"
    of = f"the reference of version {version}"
    return filed_diagram(
        f"{bundle.card.name}-{version}-reference", heading, bins, of=of, scale=scale
    )


def _table(
    first: Bundle, second: Bundle, fields: list[tuple[str, str, str]], *, alike: bool
) -> HeldFile:
    """The figures of both cards, unrounded, and the fields that differ."""
    one, other = (bundle.card.calibration.measures for bundle in (first, second))
    measures = [
        (each.name, one.get(each.name), other.get(each.name))
        for each in MEASURES
        if each.page and alike
    ]
    name = f"{first.card.name}-{first.card.version}-{second.card.version}"
    return held_csv(
        name, ("", str(first.card.version), str(second.card.version)), [*measures, *fields]
    )


def _measures(first: Bundle, second: Bundle, *, alike: bool) -> Iterator[ComparedMeasure]:
    cards = [bundle.card.calibration.measures for bundle in (first, second)]
    yield ComparedMeasure("measured on", *map(_reference, (first, second)))
    for each in MEASURES:
        if each.page and alike:
            yield ComparedMeasure(each.title, *(each.shown(card.get(each.name)) for card in cards))


def _reference(bundle: Bundle) -> str:
    """The data that the card's measures come from: two cards may have measured different images."""
    calibration = bundle.card.calibration
    return f"{calibration.reference_split}, {counted_labels(int(calibration.sums.n.sum()))}"


def _is_matrix(value: Any) -> bool:
    """Whether a value is a table of numbers, or a list too long to be read."""
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
