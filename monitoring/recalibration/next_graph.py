"""The graph of the next version: the parent's, with the calibrators of the next card."""

from model_store.bundle.bundle import Bundle
from model_store.bundle.card import Card
from model_store.bundle.graph import with_calibrator


def next_graph(parent: Bundle, card: Card) -> bytes:
    """Return the model file. If no calibrator in the graph changes, it is the same to the byte, as
    where only a subgroup's calibrator is new, which follows the graph.
    """
    numbers = card.initializers
    if numbers == parent.card.initializers:
        return parent.onnx
    return with_calibrator(parent.onnx, **numbers._asdict())
