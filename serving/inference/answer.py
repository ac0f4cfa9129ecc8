"""From probabilities to the answers of a batch, and their rows in the ledger.

How a model answers, with one of exclusive classes or with each of its findings (`AnswerKind`), is
chosen once from the card, so that nothing that infers, writes or records answers asks again.

The JSON of an answer is written by string formatting: the card's part once, the rest per request. A
JSON library would take longer than the inference of a tiny model. Numbers have nine significant
digits, all that a float32 holds.
"""

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import numpy as np
import uuid_utils

from calibration.calibrators.finding_answers import (
    FindingsCalibrator,
    FindingsCalibrators,
    Question,
    Said,
)
from calibration.calibrators.subgroups import AnswerCalibrator, AnswerCalibrators
from calibration.findings.labels import spelled
from hosting.errors import MalformedRequest, OutOfScope
from model_store.bundle.card import Card
from monitoring.errors import brief
from monitoring.ledger.predictions import PredictionRow, presence_rows
from monitoring.ledger.version_events import shadow_id
from monitoring.patient_id import PatientKey
from serving.inference.batcher import AnswerWriter, PendingRequest
from serving.inference.prediction import (
    Probabilities,
    ReadRow,
    ScopePolicy,
    ScopeVerdict,
    read_classification,
    read_findings,
    with_scope,
)

_HASHES = 2**64
_LITERALS = {None: "null", True: "true", False: "false"}
JSON_HEADER = (b"content-type", b"application/json")


class JsonAnswerWriter:
    """Writes answers of the model of exclusive classes that `card` describes.

    An answer has the fields "prediction_id", "request_id", "model", "version", "predicted",
    "confidence", "probabilities" and "refer", "prediction_set" if the card defines prediction sets,
    "calibrator" if that of a subgroup applies, and "scope" and "scope_p" if the graph has a scope
    check.
    """

    def __init__(self, card: Card) -> None:
        self._head = _head(card) + ',"predicted":%s,"confidence":%.9g,"probabilities":{'
        self._probabilities = (
            ",".join(f"{_literal(json.dumps(name))}:%.9g" for name in card.classes) + '},"refer":%s'
        )
        self._labels = [json.dumps(name) for name in card.classes]

    def write(
        self,
        prediction_id: str,
        request_id: str | None,
        values: Sequence[float],
        by: AnswerCalibrator,
    ) -> bytes:
        confidence = max(values)
        label = self._labels[values.index(confidence)]
        head = self._head % (prediction_id, _text(request_id), label, confidence)
        return (
            head
            + self._probabilities % (*values, _LITERALS[by.refers(confidence)])
            + self._set(by.members(values))
            + ("}" if by.name is None else f',"calibrator":{json.dumps(by.name)}}}')
        ).encode()

    def scoped(self, answer: bytes, verdict: ScopeVerdict) -> bytes | OutOfScope:
        return with_scope(answer, verdict)

    def _set(self, members: Sequence[int] | None) -> str:
        if members is None:
            return ""
        return f',"prediction_set":[{",".join(self._labels[each] for each in members)}]'


class JsonFindingsWriter:
    """Writes answers of the model with findings that `card` describes.

    An answer has the fields "prediction_id", "request_id", "model", "version", "findings", and
    "scope" and "scope_p" as those of exclusive classes. Each finding has those of
    `Question.answer`.
    """

    def __init__(self, card: Card) -> None:
        self._head = _head(card) + ',"findings":{'
        self._names = [f'{json.dumps(name)}:{{"probability":' for name in card.classes]
        self._ends: dict[tuple[str, str | None, Said], str] = {}

    def write(
        self,
        prediction_id: str,
        request_id: str | None,
        values: Sequence[float],
        by: FindingsCalibrator,
    ) -> bytes:
        ends = []
        for question, value in zip(by.questions, values, strict=True):
            key = (question.name, question.by.name, question.said(value))
            ends.append(self._ends.get(key) or self._write_end(key, question, value))
        answers = ",".join(map("%s%.9g%s".__mod__, zip(self._names, values, ends, strict=True)))
        return (self._head % (prediction_id, _text(request_id)) + answers + "}}").encode()

    def scoped(self, answer: bytes, verdict: ScopeVerdict) -> bytes | OutOfScope:
        return with_scope(answer, verdict)

    def _write_end(
        self, key: tuple[str, str | None, Said], question: Question, value: float
    ) -> str:
        """What follows the probability. There are few such texts, so each is written once."""
        fields = question.answer(value)
        del fields["probability"]
        end = self._ends[key] = "," + json.dumps(fields, separators=(",", ":"))[1:]
        return end


def _head(card: Card) -> str:
    model = f'"model":{json.dumps(card.name)},"version":{card.version}'
    return '{"prediction_id":"%s","request_id":%s,' + _literal(model)


