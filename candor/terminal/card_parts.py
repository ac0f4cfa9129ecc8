"""What is shown of a card or a run of exclusive classes, and of findings; chosen once, here."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import RenderableType

from calibration.measures.reliability import reliability
from calibration.wording import percent, percents
from candor.terminal.evaluation import bound_notes, class_tables
from candor.terminal.findings import findings_tables, held_out_table, promise_table
from candor.terminal.tables import MEASURES_COLUMNS, FigureTable, figure, measures_row
from model_store.bundle.card import Card
from model_store.bundle.diagram import diagram_file
from model_store.bundle.findings_table import MEASURED, POINTS, measured, notes, points, unfitted
from training.evaluation.evaluation import Evaluation
from training.evaluation.findings import FindingsEvaluation

if TYPE_CHECKING:
    from training.runs.config import RunRecord


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
        notes = bound_notes(card.calibration.temperature)
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


def evaluated(
    evaluation: Evaluation | FindingsEvaluation, record: "RunRecord"
) -> Iterable[RenderableType]:
    """Return the measures of a run."""
    if isinstance(evaluation, FindingsEvaluation):
        return findings_tables(evaluation)
    return class_tables(evaluation, record)
