"""One loaded version of a model, and the three stages between a queued image and its answer.

1. Inference thread: run the model on a batch, write answers and ledger rows.
2. The recorder's thread (monitoring): commit the rows. Skipped without a ledger.
3. Event loop: deliver the answers.

While one batch is committed, the next one is inferred.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from anyio import to_thread

from hosting.error_table import error_answer
from hosting.errors import (
    ClientGone,
    InferenceFailed,
    LedgerFailed,
    ModelUnusable,
    OutOfScope,
    VersionStopped,
)
from model_store.image.brightness import brightness
from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.schema import DAY_NS
from monitoring.ledger.sum_changes import InputSums, input_sums
from monitoring.recording.fallback import LedgerAway
from monitoring.recording.picture_keeper import PictureKeeper
from monitoring.recording.recorder import Recorder
from serving.inference.admission import QueueEstimate
from serving.inference.answer import AnswerRows, AuditSampler
from serving.inference.batcher import (
    Batcher,
    BatchingDelay,
    FinishedBatch,
    Image,
    PendingRequest,
    stacked,
)
from serving.inference.metrics import InferenceCounts, ServingMetrics
from serving.inference.prediction import Prediction, ScopePolicy
from serving.inference.predictor import Predictor
from serving.inference.retries import Retries

logger = logging.getLogger(__name__)

NOT_A_NUMBER = "the model's output for this image is not a number."


class ServedVersion:
    """A version that answers, on the event loop; `_infer`, `_measure` and `_fail` are in its own
    thread, `_hand_over` is in the recorder's.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        recorder: Recorder | None,
        metrics: ServingMetrics,
        loop: asyncio.AbstractEventLoop,
        max_batch: int,
        deadline_s: float | None = None,
        audit: AuditSampler | None = None,
        pictures: PictureKeeper | None = None,
        scope: ScopePolicy | None = None,
        background: bool = False,
    ) -> None:
        """Warm up and register with the recorder, in the store watcher's thread."""
        self.card = predictor.card
        self.spec = self.card.input.spec
        self.folder = predictor.folder
        self.digest = predictor.digest
        self.max_batch = max_batch
        self.on_cpu = predictor.on_cpu
        predictor.warm_up(max_batch)
        self.load = QueueEstimate(
            service_s=predictor.one_image_s, batch=max_batch, deadline_s=deadline_s
        )
        # On an accelerator, inference takes no cores from decoding.
        self.decoding = BatchingDelay(
            predictor.one_image_s if predictor.on_cpu else 0.0, self._queue_soon
        )
        self._predictor = predictor
        self._calibrators = predictor.calibrators
        self._recorder = recorder
        self._pictures = pictures
        self.counts = InferenceCounts()
        self.stopped: str | None = None  # why it answers no more
        self.doubt = predictor.doubt
        self.watched_version_ids = (
            recorder.register(self.card, digest=self.digest) if recorder else (0,)
        )
        self.scope = (scope or ScopePolicy()).of(self.card.scope)
        self._rows = AnswerRows(
            self.card,
            predictor.calibrators,
            self.watched_version_ids,
            audit=audit,
            patients=recorder.patients if recorder else None,
            scope=self.scope,
        )
        self.retries = Retries(
            recorder, self.watched_version_ids, again=self._rows.again, lease=self.lease
        )
        self._loop = loop
        self._metrics = metrics.of_version(self.card.name, self.card.version, self.load)
        self._retired = False
        self._leases = 0
        self._arrived: list[PendingRequest] = []
        self._batcher = Batcher(
            self._infer,
            self._fail,
            max_batch=max_batch,
            name=f"candor-{self.card.name}-{self.card.version}",
            delay=self.decoding,
            background=background,
        )

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep this version alive for the duration of a request."""
        self.take_lease()
        try:
            yield
        except Exception as error:
            self.count_failure(error)
            raise
        finally:
            self.end_lease()

    def count_failure(self, error: Exception) -> None:
        """Count an error that is not the client's."""
        if not isinstance(error, ClientGone) and error_answer(error).is_failure:
            self._metrics.failed.inc()

    def take_lease(self) -> None:
        """Keep this version alive until `end_lease`, where no block of code fits."""
        self._leases += 1

    def end_lease(self) -> None:
        """End what `take_lease` began."""
        self._leases -= 1
        self._close_if_unused()

    def record_promotion(self) -> None:
        """Record in the ledger that this version is now in production; a failure is only logged."""
        if self._recorder is not None:
            self._recorder.promote(*self.watched_version_ids).add_done_callback(_log_failure)

    def record_shadow(self) -> None:
        """Record in the ledger that this is a shadow: labels are joined to its answers too."""
        if self._recorder is not None:
            self._recorder.shadow(*self.watched_version_ids).add_done_callback(_log_failure)

    def submit(self, request: PendingRequest) -> None:
        """Queue `request`. Its future gets the answer or the error.

        What arrives in one turn of the event loop is queued at its end, as one batch: woken by the
        first image, the thread would take it alone and fight the loop for the interpreter.
        """
        if self.stopped is not None:
            request.answer.set_exception(VersionStopped(self.card.name, self.stopped))
            return
        if not self._arrived:
            self._queue_soon()
        self._arrived.append(request)

    async def try_out(self, image: Image, *, tags: str | None = None) -> Prediction:
        """The answer for one image, (C, H, W), that is neither recorded nor counted, beside the
        queue of the others.

        Raises InferenceFailed, and OutOfScope if the answer has no confidence.
        """
        try:
            classify = partial(self._predictor.classify_pixels, image, tags=tags)
            prediction = await to_thread.run_sync(classify)
        except ModelUnusable as error:
            self._stop()
            raise InferenceFailed(str(error)) from error
        if not prediction.is_number:
            raise InferenceFailed(NOT_A_NUMBER)
        return self.scope.apply(prediction)

    def was_trained_on(self, image: Image) -> bool:
        """Whether the bundle says that the network has seen this input, (C, H, W)."""
        seen = self._predictor.trained_on
        return seen is not None and seen.seen([image]) > 0

    def retire(self) -> None:
        """Stop once no request holds a lease."""
        self._retired = True
        self._metrics.unload()
        self._close_if_unused()

    def join(self, timeout_s: float) -> bool:
        """Wait, after `retire`, for the inference thread to end; return whether it has."""
        return self._batcher.join(timeout_s)

    def _queue_soon(self) -> None:
        self._loop.call_soon(self._queue_arrived)

    def _queue_arrived(self) -> None:
        self._batcher.submit(*self._arrived)
        self._arrived.clear()

    def _close_if_unused(self) -> None:
        if self._retired and self._leases == 0:
            self._queue_arrived()
            self._batcher.close()

    def _infer(self, requests: list[PendingRequest]) -> None:
        """Stage 1, in the inference thread."""
        started_s = time.perf_counter()
        images = stacked(requests)
        found = self._predictor.infer(images, overdue=self._stop_soon)
        tags = [each.tags for each in requests]
        probabilities = self._calibrators.calibrate(found.probabilities, tags)
        ended_s = time.perf_counter()
        for request in requests:
            request.inference = (started_s, ended_s)
        answers, rows = self._rows.of_batch(requests, probabilities, found.scope_of_each())
        batch = FinishedBatch(requests, answers, ended_s - started_s)
        if self._recorder is None or not rows:
            self._hand_over(batch, None)
        else:
            inputs = self._measure(images, answers, rows[0]) if self.card.input_reference else None
            self._recorder.record(rows, partial(self._hand_over, batch), inputs=inputs)

    def _measure(
        self, images: npt.NDArray[np.uint8], answers: list[Any | None], row: PredictionRow
    ) -> InputSums:
        """Sums of the images that got an answer: brightness, and how many training has seen."""
        answered = (
            images if None not in answers else images[[answer is not None for answer in answers]]
        )
        seen = self._predictor.trained_on
        trained_on = 0 if seen is None else seen.seen(answered)
        self._metrics.trained_on.inc(trained_on)
        day = row.served_at_ns // DAY_NS
        measured = brightness(answered)
        return input_sums(row.watched_version_id, day, measured, trained_on=trained_on)

    def _hand_over(self, batch: FinishedBatch, error: BaseException | None) -> None:
        """End of stage 2, in the recorder's thread: one hop to the loop for the batch."""
        if error is None:
            self._loop.call_soon_threadsafe(self._deliver, batch)
        else:
            if not isinstance(error, LedgerAway):  # one line at its begin and end is enough
                logger.error(
                    "ledger failed",
                    extra={"fields": {"images": len(batch.requests), "reason": str(error)}},
                )
            failure = LedgerFailed(
                "the prediction could not be written to the ledger, so it is withheld; try again "
                "later."
            )
            self._loop.call_soon_threadsafe(self._deliver_error, batch.requests, failure)

    def _deliver(self, batch: FinishedBatch) -> None:
        """Stage 3, on the event loop."""
        now_s = time.perf_counter()
        for request, answer in zip(batch.requests, batch.answers, strict=True):
            if request.answer.done():
                continue
            if answer is None:
                self.counts.failed += 1
                request.answer.set_exception(InferenceFailed(NOT_A_NUMBER))
            else:
                self.counts.answered += 1
                if isinstance(answer, OutOfScope):
                    request.answer.set_exception(answer)
                else:
                    request.answer.set_result(answer)
                if self._pictures is not None and request.shadow_of is None:
                    self._pictures.offer(request.given_id, request.image)
        self.load.delivered(len(batch.requests), arrived_s=batch.requests[0].arrived_s, now_s=now_s)
        self._metrics.observe(batch.requests, now_s=now_s, inference_s=batch.inference_s)

    def _fail(self, requests: list[PendingRequest], error: Exception) -> bool:
        """What follows an error of `_infer`: the log has the trace, the client a sentence.

        True, and no answer, if each image is to be tried alone: one may have failed the others.
        """
        stopped, says = self._predictor.stopped, "the model failed on this image; see the log."
        if len(requests) > 1 and not stopped and isinstance(error, ModelUnusable):
            return True
        self._stop_soon()
        failure = VersionStopped(self.card.name, stopped) if stopped else InferenceFailed(says)
        self._loop.call_soon_threadsafe(self._deliver_error, requests, failure)
        return False

    def _stop_soon(self) -> None:
        """`_stop`, from any thread."""
        with suppress(RuntimeError):  # the loop has ended, and with it everything
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        """If the predictor has stopped, answer what waits, even if its thread cannot be ended."""
        if self.stopped is not None or self._predictor.stopped is None:
            return
        self.stopped = f"version {self.card.version} was stopped: {self._predictor.stopped}"
        self._metrics.stop()
        fields = {"model": self.card.name, "version": self.card.version, "reason": self.stopped}
        logger.error("version stopped", extra={"fields": fields})
        waiting, self._arrived = [*self._batcher.abandon(), *self._arrived], []
        self._deliver_error(waiting, VersionStopped(self.card.name, self.stopped))

    def _deliver_error(self, requests: list[PendingRequest], error: Exception) -> None:
        """On the event loop, as all that is counted."""
        if isinstance(error, InferenceFailed):
            self.counts.failed += len(requests)
        for request in requests:
            if not request.answer.done():
                request.answer.set_exception(error)


def _log_failure(recorded: Future[None]) -> None:
    if (error := recorded.exception()) is not None:
        logger.warning(
            "the version's new role could not be recorded in the ledger",
            extra={"fields": {"reason": str(error)}},
        )
