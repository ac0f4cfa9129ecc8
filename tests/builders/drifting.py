"""Labeled answers of a three-class model that is as overconfident as a test wants."""

from uuid import uuid4

import numpy as np

from calibration.temperature import softmax
from monitoring.feedback import FeedbackItem
from monitoring.ledger import PredictionRow
from tests.builders.answers import SECOND_NS
from tests.builders.monitored import MonitoredModel


def answer(
    monitored: MonitoredModel,
    count: int,
    *,
    sharp: float,
    seed: int = 0,
    bias: tuple[float, ...] = (0, 0, 0),
    labeled: float = 1.0,
    audit: float | None = None,
) -> None:
    """Serve answers too sharp by a factor, and label a share of them."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2.5, (count, 3))
    truth = (softmax(honest + np.array(bias)).cumsum(axis=1) > rng.random((count, 1))).argmax(
        axis=1
    )
    probabilities = softmax(sharp * honest).astype("<f4")
    now_ns, rows = monitored.ledger.clock(), []
    for number, each in enumerate(probabilities):
        best = int(each.argmax())
        at_ns = now_ns + number * SECOND_NS
        key = (at_ns // 10**6).to_bytes(6, "big") + b"\x70" + uuid4().bytes[7:]
        rows.append(
            PredictionRow(
                key,
                monitored.calibration_id,
                None,
                best,
                float(each[best]),
                each.tobytes(),
                at_ns,
                audit=audit,
            )
        )
    monitored.serve(*rows)
    chosen = rng.random(count) < labeled
    monitored.label(
        *(
            FeedbackItem(monitored.card.classes[true], row.prediction_id)
            for true, row, wanted in zip(truth, rows, chosen, strict=True)
            if wanted
        )
    )
