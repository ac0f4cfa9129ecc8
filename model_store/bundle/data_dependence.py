"""Whether the pixels of one image can decide how long a graph runs, or how much memory it takes.

A Loop that counts to a pixel, or an Expand to a size that was computed from one, passes every run
on harmless images, and then one image holds a server or takes all of its memory. So values are
followed from the inputs through the graph. Shapes are not values: a batch may have any size.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Final

import onnx

# Inputs that decide how often something runs, or the shape of an output, by operator.
SIZING: Final[dict[str, tuple[int, ...]]] = {
    **dict.fromkeys(("If", "ConstantOfShape", "NonZero", "Unique", "ImageDecoder"), (0,)),
    **dict.fromkeys(("HannWindow", "HammingWindow", "BlackmanWindow", "StringSplit"), (0,)),
    **dict.fromkeys(("Reshape", "Expand", "TopK", "OneHot", "Compress", "Upsample"), (1,)),
    **dict.fromkeys(("Split", "SplitToSequence", "SequenceAt", "SequenceErase"), (1,)),
    **dict.fromkeys(("Squeeze", "Unsqueeze", "CenterCropPad", "AffineGrid", "RoiAlign"), (1,)),
    **dict.fromkeys(("SequenceInsert", "MaxUnpool"), (2,)),
    **dict.fromkeys(("Tile", "Col2Im", "DFT"), (1, 2)),
    **{"Loop": (0, 1), "Range": (0, 1, 2), "Resize": (1, 2, 3), "Pad": (1, 3), "STFT": (1, 3)},
    # texts, which may become as long as memory
    **{"StringConcat": (0, 1), "StringNormalizer": (0,), "RegexFullMatch": (0,)},
    **{"Slice": (1, 2, 3, 4), "NonMaxSuppression": (0, 1, 2, 3, 4)},
    "MelWeightMatrix": (0, 1, 2, 3, 4),
}
_REDUCING: Final = (1,)  # the axes of ReduceSum and its like
_RANDOM: Final = frozenset({"Bernoulli", "Multinomial", "Dropout"})  # and Random...
_CLEAN: Final = frozenset({"Shape", "Size", "SequenceLength", "OptionalHasElement"})
_MOST_VISITS: Final = 400_000  # of operators; those in nested loops are visited repeatedly


class _Found(Exception):
    """An operator whose work depends on values."""


def data_dependence(model: onnx.ModelProto) -> str | None:
    """Return the first operator whose work depends on the values of an input, or None.

    Random numbers count as values too. Functions of the model must be inlined.
    """
    graph = model.graph
    fixed = {tensor.name for tensor in graph.initializer}
    walk = _Walk(functions={(each.domain, each.name) for each in model.functions})
    try:
        walk.follow(graph.node, {each.name for each in graph.input} - fixed)
    except _Found as found:
        return str(found)
    return None


def sizing_inputs(operator: str) -> tuple[int, ...]:
    """Return the places of the inputs that size the work of a standard operator."""
    return _REDUCING if operator.startswith("Reduce") else SIZING.get(operator, ())


class _Walk:
    """One walk over a graph; `values` are the tensors whose numbers depend on the inputs'."""

    def __init__(self, functions: set[tuple[str, str]]) -> None:
        self._functions, self._visits = functions, 0

    def follow(self, nodes: Iterable[onnx.NodeProto], values: set[str]) -> None:
        """Add to `values` what `nodes` compute from them. Raises _Found."""
        for node in nodes:
            self._visits += 1
            for place in sizing_inputs(node.op_type):
                if place < len(node.input) and node.input[place] in values:
                    raise _Found(_named(node))
            if (node.domain, node.op_type) in self._functions or self._visits > _MOST_VISITS:
                raise _Found(_named(node))
            bodies = [each.g for each in node.attribute if each.type == onnx.AttributeProto.GRAPH]
            for body in bodies:
                self._follow_body(node, body, values)
            if bodies or node.op_type in _CLEAN:
                continue
            random = node.op_type in _RANDOM or node.op_type.startswith("Random")
            if random or values.intersection(node.input):
                values.update(filter(None, node.output))

    def _follow_body(self, node: onnx.NodeProto, body: onnx.GraphProto, values: set[str]) -> None:
        """Follow a body until what it passes to its next run adds nothing."""
        given = node.input[-len(body.input) :] if body.input else ()  # before opset 9, Scan has one
        entering = [each.name for each in body.input]  # more, which come first
        leaving = [each.name for each in body.output]
        self._visits += len(values) // 10  # a copy takes time too
        inner = values | {
            name for name, outer in zip(entering, given, strict=False) if outer in values
        }
        if node.op_type == "SequenceMap" and values.intersection(node.input):
            inner.update(entering)
        before = -1
        while len(inner) > before:
            before = len(inner)
            self.follow(body.node, inner)
            if node.op_type == "Loop" and leaving[0] in inner:
                raise _Found(_named(node))
            inner.update(new for old, new in _passed_on(node, entering, leaving) if old in inner)
        results = leaving[1:] if node.op_type == "Loop" else leaving
        started = given[2:] if node.op_type == "Loop" else ()  # the results of no run at all
        values.update(
            outer for outer, name in zip(node.output, results, strict=False) if name in inner
        )
        values.update(
            outer for outer, first in zip(node.output, started, strict=False) if first in values
        )


def _passed_on(
    node: onnx.NodeProto, entering: list[str], leaving: list[str]
) -> Iterable[tuple[str, str]]:
    """Give the outputs of a body with the inputs of its next run."""
    if node.op_type == "Loop":
        return zip(leaving[1:], entering[2:], strict=False)
    scanned = next((each.i for each in node.attribute if each.name == "num_scan_inputs"), None)
    states = entering[: len(entering) - scanned] if scanned is not None else []
    return zip(leaving, states, strict=False)


def _named(node: onnx.NodeProto) -> str:
    name = node.name or next(chain(filter(None, node.output), ("",)))
    return f"{node.op_type} '{name[:100]}'"
