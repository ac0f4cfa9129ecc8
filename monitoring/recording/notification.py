"""How callers learn the result of a commit: callbacks of answers, futures of labels. Runs in the
writer's thread.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Future

from monitoring.feedback.items import FeedbackResult
from monitoring.recording.queue import CommitGroup, Done

_log = logging.getLogger(__name__)


def succeed(group: CommitGroup, results: list[list[FeedbackResult]]) -> None:
    """Notify everybody who waits for a group that it is committed; `results` of each portion of
    labels.
    """
    for batch in group.batches:
        call(batch.done, None)
    for portion, result in zip(group.labels, results, strict=True):
        portion.future.set_result(result)


def fail(group: CommitGroup, error: Exception) -> None:
    """Notify everybody who waits for a group that it is not written."""
    _log.error(
        "a commit failed: %s",
        error,
        extra={"batches": len(group.batches), "labels": len(group.labels)},
    )
    for batch in group.batches:
        call(batch.done, error)
    for portion in group.labels:
        portion.future.set_exception(error)


def call(done: Done, error: Exception | None) -> None:
    """Call back; an error in the callback is logged."""
    try:
        done(error)
    except Exception:  # noqa: BLE001 somebody else's code: it must not stop the writer
        _log.exception("a callback of record() failed")


def gather(futures: Sequence[Future[list[FeedbackResult]]]) -> Future[list[FeedbackResult]]:
    """Return one future for all portions: their results in order, or the first error once all are
    done.
    """
    gathered: Future[list[FeedbackResult]] = Future()
    left = [len(futures)]

    def one_is_done(_: Future[list[FeedbackResult]]) -> None:  # called in the writer's thread alone
        left[0] -= 1
        if left[0]:
            return
        errors = [error for future in futures if (error := future.exception())]
        if errors:
            gathered.set_exception(errors[0])
        else:
            gathered.set_result([result for future in futures for result in future.result()])

    for future in futures:
        future.add_done_callback(one_is_done)
    if not futures:
        gathered.set_result([])
    return gathered
