"""Selective labels: a calibrated model whose wrong answers get a label more often."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.monitoring.streams import TWO_CLASSES, labels
from calibration.bins import BinSums
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from calibration.measures.metrics import ece, noise_floor


@dataclass(frozen=True)
class Selective:
    """The ECE by each method over the same answers. Alarms are label numbers; None: no alarm."""

    answers: int
    true_ece: float
    naive_labels: int
    naive_ece: float
    audit_labels: int
    audit_ece: float
    audit_floor: float
    naive_alarm: int | None
    audit_alarm: int | None


def simulate(
    *,
    answers: int = 400_000,
    share: float = 0.01,
    right: float = 0.05,
    ratio: float = 5,
    gap: float = 0,
    shape: str = TWO_CLASSES,
    seed: int = 0,
) -> Selective:
    """Label right answers with probability `right`, wrong ones `ratio` times as often."""
    served = labels(seed, answers, shape=shape, gap=gap)
    rng = np.random.default_rng(seed + 1)
    selected = rng.random(answers) < np.where(served.correct, right, right * ratio)
    audited = rng.random(answers) < share

    def sums(which: np.ndarray) -> BinSums:
        return BinSums.from_predictions(served.confidence[which], served.correct[which])

    def alarm(which: np.ndarray) -> int | None:
        raised = DriftDetector(DriftSettings()).update_many(
            served.confidence[which], served.correct[which]
        )
        return None if raised is None else raised + 1

    everything = sums(np.ones(answers, dtype=bool))
    naive, audit = sums(selected), sums(audited)
    return Selective(
        answers=answers,
        true_ece=ece(everything),
        naive_labels=naive.total,
        naive_ece=ece(naive),
        audit_labels=audit.total,
        audit_ece=ece(audit),
        audit_floor=noise_floor(audit),
        naive_alarm=alarm(selected),
        audit_alarm=alarm(audited),
    )


def selective() -> Iterator[dict[str, Any]]:
    """A calibrated model and one that is overconfident by 0.05."""
    for gap in (0.0, 0.05):
        yield {"gap": gap} | asdict(simulate(gap=gap))
