"""The process that turns TorchScript into ONNX, confined like that of foreign graphs.

torch.jit.load compiles the code of the file, which reaches torch's own operators and nothing else.
The process has no files, no network and no rights when it reads the first byte.
"""

import io
import os
import sys
import warnings
from typing import Any

import numpy as np

from model_store.confinement import confine
from model_store.foreign.sandbox_worker import read_message, write_message
from model_store.kernel import bound_memory

OPSET = 17


def main(memory_bytes: int, threads: int, pipe: int | None) -> None:
    """Answer messages until the caller closes standard input; `pipe`: see `bound_memory`."""
    bound_memory(memory_bytes, pipe)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what torch prints must not mix with the answers
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(threads)
    _rehearse(torch)
    confine(threads=True)
    while message := read_message(sys.stdin.buffer):
        asked = message.pop("json")
        arrays: dict[str, Any] = {}
        try:
            answer, arrays = _export(torch, message["model"].tobytes(), asked["size"])
        except MemoryError:
            answer = {"error": "it asks for more memory than it may have"}
        except Exception as error:  # noqa: BLE001 - whatever torch raises is the answer
            answer = {"error": str(error)}
        write_message(out, answer, arrays)


def _rehearse(torch: Any) -> None:
    """Export a small network, traced and scripted, so that all that this imports is there."""
    nn = torch.nn
    pooled = (nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), *pooled).eval()
    for module in (torch.jit.trace(network, torch.zeros(1, 3, 8, 8)), torch.jit.script(network)):
        buffer, message = io.BytesIO(), io.BytesIO()
        torch.jit.save(module, buffer)
        write_message(message, *_export(torch, buffer.getvalue(), [8, 8]))
        message.seek(0)
        read_message(message)


def _export(
    torch: Any, content: bytes, size: list[int]
) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """Return the graph for any batch, two images, and torch's first output for each alone."""
    module = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
    needed = [each for each in module.forward.schema.arguments[1:] if not each.has_default_value()]
    if len(needed) != 1:
        names = ", ".join(each.name for each in needed)
        raise ValueError(f"its forward takes several inputs ({names})")
    images = _images(torch, module, size)
    graph = io.BytesIO()
    torch.onnx.export(
        module,
        (images[:1],),
        graph,
        input_names=["image"],
        dynamic_axes={"image": {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,
    )
    with torch.inference_mode():
        said = [_first(module(each[None])) for each in images]
    return {}, {
        "graph": np.frombuffer(graph.getvalue(), np.uint8),
        "images": images.numpy(),
        "scores": np.stack([each.double().numpy().ravel() for each in said]),
    }


def _images(torch: Any, module: Any, size: list[int]) -> Any:
    """Two images of as many channels as the module takes, float32 or half."""
    failure: Exception | None = None
    generator = torch.Generator().manual_seed(0)
    kind = next((each.dtype for each in module.parameters() if each.is_floating_point()), None)
    for channels in (3, 1):
        images = torch.rand(2, channels, *size, generator=generator).to(kind or torch.float32)
        try:
            with torch.inference_mode():
                module(images[:1])
        except RuntimeError as error:
            failure = failure or error
            continue
        return images
    raise failure or ValueError("it takes no image")


def _first(output: Any) -> Any:
    """The first tensor of what a module returns."""
    while not hasattr(output, "dtype"):
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output
