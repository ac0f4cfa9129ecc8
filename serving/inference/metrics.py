"""The server's own Prometheus metrics, observed once a batch where possible; calibration's are monitoring's."""

from collections.abc import Sequence
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.error_table import INTERNAL, PREDICTION_ERRORS
from serving.inference.admission import QueueEstimate
from serving.inference.batcher import PendingRequest

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LABELS = ("model", "version")
REASONS = sorted({code for _, code in PREDICTION_ERRORS.values()} | {INTERNAL.code, "client_gone"})


class ServingMetrics:
    """Every metric of this room, registered in `registry` (never the library's global one).

    With `exemplars`, a batch's longest request duration names its prediction, which OpenMetrics shows.
    """

    def __init__(self, registry: CollectorRegistry, *, exemplars: bool = False) -> None:
        self.registry = registry
        self.exemplars = exemplars
        self.request_duration = Histogram(
            "candor_request_duration_seconds",
            "From a request's head to its answer, answered requests only.",
            LABELS,
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "candor_batch_size", "Images inferred together.", LABELS, buckets=IMAGES, registry=registry
        )
        self.inference = Histogram(
            "candor_inference_seconds", "Inference of one batch.", LABELS, buckets=SECONDS, registry=registry
        )
        self.decode = Histogram("candor_decode_seconds", "Decoding of one image.", buckets=SECONDS, registry=registry)
        self.queue_length = Gauge(
            "candor_queue_length", "Requests admitted and not yet answered.", LABELS, registry=registry
        )
        self.rejected = Counter(
            "candor_requests_rejected",
            "Requests answered with an error, by its code.",
            ("reason",),
            registry=registry,
        )
        for reason in REASONS:
            self.rejected.labels(reason)
        self.shadow_skipped = Counter(
            "candor_shadow_skipped",
            "Images that a version in the shadow had no time for.",
            LABELS,
            registry=registry,
        )
        self.model_loaded = Gauge("candor_model_loaded", "1 for every version that answers.", LABELS, registry=registry)

    def of_version(self, model: str, version: int, queue: QueueEstimate) -> "VersionMetrics":
        """The series of one version, born now; `queue` is read at scrape time."""
        return VersionMetrics(self, (model, str(version)), queue)


class VersionMetrics:
    """One version's series, looked up once so that observing is cheap."""

    def __init__(self, metrics: ServingMetrics, labels: tuple[str, str], queue: QueueEstimate) -> None:
        self._exemplars = metrics.exemplars
        self._duration = metrics.request_duration.labels(*labels)
        self._batch_size = metrics.batch_size.labels(*labels)
        self._inference = metrics.inference.labels(*labels)
        self._loaded = metrics.model_loaded.labels(*labels)
        self._loaded.set(1)
        metrics.queue_length.labels(*labels).set_function(lambda: queue.waiting)

    def observe(
        self, requests: Sequence[PendingRequest], *, now_s: float, inference_s: float, first_id: bytes | None = None
    ) -> None:
        """Take in one answered batch, oldest request first; `first_id` is the id of its answer, if it has one."""
        self._batch_size.observe(len(requests))
        self._inference.observe(inference_s)
        exemplar = {"prediction_id": str(UUID(bytes=first_id))} if self._exemplars and first_id else None
        for request in requests:
            self._duration.observe(now_s - request.arrived_s, exemplar)
            exemplar = None

    def unload(self) -> None:
        """Say that the version answers no more."""
        self._loaded.set(0)
