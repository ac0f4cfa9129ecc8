"""k-fold cross-validation for small data sets: every image is tested once, by a network that has
not seen it.

Patients and slides (or identical files) stay in one fold, and each fold has its share of every
class. A fold's network is trained and calibrated on the other folds, of which a fifth is its
validation split. The answers of all folds together are measured, so an interval rests on every
image and not on a test split of a few dozen. It describes the recipe, not one network: train that
on all the data afterwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.intervals.measure_intervals import measure_intervals
from calibration.measures.metrics import Interval
from calibration.measures.summary import Measures
from calibration.sampling import grouped_parts, joined
from training.datasets import SPLIT_NAMES, Dataset, Split, SplitName, fingerprint
from training.datasets.errors import BadDataset
from training.experiments.cell import CellResult
from training.experiments.paired_images import over_units
from training.experiments.reference import joined_split, some
from training.experiments.summary import Estimate, calibrators_of
from training.experiments.table import ResultTable, format_estimate, format_number

VAL_SHARE = 0.2  # of the images of the other folds


def folds_of(dataset: Dataset, count: int, *, seed: int = 0) -> dict[str, Dataset]:
    """`dataset` as `count` data sets, "fold 1" and so on, whose test splits are disjoint and cover
    all of its images.

    Raises BadDataset if there are too few images or groups for that.
    """
    whole = joined_split([dataset.splits[name] for name in SPLIT_NAMES])
    groups: Sequence[int | None] = (
        [None] * len(whole) if whole.groups is None else whole.groups.tolist()
    )
    units = joined(groups, whole.digests)
    smallest = min(
        len(np.unique(units[whole.labels == label])) for label in range(len(dataset.classes))
    )
    if not 2 <= count <= smallest:
        raise BadDataset(
            dataset.name,
            f"cannot be divided into {count} folds: its smallest class has {smallest} images or "
            "patients; "
            f"expected 2 to {smallest} folds",
        )
    parts = grouped_parts(whole.labels, units, [1 / count] * count, seed=seed)
    return {
        f"fold {number}": _fold(dataset, whole, units, test, seed=seed)
        for number, test in enumerate(parts, 1)
    }


def _fold(
    dataset: Dataset, whole: Split, units: NDArray[np.int64], test: NDArray[np.int64], *, seed: int
) -> Dataset:
    rest = np.setdiff1d(np.arange(len(whole)), test)
    train, val = grouped_parts(
        whole.labels[rest], units[rest], (1 - VAL_SHARE, VAL_SHARE), seed=seed
    )
    chosen: dict[SplitName, Split] = {
        "train": some(whole, rest[train]),
        "val": some(whole, rest[val]),
        "test": some(whole, test),
    }
    for name, split in chosen.items():
        missing = [
            each for label, each in enumerate(dataset.classes) if not (split.labels == label).any()
        ]
        if missing:
            raise BadDataset(
                dataset.name,
                f"a fold has no {missing[0]} in its {name} part; take fewer folds or group less",
            )
    return replace(dataset, splits=chosen, fingerprint=fingerprint(dataset.classes, chosen))


@dataclass(frozen=True)
class CrossValidated:
    """The answers to all images by one method with one calibrator: measures, intervals, and
    accuracies by fold.

    `gained` is the accuracy above that of the first method with the same calibrator, paired by
    image.
    """

    method: str
    calibrator: str
    measures: Measures
    intervals: Mapping[str, Interval]
    accuracies: tuple[float, ...]
    gained: Estimate


def cross_validate(results: Sequence[CellResult]) -> list[CrossValidated]:
    """Put the folds of each method together; a method that failed in a fold is left out."""
    methods = dict.fromkeys(result.cell.method for result in results)
    failed = {result.cell.method for result in results if result.failure}
    whole = {
        method: [each for each in results if each.cell.method == method]
        for method in methods
        if method not in failed
    }
    right: dict[str, NDArray[np.float64]] = {}
    return [
        _together(method, calibrator, known, right)
        for method, known in whole.items()
        for calibrator in calibrators_of(known[0])
    ]


def _together(
    method: str,
    calibrator: str,
    results: Sequence[CellResult],
    first: dict[str, NDArray[np.float64]],
) -> CrossValidated:
    """`first` has the correctness of the first method's answers by calibrator, and gets it from
    that method.
    """
    answers = []
    for result in results:
        kind, seen = calibrators_of(result)[calibrator]
        answers.append(kind.fit(seen.logits, seen.labels)(result.predictions["test"].logits))
    tests = [result.predictions["test"] for result in results]
    probabilities, labels = np.concatenate(answers), np.concatenate([each.labels for each in tests])
    known = [each.groups for each in tests if each.groups is not None]
    groups = np.concatenate(known) if len(known) == len(tests) else None
    accuracies = (
        float((p.argmax(axis=1) == each.labels).mean())
        for p, each in zip(answers, tests, strict=True)
    )
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    return CrossValidated(
        method,
        calibrator,
        Measures.from_probabilities(probabilities, labels),
        measure_intervals(probabilities, labels, groups=groups),
        tuple(accuracies),
        over_units(right - first.setdefault(calibrator, right), groups),
    )


def fold_table(found: Sequence[CrossValidated], dataset: Dataset) -> ResultTable:
    """A row per method and calibrator."""
    images = sum(len(split) for split in dataset.splits.values())
    count = len(found[0].accuracies) if found else 0
    return ResultTable(
        "folds",
        f"{dataset.name}: every image tested once, in {count} folds",
        (
            "method",
            "accuracy",
            "95 %",
            "gained",
            "lowest fold",
            "highest fold",
            "ECE",
            "floor",
            "z",
            "NLL",
            "gap",
        ),
        tuple(_row(each) for each in found),
        (
            f"{images} images, each answered by a network that saw neither it nor its patient; "
            "calibrators are fitted on a fifth of the other folds.",
            "gained: accuracy above that of the first method with the same calibrator, paired by "
            "image (or patient): "
            "mean ± half of the 95 % interval.",
            "Folds share training images, so the spread over folds is no interval; the interval "
            "is over "
            "images, or over patients if they are known.",
        ),
    )


def _row(each: CrossValidated) -> tuple[str, ...]:
    known, accuracy = each.measures, each.intervals["accuracy"]
    low, high = (format_number(bound) for bound in accuracy)
    figures = (min(each.accuracies), max(each.accuracies), known.ece, known.noise_floor)
    return (
        f"{each.method}, {each.calibrator}",
        format_number(known.accuracy),
        f"{low} to {high}",
        format_estimate(each.gained),
        *(format_number(value) for value in figures),
        format_number(known.ece_z, 1),
        format_number(known.nll),
        format_number(known.signed_gap),
    )
