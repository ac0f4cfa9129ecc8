"""Nodes and constants of an ONNX graph under construction, and walks over finished ones."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper


class GraphPart:
    """A chain of nodes. The names of all tensors that it makes begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(
        self,
        operator: str,
        *inputs: str | npt.NDArray[Any],
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        """Append a node; return the name of its output. Arrays become constants."""
        output = output or f"{self._prefix}{len(self.nodes)}_{operator.lower()}"
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self.nodes.append(helper.make_node(operator, names, [output], name=output, **attributes))
        return output

    def _constant(self, value: npt.NDArray[Any]) -> str:
        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def insert(graph: onnx.GraphProto, place: int, part: GraphPart) -> None:
    """Put a part in front of the node at `place`."""
    for offset, node in enumerate(part.nodes):
        graph.node.insert(place + offset, node)
    graph.initializer.extend(part.constants)


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Give every node, also of functions and inside If, Loop and Scan."""
    yield from nodes_below(
        chain(model.graph.node, *(function.node for function in model.functions))
    )
    for function in model.functions:
        yield from _nodes_inside(function.attribute_proto)


def nodes_below(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Give the nodes, and those inside the bodies of If, Loop and Scan."""
    for node in nodes:
        yield node
        yield from _nodes_inside(node.attribute)


def _nodes_inside(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.NodeProto]:
    for attribute in attributes:
        for inner in (attribute.g, *attribute.graphs):
            yield from nodes_below(inner.node)


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Give every constant, wherever it is."""
    yield from _constants_of(model.graph)
    for attribute in _attributes_in(model):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for inner in (attribute.g, *attribute.graphs):
            yield from _constants_of(inner)


def _attributes_in(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """Those of all nodes, and those that a function gives where a node has none."""
    for node in nodes_of(model):
        yield from node.attribute
    for function in model.functions:
        yield from function.attribute_proto


def _constants_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def operators_beyond(model: onnx.ModelProto, domains: Iterable[str]) -> list[str]:
    """Return the operators of other domains that the model does not define itself, by name."""
    standard, own = set(domains), {(each.domain, each.name) for each in model.functions}
    return sorted(
        {
            f"{node.domain}.{node.op_type}"
            for node in nodes_of(model)
            if node.domain not in standard and (node.domain, node.op_type) not in own
        }
    )
