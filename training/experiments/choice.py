"""The choice of a method by validation alone: the lowest ECE among methods that keep accuracy and
likelihood.

Calibrators are cross-fitted: fitted on one half of validation and measured on the other, in both
directions, since a calibrator looks too good on the data that it was fitted on. The choice is
repeated on resampled seeds and validation images, the same images for every candidate, which shows
how certain it is. Test is only reported afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.bins import BIN_COUNT, bin_index
from calibration.calibrators.protocol import Calibrator
from calibration.measures.metrics import of_true_class, top_label
from training.evaluation.evaluation import Predictions
from training.experiments.cell import CellResult
from training.experiments.summary import BASELINE, calibrators_of

RESAMPLES = 200
EvaluationSet = Literal["val", "perturbed"]


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


@dataclass(frozen=True)
class Choice:
    """The chosen candidate, the score of every candidate, and the share of resamples that choose
    each.
    """

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

    def figures(self, weights: NDArray[np.int64]) -> tuple[float, float, float]:
        """ECE, accuracy and NLL if each image counts `weights` (N,) times."""
        total = weights.sum()
        errors = np.bincount(self.bins, weights=weights * self.excess, minlength=BIN_COUNT)
        return (
            float(np.abs(errors).sum() / total),
            float(weights @ self.correct / total),
            float(weights @ self.nll / total),
        )


def choose(
    results: Sequence[CellResult],
    *,
    limits: Limits | None = None,
    evaluation_set: EvaluationSet = "val",
    seed: int = 0,
) -> Choice:
    """Choose among the methods of `results`, all on one data set and network, cross-entropy among
    them.

    Candidates are measured on `evaluation_set`: validation images, or perturbed ones if the results
    have them. Raises ValueError if cross-entropy or the evaluation set is missing.
    """
    limits = limits or Limits()
    answers = _answers(results, evaluation_set)
    if BASELINE not in answers:
        raise ValueError(
            f"the comparison needs cross-entropy (ce); got {sorted({each[0] for each in answers})}"
        )
    count, seeds = (
        len(next(iter(answers.values()))[0].bins),
        min(len(each) for each in answers.values()),
    )
    scores = _scores(answers, np.ones(count, np.int64), range(seeds), limits)
    generator = np.random.default_rng(seed)
    won: dict[Candidate, int] = dict.fromkeys(answers, 0)
    for _ in range(RESAMPLES):
        weights = np.bincount(generator.integers(count, size=count), minlength=count)
        drawn = generator.integers(seeds, size=seeds)
        won[_best(_scores(answers, weights, drawn.tolist(), limits))] += 1
    return Choice(_best(scores), scores, {each: times / RESAMPLES for each, times in won.items()})


def crossfit(
    kind: type[Calibrator], known: Predictions, *, fitted_on: Predictions | None = None
) -> NDArray[np.float64]:
    """Probabilities (N, K) of a calibrator, fitted on one half of the images and applied to the
    other, both ways.

    `fitted_on` are other predictions for the same images to fit on. Either may repeat the whole set
    of images several times; all copies of an image are in the same half.
    """
    other = fitted_on or known
    images = min(len(known.labels), len(other.labels))
    halves = np.empty(images, np.int64)
    for label in np.unique(
        known.labels[:images]
    ):  # both halves have every class that has two images
        members = np.flatnonzero(known.labels[:images] == label)
        halves[members] = np.arange(len(members)) % 2
    measured, fitting = (np.tile(halves, len(each.labels) // images) for each in (known, other))
    probabilities = np.empty(known.logits.shape)
    for half in (0, 1):
        fitted = kind.fit(other.logits[fitting != half], other.labels[fitting != half])
        probabilities[measured == half] = fitted(known.logits[measured == half])
    return probabilities


def _answers(
    results: Sequence[CellResult], evaluation_set: EvaluationSet
) -> dict[Candidate, list[_Answers]]:
    """Answers by candidate in the order of seeds; a method that failed with a seed is not a
    candidate.
    """
    if any(evaluation_set not in result.predictions for result in results if not result.failure):
        raise ValueError(
            f"not every run has predictions of {evaluation_set} images; add perturbed=true to the "
            "data set"
        )
    failed = {result.cell.method for result in results if result.failure}
    answers: dict[Candidate, list[_Answers]] = {}
    for result in sorted(results, key=lambda each: each.cell.config.seed):
        if result.cell.method in failed:
            continue
        known = result.predictions[evaluation_set]
        for name, (kind, fitted_on) in calibrators_of(result).items():
            probabilities = crossfit(kind, known, fitted_on=fitted_on)
            answers.setdefault(Candidate(result.cell.method, name), []).append(
                _answer(probabilities, known.labels)
            )
    return answers


def _answer(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> _Answers:
    confidence, predicted = top_label(probabilities)
    correct = (predicted == labels).astype(np.float64)
    nll = -np.log(np.maximum(of_true_class(probabilities, labels), np.finfo(np.float64).tiny))
    return _Answers(bin_index(confidence), correct - confidence, correct, nll)


def _scores(
    answers: dict[Candidate, list[_Answers]],
    weights: NDArray[np.int64],
    seeds: Sequence[int],
    limits: Limits,
) -> dict[Candidate, Score]:
    means = {
        candidate: np.mean([known[index].figures(weights) for index in seeds], axis=0)
        for candidate, known in answers.items()
    }
    _, base_accuracy, base_nll = means[Candidate(*BASELINE)]
    return {
        candidate: Score(
            float(ece),
            float(accuracy),
            float(nll),
            limits.admit(float(accuracy), float(nll), float(base_accuracy), float(base_nll)),
        )
        for candidate, (ece, accuracy, nll) in means.items()
    }


def _best(scores: dict[Candidate, Score]) -> Candidate:
    """The admissible candidate of lowest ECE, rounded to .001, then lowest NLL. The baseline is
    always admissible.
    """
    admissible = {candidate: score for candidate, score in scores.items() if score.admissible}
    return min(
        admissible,
        key=lambda candidate: (round(admissible[candidate].ece, 3), admissible[candidate].nll),
    )
