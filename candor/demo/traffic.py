"""Images and labels sent over HTTP: a split once, or a stream of requests."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from httpx import TransportError

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from candor.demo.session import DemoSession
from candor.terminal.progress import bars
from serving.client import Client, RetryPolicy, ServerRefused
from training.datasets import Split, SplitName

CONNECTIONS = 8
LABELS_AT_ONCE = 16


@dataclass(frozen=True)
class SentImages:
    """Images and the answers to them, in the order in which they were sent.

    Attributes:
        indices: positions of the images in their split.
        answers: the server's, parsed from JSON.
        labels: the true classes by name.
    """

    indices: list[int]
    answers: list[dict[str, Any]]
    labels: list[str]

    @property
    def prediction_ids(self) -> list[str]:
        """The id of each answer."""
        return [answer["prediction_id"] for answer in self.answers]

    def __add__(self, later: "SentImages") -> "SentImages":
        return SentImages(
            self.indices + later.indices, self.answers + later.answers, self.labels + later.labels
        )

    def sums(self) -> BinSums:
        """Return the confidence bins of these answers."""
        confidence = [answer["confidence"] for answer in self.answers]
        pairs = zip(self.answers, self.labels, strict=True)
        return BinSums.from_predictions(
            confidence, [answer["predicted"] == name for answer, name in pairs]
        )

    def measures(self) -> dict[str, float | None]:
        """Return the measures of these answers alone."""
        names = list(self.answers[0]["probabilities"])
        p = [list(answer["probabilities"].values()) for answer in self.answers]
        labels = [names.index(label) for label in self.labels]
        return Measures.from_probabilities(p, labels).as_dict()


def send_split(
    session: DemoSession, client: Client, name: SplitName, indices: list[int]
) -> SentImages:
    """Send images of a split, as their files or as PNG, over several connections."""
    split, classes = session.dataset.splits[name], session.dataset.classes
    answers: list[dict[str, Any]] = []
    with bars() as progress, ThreadPoolExecutor(CONNECTIONS) as pool:
        for answer in pool.map(
            lambda index: client.predict(split.images.encoded(index), model=session.model), indices
        ):
            answers.append(answer)
            progress(f"{name} images", len(answers), len(indices))
    return SentImages(indices, answers, [classes[split.labels[index]] for index in indices])


def label_answers(client: Client, sent: SentImages, *, stage: str) -> Counter[str]:
    """Send the true label of each answer, a few at a time as in practice; count the statuses."""
    statuses: Counter[str] = Counter()
    pairs = list(zip(sent.prediction_ids, sent.labels, strict=True))
    with bars() as progress:
        for start in range(0, len(pairs), LABELS_AT_ONCE):
            items = [
                {"prediction_id": key, "label": name}
                for key, name in pairs[start : start + LABELS_AT_ONCE]
            ]
            statuses.update(result["status"] for result in client.feedback(items))
            progress(stage, min(start + LABELS_AT_ONCE, len(pairs)), len(pairs))
    return statuses


@dataclass
class RequestStream:
    """Sends random images of a split over several connections until the block ends.

    Attributes:
        versions: number of answers by version.
        failures: the reason of each request that was not answered.
    """

    url: str
    model: str
    split: Split
    versions: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._flow, args=(seed,)) for seed in range(CONNECTIONS)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _flow(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        # no retry: a lost request must be counted
        with Client(self.url, retry=RetryPolicy(attempts=1)) as client:
            while not self._stop.is_set():
                image = self.split.images.encoded(int(generator.integers(len(self.split.labels))))
                try:
                    version = int(client.predict(image, model=self.model)["version"])
                except (ServerRefused, TransportError) as error:
                    with self._lock:
                        self.failures.append(str(error))
                else:
                    with self._lock:
                        self.versions[version] += 1
