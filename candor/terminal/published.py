"""What `candor export` made: a version in the store, how calibrated it is, and what to do next."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from calibration.document import Part
from candor.terminal.verb_result import VerbResult, next_step
from model_store.bundle.card import Card
from model_store.bundle.model_card import calibration_sections
from training.runs.export import ExportedModel


@dataclass(repr=False, eq=False)
class Exported(VerbResult):
    """A published run.

    Attributes:
        done: card, version, and how the graph compares with torch.
    """

    done: ExportedModel
    folder: str
    promoted: bool

    @property
    def card(self) -> Card:
        return self.done.card

    @property
    def version(self) -> int:
        return self.done.version

    def as_dict(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "version": self.version,
            "max_difference": self.done.verification.max_difference,
        }

    def document(self) -> Iterator[Part]:
        yield f"Published {self.card.name} version {self.version} in {self.folder}"
        yield from calibration_sections(self.card)
        yield next_step(self.card, promoted=self.promoted)
