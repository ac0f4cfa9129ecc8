"""`Retries`: a request with an idempotency key is answered once. Whoever repeats it gets the
recorded answer, without inference and without a second row in the ledger.

The last bytes of such an answer's id are a hash of key and image. So the ledger needs no column for
it, and another image under the same key never gets the answer of the first.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from monitoring.errors import RecorderClosed
from monitoring.ledger.predictions import PredictionRow
from monitoring.recording.recorder import Recorder
from serving.inference.batcher import AnswerWriter, Image, PendingRequest

RECENT: Final = 1024  # answers that are repeated from memory, also while the ledger is away
RETRY_S: Final = 600.0  # for which retries go to the version that answered first
MARK_BYTES: Final = 7

_Recorded: TypeAlias = tuple[bytes, list[PredictionRow]]  # the id of an image, and its rows


class IdempotencyKey(NamedTuple):
    """A key, and whether the client says that it never sent it before: then nobody has recorded an
    answer under it, and the ledger is not asked.
    """

    text: str
    fresh: bool = False


def mark_of(key: str, image: Image) -> bytes:
    """The hash of a key and an image, (C, H, W)."""
    digest = blake2b(np.ascontiguousarray(image).data, digest_size=MARK_BYTES)
    digest.update(key.encode())
    return digest.digest()


class Retries:
    """The answers of one version by their idempotency keys. On the event loop.

    `again` gives the answer of an image by its id and rows, None if some are missing; `lease` keeps
    the version alive.
    """

    def __init__(
        self,
        recorder: Recorder | None,
        watched_version_ids: Sequence[int],
        *,
        again: Callable[[bytes, list[PredictionRow], AnswerWriter | None], Any | None],
        lease: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._recorder, self._watched_version_ids = recorder, watched_version_ids
        self._again, self._lease = again, lease
        self._recent: dict[tuple[Any, ...], asyncio.Task[Any]] = {}
        self._of_keys: dict[str, tuple[asyncio.Task[Any], float]] = {}  # an answer, and since when
        self._asked: dict[str, asyncio.Future[list[_Recorded]]] = {}  # by request id
        self._turn = asyncio.Lock()  # one look into the ledger at a time

    def knows(self, key: str) -> bool:
        """Whether a request with this key was answered in the last RETRY_S, or waits for it. A key
        that is used again and again does not stay with a version that was replaced.
        """
        since_s = time.monotonic() - RETRY_S
        known = (self._of_keys.get(key), self._of_keys.get(f"{key}/0"))
        return any(each and each[1] > since_s and not _failed(each[0]) for each in known)

    async def once(
        self, key: IdempotencyKey, request: PendingRequest, infer: Callable[[], Awaitable[Any]]
    ) -> Any:
        """The recorded answer to `request`, or that of `infer`, which equal requests share."""
        request.mark = mark_of(key.text, request.image)
        known = (request.mark, request.request_id, type(request.writer))
        answer = self._recent.get(known)
        if answer is None or _failed(answer):
            answer = asyncio.ensure_future(self._first(request, infer, fresh=key.fresh))
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._recent[known] = answer
            if not self.knows(key.text):
                self._of_keys[key.text] = answer, time.monotonic()
            _forget_oldest(self._recent)
            _forget_oldest(self._of_keys)
        return await asyncio.shield(answer)  # a client that goes leaves the others their answer

    async def _first(
        self, request: PendingRequest, infer: Callable[[], Awaitable[Any]], *, fresh: bool
    ) -> Any:
        with self._lease():
            for image_id, rows in [] if fresh else await self._images(request):
                if image_id.endswith(request.mark):
                    answer = self._again(image_id, rows, request.writer)
                    if isinstance(answer, Exception):
                        raise answer
                    if answer is not None:
                        return answer
            return await infer()

    async def _images(self, request: PendingRequest) -> list[_Recorded]:
        """Its recorded answers. Ids that come during one look into the ledger share the next."""
        if self._recorder is None or request.request_id is None:
            return []
        new = asyncio.get_running_loop().create_future()
        rows = self._asked.setdefault(request.request_id, new)
        async with self._turn:
            if not rows.done():
                await self._look_up(self._recorder)
        return rows.result()

    async def _look_up(self, recorder: Recorder) -> None:
        asked, self._asked = self._asked, {}
        found: dict[bytes, list[PredictionRow]] = {}
        try:
            wanted = recorder.recorded(self._watched_version_ids, [*asked])
            found = await asyncio.wrap_future(wanted)
        except (SQLAlchemyError, RecorderClosed):
            pass  # what records the new answers meets the same, and decides what follows
        finally:
            by_id: dict[str | None, list[_Recorded]] = defaultdict(list)
            for image_id, of_image in found.items():
                by_id[of_image[0].request_id].append((image_id, of_image))
            for request_id, rows in asked.items():
                rows.set_result(by_id[request_id])


def _failed(answer: "asyncio.Task[Any]") -> bool:
    return answer.done() and (answer.cancelled() or answer.exception() is not None)


def _forget_oldest(answers: dict[Any, Any]) -> None:
    if len(answers) > RECENT:
        del answers[next(iter(answers))]
