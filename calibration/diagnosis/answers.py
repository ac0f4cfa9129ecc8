"""What a diagnosis infers from: answers as arrays, in the order in which they were served."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tag:
    """One key of the callers' tags. `codes` (N,) number `names`; -1: an answer without the key."""

    codes: IntArray
    names: tuple[str, ...]

    def rows(self, index: IntArray) -> "Tag":
        return Tag(self.codes[index], self.names)


@dataclass(frozen=True)
class Answers:
    """N served answers of one version, labeled or not, oldest first.

    Attributes:
        served_s: (N,) seconds since 1970, ascending.
        confidence: (N,) of the predicted class, in [0, 1].
        predicted: (N,) codes of `classes`.
        correct: (N,) 1 right, 0 wrong, -1 without a label; by the current label.
        classes: names of the K classes.
        tags: by key.
        patient: (N,) codes of patients, -1 where unknown; None if no answer has one.
        drawn: (N,) whether the answer was drawn at random to be labeled; None without an audit.
        first_correct: (N,) as `correct`, by the first label; None if none has been corrected.
        probabilities: (N, K) as served; None if unknown. Remedies and the case mix need them.
        label: (N,) codes of the true class, -1 without a label; None if unknown.
        class_shares: (K,) shares of the true classes in the card's data; None if unknown:
            then labels before an error stand for them.
        source: of each label; None if unknown.
        doubtful: (N,) whether the image may be out of scope; None without a scope check.
        unread: how many more of that time have no label, and are not among these.
    """

    served_s: FloatArray
    confidence: FloatArray
    predicted: IntArray
    correct: IntArray
    classes: tuple[str, ...]
    tags: Mapping[str, Tag] = field(default_factory=dict)
    patient: IntArray | None = None
    drawn: BoolArray | None = None
    first_correct: IntArray | None = None
    probabilities: FloatArray | None = None
    label: IntArray | None = None
    class_shares: FloatArray | None = None
    source: Tag | None = None
    doubtful: BoolArray | None = None
    unread: int = 0

    def __post_init__(self) -> None:
        for name in ("confidence", "predicted", "correct", *_OPTIONAL):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.served_s):
                raise ValueError(f"{name} has {len(given)} rows, served_s {len(self.served_s)}")

    def __len__(self) -> int:
        return len(self.served_s)

    def rows(self, index: IntArray) -> "Answers":
        arrays = {
            each.name: getattr(self, each.name)[index]
            for each in fields(self)
            if isinstance(getattr(self, each.name), np.ndarray) and each.name != "class_shares"
        }
        tags = {key: tag.rows(index) for key, tag in self.tags.items()}
        source = None if self.source is None else self.source.rows(index)
        return replace(self, tags=tags, source=source, **arrays)

    def labeled(self) -> "Answers":
        return self.rows(np.flatnonzero(self.correct >= 0))


_OPTIONAL = ("patient", "drawn", "first_correct", "probabilities", "label", "doubtful")
