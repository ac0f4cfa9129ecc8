"""What is shown of a card of exclusive classes, and of findings; chosen once, here."""

from collections.abc import Sequence

from rich.console import RenderableType

from calibration.measures.reliability import reliability
from calibration.wording import percent, percents
from candor.terminal.tables import MEASURES_COLUMNS, FigureTable, figure, measures_row
from model_store.bundle.card import Card
from model_store.bundle.diagram import diagram_file
from model_store.bundle.finding_card import (
    MEASURED,
    POINTS,
    FindingCard,
    measured,
    notes,
    points,
    rate_text,
    unfitted,
)


class CardParts:
    """The parts of what is printed that differ: of exclusive classes."""

    def __init__(self, card: Card) -> None:
        self.card = card

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Names and values about its calibration."""
        card, calibration = self.card, self.card.calibration
        measures = calibration.measures
        ece = (
            f"{percent(measures.get('ece'))} "
            f"({percents(measures.get('ece_lower'), measures.get('ece_upper'))})"
        )
        found = [
            ("calibrator", f"{calibration.method}, temperature {figure(calibration.temperature)}"),
            ("measured on", f"{calibration.sums.total:,} answers of {calibration.reference_split}"),
            ("accuracy", percent(measures.get("accuracy"))),
            ("ECE", f"{ece}, floor {percent(measures.get('noise_floor'))}"),
        ]
        if card.referral:
            promise = (
                f"promises accuracy {percent(card.referral.promised_accuracy)} of "
                f"{percent(card.referral.coverage, 0)}"
            )
            found.append(("referral", f"below {percent(card.referral.threshold)}; {promise}"))
        if card.conformal:
            coverage = percent(1 - card.conformal.alpha, 0)
            size = f"mean size {figure(card.conformal.mean_set_size)}"
            found.append(("prediction sets", f"coverage {coverage}, {size}"))
        return found + [("no longer", sentence) for sentence in card.dropped_promises or ()]

    @property
    def tables(self) -> list[RenderableType]:
        """The figures of each answer."""
        return []

    @property
    def pictures(self) -> dict[str, str]:
        """Diagrams as SVG files, by what they show."""
        calibration = self.card.calibration
        return {calibration.reference_split: str(diagram_file(reliability(calibration.sums)))}

    @property
    def held_out(self) -> RenderableType:
        return FigureTable(
            "", MEASURES_COLUMNS, [measures_row("held out", self.card.calibration.measures)]
        )

    def fitted(self, images: int) -> str:
        """Say what an import fitted on so many images."""
        if self.card.calibration.method != "temperature":
            return "No temperature was fitted"
        return f"Temperature {self.card.calibration.temperature:.3f}, fitted on {images} images"

    def notes(self) -> list[RenderableType]:
        """What was promised, and what is not known."""
        card = self.card
        notes: list[RenderableType] = []
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
    """Of findings, which have no diagram."""

    @property
    def lines(self) -> list[tuple[str, str]]:
        return []

    @property
    def tables(self) -> list[RenderableType]:
        asked, texts = self.card.asked, ("finding", "calibrator", "chosen by")
        return [
            FigureTable("Findings", MEASURED, list(measured(asked)), text=texts),
            FigureTable("Thresholds", POINTS, list(points(asked)), text=texts),
            *notes(asked),
        ]

    @property
    def pictures(self) -> dict[str, str]:
        return {}

    @property
    def held_out(self) -> RenderableType:
        return held_out_table(self.card.asked)

    def fitted(self, images: int) -> str:
        asked = self.card.asked
        count = sum(each.calibration.method == "temperature" for each in asked)
        return f"{count} of {len(asked)} findings calibrated, on {images} images"

    def notes(self) -> list[RenderableType]:
        return [promise_table(self.card), *unfitted(self.card.asked)]


def parts_of(card: Card) -> CardParts:
    return (FindingsParts if card.has_findings else CardParts)(card)


def promise_table(card: Card) -> RenderableType:
    """Return the thresholds of a card with findings, and what they promise."""
    rows = [row[:-1] for row in points(card.asked)]
    split = card.calibration.reference_split
    title = f"Present from the threshold on; promised by {split}, 95 %"
    return FigureTable(title, ("", *POINTS[1:-1]), rows)


def held_out_table(cards: Sequence[FindingCard]) -> RenderableType:
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
