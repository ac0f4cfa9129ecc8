"""What a diagnosis infers from: answers as arrays, in the order in which they were served,
and the windows in which an error may have begun and ended, on blocks of the labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final

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
        source, reader: of each label; None if unknown.
        second: (N,) 1 where another reader says the same as the label, 0 where another class, -1
            without a second reading; None if there is none.
        doubtful: (N,) whether the image may be out of scope; None without a scope check.
        unread: how many more of that time (in an audit, drawn ones) have no label, and are not
            among these.
        of_one: whether all claim the same, as those about a finding do: a bias changes no class.
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
    reader: Tag | None = None
    second: IntArray | None = None
    doubtful: BoolArray | None = None
    unread: int = 0
    of_one: bool = False

    def __len__(self) -> int:
        return len(self.served_s)

    @property
    def as_labeled(self) -> IntArray:
        """As `correct` (N,), by the first label of those that were corrected."""
        first = self.first_correct
        return self.correct if first is None else np.where(first >= 0, first, self.correct)

    def rows(self, index: IntArray) -> "Answers":
        arrays = {
            each.name: getattr(self, each.name)[index]
            for each in fields(self)
            if isinstance(getattr(self, each.name), np.ndarray) and each.name != "class_shares"
        }
        tags = {key: tag.rows(index) for key, tag in self.tags.items()}
        source, reader = (each and each.rows(index) for each in (self.source, self.reader))
        return replace(self, tags=tags, source=source, reader=reader, **arrays)

    def labeled(self) -> "Answers":
        return self.rows(np.flatnonzero(self.correct >= 0))


BLOCKS: Final = 26
_EQUAL = 24  # the newest of these is cut in three, since what began lately matters most
_CUTS = np.append(np.arange(_EQUAL) / _EQUAL, [1 - 0.5 / _EQUAL, 1 - 0.2 / _EQUAL])

_PAIRS = [(begin, end) for end in range(1, BLOCKS + 1) for begin in range(end)]
BEGIN: Final = np.array([begin for begin, _ in _PAIRS])
END: Final = np.array([end for _, end in _PAIRS])
OPEN: Final = END == BLOCKS
# from the first label 1/4; begun later and still open 9/20; closed again 3/10
PRIOR: Final = np.log(
    np.where(OPEN, np.where(BEGIN == 0, 0.25, 0.45 / (BLOCKS - 1)), 0.3 / (~OPEN).sum())
)


def blocks_of(n: int) -> IntArray:
    """Number of the block of each of n labels, ascending."""
    return np.searchsorted(_CUTS, np.arange(n) / max(n, 1), side="right") - 1


def window_sums(values: FloatArray) -> FloatArray:
    """Sums (groups, windows, ...) of `values` (groups, BLOCKS, ...) over each window.

    >>> window_sums(np.ones((1, BLOCKS)))[0, (BEGIN == 2) & (END == 5)]
    array([3.])
    """
    running = np.concatenate([np.zeros_like(values[:, :1]), values.cumsum(axis=1)], axis=1)
    return np.asarray(running[:, END] - running[:, BEGIN])


def most_in_a_row(values: FloatArray) -> FloatArray:
    """Largest sum of consecutive blocks (groups, ...) of `values` (groups, BLOCKS, ...)."""
    running = np.concatenate([np.zeros_like(values[:, :1]), values.cumsum(axis=1)], axis=1)
    return np.asarray((running - np.minimum.accumulate(running, axis=1)).max(axis=1))
