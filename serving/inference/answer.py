"""Writes the JSON of an answer by string formatting: the card's part once, the rest per request.

A JSON library would take longer than the inference of a tiny model. Numbers have nine significant
digits, all that a float32 holds.
"""

import base64
import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from calibration.calibrators.finding_answers import FindingsCalibrator, Question, Said
from calibration.calibrators.subgroups import AnswerCalibrator
from model_store.bundle.card import Card
from model_store.bundle.scope_neighbors import Neighbor
from serving.errors import OutOfScope
from serving.inference.heat_map import HeatMap
from serving.inference.scope import ScopeVerdict, with_scope

_HASHES = 2**64
_LITERALS = {None: "null", True: "true", False: "false"}
JSON_HEADER = (b"content-type", b"application/json")


class JsonAnswerWriter:
    """Writes answers of the model of exclusive classes that `card` describes.

    An answer has the fields "prediction_id", "request_id", "model", "version", "predicted",
    "confidence", "probabilities" and "refer", "prediction_set" if the card defines prediction sets,
    "precision" if the model is not in float32, "calibrator" if that of a subgroup applies, and
    "scope" and "scope_p" if the graph has a scope check.
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
    "precision", "scope" and "scope_p" as those of exclusive classes. Each finding has those of
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
    if card.precision is not None:
        model += f',"precision":{json.dumps(card.precision)}'
    return '{"prediction_id":"%s","request_id":%s,' + _literal(model)


def _text(request_id: str | None) -> str:
    return "null" if request_id is None else json.dumps(request_id)


def with_audit(answer: bytes, drawn: bool) -> bytes:
    """An answer with the field `audit`: whether it is part of the audit sample."""
    return answer[:-1] + (b',"audit":true}' if drawn else b',"audit":false}')


def with_explanation(
    answer: bytes, *, method: str, shown: HeatMap, nearest: Sequence[Neighbor]
) -> bytes:
    """An answer with `explanation`: class or finding, sentence, values, a PNG in base64, and the
    nearest reference images.
    """
    values = [[round(value, 4) for value in row] for row in shown.values.tolist()]
    fields: dict[str, Any] = {"method": method, "of": shown.of, "sentence": shown.sentence}
    fields["values"] = values
    fields["nearest"] = [each._asdict() for each in nearest]
    fields["png"] = base64.b64encode(shown.png).decode()
    return answer[:-1] + b',"explanation":%s}' % json.dumps(fields).encode()


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
