"""A version in the shadow computes what another has just answered, in a thread of the lowest priority.

Nobody waits for it: an image that finds the shadow busy is left out, and what goes wrong there is only counted.
"""

import asyncio
import time

from serving.inference.batcher import Entry
from serving.inference.metrics import ServingMetrics
from serving.inference.served_version import ServedVersion


class Shadow:
    """Casts answered entries on a version in the shadow; used on the event loop."""

    def __init__(self, metrics: ServingMetrics) -> None:
        self._skipped = metrics.shadow_skipped
        self._tasks: set[asyncio.Task[None]] = set()

    def cast(self, version: ServedVersion, entry: Entry) -> None:
        """Have `version` compute the image of an answered entry, if it has time for it."""
        if version.load.waiting >= version.max_batch:
            self._skipped.labels(version.card.name, str(version.card.version)).inc()
            return
        task = asyncio.ensure_future(_compute(version, entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _compute(version: ServedVersion, entry: Entry) -> None:
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    with version.lease(), version.load:
        version.submit(Entry(entry.image, None, time.perf_counter(), done, tags=entry.tags, shadow_of=entry.given_id))
        await asyncio.wait([done])
    done.exception()  # it has been logged and counted where it was raised
