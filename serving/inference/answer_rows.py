"""The answers to a batch, and their rows in the ledger: one an image, or one for each finding."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import uuid_utils

from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.version_events import shadow_id
from monitoring.patient_id import PatientKey
from serving.errors import OutOfScope
from serving.inference.answer import AuditSampler, with_audit
from serving.inference.answer_kind import OneRow, kind_of
from serving.inference.batcher import AnswerWriter, PendingRequest
from serving.inference.predictor import Predictor, Probabilities
from serving.inference.scope import ScopePolicy


class AnswerRows:
    """Writes the answers of one version, and their rows. In the inference thread, but `again`.

    `watched_version_ids`: one for each finding, or one; `audit` None: nothing is drawn; `patients`
    None: there is no ledger, and patients stay unknown.
    """

    def __init__(
        self,
        predictor: Predictor,
        watched_version_ids: Sequence[int],
        *,
        audit: AuditSampler | None,
        patients: PatientKey | None,
        scope: ScopePolicy,
    ) -> None:
        kind = kind_of(predictor.card)
        self._calibrators, self._writer = predictor.calibrators, kind.writer
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
                self._patients.hash(request.patient) if self._patients else None,
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
