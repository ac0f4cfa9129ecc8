"""What a graph reveals about its pixels: layers that scale them, a batch norm, metadata.

A graph that divides by 255 first takes pixels from 0 to 255. A batch norm at the entrance keeps the
mean of what it was trained on. Windows ML and Azure Custom Vision write the pixel format into the
file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import onnx

from model_store.foreign.image_input import ImageInput
from model_store.foreign.preprocessing import Order
from model_store.foreign.surgery import ELEMENTWISE, SAME_ORDER, constant_values

_PASSING: Final = SAME_ORDER | {"Resize"}
_CAFFE: Final = (103.939, 116.779, 123.68)
_IMAGENET: Final = (0.485, 0.456, 0.406)
_CLOSE: Final = 0.02  # relative
_RANGES: Final = {
    "NominalRange_0_255": "raw",
    "Normalized_0_1": "unit",
    "Normalized_1_1": "symmetric",
}


@dataclass(frozen=True)
class Evidence:
    """What the graph says of its `name`d normalization and the channels' `order`, and why."""

    name: str | None = None
    order: Order | None = None
    why: str = ""


def graph_evidence(model: onnx.ModelProto, image: ImageInput) -> Evidence:
    """Return what metadata say, else what the first layers show."""
    return _from_metadata(model) or _from_layers(model, image) or Evidence()


def _from_metadata(model: onnx.ModelProto) -> Evidence | None:
    said = {each.key: each.value for each in model.metadata_props}
    pixels = said.get("Image.BitmapPixelFormat", "")
    orders: dict[str, Order] = {"bgr": "bgr", "rgb": "rgb"}
    order = orders.get(pixels[:3].lower())
    name = _RANGES.get(said.get("Image.NominalPixelRange", ""))
    if order is None and name is None:
        return None
    # Custom Vision says the order alone; its range is Windows ML's default.
    name = name or "raw"
    return Evidence(name, order, f"the file's metadata say {pixels or name}")


def _from_layers(model: onnx.ModelProto, image: ImageInput) -> Evidence | None:
    for operator, values in _first_layers(model, image.name):
        least, most = min(values), max(values)
        order = _order(values)
        if operator == "BatchNormalization":
            why = f"its first batch norm was trained on pixels with a mean of {most:.3g}"
            name = "raw" if most > 10 else "unit" if least > 0.15 and most < 0.85 else None
            return Evidence(name, None, why) if name else None
        if operator == "Mul" and 0 < most < 0.05:
            return Evidence("raw", order, f"it scales pixels itself (times {most:.4g})")
        if operator == "Div" and least > 10:
            return Evidence("raw", order, f"it scales pixels itself (divided by {most:g})")
        if operator in ("Sub", "Add") and abs(most) > 1.5 and abs(least) > 1.5:
            return Evidence("raw", order, f"it shifts pixels itself (by {most:g})")
        if 0.05 < abs(least) < 20:
            why = "it normalizes pixels from 0 to 1 itself"
            return Evidence("unit", order, why) if _is_imagenet(values) else None
    return None


def _first_layers(model: onnx.ModelProto, name: str) -> Iterator[tuple[str, list[float]]]:
    """Give elementwise operators and their constants, from the input on."""
    for _ in range(20):
        readers = [node for node in model.graph.node if name in node.input]
        if len(readers) != 1:
            return
        (node,) = readers
        if node.op_type == "BatchNormalization":
            if values := constant_values(model, node.input[3]):
                yield node.op_type, values
            return
        if node.op_type in ELEMENTWISE:
            other = next((each for each in node.input if each != name), "")
            values = constant_values(model, other)
            if not values:
                return
            yield node.op_type, values
        elif node.op_type not in _PASSING:
            return
        name = node.output[0]


def _order(values: Sequence[float]) -> Order | None:
    """The order of channels if the numbers are those of ImageNet or Caffe, forward or backward."""
    if _near(values, _CAFFE) or _near(values, _IMAGENET[::-1]):
        return "bgr"
    return "rgb" if _near(values, _CAFFE[::-1]) or _near(values, _IMAGENET) else None


def _is_imagenet(values: Sequence[float]) -> bool:
    return _near(values, _IMAGENET) or _near(values, _IMAGENET[::-1])


def _near(values: Sequence[float], expected: Sequence[float]) -> bool:
    return len(values) == len(expected) and all(
        abs(abs(value) - number) < _CLOSE * number
        for value, number in zip(values, expected, strict=True)
    )
