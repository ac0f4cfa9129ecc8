"""What `candor import` made: what was found and tried, and how calibrated it is now."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from calibration.document import FactList, FigureTable, Part
from calibration.figures import figure
from calibration.wording import counted, percent
from candor.terminal.verb_result import VerbResult, next_step
from model_store.bundle.card import Card
from model_store.bundle.finding_card import FindingCard
from model_store.bundle.model_card import calibration_sections
from model_store.foreign.labeled_images import LabeledImages
from model_store.foreign.model_import import ImportedModel

TRIALS_SHOWN = 12


@dataclass(repr=False, eq=False)
class Imported(VerbResult):
    """A published import: what was found and tried, and how calibrated it is now."""

    done: ImportedModel
    folder: str
    promoted: bool
    data: LabeledImages | None

    @property
    def card(self) -> Card:
        return self.done.card

    @property
    def version(self) -> int:
        return self.done.version

    def document(self) -> Iterator[Part]:
        done, card = self.done, self.card
        yield "Found"
        yield FactList([*done.origin.found.items()])
        if done.trials:
            yield _trials(done)
        yield f"Published {card.name} version {done.version} in {self.folder}"
        if self.data is not None:
            held_out = int(self.data.held_out.sum())
            yield (
                f"Fitted on {counted(len(self.data.paths) - held_out, 'labeled image')}, measured "
                f"on the other {held_out}. Kept together: {self.data.grouped_by}."
            )
        yield from calibration_sections(card)
        yield from (f"Note: {note}" for note in done.notes)
        yield next_step(card, promoted=self.promoted)

    def as_dict(self) -> dict[str, Any]:
        done = self.done
        return {
            "folder": self.folder,
            "model": done.card.name,
            "version": done.version,
            "calibration": done.card.calibration.method,
            "temperature": done.card.calibration.temperature,
            "measures": done.card.calibration.measures,
            "found": done.origin.found,
            "findings": [_finding(each) for each in done.card.asked],
            "tried": [
                {
                    "preprocessing": each.name,
                    "accuracy": each.accuracy,
                    "nll": each.nll,
                    "images": each.images,
                }
                for each in done.trials
            ],
            "max_difference": done.verification.max_difference,
            "verified_on": done.verification.images,
            "notes": list(done.notes),
        }


def _trials(done: ImportedModel) -> Part:
    rows = [
        [
            each.name,
            percent(each.accuracy),
            figure(each.nll),
            "chosen" if each.preprocessing == done.preprocessing else "",
        ]
        for each in done.trials[:TRIALS_SHOWN]
    ]
    images = counted(done.trials[0].images, "labeled image")
    title = f"Preprocessings, on {images}; NLL after the temperature that fits best"
    return FigureTable(title, ("", "accuracy", "NLL", ""), rows)


def _finding(card: FindingCard) -> dict[str, Any]:
    calibration = card.calibration
    return {
        "name": card.name,
        "calibration": calibration.method,
        "temperature": calibration.temperature,
        "bias": (calibration.class_bias or (0.0, 0.0))[1],
        "threshold": card.threshold,
        "rule": card.rule.kind,
        "labeled": card.labeled,
        "positives": card.positives,
        "measures": card.measures,
        "promise": card.promise.model_dump(),
    }
