"""The choice of a method by validation alone: the lowest ECE among those that cost neither accuracy nor likelihood.

Calibrators are measured across: fitted on one half of validation and measured on the other, both ways, as one that is
measured where it was fitted looks better than it is. How sure the choice is comes from repeating it on resampled seeds
and validation images, the same images for every candidate. Test plays no part; it is shown afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.bins import BIN_COUNT, bin_index
from calibration.calibrators import Calibrator
from calibration.metrics import of_true_class, top_label
from training.evaluation.evaluation import Predictions
from training.experiments.cell import CellResult
from training.experiments.summary import BASELINE, calibrators_of

RESAMPLES = 200
EvaluationSet = Literal["val", "perturbed"]


class Candidate(NamedTuple):
    """A trained method and what is done after training."""

    method: str
    calibrator: str


@dataclass(frozen=True)
class Limits:
    """What a candidate may cost against cross-entropy alone: so much accuracy, and so large a share of its NLL."""

    accuracy_loss: float = 0.01
    nll_share: float = 0.05


@dataclass(frozen=True)
class Score:
    """Means over seeds, on validation, and whether the candidate keeps to the limits."""

    ece: float
    accuracy: float
    nll: float
    admissible: bool


@dataclass(frozen=True)
class Choice:
    """The chosen candidate, every candidate's score, and in what share of resamples each would have been chosen."""

    chosen: Candidate
    scores: dict[Candidate, Score]
    shares: dict[Candidate, float]


@dataclass(frozen=True)
class _Answers:
    """Validation of one candidate with one seed, image by image, (N,)."""

    bins: NDArray[np.int64]
    excess: NDArray[np.float64]  # correctness minus confidence
    correct: NDArray[np.float64]
    nll: NDArray[np.float64]

    def figures(self, weights: NDArray[np.int64]) -> tuple[float, float, float]:
        """ECE, accuracy and NLL with each image counted `weights` (N,) times."""
        total = weights.sum()
        errors = np.bincount(self.bins, weights=weights * self.excess, minlength=BIN_COUNT)
        return (
            float(np.abs(errors).sum() / total),
            float(weights @ self.correct / total),
            float(weights @ self.nll / total),
        )


def choose(
    outcomes: Sequence[CellResult],
    *,
    limits: Limits | None = None,
    evaluation_set: EvaluationSet = "val",
    seed: int = 0,
) -> Choice:
    """Choose among the methods of `outcomes`, all on one data set and network, cross-entropy among them.

    Candidates are measured on `evaluation_set`: validation images, or perturbed ones where the outcomes have them.
    Raises ValueError if cross-entropy or the evaluation set is missing.
    """
    limits = limits or Limits()
    answers = _answers(outcomes, evaluation_set)
    if BASELINE not in answers:
        raise ValueError(f"cross-entropy is what others are compared with; got {sorted({each[0] for each in answers})}")
    count, seeds = len(next(iter(answers.values()))[0].bins), min(len(each) for each in answers.values())
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
    """Probabilities (N, K) of a calibrator for images that it was not fitted on: each half by the other's fit.

    `fitted_on` are other predictions for the same images to fit on. Either may have every image several times over, one
    whole set after the other; an image is in one half with all its copies.
    """
    other = fitted_on or known
    images = min(len(known.labels), len(other.labels))
    halves = np.empty(images, np.int64)
    for label in np.unique(known.labels[:images]):  # both halves have every class, as far as there are two of it
        members = np.flatnonzero(known.labels[:images] == label)
        halves[members] = np.arange(len(members)) % 2
    measured, fitting = (np.tile(halves, len(each.labels) // images) for each in (known, other))
    probabilities = np.empty(known.logits.shape)
    for half in (0, 1):
        fitted = kind.fit(other.logits[fitting != half], other.labels[fitting != half])
        probabilities[measured == half] = fitted(known.logits[measured == half])
    return probabilities


def _answers(outcomes: Sequence[CellResult], evaluation_set: EvaluationSet) -> dict[Candidate, list[_Answers]]:
    """By candidate, a seed after the other; a method that failed for a seed is no candidate."""
    if any(evaluation_set not in outcome.predictions for outcome in outcomes if not outcome.failure):
        raise ValueError(
            f"not every run has predictions of {evaluation_set} images; add perturbed=true to the data set"
        )
    failed = {outcome.cell.method for outcome in outcomes if outcome.failure}
    answers: dict[Candidate, list[_Answers]] = {}
    for outcome in sorted(outcomes, key=lambda each: each.cell.config.seed):
        if outcome.cell.method in failed:
            continue
        known = outcome.predictions[evaluation_set]
        for name, (kind, fitted_on) in calibrators_of(outcome).items():
            probabilities = crossfit(kind, known, fitted_on=fitted_on)
            answers.setdefault(Candidate(outcome.cell.method, name), []).append(_answer(probabilities, known.labels))
    return answers


def _answer(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> _Answers:
    confidence, predicted = top_label(probabilities)
    correct = (predicted == labels).astype(np.float64)
    nll = -np.log(np.maximum(of_true_class(probabilities, labels), np.finfo(np.float64).tiny))
    return _Answers(bin_index(confidence), correct - confidence, correct, nll)


def _scores(
    answers: dict[Candidate, list[_Answers]], weights: NDArray[np.int64], seeds: Sequence[int], limits: Limits
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
            bool(accuracy >= base_accuracy - limits.accuracy_loss and nll <= (1 + limits.nll_share) * base_nll),
        )
        for candidate, (ece, accuracy, nll) in means.items()
    }


def _best(scores: dict[Candidate, Score]) -> Candidate:
    """The lowest ECE among the admissible, to a thousandth; then the lowest NLL. The baseline is always admissible."""
    admissible = {candidate: score for candidate, score in scores.items() if score.admissible}
    return min(admissible, key=lambda candidate: (round(admissible[candidate].ece, 3), admissible[candidate].nll))
