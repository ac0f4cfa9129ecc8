"""Labeled answers of a running server whose confidence is too high, made without sending images."""

from queue import SimpleQueue
from uuid import uuid4

import numpy as np

from calibration.temperature import softmax
from monitoring.feedback import FeedbackItem
from monitoring.ledger import PredictionRow
from monitoring.recording.recorder import Recorder
from tests.builders.answers import NOW_NS, SECOND_NS
from tests.builders.waiting import PATIENCE_S


def record_labeled(
    recorder: Recorder,
    calibration_id: int,
    classes: tuple[str, ...],
    *,
    count: int = 400,
    sharpness: float = 2.0,
    first: int = 0,
) -> list[bytes]:
    """Record answers whose logits are `sharpness` times calibrated ones, with labels; return their
    ids.

    One is served each second, the first one in second `first`.
    """
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 3.0, (count, len(classes)))
    truth = (softmax(honest).cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    rows = [
        _row(first + number, calibration_id, each)
        for number, each in enumerate(softmax(sharpness * honest).astype("<f4"))
    ]
    heard: SimpleQueue[BaseException | None] = SimpleQueue()
    recorder.record(rows, heard.put)
    assert heard.get(timeout=PATIENCE_S) is None
    items = [
        FeedbackItem(classes[index], row.prediction_id)
        for index, row in zip(truth, rows, strict=True)
    ]
    recorder.feedback(items).result(timeout=PATIENCE_S)
    return [row.prediction_id for row in rows]


def _row(number: int, calibration_id: int, probabilities: np.ndarray) -> PredictionRow:
    best = int(probabilities.argmax())
    served_at = NOW_NS + number * SECOND_NS
    return PredictionRow(
        uuid4().bytes,
        calibration_id,
        None,
        best,
        float(probabilities[best]),
        probabilities.tobytes(),
        served_at,
    )
