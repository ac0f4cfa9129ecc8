"""Properties of files that give a class away: its images are gray, large, framed or of one type,
the others are not.

A network that can tell a class by its format need not look at the findings. Accuracy and
calibration then look perfect, and both are gone where all images come from one device. What images
show inside their borders is not examined.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets.inspection import Facts
from training.datasets.records import Record

COMMON, RARE = 0.8, 0.2  # shares of a class and of the others that have the property
# probability that so many images of the class have the property, if images have it at random
CHANCE = 1e-3
SEPARATED = 0.95  # area under the ROC curve of a length
FEW = 5  # images below which lengths are not compared


@dataclass(frozen=True)
class _Property:
    """Something that a file has or has not, as the words for what `those` images are."""

    those: str
    holds: Callable[[Path, Facts], bool]


@dataclass(frozen=True)
class _Length:
    """A number of each file, with the words for a large and a small one."""

    large: str
    small: str
    value: Callable[[Facts], float]


LENGTHS = (
    _Length("larger", "smaller", lambda facts: max(facts.width, facts.height)),
    _Length("wider", "narrower", lambda facts: facts.width / facts.height),
)


def giveaways(
    classes: Sequence[str], records: Sequence[Record], facts: dict[Path, Facts]
) -> list[str]:
    """A sentence for each class and property that gives it away. `facts` are known for the path of
    every record.

    Of two classes only the smaller one is examined, since what gives it away gives the other one
    away too.
    """
    labels = np.array([each.label for each in records])
    counts = np.bincount(labels, minlength=len(classes))
    examined = [int(counts.argmin())] if len(classes) == 2 else [*range(len(classes))]
    files = [(each.path, facts[each.path]) for each in records]
    found: list[str] = []
    for label in examined:
        own = labels == label
        said = [
            _by_property(np.array([each.holds(*file) for file in files]), own, each)
            for each in _properties(files)
        ]
        said += [
            _by_length(np.array([each.value(file) for _, file in files]), own, each)
            for each in LENGTHS
        ]
        found += [
            f"the format gives the class {classes[label]!r} away: {each}; {REMEDY}"
            for each in said
            if each
        ]
    return found


def _properties(files: Sequence[tuple[Path, Facts]]) -> Iterator[_Property]:
    yield _Property("gray", lambda _, facts: facts.channels == 1)
    yield _Property("in color", lambda _, facts: facts.channels == 3)
    yield _Property("framed by a border of one color", lambda _, facts: facts.plain_sides == 4)
    yield _Property("without a border of one color", lambda _, facts: facts.plain_sides == 0)
    for suffix in sorted({path.suffix.lower() for path, _ in files}):
        yield _Property(
            f"{suffix} files" if suffix else "without a suffix", partial(_has_suffix, suffix)
        )


def _has_suffix(suffix: str, path: Path, _facts: Facts) -> bool:
    return path.suffix.lower() == suffix


def _by_property(
    has: NDArray[np.bool_], own: NDArray[np.bool_], property_: _Property
) -> str | None:
    inside, outside = has[own], has[~own]
    by_chance = has.mean() ** inside.sum() > CHANCE
    if by_chance or inside.mean() < COMMON or outside.mean() > RARE:
        return None
    return (
        f"{inside.sum()} of its {len(inside)} images are {property_.those}, and {outside.sum()} "
        "of the "
        f"{len(outside)} others"
    )


def _by_length(values: NDArray[np.float64], own: NDArray[np.bool_], length: _Length) -> str | None:
    inside, outside = values[own], values[~own]
    if min(len(inside), len(outside)) < FEW:
        return None
    area = _area(inside, outside)
    if max(area, 1 - area) < SEPARATED:
        return None
    return f"its images are {length.large if area > 0.5 else length.small} than the others"


def _area(own: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Probability that a value of `own` exceeds one of `others`, ties counted half: the area under
    the ROC curve.
    """
    ordered = np.sort(others)
    below, up_to = np.searchsorted(ordered, own, "left"), np.searchsorted(ordered, own, "right")
    return float((below + up_to).mean() / (2 * len(others)))


REMEDY = (
    "a model can learn that instead of the finding, so bring all images into one format, or take "
    "them from one source"
)
