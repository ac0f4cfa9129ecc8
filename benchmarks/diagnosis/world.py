"""Served answers of a model that is calibrated until a scene says otherwise.

A true class y has the features x_k = sharpness [k = y] + N(0, 1). The served probabilities are the
exact posterior of y under the card's class shares, so they are calibrated while these shares hold.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibration.diagnosis.answers import Answers, Tag

DAY_S = 86_400.0
Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass
class World:
    """N answers in served order over 100 days; scenes change what is true of them.

    `right` (N,): P(right); `luck` (N,): an answer is right where it is below `right`.
    """

    rng: np.random.Generator
    probabilities: Array
    truth: Codes
    shares: Array
    served_s: Array
    right: Array
    luck: Array
    tags: dict[str, Tag] = field(default_factory=dict)
    patient: Codes | None = None
    drawn: Mask | None = None
    labeled: Mask | None = None
    first: Mask | None = None
    noise: Array | None = None
    touched: Mask | None = None

    @property
    def n(self) -> int:
        return len(self.served_s)

    @property
    def predicted(self) -> Codes:
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def confidence(self) -> Array:
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def site(self) -> Codes:
        """The codes of the tag `site`."""
        return self.tags["site"].codes

    def after(self, share: float) -> Mask:
        """The answers after this share of the time."""
        return self.served_s >= self.time(share)

    def time(self, share: float) -> float:
        return share * 100 * DAY_S

    def tag(self, key: str, values: int, weights: Array | None = None) -> Codes:
        """Give answers a tag at random; returns its codes."""
        codes = self.rng.choice(values, self.n, p=weights)
        self.tags[key] = Tag(codes, tuple(f"{key}{value}" for value in range(values)))
        return codes

    def shift(self, mask: Mask, by: Array | float) -> None:
        """Move the log-odds of being right by `by` where `mask`."""
        z = np.log(self.right) - np.log1p(-self.right)
        self.right = np.where(mask, 1 / (1 + np.exp(-(z + by))), self.right)
        self.touch(mask)

    def touch(self, mask: Mask) -> None:
        """These labels no longer follow the true class, but `right`."""
        self.touched = mask if self.touched is None else self.touched | mask

    def answers(self) -> Answers:
        """The answers as the inference gets them."""
        label = self.labels()
        correct = (label == self.predicted).astype(np.int64)
        unlabeled = np.zeros(self.n, bool) if self.labeled is None else ~self.labeled
        first = None if self.first is None else np.where(unlabeled, -1, self.first)
        return Answers(
            self.served_s,
            self.confidence,
            self.predicted,
            np.where(unlabeled, -1, correct),
            tuple(f"c{k}" for k in range(self.probabilities.shape[1])),
            self.tags,
            self.patient,
            self.drawn,
            first,
            self.probabilities,
            np.where(unlabeled, -1, label),
            self.shares,
        )

    def labels(self) -> Codes:
        """The labels: the true class, what `right` says where touched, and the readers' noise."""
        label = self.truth.copy()
        touched = np.zeros(self.n, bool) if self.touched is None else self.touched
        label[touched] = np.where(self.luck < self.right, self.predicted, self._other())[touched]
        if self.noise is not None:
            wrong = self.rng.random(self.n) < self.noise
            k = self.probabilities.shape[1]
            label = np.where(wrong, (label + self.rng.integers(1, k, self.n)) % k, label)
        return label

    def _other(self) -> Codes:
        """A class that was not predicted, by its probability."""
        left = self.probabilities.copy()
        left[np.arange(self.n), self.predicted] = 0
        left = (left + 1e-12).cumsum(axis=1)
        return np.asarray((left < self.rng.random((self.n, 1)) * left[:, -1:]).sum(axis=1))


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
    truth = (live.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, classes - 1)
    x = rng.normal(size=(n, classes))
    x[np.arange(n), truth] += sharpness
    z = np.log(shares) + sharpness * x
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    served = np.sort(rng.random(n)) * 100 * DAY_S if times is None else times
    top = p.max(axis=1).clip(1e-6, 1 - 1e-6)
    right = p.argmax(axis=1) == truth
    # consistent with the truth: below P(right) exactly where the answer is right
    luck = np.where(right, rng.random(n) * top, top + rng.random(n) * (1 - top))
    return World(rng, p, truth, shares, served, top, luck)


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
        w.probabilities, w.truth, w.right = w.probabilities[head], w.truth[head], w.right[head]
    w.touch(np.ones(w.n, bool))
    w.patient = code if known else None
