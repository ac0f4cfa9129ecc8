"""Find images that two splits share: the same content, or the same patient or slide.
Near-duplicates are not detected.

A model that has seen a test image, or another image of its patient, is measured on what it
remembers, so accuracy and calibration look better than they are. Candor refuses such splits.
Published splits are the exception, since everybody reports figures on them; there a note says how
many images are shared.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Literal

from training.datasets.dataset import Split
from training.datasets.records import SPLIT_NAMES, Overlap, SplitName

EXAMPLES = 3


def overlaps(splits: Mapping[SplitName, Split]) -> tuple[Overlap, ...]:
    """What any two splits share, by content and, if groups are known, by group."""
    found: list[Overlap] = []
    for first, second in combinations(SPLIT_NAMES, 2):
        one, two = splits[first], splits[second]
        found += _overlap("content", (first, second), (one, two), (one.digests, two.digests))
        if one.groups is not None and two.groups is not None:
            keys = one.groups.tolist(), two.groups.tolist()
            found += _overlap("group", (first, second), (one, two), keys)
    return tuple(found)


def duplicates(splits: Mapping[SplitName, Split]) -> dict[SplitName, int]:
    """Number of images in each split that repeat an earlier one of the same split."""
    return {name: len(split) - len(set(split.digests)) for name, split in splits.items()}


def _overlap(
    kind: Literal["content", "group"],
    names: tuple[SplitName, SplitName],
    splits: tuple[Split, Split],
    keys: tuple[Sequence[Hashable], Sequence[Hashable]],
) -> list[Overlap]:
    first, second = _places(keys[0]), _places(keys[1])
    shared = [key for key in first if key in second]
    if not shared:
        return []
    images = sum(len(first[key]) for key in shared), sum(len(second[key]) for key in shared)
    examples = tuple(
        f"{_name(names[0], splits[0], first[key][0])} = "
        f"{_name(names[1], splits[1], second[key][0])}"
        for key in shared[:EXAMPLES]
    )
    return [Overlap(kind, names, len(shared), images, examples)]


def _places(keys: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    places: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        places.setdefault(key, []).append(index)
    return places


def _name(name: SplitName, split: Split, index: int) -> str:
    return split.names[index] if split.names is not None else f"{name}[{index}]"
