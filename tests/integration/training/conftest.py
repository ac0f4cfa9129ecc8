"""Exports of the same weights share what torch does for them."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from training.runs import onnx_graph


@pytest.fixture(scope="package", autouse=True)
def traced_once() -> Iterator[None]:
    """torch traces the same weights once, and reads the list of all operators, half of the time of
    a small export, once for all.
    """
    traced: dict[Any, bytes] = {}
    trace = onnx_graph._exported

    def once(module: nn.Module, images: Any, outputs: Sequence[str]) -> bytes:
        weights = [each.numpy().tobytes() for each in module.state_dict().values()]
        key = (str(module), *outputs, images.tobytes(), *weights)
        if key not in traced:
            traced[key] = trace(module, images, outputs)
        return traced[key]

    operators = cache(ONNXRegistry.from_torchlib)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(operators))
        patch.setattr(onnx_graph, "_exported", once)
        yield
