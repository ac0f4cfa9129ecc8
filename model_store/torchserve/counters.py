"""The counters of a TorchServe worker, by the names that Candor's own server and monitor use.

TorchServe reads them from lines that a worker prints, and shows them at its metrics address in
Prometheus mode with `model_metrics_auto_detect=true`.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, bin_index

# Name -> labels, meaning.
_VERSION: Final = ("model", "version")
COUNTERS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "candor_predictions_total": (
        (*_VERSION, "finding", "bin"),
        "Answers, by bin of confidence or of a finding's probability.",
    ),
    "candor_prediction_confidence_total": (
        (*_VERSION, "finding", "bin"),
        "Sum of the confidence of all answers.",
    ),
    "candor_requests_rejected_total": (
        ("reason",),
        "Requests answered with an error, by error code.",
    ),
    "candor_training_images_total": (
        _VERSION,
        "Answered images that the model has seen in training, as its bundle's hashes say.",
    ),
    "candor_torchserve_delivered_total": (_VERSION, "Answers that the monitor has."),
    "candor_torchserve_lost_total": (
        _VERSION,
        "Answers that the monitor will never have: the outbox was full, or it refused them.",
    ),
}


class WorkerCounters:
    """The counters of one worker. Without TorchServe's metrics it counts nothing."""

    def __init__(
        self,
        metrics: Any,
        *,
        model: str,
        version: int,
        reasons: Sequence[str],
        findings: Sequence[str] = ("",),
    ) -> None:
        """`metrics` is the handler's `context.metrics`; all series of the version start at zero.

        `findings`: their names; one that is empty stands for exclusive classes.
        """
        self._model = (model, str(version))
        self._counters = {} if metrics is None else _counters(metrics)
        for finding, bin_number in product(findings, range(BIN_COUNT)):
            for name in ("candor_predictions_total", "candor_prediction_confidence_total"):
                self._add(name, 0, (*self._model, finding, _label(bin_number)))
        for reason in reasons:
            self._add("candor_requests_rejected_total", 0, (reason,))
        self.trained_on(0)
        self.deliver(0)
        self.lose(0)

    def answer(self, confidence: npt.NDArray[np.float32], *, finding: str = "") -> None:
        """Count answers of these confidences, or of these probabilities of a finding, (N,)."""
        bins = bin_index(confidence)
        for bin_number in np.unique(bins).tolist():
            labels, among = (*self._model, finding, _label(bin_number)), bins == bin_number
            self._add("candor_predictions_total", int(among.sum()), labels)
            total = float(confidence[among].sum(dtype=np.float64))
            self._add("candor_prediction_confidence_total", total, labels)

    def reject(self, reason: str) -> None:
        """Count a request that got an error."""
        self._add("candor_requests_rejected_total", 1, (reason,))

    def trained_on(self, images: int) -> None:
        """Count answered images that the model has seen in training."""
        self._add("candor_training_images_total", images, self._model)

    def deliver(self, answers: int) -> None:
        """Count answers that the monitor has."""
        self._add("candor_torchserve_delivered_total", answers, self._model)

    def lose(self, answers: int) -> None:
        """Count answers that the monitor will never have."""
        self._add("candor_torchserve_lost_total", answers, self._model)

    def _add(self, name: str, value: float, labels: tuple[str, ...]) -> None:
        if name in self._counters:
            self._counters[name].add_or_update(value, list(labels))


def _counters(metrics: Any) -> dict[str, Any]:
    from ts.metrics.metric_type_enum import MetricTypes

    return {
        name: metrics.add_metric_to_cache(name, "Count", list(labels), MetricTypes.COUNTER)
        for name, (labels, _) in COUNTERS.items()
    }


def _label(bin_number: int) -> str:
    return f"{bin_number:02d}"
