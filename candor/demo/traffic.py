"""Images sent over HTTP, and their labels: a stream of requests, or some images once."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Self

from httpx import TransportError

from candor.demo.session import CHANGED, SITES, DemoSession
from candor.terminal.progress import bars
from serving.client import Client, RetryPolicy, ServerRefused

CONNECTIONS: Final = 8
PAUSE_S: Final = 0.1  # of a connection of the stream, between two requests


def send_test(session: DemoSession, client: Client, indices: Sequence[int]) -> list[dict[str, Any]]:
    """Send test images of the changed scanner over several connections, and then their labels."""
    images = session.test.images
    tags = {"site": CHANGED}
    answers: list[dict[str, Any]] = []
    with bars() as progress, ThreadPoolExecutor(CONNECTIONS) as pool:
        for answer in pool.map(
            lambda index: client.predict(images.encoded(index), model=session.model, tags=tags),
            indices,
        ):
            answers.append(answer)
            progress("test images", len(answers), len(indices))
    label(client, answers, session.labels(session.test, indices))
    return answers


def label(client: Client, answers: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Send the true class of each answer."""
    client.feedback(
        [
            {"prediction_id": answer["prediction_id"], "label": name}
            for answer, name in zip(answers, names, strict=True)
        ]
    )


@dataclass
class RequestStream:
    """Sends images of the unchanged site over several connections until the block ends; then their
    labels.

    Attributes:
        answers: by the index of the image of the site.
        failures: the reason of each request that was not answered.
    """

    url: str
    session: DemoSession
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def versions(self) -> Counter[int]:
        """The number of answers by version."""
        return Counter(int(answer["version"]) for _, answer in self.answers)

    def __enter__(self) -> Self:
        self._stop, count = threading.Event(), len(self.session.home)
        order = self.session.order.permutation(count).tolist()
        parts = (order[start::CONNECTIONS] for start in range(CONNECTIONS))
        self._threads = [threading.Thread(target=self._flow, args=(part,)) for part in parts]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        indices = [index for index, _ in self.answers]
        with Client(self.url) as client:
            answers = [answer for _, answer in self.answers]
            label(client, answers, self.session.labels(self.session.home, indices))

    def _flow(self, indices: Sequence[int]) -> None:
        images, tags = self.session.home.images, {"site": SITES[0]}
        # no retry: a lost request must be counted
        with Client(self.url, retry=RetryPolicy(attempts=1)) as client:
            place = 0
            while not self._stop.is_set():
                index = indices[place % len(indices)]
                place += 1
                try:
                    answer = client.predict(
                        images.encoded(index), model=self.session.model, tags=tags
                    )
                except (ServerRefused, TransportError) as error:
                    self.failures.append(str(error))
                else:
                    self.answers.append((index, answer))
                time.sleep(PAUSE_S)
