"""Answers of an imaginary model as a stranger would log them: calibrated by construction.

Each true class is drawn from the probabilities. What a scene changes afterwards is what a diagnosis
has to find.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

DAY_S = 86_400.0
Rows = npt.NDArray[np.bool_]


@dataclass
class World:
    """N answers of a model, oldest first.

    Attributes:
        probabilities: (N, K) as served; `truth`: (N,) true classes.
        served_s: (N,) seconds since 1970; `tags`: (N,) values by key; None: no such tag.
        labeled: (N,) whether a label is sent; `reported`: (N,) the class that it says.
        columns: more columns of the log by name, (N,) each; None leaves a cell out.
        ids: request ids; None: numbers.
        later: labels that are sent afterwards: rows, classes and their source.
    """

    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    truth: npt.NDArray[np.int64]
    served_s: npt.NDArray[np.float64]
    random: np.random.Generator
    tags: dict[str, npt.NDArray[np.object_]] = field(default_factory=dict)
    columns: dict[str, Sequence[Any]] = field(default_factory=dict)
    later: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], str | None]] = field(
        default_factory=list
    )
    is_full: bool = True
    ids: list[str] | None = None

    def __post_init__(self) -> None:
        self.labeled: Rows = np.ones(len(self.truth), bool)
        self.reported = self.truth.copy()

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """(N,) the classes that the model names."""
        return self.probabilities.argmax(axis=1)

    @property
    def right(self) -> Rows:
        """(N,) whether they are true."""
        return np.asarray(self.predicted == self.truth)

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """(N,) of the class named."""
        return self.probabilities.max(axis=1)

    def day(self) -> npt.NDArray[np.float64]:
        """(N,) days since the first answer."""
        return (self.served_s - self.served_s[0]) / DAY_S

    def at(self, key: str, *values: str) -> Rows:
        """(N,) answers with one of these values."""
        return np.isin(self.tags[key].astype(str), values)

    def tag(self, key: str, values: Sequence[str], shares: Sequence[float] | None = None) -> None:
        """Give each answer a value."""
        drawn = self.random.choice(np.asarray(values, object), len(self.truth), p=shares)
        self.tags[key] = drawn

    def sharpen(self, rows: Rows, factor: float) -> None:
        """Make the model too sure (over 1) or too modest, without changing what it names."""
        bent = self.probabilities[rows] ** factor
        self.probabilities[rows] = bent / bent.sum(axis=1, keepdims=True)

    def spoil(self, rows: Rows, share: float) -> None:
        """Make a share of the answers wrong, whatever their confidence."""
        hit = np.flatnonzero(rows & (self.random.random(len(rows)) < share))
        move = self.random.integers(1, len(self.classes), len(hit))
        self.truth[hit] = (self.predicted[hit] + move) % len(self.classes)
        self.reported = self.truth.copy()

    def rows(self, model: str) -> list[dict[str, Any]]:
        """The rows of the log."""
        return [self._row(model, each) for each in range(len(self.truth))]

    def _row(self, model: str, number: int) -> dict[str, Any]:
        p = self.probabilities[number]
        name = f"{model}-{number:06d}" if self.ids is None else f"{model}-{self.ids[number]}"
        row: dict[str, Any] = {"request_id": name, "model": model, "version": 1}
        if self.is_full:
            row["probabilities"] = (p / p.sum()).tolist()
        else:
            row |= {"predicted": self.classes[int(p.argmax())], "confidence": float(p.max())}
        row["served_at"] = np.datetime64(int(self.served_s[number] * 1e3), "ms").item().isoformat()
        row["served_at"] += "Z"
        tags = {key: values[number] for key, values in self.tags.items() if values[number]}
        if tags:
            row["tags"] = tags
        row |= {
            key: values[number]
            for key, values in self.columns.items()
            if values[number] is not None and (key != "source" or self.labeled[number])
        }
        if self.labeled[number]:
            row["label"] = self.classes[int(self.reported[number])]
        return row


def make_world(
    seed: int,
    n: int = 5_000,
    *,
    classes: int = 3,
    days: float = 60,
    ended_days_ago: float = 0.1,
    sureness: float = 2.0,
    prior: Sequence[float] | None = None,
    now_s: float | None = None,
) -> World:
    """Make a calibrated world. `sureness`: spread of the logits; `prior`: shares of the classes.

    It ends now, or at `now_s`; figures by day depend on the time of day.
    """
    random = np.random.default_rng(seed)
    logits = random.normal(0, sureness, (n, classes))
    if prior is not None:
        logits += np.log(prior)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    truth = (random.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    end = (now_s or time.time()) - ended_days_ago * DAY_S
    served_s = np.sort(random.uniform(end - days * DAY_S, end, n))
    return World(tuple(f"c{i}" for i in range(classes)), p, truth, served_s, random)
