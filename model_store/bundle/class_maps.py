"""Histogram binning and isotonic regression inside the graph, as standard ONNX operators.

Both map the probability of each class by a function of its own and normalize the row
(`calibration.calibrators.one_vs_rest`). The graph computes that in float64, because a step function
magnifies rounding, and continues with the logarithm of the result where the logits were. So it
still ends in a division by `temperature`, which is 1, and a softmax, which a recalibration can edit
as in any other graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_store.bundle.graph import division_place

_SMALLEST = np.array([np.finfo(np.float32).tiny], dtype=np.float64)  # keeps logarithms finite
_BEYOND = 2.0  # a knot that no probability reaches fills up the rows of shorter tables
_OPSET = 13  # from which on axes are inputs


@dataclass(frozen=True)
class ClassMap:
    """A function on [0, 1] in pieces: `base[m] + slope[m] * (p - origin[m])` on (knots[m-1],
    knots[m]].

    `knots` (M,) ascend; the others are (M + 1,).
    """

    knots: npt.NDArray[np.float64]
    base: npt.NDArray[np.float64]
    slope: npt.NDArray[np.float64]
    origin: npt.NDArray[np.float64]

    @classmethod
    def steps(cls, edges: Sequence[float], values: Sequence[float]) -> Self:
        """Constant pieces, as in `calibration.calibrators.histogram.Steps`: edges (M,), values
        (M + 1,).

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
    """Return the graph with one map per class (of two classes: for the second alone) between logits
    and temperature.

    Raises:
        ValueError: the graph does not divide by an initializer `temperature`, or its opset is below
            13.
    """
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    place = division_place(graph)
    opset = next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset < _OPSET:
        raise ValueError(f"class maps need opset {_OPSET} or later; the graph has {opset}")
    division = graph.node[place]
    part = _Part()
    division.input[0] = part.log_probabilities(division.input[0], maps)
    for offset, node in enumerate(part.nodes):
        graph.node.insert(place + offset, node)
    graph.initializer.extend(part.constants)
    return bytes(proto.SerializeToString(deterministic=True))


class _Part:
    """The nodes to insert, in order, and the constants that they use."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def log_probabilities(self, logits: str, maps: Sequence[ClassMap]) -> str:
        """Add what leads from logits (N, K) to the log of the mapped probabilities, float32."""
        wide = self._add("Cast", logits, to=TensorProto.DOUBLE)
        p = self._add("Softmax", wide, axis=-1)  # (N, K)
        mapped = (
            self._binary(p, maps[0])
            if len(maps) == 1
            else self._normalized(self._mapped(p, maps), len(maps))
        )
        positive = self._add("Max", mapped, self._constant("smallest", _SMALLEST))
        return self._add("Cast", self._add("Log", positive), to=TensorProto.FLOAT)

    def _binary(self, p: str, second: ClassMap) -> str:
        column = self._add(
            "Gather", p, self._constant("second_class", np.array([1])), axis=1
        )  # (N, 1)
        mapped = self._mapped(column, [second])
        return self._add(
            "Concat", self._add("Sub", self._constant("one", np.ones(1)), mapped), mapped, axis=1
        )

    def _mapped(self, p: str, maps: Sequence[ClassMap]) -> str:
        """Add each column's map of p (N, K): the number of knots below p is its piece."""
        last = self._constant("last_axis", np.array([-1]))
        most = max(
            1, *(len(each.knots) for each in maps)
        )  # at least one: ONNX Runtime 1.31 reduces no empty axis
        knots = self._constant(
            "knots", _rows([each.knots for each in maps], most, fill=_BEYOND)
        )  # (K, M)
        passed = self._add("Less", knots, self._add("Unsqueeze", p, last))  # (N, K, M)
        piece = self._add(
            "ReduceSum", self._add("Cast", passed, to=TensorProto.INT64), last, keepdims=0
        )  # (N, K)
        first = self._constant("first_pieces", np.arange(len(maps)) * (most + 1))
        piece = self._add("Add", piece, first)
        base, slope, origin = (
            self._add(
                "Gather",
                self._constant(name, _rows([getattr(m, name) for m in maps], most + 1).ravel()),
                piece,
            )
            for name in ("base", "slope", "origin")
        )
        return self._add("Add", base, self._add("Mul", slope, self._add("Sub", p, origin)))

    def _normalized(self, scores: str, classes: int) -> str:
        """Add the division of each row by its sum; a row of zeros becomes 1 / K."""
        total = self._add(
            "ReduceSum", scores, self._constant("classes_axis", np.array([-1])), keepdims=1
        )
        shares = self._add(
            "Div", scores, self._add("Max", total, self._constant("least_total", _SMALLEST))
        )
        some = self._add("Greater", total, self._constant("zero", np.zeros(1)))
        return self._add(
            "Where", some, shares, self._constant("equal_share", np.array([1 / classes]))
        )

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"calibrator_{len(self.nodes)}_{operator.lower()}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(value, f"calibrator_{name}"))
        return f"calibrator_{name}"


def _rows(
    values: Sequence[npt.NDArray[np.float64]], length: int, *, fill: float = 0.0
) -> npt.NDArray[np.float64]:
    """Stack rows of different lengths, filled up to `length`."""
    return np.stack([np.pad(row, (0, length - len(row)), constant_values=fill) for row in values])
