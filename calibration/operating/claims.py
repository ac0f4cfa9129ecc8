"""What answers say about one class or finding, and what labels say."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from calibration.bins import FloatArray, IntArray, bin_index
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.operating.facts import RateName

CLAIMS = 16  # classes at most
_BINS = 5
_COVERED = 0.95  # of the answers served: kinds without a label say nothing


@dataclass(frozen=True)
class BinaryClaim:
    """One class against the others, or the presence of a finding, in N answers.

    Attributes:
        of: the class, or `present`.
        said: (N,) whether the answer says it.
        true: (N,) whether the label does; False without a label.
        score: (N,) its probability; None if that is not known.
        threshold: of the score, from which it is said; None: where it is the most probable of more
            than two.
    """

    of: str
    said: BoolArray
    true: BoolArray
    score: FloatArray | None
    threshold: float | None

    def rows(self, index: IntArray) -> "BinaryClaim":
        score = None if self.score is None else self.score[index]
        return replace(self, said=self.said[index], true=self.true[index], score=score)

    def cases(self, name: RateName) -> tuple[BoolArray, BoolArray]:
        """Which labeled answers (N,) tell a rate, and of which it is the share."""
        return {
            RateName.SENSITIVITY: (self.true, self.said),
            RateName.SPECIFICITY: (~self.true, ~self.said),
            RateName.PPV: (self.said, self.true),
        }[name]

    @cached_property
    def _kind(self) -> IntArray:
        score = self.said.astype(np.float64) if self.score is None else self.score
        return self.said * _BINS + bin_index(score, _BINS)

    def weights(self, rows: BoolArray, labeled: BoolArray) -> FloatArray | None:
        """Answers per label (N,) among those alike: said alike, with a score in the same fifth.

        0 without a label or outside `rows` (N,); None if too many answers have no label like them.
        """
        kind = self._kind
        served = np.bincount(kind[rows], minlength=2 * _BINS)
        known = np.bincount(kind[rows & labeled], minlength=2 * _BINS)
        if served[known > 0].sum() < _COVERED * served.sum():
            return None
        return np.asarray(np.where(rows & labeled, (served / np.maximum(known, 1))[kind], 0.0))


def claims_of(answers: Answers, threshold: float | None) -> Iterator[BinaryClaim]:
    """Yield the claims: `threshold` of a finding, whose confidence is that of presence; None of
    exclusive classes, the CLAIMS with most labels.
    """
    label = np.full(len(answers), -1) if answers.label is None else answers.label
    if threshold is not None:
        present, said = answers.classes[1], answers.confidence >= threshold
        yield BinaryClaim(present, said, label == 1, answers.confidence, threshold)
        return
    count = np.bincount(label[label >= 0], minlength=len(answers.classes))
    half = 0.5 if len(answers.classes) == 2 else None
    for code in sorted(np.argsort(-count, kind="stable")[:CLAIMS].tolist()):
        score = None if answers.probabilities is None else answers.probabilities[:, code]
        said, true = answers.predicted == code, label == code
        yield BinaryClaim(answers.classes[code], said, true, score, half)