def _text(request_id: str | None) -> str:
    return "null" if request_id is None else json.dumps(request_id)


def with_audit(answer: bytes, drawn: bool) -> bytes:
    """An answer with the field `audit`: whether it is part of the audit sample."""
    return answer[:-1] + (b',"audit":true}' if drawn else b',"audit":false}')


def _literal(text: str) -> str:
    return text.replace("%", "%%")


class AuditSampler:
    """Draws answers to be labeled regardless of their outcome: each with probability `share`, in
    [0, 1], before its outcome is known.

    A hash of the prediction id decides, so that every replica and every later recount draw the
    same answers.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._below = round(share * _HASHES)

    @property
    def on(self) -> bool:
        """Whether any answer can be drawn."""
        return self._below > 0

    def drawn(self, prediction_id: bytes) -> bool:
        """Whether the answer with this id (16 bytes) is drawn.

        >>> AuditSampler(1.0).drawn(bytes(16)), AuditSampler(0.0).drawn(bytes(16))
        (True, False)
        """
        return int.from_bytes(blake2b(prediction_id, digest_size=8).digest(), "big") < self._below


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


class AnswerRows:
    """Writes the answers of one version, and their rows. In the inference thread, but `again`.

    `watched_version_ids`: one for each finding, or one; `audit` None: nothing is drawn; `patients`
    None: there is no ledger, and patients stay unknown.
    """

    def __init__(
        self,
        card: Card,
        calibrators: AnswerCalibrators | FindingsCalibrators,
        watched_version_ids: Sequence[int],
        *,
        audit: AuditSampler | None,
        patients: PatientKey | None,
        scope: ScopePolicy,
    ) -> None:
        kind = kind_of(card)
        self._calibrators, self._writer = calibrators, kind.writer
        self._rows = kind.rows(watched_version_ids) if patients else OneRow()
        self._id, self._patients = watched_version_ids[0], patients
        self._audit = audit if audit and audit.on and patients else None
        self._scope = scope

    def of_batch(
        self,
        requests: Sequence[PendingRequest],
        probabilities: Probabilities,
        scope_p: Sequence[float | None],
    ) -> tuple[list[Any | None], list[PredictionRow]]:
        """The answers, None for what is not a number, and the rows of the others.

        `probabilities`: (N, K), after the calibrators for the requests' tags. `scope_p`: (N,)
        p-values of the scope check. An image that it refuses has OutOfScope as its answer.
        """
        answers: list[Any | None] = []
        rows: list[PredictionRow] = []
        served_at_ns = time.time_ns()
        best = probabilities.argmax(axis=1).tolist()
        sound: list[bool] = np.all(probabilities <= 1.0, axis=1).tolist()  # False for NaN
        for request, predicted, is_number, of_image, values, p in zip(
            requests, best, sound, probabilities, probabilities.tolist(), scope_p, strict=True
        ):
            if not is_number:
                answers.append(None)
                continue
            request.given_id = _new_id(request)
            image = PredictionRow(
                request.given_id,
                self._id,
                request.request_id,
                predicted,
                values[predicted],
                of_image.tobytes(),
                served_at_ns,
                request.tags,
                self._drawn(request),
                self._patients.hash(request.patient)
                if self._patients and request.patient is not None
                else None,
                p,
            )
            answers.append(self._answer(image, values, request.writer))
            rows += self._rows.of(image, values)
        return answers, rows

    def again(
        self, image_id: bytes, rows: Sequence[PredictionRow], writer: AnswerWriter | None
    ) -> Any | None:
        """The answer that the rows of an image hold; None if some of them are missing."""
        image = rows[0]._replace(prediction_id=image_id)
        values = self._rows.values(rows)
        return None if values is None else self._answer(image, values, writer)

    def _answer(
        self, image: PredictionRow, values: list[float], writer: AnswerWriter | None
    ) -> Any:
        identity, writes = str(uuid_utils.UUID(bytes=image.prediction_id)), writer or self._writer
        answer = writes.write(identity, image.request_id, values, self._calibrators.of(image.tags))
        if (verdict := self._scope.verdict(image.scope_p)) is not None:
            answer = writes.scoped(answer, verdict)
        if self._audit is None or writer or isinstance(answer, OutOfScope):
            return answer
        return with_audit(answer, image.audit is not None)

    def _drawn(self, request: PendingRequest) -> float | None:
        """The share of the audit if the image is drawn; with all its findings."""
        if self._audit and self._audit.drawn(request.shadow_of or request.given_id):
            return self._audit.share
        return None


def _new_id(request: PendingRequest) -> bytes:
    if request.shadow_of is not None:
        identity = shadow_id(request.shadow_of)
    else:
        identity = uuid_utils.uuid7().bytes
    return identity[: 16 - len(request.mark)] + request.mark
