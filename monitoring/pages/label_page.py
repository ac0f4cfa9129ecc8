"""The queue of answers that wait for a label, one at a time, blind: what the model said is shown
only afterwards.

Whoever sees an answer before judging leans towards it (Dratsch et al. 2023), and such labels would
make the model look better than it is.
"""

import base64
import json
from typing import NamedTuple
from uuid import UUID

from monitoring.api.viewer import EVERYONE, Viewer
from monitoring.findings.answer_record import shown
from monitoring.ledger.waiting import Revision, WaitingAnswer, WaitingCounts
from monitoring.pages.formatting import moment
from monitoring.pages.rendering import render


class Asked(NamedTuple):
    """The answer that is to be labeled, and the labels that it has already."""

    answer: WaitingAnswer
    revisions: list[Revision]
    png: bytes | None = None  # what the model saw, if it is kept

    @property
    def prediction_id(self) -> str:
        return str(UUID(bytes=self.answer.prediction_id))

    @property
    def picture(self) -> str | None:
        """The picture in base64."""
        return None if self.png is None else base64.b64encode(self.png).decode()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels, from its header."""
        found = self.png or b""
        return int.from_bytes(found[16:20], "big"), int.from_bytes(found[20:24], "big")

    @property
    def tags(self) -> str:
        found: dict[str, str] = json.loads(self.answer.tags) if self.answer.tags else {}
        return ", ".join(f"{key}={value}" for key, value in found.items())


class Given(NamedTuple):
    """A label that was just given: what happened to it, and what the model had said."""

    prediction_id: str
    status: str
    label: str
    answered: str
    confidence: float

    @property
    def sentence(self) -> str:
        """What to know about the label, now that it is recorded."""
        done = {
            "corrected": f"Your label is corrected to “{self.label}”.",
            "unchanged": f"Your label is unchanged: “{self.label}”.",
        }.get(self.status, f"Your label is recorded: “{self.label}”.")
        said = "the same" if self.label == self.answered else f"“{self.answered}”"
        return f"{done} The model had said {said}, confidence {shown(self.confidence)}."


def label_page(
    *,
    model: str,
    version: int,
    classes: tuple[str, ...],
    counts: WaitingCounts,
    asked: Asked | None,
    given: Given | None,
    skip: int,
    viewer: Viewer = EVERYONE,
) -> str:
    """Render the page. `skip`: how many answers the reader has passed over."""
    earlier = (
        []
        if asked is None
        else [
            (classes[each.label], each.source, moment(each.received_at_ns))
            for each in asked.revisions
        ]
    )
    page = {
        "model": model,
        "version": version,
        "classes": classes,
        "counts": counts,
        "asked": asked,
        "given": given,
    }
    return render("label.html", **page, earlier=earlier, skip=skip, viewer=viewer)
