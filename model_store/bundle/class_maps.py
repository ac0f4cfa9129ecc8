"""Histogram binning and isotonic regression inside the graph, as standard ONNX operators.

Both map the probability of each class by a function of its own and normalize the row
(`calibration.calibrators.one_vs_rest`). The graph computes that in float64, because a step function
magnifies rounding, and continues with the logarithm of the result where the logits were. So it
still ends in a division by `temperature`, which is 1, and a softmax, which a recalibration can edit
as in any other graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from model_store.bundle.graph import division_place
from model_store.bundle.graph_part import GraphPart, insert

_SMALLEST = np.array([np.finfo(np.float32).tiny], dtype=np.float64)  # keeps logarithms finite
_BEYOND = 2.0  # a knot that no probability reaches fills up the rows of shorter tables
_OPSET = 13  # from which on axes are inputs


@dataclass(frozen=True)
class ClassMap:
    """`base[m] + slope[m] * (p - origin[m])` for p in (knots[m-1], knots[m]].

    `knots` (M,) ascend; the others are (M + 1,).
    """

    knots: npt.NDArray[np.float64]
    base: npt.NDArray[np.float64]
    slope: npt.NDArray[np.float64]
    origin: npt.NDArray[np.float64]

    @classmethod
    def steps(cls, edges: Sequence[float], values: Sequence[float]) -> Self:
        """Constant pieces, as `histogram.Steps`: edges (M,), values (M + 1,).

        >>> ClassMap.steps([0.2], [0.0, 0.5])(np.array([0.2, 0.21]))
        array([0. , 0.5])
        """
        flat = np.zeros(len(values))
        return cls(np.array(edges, dtype=float), np.array(values, dtype=float), flat, flat)

    @classmethod
    def lines(cls, x: Sequence[float], y: Sequence[float]) -> Self:
        """Straight lines through the points (x, y), x ascending, constant beyond the ends.

        >>> ClassMap.lines([0.2, 0.6], [0.0, 1.0])(np.array([0.1, 0.4, 0.9]))
        array([0. , 0.5, 1. ])
        """
        knots, heights = np.array(x, dtype=float), np.array(y, dtype=float)
        slope = np.concatenate([[0.0], np.diff(heights) / np.diff(knots), [0.0]])
        start = np.concatenate([[0], np.arange(len(knots))])
        return cls(knots, heights[start], slope, knots[start])

    def __call__(self, p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        piece = np.searchsorted(self.knots, p, side="left")
        return np.asarray(self.base[piece] + self.slope[piece] * (p - self.origin[piece]))


def with_class_maps(model: bytes, maps: Sequence[ClassMap]) -> bytes:
    """Return the graph with one map per class, of two classes for the second, behind the logits.

    Raises ValueError: the graph does not divide by `temperature`, or its opset is below 13.
    """
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    place = division_place(graph)
    opset = next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset < _OPSET:
        raise ValueError(f"class maps need opset {_OPSET} or later; the graph has {opset}")
    division, part = graph.node[place], GraphPart("calibrator_")
    division.input[0] = _log_probabilities(part, division.input[0], maps)
    insert(graph, place, part)
    return bytes(proto.SerializeToString(deterministic=True))


def _log_probabilities(part: GraphPart, logits: str, maps: Sequence[ClassMap]) -> str:
    """Add what leads from logits (N, K) to the log of the mapped probabilities, float32."""
    p = part.add("Softmax", part.add("Cast", logits, to=TensorProto.DOUBLE), axis=-1)  # (N, K)
    if len(maps) == 1:
        second = _mapped(part, part.add("Gather", p, np.array([1]), axis=1), maps)  # (N, 1)
        mapped = part.add("Concat", part.add("Sub", np.ones(1), second), second, axis=1)
    else:
        mapped = _normalized(part, _mapped(part, p, maps), len(maps))
    positive = part.add("Max", mapped, _SMALLEST)
    return part.add("Cast", part.add("Log", positive), to=TensorProto.FLOAT)


def _mapped(part: GraphPart, p: str, maps: Sequence[ClassMap]) -> str:
    """Add each column's map of p (N, K): the number of knots below p is its piece."""
    last = np.array([-1])
    # At least one knot, because ONNX Runtime 1.31 reduces no empty axis.
    most = max(1, *(len(each.knots) for each in maps))
    knots = _rows([each.knots for each in maps], most, fill=_BEYOND)  # (K, M)
    passed = part.add("Less", knots, part.add("Unsqueeze", p, last))  # (N, K, M)
    counted = part.add("Cast", passed, to=TensorProto.INT64)
    piece = part.add("ReduceSum", counted, last, keepdims=0)  # (N, K)
    piece = part.add("Add", piece, np.arange(len(maps)) * (most + 1))
    base, slope, origin = (
        part.add("Gather", _rows([getattr(each, name) for each in maps], most + 1).ravel(), piece)
        for name in ("base", "slope", "origin")
    )
    return part.add("Add", base, part.add("Mul", slope, part.add("Sub", p, origin)))


def _normalized(part: GraphPart, scores: str, classes: int) -> str:
    """Add the division of each row by its sum; a row of zeros becomes 1 / K."""
    total = part.add("ReduceSum", scores, np.array([-1]), keepdims=1)
    shares = part.add("Div", scores, part.add("Max", total, _SMALLEST))
    some = part.add("Greater", total, np.zeros(1))
    return part.add("Where", some, shares, np.array([1 / classes]))


def _rows(
    values: Sequence[npt.NDArray[np.float64]], length: int, *, fill: float = 0.0
) -> npt.NDArray[np.float64]:
    """Stack rows of different lengths, filled up to `length`."""
    return np.stack([np.pad(row, (0, length - len(row)), constant_values=fill) for row in values])
