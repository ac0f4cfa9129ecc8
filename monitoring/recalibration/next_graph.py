"""The graph of the next version: the parent's, with the calibrators of the next card."""

from typing import Any

from model_store.bundle.bundle import Bundle
from model_store.bundle.card import Card
from model_store.bundle.graph import with_calibrator, with_findings_calibrator


def next_graph(parent: Bundle, card: Card) -> bytes:
    """Return the model file. If no calibrator in the graph changes, it is the same to the byte, as
    where only a subgroup's calibrator is new, which follows the graph.
    """
    numbers = _numbers(card)
    if numbers == _numbers(parent.card):
        return parent.onnx
    edit = with_findings_calibrator if card.has_findings else with_calibrator
    return edit(parent.onnx, **numbers)


def _numbers(card: Card) -> dict[str, Any]:
    """Return the numbers of a card's calibrators that its graph has."""
    if card.has_findings:
        each = [finding.calibration for finding in card.findings or ()]
        return {
            "temperatures": [one.temperature for one in each],
            "biases": [(one.class_bias or (0.0, 0.0))[1] for one in each],
        }
    return {
        name: getattr(card.calibration, name)
        for name in ("temperature", "class_bias", "class_weight")
    }
