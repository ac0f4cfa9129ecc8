"""Which output of a foreign graph holds the scores, where it has several: the one that is as wide
as there are classes, or what the caller says.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from calibration.wording import parameter
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.class_scores import CUTTABLE, ScoreOutput
from model_store.foreign.surgery import behind, first_input, join

HEADS: Final = "heads"
BEFORE: Final = "heads_before"

Rows = Mapping[ScoreOutput, npt.NDArray[np.float64]]


def choose_output(
    rows: Rows, *, names: Sequence[str], classes: int | None, wished: Sequence[str]
) -> tuple[ScoreOutput, ...]:
    """Return the output with the scores, or several of one score each that belong together.

    `rows` are the scores (N, K) that each output gives for probe images, `names` and `classes`
    those of the model, if known, and `wished` the outputs that the caller names. Outputs of one
    score each belong together if they are called as the names.

    Raises ForeignModelUnclear if several or none fit, ForeignModelRefused if `wished` do not.
    """
    sizes = {each.output: values.shape[1] for each, values in rows.items()}
    shown = ", ".join(f"'{name}' ({size} per image)" for name, size in sizes.items())
    if wished:
        return _wished(rows, wished, shown)
    if len(rows) == 1:
        return tuple(rows)  # the number of classes is compared with the names later
    heads = {each.output.casefold(): each for each in rows if sizes[each.output] == 1}
    if len(heads) > 1 and set(heads) == {name.casefold() for name in names}:
        return tuple(heads[name.casefold()] for name in names)
    widths = (1, 2) if classes == 2 else (classes,)
    fitting = [each for each in rows if classes is None or sizes[each.output] in widths]
    if len(fitting) == 1:
        return (fitting[0],)
    raise ForeignModelUnclear(
        f"it has several outputs: {shown}. Give {parameter('output')} with the one that holds the "
        "scores of the classes, or with several of one score each, in the order of the classes"
    )


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
    return copy, ScoreOutput(output, HEADS, (), tuple(tensors), BEFORE if sigmoids else None)


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
