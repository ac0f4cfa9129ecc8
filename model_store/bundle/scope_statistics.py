"""Statistics of an image itself for the scope check, as nodes of a graph: no network is asked.

They are logs of mean absolute 4 x 4 cosine coefficients of the gray image, which tell noise, blur,
compression and rescaling; logs of the channels' means; and gray means of 4 x 4 parts, which tell
where what is. A network's maps see little of this if they were trained for something else, or on
few images (docs/results.md). Of large images a part of the pixels is looked at, evenly spread.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from model_store.bundle.graph_part import GraphPart
from model_store.runtime import ort

BLOCK: Final = 4
MOST_BLOCKS: Final = 14  # in a row or column
PARTS: Final = 4
MOST_PIXELS: Final = 7  # of a part, in a row or column
FAINT: Final = 1e-3  # of the gray range; fainter detail counts as none
_IMAGE, _OPSET = "image", 17


def add_statistics(
    part: GraphPart, image: str, channels: int, height: int, width: int
) -> tuple[str, str]:
    """Append the nodes from the input `image`, uint8 (N, C, H, W); return the names of their
    outputs, float32 (N, 15 + C) and (N, 16). They mean the same in every opset that a bundle may
    have. Small networks wait for each node, so there are few.
    """
    pixels = part.add("Cast", image, to=TensorProto.FLOAT)
    missing = [max(0, BLOCK - side) for side in (height, width)]
    step = [BLOCK * max(1, side // (BLOCK * MOST_BLOCKS)) for side in (height, width)]
    waves = part.add("Conv", pixels, _waves(channels), strides=step, pads=[0, 0, *missing])
    # The absolute value: ONNX Runtime makes it part of the convolution, unlike Abs.
    energy = part.add("GlobalAveragePool", part.add("LeakyRelu", waves, alpha=-1.0))
    logs = part.add("Log", part.add("Add", energy, np.array(FAINT, np.float32)))
    sides = [max(1, side // PARTS) for side in (height, width)]
    seen = [min(side, MOST_PIXELS) for side in sides]
    gray = np.full((1, channels, *seen), 1 / (255 * channels * np.prod(seen)), np.float32)
    apart = [side // count for side, count in zip(sides, seen, strict=True)]
    means = part.add("Conv", pixels, gray, strides=sides, dilations=apart)
    return part.add("Flatten", logs), part.add("Flatten", means)


def _waves(channels: int) -> npt.NDArray[np.float32]:
    """The 15 cosine patterns of gray that are no constant, orthonormal on values in [0, 1], and the
    mean of each channel: (15 + C, C, 4, 4).
    """
    places = np.arange(BLOCK)
    cosine = np.cos(np.pi * (places + 0.5) * places[:, None] / BLOCK) * np.sqrt(2 / BLOCK)
    cosine[0] = np.sqrt(1 / BLOCK)
    patterns = np.einsum("ux,vy->uvxy", cosine, cosine).reshape(-1, 1, BLOCK, BLOCK)[1:]
    gray = np.repeat(patterns, channels, axis=1) / channels
    means = np.eye(channels)[..., None, None] * np.full((BLOCK, BLOCK), 1 / BLOCK**2)
    return (np.concatenate([gray, means]) / 255).astype(np.float32)


def statistics(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the statistics (N, S) of images uint8 (N, C, H, W), by the nodes of a bundle."""
    return np.asarray(_session(*images.shape[1:]).run(None, {_IMAGE: images})[0])


@lru_cache(maxsize=4)
def _session(*size: int) -> Any:
    part = GraphPart("scope_")
    name = part.add("Concat", *add_statistics(part, _IMAGE, *size), axis=1)
    ends = (
        [helper.make_tensor_value_info(_IMAGE, TensorProto.UINT8, ["N", *size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(part.nodes, "statistics", *ends, part.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
