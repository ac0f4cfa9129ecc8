"""Which output of a foreign graph holds the scores, where it has several.

Outputs that give the same answers are one. If they differ, the caller has to say which is meant.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.class_scores import (
    CUTTABLE,
    SUMS_TO_ONE,
    Reading,
    ScoreOutput,
    are_heads,
    read_scores,
)
from model_store.foreign.surgery import behind, first_input, join

HEADS: Final = "heads"
BEFORE: Final = "heads_before"

Rows = Mapping[ScoreOutput, npt.NDArray[np.float64]]


def choose_output(
    model: onnx.ModelProto,
    rows: Rows,
    *,
    names: Sequence[str],
    wished: Sequence[str],
    reading: Reading | None,
    folders: int,
) -> tuple[ScoreOutput, ...]:
    """Return the output with the scores, or several of one score each that belong together.

    `rows` are the scores (N, K) that each output gives for probe images, and `wished` the outputs
    that the caller names. Of several sizes, one with as many scores as there are `folders` is
    taken.

    Raises ForeignModelUnclear if several fit and give different answers, ForeignModelRefused if
    none fits.
    """
    classes = len(names) or None
    sizes = {each.output: values.shape[1] for each, values in rows.items()}
    shown = ", ".join(f"'{name}' ({size} per image)" for name, size in sizes.items())
    if wished:
        return _wished(rows, wished, shown)
    if len(rows) == 1:
        return tuple(rows)  # the number of classes is compared with the names later
    singles = [each for each, values in rows.items() if values.shape[1] == 1]
    if are_heads(len(singles), classes, reading):
        return _in_order(singles, names)
    fitting = _of_size(rows, classes, folders, shown, singles)
    if not _agree(model, {each: rows[each] for each in fitting}, reading):
        listed = ", ".join(each.output for each in fitting)
        several = ", or --findings NAMES if each is a finding" if fitting[0] in singles else ""
        raise ForeignModelUnclear(
            f"several of its outputs may be class scores, and their answers differ: give --output "
            f"with one of {listed}{several}"
        )

    def rank(each: ScoreOutput) -> tuple[bool, int]:  # one that shows what its scores are first
        shows = read_scores(model, each, rows[each], reading=reading).shown_by
        return not shows, _unlikely(each)

    return (min(fitting, key=rank),)


def join_heads(
    model: onnx.ModelProto, heads: Sequence[ScoreOutput]
) -> tuple[onnx.ModelProto, ScoreOutput]:
    """Return a copy of the graph with a tensor [N, K] that joins outputs of one score each."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = [each.tensor for each in heads]
    join(copy, tensors, HEADS)
    lasts = [behind(model, each) for each in tensors]
    sigmoids = all(last is not None and CUTTABLE.get(last.op_type) == "sigmoid" for last in lasts)
    if sigmoids:
        join(copy, [first_input(last) for last in lasts if last is not None], BEFORE)
    output = ", ".join(each.output for each in heads)
    return copy, ScoreOutput(output, HEADS, None, tuple(tensors), BEFORE if sigmoids else None)


def _wished(rows: Rows, wished: Sequence[str], shown: str) -> tuple[ScoreOutput, ...]:
    by_name = {each.output: each for each in rows}
    missing = [name for name in wished if name not in by_name]
    if missing:
        raise ForeignModelRefused(
            f"it has no output '{missing[0]}' with class scores; it has {shown}"
        )
    chosen = tuple(by_name[name] for name in wished)
    if len(chosen) > 1 and any(rows[each].shape[1] > 1 for each in chosen):
        raise ForeignModelRefused(
            f"several outputs were given, which must have one score each; it has {shown}"
        )
    return chosen


def _in_order(heads: Sequence[ScoreOutput], names: Sequence[str]) -> tuple[ScoreOutput, ...]:
    """Outputs in the order of the findings' names if they have these names, else as they come."""
    by_name = {each.output.casefold(): each for each in heads}
    wanted = [name.casefold() for name in names]
    return tuple(by_name[name] for name in wanted) if set(wanted) == set(by_name) else tuple(heads)


def _of_size(
    rows: Rows, classes: int | None, folders: int, shown: str, singles: Sequence[ScoreOutput]
) -> list[ScoreOutput]:
    """The outputs with as many scores as there are classes."""
    sizes = {
        each: values.shape[1]
        for each, values in rows.items()
        if classes in (None, values.shape[1]) or (values.shape[1] == 1 and classes == 2)
    }
    if not sizes and len(singles) == classes:
        raise ForeignModelUnclear(
            f"it has {classes} outputs with one score each ({shown}): add --findings NAMES if each "
            "is a finding that may be present or absent"
        )
    if not sizes:
        raise ForeignModelRefused(
            f"none of its outputs has {classes} scores per image, one for each class; it has "
            f"{shown}"
        )
    if len(set(sizes.values())) > 1:
        sizes = {each: count for each, count in sizes.items() if count == folders}
    if not sizes:
        raise ForeignModelUnclear(
            f"several of its outputs may be class scores: {shown}. Give --output NAME, or the "
            "class names"
        )
    return list(sizes)


def _agree(model: onnx.ModelProto, rows: Rows, reading: Reading | None) -> bool:
    """Whether all outputs give the same probabilities for the probe images."""
    answers = [
        read_scores(model, each, values, reading=reading).own_probabilities(values)
        for each, values in rows.items()
    ]
    return all(np.abs(each - answers[0]).max() < SUMS_TO_ONE for each in answers)


def _unlikely(source: ScoreOutput) -> int:
    """Rank outputs of equal size: a ZipMap or names that say so first."""
    if source.labels:
        return -1
    words = ("prob", "softmax", "logit", "score", "class", "output", "loss")
    matches = (at for at, word in enumerate(words) if word in source.output.lower())
    return next(matches, len(words))
