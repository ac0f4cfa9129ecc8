"""Served answers of a model that is calibrated until a scene says otherwise.

A true class y has the features x_k = sharpness [k = y] + N(0, 1). The served probabilities are the
exact posterior of y under the card's class shares, so they are calibrated while these shares hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.diagnosis.answers import Answers, Tag

DAY_S = 86_400.0
DAYS = 100
Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass
class World:
    """N answers in served order over 100 days; scenes change what is true of them.

    Attributes:
        probabilities: (N, K) as served; `shares`: (K,) of the true classes in the card.
        label: (N,) the class of the label; `first`: of the first label, which was corrected later.
        served_s: (N,) seconds since the first day.
        right: (N,) P(right); `luck`: an answer is right where it is below `right`.
        patient: (N,) codes, -1 where unknown; `drawn`: for the audit, with a chance of `draw`.
        labeled: (N,) whether there is a label; `source`: of each; `proxy`: a declared one.
        ids: request ids; None: numbers. `has_probabilities`: whether all are logged.
        ended_days_ago: the age of the newest answer where the answers are logged.
    """

    rng: np.random.Generator
    probabilities: Array
    label: Codes
    shares: Array
    served_s: Array
    right: Array
    luck: Array
    tags: dict[str, Tag] = field(default_factory=dict)
    patient: Codes | None = None
    drawn: Mask | None = None
    draw: float = 0.0
    first: Codes | None = None
    source: Tag | None = None
    proxy: str = ""
    ids: list[str] | None = None
    has_probabilities: bool = True
    ended_days_ago: float = 0.1

    def __post_init__(self) -> None:
        self.labeled = np.ones(self.n, bool)

    @property
    def n(self) -> int:
        return len(self.served_s)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"c{k}" for k in range(self.probabilities.shape[1]))

    @property
    def predicted(self) -> Codes:
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def confidence(self) -> Array:
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def wrong(self) -> Mask:
        """Answers that their label calls wrong."""
        return np.asarray(self.label != self.predicted)

    @property
    def site(self) -> Codes:
        """The codes of the tag `site`."""
        return self.tags["site"].codes

    def after(self, share: float) -> Mask:
        """The answers after this share of the time."""
        return self.served_s >= self.time(share)

    def time(self, share: float) -> float:
        return share * DAYS * DAY_S

    def chance(self, share: Array | float) -> Mask:
        """Answers chosen at random."""
        return np.asarray(self.rng.random(self.n) < share)

    def tag(self, key: str, values: int, weights: Array | None = None) -> Codes:
        """Give answers a tag at random; returns its codes."""
        codes = self.rng.choice(values, self.n, p=weights)
        self.tags[key] = Tag(codes, tuple(f"{key}{value}" for value in range(values)))
        return codes

    def shift(self, rows: Mask, by: Array | float) -> None:
        """Move the log-odds of being right by `by`."""
        z = np.log(self.right) - np.log1p(-self.right)
        self._relabel(rows, 1 / (1 + np.exp(-(z + by))))

    def spoil(self, rows: Mask, share: Array | float) -> None:
        """Make a share of the answers wrong, whatever their confidence."""
        self._relabel(rows, self.right * (1 - share))

    def sharpen(self, rows: Mask, factor: float) -> None:
        """Make the model too sure (over 1) or too modest, without changing what it names."""
        bent = self.probabilities[rows] ** factor
        self.probabilities[rows] = bent / bent.sum(axis=1, keepdims=True)

    def misread(self, rows: Mask) -> None:
        """Give these answers a wrong label, whatever they say."""
        k = len(self.classes)
        self.label[rows] = (self.label[rows] + self.rng.integers(1, k, int(rows.sum()))) % k

    def audit(self, chance: float) -> Mask:
        """Draw answers at random; returns which."""
        self.draw, self.drawn = chance, self.chance(chance)
        return self.drawn

    def labeled_by(self, names: tuple[str, str], second: Mask) -> None:
        """Labels are of the first source, or of the second where `second`."""
        self.source = Tag(second.astype(np.int64), names)

    def _relabel(self, rows: Mask, right: Array) -> None:
        self.right = np.where(rows, right, self.right)
        label = np.where(self.luck < self.right, self.predicted, self._other())
        self.label = np.where(rows, label, self.label)

    def _other(self) -> Codes:
        """A class that was not predicted, by its probability."""
        left = self.probabilities.copy()
        left[np.arange(self.n), self.predicted] = 0
        left = (left + 1e-12).cumsum(axis=1)
        return np.asarray((left < self.rng.random((self.n, 1)) * left[:, -1:]).sum(axis=1))

    def answers(self) -> Answers:
        """The answers as the inference gets them."""
        first = None if self.first is None else self._labels(self.first == self.predicted)
        return Answers(
            self.served_s,
            self.confidence,
            self.predicted,
            self._labels(~self.wrong),
            self.classes,
            self.tags,
            self.patient,
            self.drawn,
            first,
            self.probabilities if self.has_probabilities else None,
            self._labels(self.label),
            self.shares,
            self.source,
        )

    def _labels(self, values: Mask | Codes) -> Codes:
        return np.where(self.labeled, values, -1)

    def start_s(self, now_s: float) -> float:
        """When the first day began, if it is `now_s`."""
        return now_s - (self.ended_days_ago + DAYS) * DAY_S

    def rows(self, model: str, now_s: float) -> Iterator[dict[str, Any]]:
        """The rows of a log."""
        served = ((self.start_s(now_s) + self.served_s) * 1e3).astype("datetime64[ms]")
        sent = self.label if self.first is None else self.first
        for at in range(self.n):
            row: dict[str, Any] = {"request_id": f"{model}-{self.ids[at] if self.ids else at}"}
            row |= {"model": model, "version": 1, "served_at": f"{served[at]}Z"}
            if self.has_probabilities:
                row["probabilities"] = self.probabilities[at].tolist()
            else:
                row["predicted"] = self.classes[self.predicted[at]]
                row["confidence"] = float(self.confidence[at])
            row["tags"] = {
                key: tag.names[tag.codes[at]]
                for key, tag in self.tags.items()
                if tag.codes[at] >= 0
            }
            if self.patient is not None and self.patient[at] >= 0:
                row["patient"] = f"p{self.patient[at]}"
            if self.drawn is not None and self.drawn[at]:
                row["audit"] = self.draw
            if self.labeled[at]:
                row["label"] = self.classes[sent[at]]
                if self.source is not None:
                    row["source"] = self.source.names[self.source.codes[at]]
            yield row

    def corrections(self, model: str) -> list[dict[str, Any]]:
        """The labels that are sent later."""
        changed = [] if self.first is None else np.flatnonzero(self.first != self.label).tolist()
        return [
            {"model": model, "request_id": f"{model}-{at}", "label": self.classes[self.label[at]]}
            for at in changed
        ]


def world(
    rng: np.random.Generator,
    n: int = 5000,
    classes: int = 5,
    sharpness: float = 2.6,
    shares: Array | None = None,
    live: Array | None = None,
    times: Array | None = None,
) -> World:
    """A calibrated world. `live` (N, K) or (K,): shares of the true classes that are served."""
    shares = np.full(classes, 1 / classes) if shares is None else shares
    live = np.broadcast_to(shares if live is None else live, (n, classes))
    label = (live.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, classes - 1)
    x = rng.normal(size=(n, classes))
    x[np.arange(n), label] += sharpness
    z = np.log(shares) + sharpness * x
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    served = np.sort(rng.random(n)) * DAYS * DAY_S if times is None else times
    top = p.max(axis=1).clip(1e-6, 1 - 1e-6)
    right = p.argmax(axis=1) == label
    # consistent with the label: below P(right) exactly where the answer is right
    luck = np.where(right, rng.random(n) * top, top + rng.random(n) * (1 - top))
    return World(rng, p, label, shares, served, top, luck)


def patients(w: World, images: int, *, alike: bool, apart: bool, known: bool = True) -> None:
    """Each patient has several images whose errors are one.

    Args:
        w: changed in place.
        images: of each patient.
        alike: the images have the same probabilities; otherwise only the luck is shared.
        apart: they are spread over the whole time; otherwise served one after the other.
        known: the answers have the patient.
    """
    g = w.n // images
    code = np.arange(w.n) % g if apart else np.arange(w.n) // images
    head = np.unique(code, return_index=True)[1][code]
    w.luck = w.luck[head]
    if alike:
        w.probabilities, w.label, w.right = w.probabilities[head], w.label[head], w.right[head]
    for key, tag in w.tags.items():
        w.tags[key] = tag.rows(head)
    w.shift(np.ones(w.n, bool), 0.0)
    w.patient = code if known else None
