"""Runs a shadow version on images that production has answered, at the lowest priority.

No client waits for a shadow: it skips an image if it is busy, and its errors are only counted.
"""

import asyncio
import time
from contextlib import ExitStack

from serving.inference.batcher import PendingRequest
from serving.inference.metrics import ServingMetrics
from serving.inference.served_version import ServedVersion


class ShadowRunner:
    """Passes answered requests to a shadow version. Runs on the event loop."""

    def __init__(self, metrics: ServingMetrics) -> None:
        self._skipped = metrics.shadow_skipped
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, version: ServedVersion, request: PendingRequest) -> None:
        """Let `version` compute the image of an answered request, unless it is busy."""
        if version.queue.waiting >= version.max_batch:
            self._skipped.labels(version.card.name, str(version.card.version)).inc()
            return
        # Taken now: the version may retire before the task runs, and would then never answer.
        held = ExitStack()
        held.enter_context(version.lease())
        held.enter_context(version.queue)
        task = asyncio.ensure_future(_compute(version, request, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _compute(version: ServedVersion, request: PendingRequest, held: ExitStack) -> None:
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    with held:
        version.submit(
            PendingRequest(
                *(request.image, None, time.perf_counter(), done),
                tags=request.tags,
                patient=request.patient,
                shadow_of=request.given_id,
            )
        )
        await asyncio.wait([done])
    done.exception()  # retrieves the error, which is logged and counted where it is raised
