"""Statistics of an image itself for the scope check, as nodes of a graph: no network is asked.

They are the logs of mean absolute 4 x 4 cosine coefficients of the gray image, which tell noise,
blur, compression and rescaling; the gray means of 4 x 4 parts, which tell where what is; and, in
color, the channels' means. A network's maps see little of this if they were trained for something
else, or on few images (docs/results.md).
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from model_store.bundle.graph_part import GraphPart
from model_store.runtime import ort

BLOCK: Final = 4
PARTS: Final = 4
FAINT: Final = 1e-3  # of the gray range; fainter detail counts as none
_IMAGE, _OPSET = "image", 17


def add_statistics(part: GraphPart, image: str, channels: int, height: int, width: int) -> str:
    """Append the nodes from the input `image`, uint8 (N, C, H, W); return the name of their
    output, float32 (N, S). They mean the same in every opset that a bundle may have.
    """
    pixels = part.add("Cast", image, to=TensorProto.FLOAT)
    missing = [max(0, BLOCK - height), max(0, BLOCK - width)]
    waves = part.add(
        "Conv", pixels, _waves(channels), strides=[BLOCK, BLOCK], pads=[0, 0, *missing]
    )
    energy = part.add("GlobalAveragePool", part.add("Abs", waves))
    sides = [max(1, height // PARTS), max(1, width // PARTS)]
    mean = np.full((1, channels, *sides), 1 / (255 * channels * np.prod(sides)), np.float32)
    seen = [
        part.add("Log", part.add("Add", energy, np.array(FAINT, np.float32))),
        part.add("Conv", pixels, mean, strides=sides),
        *([part.add("GlobalAveragePool", pixels)] if channels > 1 else []),
    ]
    return part.add("Concat", *(part.add("Flatten", each) for each in seen), axis=1)


def _waves(channels: int) -> npt.NDArray[np.float32]:
    """The 15 cosine patterns (15, C, 4, 4) that are no constant, orthonormal on gray in [0, 1]."""
    places = np.arange(BLOCK)
    cosine = np.cos(np.pi * (places + 0.5) * places[:, None] / BLOCK) * np.sqrt(2 / BLOCK)
    cosine[0] = np.sqrt(1 / BLOCK)
    patterns = np.einsum("ux,vy->uvxy", cosine, cosine).reshape(-1, 1, BLOCK, BLOCK)[1:]
    return (np.repeat(patterns, channels, axis=1) / (255 * channels)).astype(np.float32)


def statistics(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the statistics (N, S) of images uint8 (N, C, H, W), by the nodes of a bundle."""
    return np.asarray(_session(*images.shape[1:]).run(None, {_IMAGE: images})[0])


@lru_cache(maxsize=4)
def _session(*size: int) -> Any:
    part = GraphPart("scope_")
    name = add_statistics(part, _IMAGE, *size)
    ends = (
        [helper.make_tensor_value_info(_IMAGE, TensorProto.UINT8, ["N", *size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(part.nodes, "statistics", *ends, part.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
