"""What is said of a card that was just made, of exclusive classes or findings; chosen here."""

from collections.abc import Sequence

from calibration.document import Diagram, FigureTable, Part
from calibration.figures import MEASURES_COLUMNS, figure, measures_row
from calibration.measures.reliability import reliability
from calibration.wording import percent
from model_store.bundle.card import Card
from model_store.bundle.finding_card import (
    POINTS,
    FindingCard,
    points,
    rate_text,
    unfitted,
)


class CardParts:
    """What differs in what was published: of exclusive classes."""

    def __init__(self, card: Card) -> None:
        self.card = card

    @property
    def held_out(self) -> Part:
        return FigureTable(
            "", MEASURES_COLUMNS, [measures_row("held out", self.card.calibration.measures)]
        )

    def fitted(self, images: int) -> str:
        """Say what an import fitted on so many images."""
        if self.card.calibration.method != "temperature":
            return "No temperature was fitted"
        return f"Temperature {self.card.calibration.temperature:.3f}, fitted on {images} images"

    def notes(self) -> list[Part]:
        """What was promised, and what is not known."""
        card = self.card
        notes: list[Part] = []
        if (found := card.calibration.contradicted) is not None:
            notes.append(
                f"WARNING: test contradicts the calibrator {found.method!r}, and the model is "
                f"published with{'' if card.calibration.applies(found) else 'out'} it: NLL "
                f"{found.nll_before:.3f} without it, {found.nll_after:.3f} with it, ECE "
                f"{percent(found.ece_before)} and {percent(found.ece_after)}, on {found.images} "
                "images. The card says so."
            )
        trained = card.provenance.training
        failures = (trained and trained.shortcomings) or ()
        return [*notes, *(f"WARNING, also on the card: {each}." for each in failures)]


class FindingsParts(CardParts):
    """Of findings."""

    @property
    def held_out(self) -> Part:
        return held_out_table(self.card.asked)

    def fitted(self, images: int) -> str:
        asked = self.card.asked
        count = sum(each.calibration.method == "temperature" for each in asked)
        return f"{count} of {len(asked)} findings calibrated, on {images} images"

    def notes(self) -> list[Part]:
        return [promise_table(self.card), *unfitted(self.card.asked)]


def parts_of(card: Card) -> CardParts:
    return (FindingsParts if card.has_findings else CardParts)(card)


def card_diagram(card: Card) -> Diagram:
    calibration = card.calibration
    return Diagram(calibration.reference_split, reliability(calibration.sums))


def promise_table(card: Card) -> Part:
    """Return the thresholds of a card with findings, and what they promise."""
    rows = [row[:-1] for row in points(card.asked)]
    split = card.calibration.reference_split
    title = f"Present from the threshold on; promised by {split}, 95 %"
    return FigureTable(title, ("", *POINTS[1:-1]), rows)


def held_out_table(cards: Sequence[FindingCard]) -> Part:
    """Return the figures of an import, on images that nothing was fitted on."""
    columns = (
        "finding",
        "positives",
        "AUROC",
        "obs./exp.",
        "ECE",
        "present from",
        "sens.",
        "spec.",
    )
    rows = [
        [
            each.name,
            f"{each.positives} of {each.labeled}",
            *(figure(each.measures.get(key)) for key in ("auroc", "observed_expected")),
            percent(each.measures.get("ece")),
            percent(each.threshold, 2),
            rate_text(each.promise.sensitivity),
            rate_text(each.promise.specificity),
        ]
        for each in cards
    ]
    return FigureTable("Held out", columns, rows)
