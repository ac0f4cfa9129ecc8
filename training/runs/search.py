"""A short search on validation: train each candidate of a plan, and keep the one that does best.

Candidates share the backbone and its cached features and differ in what is trained on them. Each is
a fit with snapshots of its own, so an interrupted search resumes like any run, to the bit. The best
candidate answers the most classes that validation has images of; among those it has the lowest
cross-entropy on validation after a temperature fitted there. That measure does not jump by whole
images, as accuracy does, and does not depend on the loss that was minimized.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.calibrators.temperature import apply_temperature, fit_temperature
from training.errors import TrainingDiverged
from training.fitting.examples import Examples
from training.fitting.history import Epoch
from training.networks.classifier import Classifier, HeadKind
from training.runs.config import CandidateScore, TrainConfig
from training.runs.session import ExampleName, TrainingSession

MIN_IMAGES = 5  # of a class in validation; on fewer, a class that is never answered may be chance


@dataclass(frozen=True)
class TrainedCandidate:
    """A trained candidate and its score."""

    session: TrainingSession
    network: Classifier
    examples: Mapping[ExampleName, Examples]
    history: list[Epoch]
    score: CandidateScore


def rank(score: CandidateScore) -> tuple[int, float]:
    """The place of a candidate; lower is better.

    >>> rank(CandidateScore(choices={}, val_nll=0.9, val_accuracy=0.5)) < rank(
    ...     CandidateScore(choices={}, val_nll=0.1, val_accuracy=0.9, unanswered=("rare",))
    ... )
    True
    """
    return len(score.unanswered), math.inf if score.val_nll is None else score.val_nll


def search(
    session: TrainingSession,
    candidates: Sequence[TrainConfig],
    examples: Mapping[ExampleName, Examples],
    *,
    snapshot: Callable[[str], Path],
) -> tuple[TrainedCandidate, tuple[CandidateScore, ...]]:
    """Train all `candidates` on `examples`; return the best, the first of equals, and the scores of
    all.

    A candidate that diverges is out; if all do, TrainingDiverged is raised.
    """
    best: TrainedCandidate | None = None
    scores: list[CandidateScore] = []
    diverged: TrainingDiverged | None = None
    of_head: dict[HeadKind, Mapping[ExampleName, Examples]] = {}
    for number, config in enumerate(candidates):
        own = replace(
            session, config=config, stage=f"candidate {number + 1} of {len(candidates)}, "
        )
        network = own.network().to(own.execution.device)
        choices = differing(config, candidates)
        if config.head not in of_head:
            of_head[config.head] = own.for_head(examples)
        own_examples = of_head[config.head]
        try:
            history = own.fit(network, own_examples, snapshot=partial(_named, snapshot, number))
        except TrainingDiverged as error:
            diverged = error
            scores.append(CandidateScore(choices=choices, val_nll=None, val_accuracy=None))
            continue
        trained = TrainedCandidate(
            own, network, own_examples, history, _score(own, network, own_examples, choices)
        )
        scores.append(trained.score)
        if best is None or rank(trained.score) < rank(best.score):
            best = trained
    if best is None:
        raise diverged or ValueError("a search needs a candidate")
    return best, tuple(each.model_copy(update={"chosen": each is best.score}) for each in scores)


def _named(snapshot: Callable[[str], Path], number: int, name: str) -> Path:
    """The snapshot file of a fit of candidate `number`."""
    return snapshot(f"candidate-{number}-{name}")


def differing(config: TrainConfig, candidates: Sequence[TrainConfig]) -> dict[str, str | float]:
    """The choices of `config` that are not the same in all candidates."""
    plain = [each.model_dump(mode="json") for each in candidates]
    own = config.model_dump(mode="json")
    return {
        name: value for name, value in own.items() if any(each[name] != value for each in plain)
    }


def _score(
    session: TrainingSession,
    network: Classifier,
    examples: Mapping[ExampleName, Examples],
    choices: dict[str, str | float],
) -> CandidateScore:
    logits, labels = (
        session.answers(session.whole(network), examples["val"]),
        examples["val"].labels,
    )
    probabilities = apply_temperature(logits, fit_temperature(logits, labels))
    predicted = probabilities.argmax(axis=1)
    own = np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(float).tiny)
    return CandidateScore(
        choices=choices,
        val_nll=float(-np.log(own).mean()),
        val_accuracy=float((predicted == labels).mean()),
        unanswered=_unanswered(session.dataset.classes, labels, predicted),
    )


def _unanswered(
    classes: Sequence[str], labels: NDArray[np.int64], predicted: NDArray[np.int64]
) -> tuple[str, ...]:
    """Classes that are never answered though enough images are of them.

    >>> _unanswered(("a", "b", "c"), np.array([0] * 9 + [1] * 5 + [2]), np.zeros(15, np.int64))
    ('b',)
    """
    return tuple(
        name
        for label, name in enumerate(classes)
        if (labels == label).sum() >= MIN_IMAGES and not (predicted == label).any()
    )
