"""What the labels of a data set are: exclusive classes, or findings.

Chosen where labels are read. What follows, such as how splits are drawn, is asked of the kind.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.findings.calibrator import FEWEST_POSITIVES
from calibration.sampling import findings_parts, grouped_parts

Question: TypeAlias = tuple[Sequence[str], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class LabelKind:
    """A kind of labels, (N,) class numbers or (N, K) findings.

    Attributes:
        parts: draws parts of images, stratified, with groups kept together.
        questions: names of answers, the places of images whose answer is known, and their answers.
        needed_in: splits that need an image of each class.
        fewest: images of a class in validation or test, below which little can be measured.
        too_few: a note on those, of `small` and `fewest`.
        imbalance: how many times as many images the largest class has, of counts.
        folded_head: the head that suits folds.
        chosen_by: the parameter that names others in place of one without any image.
    """

    name: Literal["classes", "findings"]
    dtype: type[np.int64 | np.float64]
    parts: Callable[..., list[NDArray[np.int64]]]
    questions: Callable[[Sequence[str], NDArray[Any]], Iterator[Question]]
    needed_in: tuple[str, ...]
    fewest: int
    too_few: str
    imbalance: Callable[[Sequence[int]], float]
    folded_head: Literal["blend", "pooled"]
    chosen_by: str | None = None


def _question(names: Sequence[str], labels: NDArray[Any]) -> Iterator[Question]:
    yield names, np.arange(len(labels)), labels


def _questions(names: Sequence[str], labels: NDArray[Any]) -> Iterator[Question]:
    """A finding is compared with its absence, where either is known."""
    for name, of_finding in zip(names, labels.T, strict=True):
        known = np.flatnonzero(~np.isnan(of_finding))
        yield (f"no {name}", name), known, of_finding[known].astype(np.int64)


CLASSES: Final = LabelKind(
    "classes",
    np.int64,
    grouped_parts,
    _question,
    needed_in=("train", "val", "test"),
    fewest=5,
    too_few="classes too small for their splits: {small}; so few can hardly be learned or "
    "measured, so add images or merge classes",
    imbalance=lambda counts: max(counts) / max(min(counts), 1),
    folded_head="blend",
)
FINDINGS: Final = LabelKind(
    "findings",
    np.float64,
    findings_parts,
    _questions,
    needed_in=("train",),
    fewest=FEWEST_POSITIVES,
    too_few="findings with few positives: {small}; with fewer than {fewest} in validation a "
    "finding is not calibrated, and its intervals are wide",
    imbalance=lambda _counts: 1.0,  # findings do not take images from each other
    folded_head="pooled",
    chosen_by="findings",
)
