"""Groups of answers that may have changed, and the price of looking at them.

A hypothesis names a key (a tag, the predicted class, the range of confidence, drawn or not) and a
set of its values. Its price is a description length: so many nats as it takes to name the set, so
that the prior weights of all hypotheses sum to at most 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import Answers, BoolArray, Tag
from calibration.diagnosis.facts import AnswerGroup

ALL: Final = "all"
PREDICTED: Final = "predicted"
CONFIDENCE: Final = "confidence"
DRAWN: Final = "drawn"
TAG: Final = "tag:"
UNKNOWN: Final = ""  # value of a tag that an answer does not have
_RANGES = 8
_FEWEST = 3  # labels of a value that can show anything


@dataclass(frozen=True)
class Key:
    """A way to divide answers. `codes` (n,) number `names`; -1: none. `ordered`: sets are runs."""

    name: str
    codes: IntArray
    names: tuple[str, ...]
    ordered: bool = False

    def members(self, values: Sequence[int]) -> BoolArray:
        """Which answers (n,) have one of the values."""
        chosen = np.zeros(len(self.names) + 1, dtype=bool)
        chosen[list(values)] = True
        return np.asarray(chosen[self.codes])

    def group(self, values: Sequence[int], within: AnswerGroup | None = None) -> AnswerGroup:
        names = [self.names[value] for value in values]
        is_tag = self.name.startswith(TAG)
        return AnswerGroup(self.name, tuple(sorted(names) if is_tag else names), within)


def keys_of(answers: Answers) -> dict[str, Key]:
    """Return the keys by which these answers can be told apart, by name."""
    found = [_of_tag(key, tag) for key, tag in answers.tags.items()]
    found.append(_seen(PREDICTED, answers.predicted, answers.classes))
    found.append(_ranges(answers.confidence))
    if answers.drawn is not None:
        found.append(_seen(DRAWN, answers.drawn.astype(np.int64), ("no", "yes")))
    return {key.name: key for key in found if len(key.names) > 1}


def _of_tag(key: str, tag: Tag) -> Key:
    """The key of a tag; answers without it have the value UNKNOWN."""
    codes = np.where(tag.codes < 0, len(tag.names), tag.codes)
    return _seen(f"{TAG}{key}", codes, (*tag.names, UNKNOWN))


def tagged(group: AnswerGroup) -> AnswerGroup | None:
    """The tag's part of a group, for which a calibrator can be chosen; None if there is none."""
    for each in (group, group.within):
        known = tuple(value for value in each.values if value != UNKNOWN) if each else ()
        if each and known and each.key.startswith(TAG):
            return AnswerGroup(each.key, known)
    return None


def _seen(name: str, codes: IntArray, names: tuple[str, ...]) -> Key:
    """The key with those values alone that have a few answers; the others become -1."""
    present = np.bincount(codes[codes >= 0], minlength=len(names))
    kept = np.flatnonzero(present >= _FEWEST)
    number = np.full(len(names) + 1, -1)
    number[kept] = np.arange(len(kept))
    return Key(name, number[codes], tuple(names[value] for value in kept))


def _ranges(confidence: FloatArray) -> Key:
    """Ranges of confidence with equally many answers."""
    if not len(confidence):
        return Key(CONFIDENCE, np.zeros(0, np.int64), ())
    quantiles = np.quantile(confidence, np.linspace(0, 1, _RANGES + 1)[1:-1])
    edges = np.unique([float(f"{edge:.4g}") for edge in quantiles])
    edges = edges[(edges > confidence.min()) & (edges < 1)]
    ends = [0.0, *edges.tolist(), 1.0]
    names = [f"{low:.4g}-{high:.4g}" for low, high in pairwise(ends)]
    return Key(CONFIDENCE, np.searchsorted(edges, confidence, side="right"), tuple(names), True)


def members(group: AnswerGroup, answers: Answers) -> BoolArray:
    """Which answers (N,), labeled or not, are of a group."""
    inside = _of_key(group, answers)
    return inside & members(group.within, answers) if group.within else inside


def confidences(group: AnswerGroup) -> tuple[float, float]:
    ends = [tuple(map(float, value.split("-"))) for value in group.values]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _of_key(group: AnswerGroup, answers: Answers) -> BoolArray:
    if group.key == ALL:
        return np.ones(len(answers), dtype=bool)
    if group.key == CONFIDENCE:
        low, high = confidences(group)
        return (answers.confidence >= low) & ((answers.confidence < high) | (high == 1))
    if group.key == DRAWN:
        drawn = np.zeros(len(answers), bool) if answers.drawn is None else answers.drawn
        return np.isin(drawn, [value == "yes" for value in group.values])
    if group.key == PREDICTED:
        return _named(answers.predicted, answers.classes, group.values)
    tag = answers.tags[group.key.removeprefix(TAG)]
    return _named(tag.codes, tag.names, group.values)


def _named(codes: IntArray, names: Sequence[str], chosen: Sequence[str]) -> BoolArray:
    wanted = set(chosen)
    is_wanted = np.array([name in wanted for name in (*names, UNKNOWN)])
    return np.asarray(is_wanted[codes])  # -1: the last


def price_of_key(keys: int) -> float:
    """Nats to say that a group and not all answers changed, and by which of the keys."""
    return math.log(2 * max(keys, 1))


def price_of_set(size: int, values: int) -> float:
    """Nats to name `size` of `values` values: log j(j+1) for the number j, log C(V, j) for which.

    >>> round(math.exp(price_of_set(1, 50)))
    100
    """
    ways = math.lgamma(values + 1) - math.lgamma(size + 1) - math.lgamma(values - size + 1)
    return math.log(size * (size + 1)) + ways
