"""What `candor export` made: a version in the store, its notes, and what to do next."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from calibration.document import Part
from calibration.wording import counted
from candor.terminal.card_parts import card_diagram, parts_of
from candor.terminal.verb_result import VerbResult, next_step
from model_store.bundle.card import Card
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
        card, verified = self.card, self.done.verification
        yield f"Published {card.name} version {card.version} in {self.folder}"
        yield from parts_of(card).notes()
        yield (
            f"torch and ONNX Runtime differ by at most {verified.max_difference:.1e} on "
            f"{counted(verified.images, 'real image')}"
        )
        yield card_diagram(card)
        yield next_step(card, promoted=self.promoted)
