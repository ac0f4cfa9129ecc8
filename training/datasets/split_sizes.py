"""Classes or findings that are too small for their splits: refused, or noted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from calibration.wording import parameter
from training.datasets.dataset import Split, label_counts
from training.datasets.errors import BadDataset
from training.datasets.label_kind import LabelKind
from training.datasets.table import SplitName

DIVIDED = 4  # images of a class from which each of three drawn splits gets one
MIN_TRAIN = 10  # images of a class in train, below which a note says so


def small_classes(
    source: Path,
    classes: Sequence[str],
    splits: Mapping[SplitName, Split],
    *,
    kind: LabelKind,
    drawn: bool,
) -> list[str]:
    """Notes on small classes or findings.

    A `drawn` validation split may lack a class that has too few images for three splits. Raises
    BadDataset if a split is empty or lacks a class, or train has none with or none without a
    finding.
    """
    counts = {name: label_counts(split.labels, len(classes)) for name, split in splits.items()}
    tiny = {
        name
        for label, name in enumerate(classes)
        if drawn and sum(each[label] for each in counts.values()) < DIVIDED
    }
    for name, split in splits.items():
        absent = [
            answer
            for answers, _, known in kind.questions(classes, split.labels)
            for answer, images in zip(answers, label_counts(known, len(answers)), strict=True)
            if not images and not (name == "val" and answer in tiny)
        ]
        if absent and (name in kind.needed_in or not counts[name].any()):
            others = f", or name others with {parameter(kind.chosen_by)}" if kind.chosen_by else ""
            raise BadDataset(
                source,
                f"{name} has no image of {', '.join(absent)}; add images or groups, or provide "
                f"your own split that has some, or merge or remove the class{others}",
            )
    small = [
        f"{each!r} ({', '.join(f'{counts[name][label]} in {name}' for name in splits)})"
        for label, each in enumerate(classes)
        if counts["train"][label] < MIN_TRAIN
        or min(counts["val"][label], counts["test"][label]) < kind.fewest
    ]
    note = kind.too_few.format(small=", ".join(small), fewest=kind.fewest)
    return [note] if small else []
