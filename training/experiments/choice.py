"""The choice of a method by validation alone: the lowest ECE among methods that keep accuracy and
likelihood.

Calibrators are cross-fitted, since a calibrator looks too good on the data that it was fitted on.
The choice is repeated on resampled seeds and validation images, the same images for every
candidate, which shows how certain it is. Test is only reported afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.bins import BIN_COUNT, bin_index
from calibration.measures.metrics import log_loss, top_label
from training.errors import BadChoice
from training.evaluation.calibrators import cross_fitted
from training.experiments.cell import CellResult
from training.experiments.summary import BASELINE, calibrators_of

RESAMPLES = 200
HALVES = 2  # folds of the cross-fitting


class Candidate(NamedTuple):
    """A trained method with a calibrator."""

    method: str
    calibrator: str


@dataclass(frozen=True)
class Limits:
    """What a candidate may lose against cross-entropy alone: accuracy, and NLL as a share."""

    accuracy_loss: float = 0.01
    nll_share: float = 0.05

    def admit(self, accuracy: float, nll: float, base_accuracy: float, base_nll: float) -> bool:
        """Whether a candidate loses no more than that against the baseline.

        >>> Limits().admit(0.895, 0.31, 0.9, 0.3), Limits().admit(0.885, 0.31, 0.9, 0.3)
        (True, False)
        """
        return (
            accuracy >= base_accuracy - self.accuracy_loss
            and nll <= (1 + self.nll_share) * base_nll
        )


@dataclass(frozen=True)
class Score:
    """Means over seeds on validation, and whether the candidate is within the limits."""

    ece: float
    accuracy: float
    nll: float
    admissible: bool

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Lower is better: within the limits, then by ECE to a thousandth, then by NLL."""
        return not self.admissible, round(self.ece, 3), self.nll


@dataclass(frozen=True)
class Choice:
    """The chosen candidate, all scores, and the share of resamples that choose each candidate."""

    chosen: Candidate
    scores: dict[Candidate, Score]
    shares: dict[Candidate, float]


@dataclass(frozen=True)
class _Answers:
    """Validation answers of one candidate with one seed, (N,)."""

    bins: NDArray[np.int64]
    excess: NDArray[np.float64]  # correctness minus confidence
    correct: NDArray[np.float64]
    nll: NDArray[np.float64]

    @classmethod
    def of(cls, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> "_Answers":
        confidence, predicted = top_label(probabilities)
        correct = (predicted == labels).astype(np.float64)
        losses = log_loss(probabilities, labels)
        return cls(bin_index(confidence), correct - confidence, correct, losses)

    def figures(self, weights: NDArray[np.int64]) -> tuple[float, float, float]:
        """ECE, accuracy and NLL if each image counts `weights` (N,) times."""
        total = weights.sum()
        errors = np.bincount(self.bins, weights=weights * self.excess, minlength=BIN_COUNT)
        return (
            float(np.abs(errors).sum() / total),
            float(weights @ self.correct / total),
            float(weights @ self.nll / total),
        )


def choose(results: Sequence[CellResult], *, limits: Limits | None = None, seed: int = 0) -> Choice:
    """Choose among the methods of `results`, all on one data set and network, cross-entropy among
    them; `seed` draws the resamples.

    Raises BadChoice if cross-entropy is missing.
    """
    limits = limits or Limits()
    answers = _answers(results)
    if Candidate(*BASELINE) not in answers:
        methods = ", ".join(sorted({each.method for each in answers}))
        raise BadChoice(f"the comparison needs cross-entropy (ce); got {methods or 'nothing'}")
    count = len(next(iter(answers.values()))[0].bins)
    seeds = min(len(known) for known in answers.values())
    scores = _scores(answers, np.ones(count, np.int64), range(seeds), limits)
    generator = np.random.default_rng(seed)
    won: dict[Candidate, int] = dict.fromkeys(answers, 0)
    for _ in range(RESAMPLES):
        weights = np.bincount(generator.integers(count, size=count), minlength=count)
        drawn = generator.integers(seeds, size=seeds)
        won[_best(_scores(answers, weights, drawn.tolist(), limits))] += 1
    shares = {candidate: times / RESAMPLES for candidate, times in won.items()}
    return Choice(_best(scores), scores, shares)


def _answers(results: Sequence[CellResult]) -> dict[Candidate, list[_Answers]]:
    """Answers by candidate in the order of seeds; a method that failed is no candidate."""
    failed = {result.cell.method for result in results if result.failure}
    answers: dict[Candidate, list[_Answers]] = {}
    for result in sorted(results, key=lambda result: result.cell.config.seed):
        if result.cell.method in failed:
            continue
        val = result.predictions["val"]
        for name, (kind, _) in calibrators_of(result).items():
            probabilities = cross_fitted(
                kind, val.logits, val.labels, groups=val.groups, folds=HALVES
            )
            own = answers.setdefault(Candidate(result.cell.method, name), [])
            own.append(_Answers.of(probabilities, val.labels))
    return answers


def _scores(
    answers: dict[Candidate, list[_Answers]],
    weights: NDArray[np.int64],
    seeds: Sequence[int],
    limits: Limits,
) -> dict[Candidate, Score]:
    means = {
        candidate: np.mean([known[index].figures(weights) for index in seeds], axis=0).tolist()
        for candidate, known in answers.items()
    }
    _, base_accuracy, base_nll = means[Candidate(*BASELINE)]
    return {
        candidate: Score(ece, accuracy, nll, limits.admit(accuracy, nll, base_accuracy, base_nll))
        for candidate, (ece, accuracy, nll) in means.items()
    }


def _best(scores: dict[Candidate, Score]) -> Candidate:
    """The best candidate; the baseline is always within the limits."""
    return min(scores, key=lambda candidate: scores[candidate].rank)
