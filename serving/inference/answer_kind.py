"""How a model answers: with one of exclusive classes, or with each of its findings.

Chosen once from the card, so that nothing that infers, writes or records answers asks again.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from calibration.findings.labels import spelled
from model_store.bundle.card import Card
from monitoring.errors import brief
from monitoring.ledger.findings import presence_rows
from monitoring.ledger.predictions import PredictionRow
from serving.errors import MalformedRequest
from serving.inference.answer import JsonAnswerWriter, JsonFindingsWriter
from serving.inference.batcher import AnswerWriter
from serving.inference.prediction import ReadRow, read_classification, read_findings

PREDICTED = "occlusion"  # in place of the name of what is to be explained


class ImageRows(Protocol):
    """The rows of an image in the ledger, from its answer and back."""

    def of(self, image: PredictionRow, values: Sequence[float]) -> list[PredictionRow]: ...

    def values(self, rows: Sequence[PredictionRow]) -> list[float] | None:
        """The probabilities (K,) that the rows of an image hold; None if some are missing."""


class OneRow:
    """Of exclusive classes."""

    def of(self, image: PredictionRow, values: Sequence[float]) -> list[PredictionRow]:
        return [image]

    def values(self, rows: Sequence[PredictionRow]) -> list[float] | None:
        found: list[float] = np.frombuffer(rows[0].probabilities, "<f4").tolist()
        return found


class RowOfEach:
    """Of findings; `watched_version_ids`: of each, in the order of the probabilities."""

    def __init__(self, watched_version_ids: Mapping[str, int]) -> None:
        self._ids = watched_version_ids

    def of(self, image: PredictionRow, values: Sequence[float]) -> list[PredictionRow]:
        return presence_rows(image, self._ids, values)

    def values(self, rows: Sequence[PredictionRow]) -> list[float] | None:
        present = {row.watched_version_id: row.confidence for row in rows}
        if present.keys() != {*self._ids.values()}:
            return None
        return [present[each] for each in self._ids.values()]


class AnswerKind(NamedTuple):
    """`writer`: of JSON; `read`: an answer as an object; `explained`: what a map may explain, in
    words, and names that stand for the predicted class.
    """

    card: Card
    writer: AnswerWriter
    read: ReadRow
    explained: tuple[str, tuple[str, ...]]

    def rows(self, watched_version_ids: Sequence[int]) -> ImageRows:
        """How the ledger has an image, of a version that it knows by these ids."""
        if self.card.has_findings:
            return RowOfEach(dict(zip(self.card.classes, watched_version_ids, strict=True)))
        return OneRow()

    def column_of(self, of: str) -> int | None:
        """The column of the class or finding that a request names to be explained; None: that of
        the predicted class, for PREDICTED. Raises MalformedRequest.
        """
        known, (word, predicted) = self.card.classes, self.explained
        if (name := spelled(of, known)) in known:
            return known.index(name)
        if of in predicted:
            return None
        names = ", ".join(brief(name) for name in known[:20])
        raise MalformedRequest(f"explain must name a {word}: {names}.")


def kind_of(card: Card) -> AnswerKind:
    if card.has_findings:
        return AnswerKind(card, JsonFindingsWriter(card), read_findings, ("finding", ()))
    said = f"class, or {PREDICTED} for the predicted one", (PREDICTED,)
    read = partial(read_classification, card.classes)
    return AnswerKind(card, JsonAnswerWriter(card), read, said)
