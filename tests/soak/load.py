"""Clients that ask and label without a pause, and note what was acknowledged."""

import random
import threading
import time
from dataclasses import dataclass, field

import httpx

from tests.builders.bundles import CLASSES, encode, picture

LABELS_AT_ONCE = 7
_AWAY_S = 0.05  # a client's pause when nobody listens
_KEPT_BACK = 8  # answers that wait for their label, so that labels come late


@dataclass
class Book:
    """What the server has said it did; everything here must be in the ledger."""

    # prediction id -> label, confidence
    answers: dict[str, tuple[str, float]] = field(default_factory=dict)
    # prediction id -> the last label acknowledged
    labels: dict[str, str] = field(default_factory=dict)
    failed: int = 0  # requests that were not answered with 200
    wrong: list[str] = field(default_factory=list)  # answers that no event explains


class Load:
    """So many clients; `pause` returns when none of them has a request under way."""

    def __init__(self, url: str, *, clients: int, seed: int) -> None:
        self.book = Book()
        self._url = url
        self._running = threading.Event()
        self._ended = False
        self._guard = threading.Lock()
        self._idle = threading.Condition()
        self._busy = 0
        self._threads = [
            threading.Thread(
                target=self._work, args=(random.Random(f"{seed}:{number}"),), daemon=True
            )
            for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def resume(self) -> None:
        """Let the clients go on."""
        self._running.set()

    def await_acknowledgments(self, count: int, *, timeout_s: float = 120.0) -> None:
        """Wait for so many more answers and labels: killing an idle server tests nothing."""
        enough = self._acknowledged() + count
        give_up = time.monotonic() + timeout_s
        while self._acknowledged() < enough and time.monotonic() < give_up:
            time.sleep(0.01)

    def _acknowledged(self) -> int:
        with self._guard:
            return len(self.book.answers) + len(self.book.labels)

    def pause(self) -> None:
        """Stop the clients between two requests."""
        self._running.clear()
        with self._idle:
            self._idle.wait_for(lambda: self._busy == 0)

    def close(self) -> None:
        """End the clients."""
        self._ended = True
        self._running.set()
        for thread in self._threads:
            thread.join()

    def _work(self, rng: random.Random) -> None:
        client = httpx.Client(base_url=self._url, timeout=60)
        images = [encode(picture(rng.randrange(10**6)), "PNG") for _ in range(8)]
        waiting: list[tuple[str, str]] = []
        while not self._ended:
            self._running.wait()
            with self._idle:
                if not self._running.is_set():
                    continue
                self._busy += 1
            try:
                if len(waiting) > _KEPT_BACK:
                    self._label(client, rng, waiting)
                else:
                    self._ask(client, rng, rng.choice(images), waiting)
            except httpx.HTTPError:
                with self._guard:
                    self.book.failed += 1
                time.sleep(_AWAY_S)
            finally:
                with self._idle:
                    self._busy -= 1
                    self._idle.notify_all()
        client.close()

    def _ask(
        self, client: httpx.Client, rng: random.Random, image: bytes, waiting: list[tuple[str, str]]
    ) -> None:
        headers = {"X-Request-Id": f"scan-{rng.randrange(10**9)}"} if rng.random() < 0.3 else {}
        answer = client.post("/predictions/tiny", content=image, headers=headers)
        if not self._succeeded(answer):
            return
        said = answer.json()
        with self._guard:
            self.book.answers[said["prediction_id"]] = (said["predicted"], said["confidence"])
        waiting.append(
            (
                said["prediction_id"],
                said["predicted"] if rng.random() < 0.6 else rng.choice(CLASSES),
            )
        )

    def _label(
        self, client: httpx.Client, rng: random.Random, waiting: list[tuple[str, str]]
    ) -> None:
        """Oldest first; repeated until acknowledged, some twice or corrected later."""
        chosen = waiting[:LABELS_AT_ONCE]
        body = [{"prediction_id": key, "label": label} for key, label in chosen]
        answer = client.post("/feedback", json=body)
        if not self._succeeded(answer):
            return
        statuses = {result["status"] for result in answer.json()}
        with self._guard:
            if not statuses <= {"accepted", "unchanged", "corrected"}:
                self.book.wrong.append(answer.text)
            self.book.labels.update(chosen)
        del waiting[:LABELS_AT_ONCE]
        if rng.random() < 0.1:
            waiting.append((chosen[0][0], rng.choice(CLASSES)))

    def _succeeded(self, answer: httpx.Response) -> bool:
        if answer.status_code == 200:
            return True
        with self._guard:
            self.book.failed += 1
            if answer.status_code not in (429, 503):  # the database is away
                self.book.wrong.append(f"{answer.status_code} {answer.text}")
        time.sleep(_AWAY_S)
        return False
