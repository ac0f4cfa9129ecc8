"""Prometheus metrics of the server; those of calibration are in monitoring."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hosting.error_table import INTERNAL, PREDICTION_ERRORS
from serving.inference.admission import QueueEstimate
from serving.inference.batcher import PendingRequest

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LABELS = ("model", "version")
REASONS = sorted({code for _, code in PREDICTION_ERRORS.values()} | {INTERNAL.code, "client_gone"})


@dataclass(slots=True)
class InferenceCounts:
    """How many images a version answered, and on how many its inference failed."""

    answered: int = 0
    failed: int = 0

    @property
    def failed_ratio(self) -> float:
        """The share of images that failed, in [0, 1]; 0 before the first image."""
        return self.failed / max(1, self.answered + self.failed)


class ServingMetrics:
    """The metrics, registered in `registry`, never in the library's global one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        timed = partial(Histogram, buckets=SECONDS, registry=registry)
        gauge = partial(Gauge, registry=registry)
        self.request_duration = timed(
            "candor_request_duration_seconds",
            "Time from the head of a request to its answer; answered requests only.",
            LABELS,
        )
        self.batch_size = Histogram(
            "candor_batch_size", "Images per batch.", LABELS, buckets=IMAGES, registry=registry
        )
        self.inference = timed("candor_inference_seconds", "Inference time of a batch.", LABELS)
        self.decode = timed("candor_decode_seconds", "Decoding time of an image.")
        self.queue_length = gauge(
            "candor_queue_length", "Requests admitted and not yet answered.", LABELS
        )
        self.queue_wait = gauge(
            "candor_queue_wait_seconds",
            "Predicted seconds until a request that arrives now is answered; beyond the deadline "
            "it is refused.",
            LABELS,
        )
        counter = partial(Counter, labelnames=LABELS, registry=registry)
        self.failed = counter(
            "candor_requests_failed",
            "Requests and images that this version did not answer though the client did nothing "
            "wrong: status 429 or 500 and above.",
        )
        self.late = counter(
            "candor_requests_late",
            "Answers that took longer than CANDOR_DEADLINE_S, or than its default for this model.",
        )
        self.rejected = Counter(
            "candor_requests_rejected",
            "Requests answered with an error, by error code.",
            ("reason",),
            registry=registry,
        )
        for reason in REASONS:
            self.rejected.labels(reason)
        self.shadow_skipped = counter(
            "candor_shadow_skipped", "Images that a shadow version skipped because it was busy."
        )
        wanted = "Version that the alias production of the store names; 0: none, NaN: unreadable."
        self.wanted = gauge("candor_model_wanted_version", wanted, ("model",))
        served = "Version that this server has in production; 0: none."
        self.served = gauge("candor_model_served_version", served, ("model",))
        refused = (
            "Version that this server refuses to load, and whose reason /models says; 0: none."
        )
        self.refused = gauge("candor_model_refused_version", refused, ("model",))
        self.trained_on = counter(
            "candor_training_images",
            "Answered images that the model has seen in training, as its bundle's hashes say.",
        )
        self.difference = gauge(
            "candor_probe_difference",
            "Largest difference of a probability, on a bundle's probe images, between this machine "
            "and the one that published it; NaN: the bundle has none.",
            LABELS,
        )
        self.store_scanned = gauge(
            "candor_store_scan_timestamp_seconds",
            "Unix time of the last complete scan of the store.",
        )
        self.stopped = gauge(
            "candor_version_stopped",
            "1 for each version that was stopped because inference took too long or too much "
            "memory.",
            LABELS,
        )
        self.model_loaded = gauge(
            "candor_model_loaded",
            "1 for each version that answers requests.",
            LABELS,
        )

    def of_version(self, model: str, version: int, queue: QueueEstimate) -> "VersionMetrics":
        """The series of one version, which start now; `queue` is read at each scrape."""
        return VersionMetrics(self, (model, str(version)), queue)


class VersionMetrics:
    """The series of one version, looked up once so that updates are cheap."""

    def __init__(
        self, metrics: ServingMetrics, labels: tuple[str, str], queue: QueueEstimate
    ) -> None:
        self.failed = metrics.failed.labels(*labels)
        self._late = metrics.late.labels(*labels)
        self.trained_on = metrics.trained_on.labels(*labels)
        self._late_s = queue.deadline_s  # now: a default follows the model, and a fault with it
        self._duration = metrics.request_duration.labels(*labels)
        self._batch_size = metrics.batch_size.labels(*labels)
        self._inference = metrics.inference.labels(*labels)
        self._loaded = metrics.model_loaded.labels(*labels)
        self._loaded.set(1)
        self._stopped = metrics.stopped.labels(*labels)
        metrics.queue_length.labels(*labels).set_function(lambda: queue.waiting)
        metrics.queue_wait.labels(*labels).set_function(lambda: queue.wait_s)

    def observe(
        self,
        requests: Sequence[PendingRequest],
        *,
        now_s: float,
        inference_s: float,
    ) -> None:
        """Record an answered batch."""
        self._batch_size.observe(len(requests))
        self._inference.observe(inference_s)
        for request in requests:
            duration_s = now_s - request.arrived_s
            self._duration.observe(duration_s)
            if duration_s > self._late_s:
                self._late.inc()

    def stop(self) -> None:
        """Record that the version was stopped, and does not answer."""
        self._stopped.set(1)
        self._loaded.set(0)

    def unload(self) -> None:
        """Record that the version no longer answers."""
        self._loaded.set(0)
        self._stopped.set(0)
