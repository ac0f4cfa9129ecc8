"""The scope check at the end of a graph: features [N, D] in, `scope_score` and `scope_p` [N] out.

Features are means over positions of some of the network's maps, if it has many layers, and
statistics of the image itself. These are logs of mean absolute 4 x 4 cosine coefficients of the
gray image, which tell noise, blur, compression and rescaling; logs of the channels' means; and gray
means of 4 x 4 parts, which tell where what is. A network's maps see little of this if they were
trained for something else, or on few images (docs/results.md).

The score is a squared distance, |(features - center) whitening|^2. It is compared with those of
the calibration images, to which infinity is added: the share that is larger is then the conformal
p-value (1 + c) / (n + 1). The stored scores are raised by one in a thousand, more than runtimes
differ, so that an equal image always has an equal p-value; that makes p-values larger, never
smaller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from calibration.scope.p_values import flagged_share
from calibration.scope.scores import Mahalanobis
from calibration.scope.verdict import ALPHA
from model_store.bundle.card import FlaggedShare, ScopeCard
from model_store.bundle.graph_part import GraphPart, insert
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


SCOPE_FEATURES: Final = "scope_features"
SCOPE_SCORE: Final = "scope_score"
SCOPE_P: Final = "scope_p"
WHITENING, SHIFT, CALIBRATION = "scope_whitening", "scope_shift", "scope_calibration"
TOLERANCE: Final = 1e-3  # relative, of a score
STEEP: Final = 1e20  # a difference of scores that float32 tells becomes 1 or more
REDUCTION_OPSET: Final = 18  # from which on a reduction takes its axes as an input


@dataclass(frozen=True)
class ScopeParameters:
    """`center` (D,), `whitening` (D, R), and the scores of the calibration images, (n,)."""

    center: npt.NDArray[np.float32]
    whitening: npt.NDArray[np.float32]
    calibration: npt.NDArray[np.float32]


def with_scope(model: bytes, parameters: ScopeParameters) -> bytes:
    """Return the graph with the scope check, in place of its output `scope_features` if it has
    one.
    """
    proto = onnx.load_model_from_string(model)
    graph, part = proto.graph, GraphPart("scope_")
    features = _features(graph, part)
    white = part.add("Gemm", features, WHITENING, SHIFT, output="scope_vector")
    column = reduced(proto, part, "ReduceSumSquare", white, axes=[1], keepdims=1)
    part.add("Reshape", column, np.array([-1]), output=SCOPE_SCORE)
    # 1 or 0, in half the time of Greater and Cast; ONNX Runtime makes one node of these two
    less = np.full((1, len(parameters.calibration) + 1), -1, np.float32)
    above = part.add("Gemm", column, less, CALIBRATION)
    larger = part.add("HardSigmoid", above, alpha=STEEP, beta=0.0)
    reduced(proto, part, "ReduceMean", larger, axes=[1], keepdims=0, output=SCOPE_P)
    raised = np.append(parameters.calibration * np.float32(1 + TOLERANCE), np.float32(np.inf))
    for name, value in (
        (WHITENING, parameters.whitening),
        (SHIFT, -(parameters.center.astype(np.float64) @ parameters.whitening)),
        (CALIBRATION, raised),
    ):
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    insert(graph, len(graph.node), part)
    _drop_output(graph)
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])
        for name in (SCOPE_SCORE, SCOPE_P)
    )
    return bytes(proto.SerializeToString(deterministic=True))


def _features(graph: onnx.GraphProto, part: GraphPart) -> str:
    image = graph.input[0]
    size = [each.dim_value for each in image.type.tensor_type.shape.dim[1:]]
    shown = [each.name for each in graph.output if each.name == SCOPE_FEATURES]
    return part.add("Concat", *shown, *add_statistics(part, image.name, *size), axis=1)


def reduced(
    model: onnx.ModelProto,
    part: GraphPart,
    operator: str,
    tensor: str,
    *,
    axes: list[int],
    keepdims: int,
    output: str | None = None,
) -> str:
    """Append a reduction as the model's opset defines it; return the name of its output."""
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < REDUCTION_OPSET:
        return part.add(operator, tensor, output=output, axes=axes, keepdims=keepdims)
    return part.add(operator, tensor, np.array(axes), output=output, keepdims=keepdims)


def scope_problem(graph: onnx.GraphProto, n: int | None) -> str | None:
    """Return what is wrong with the scope check of a graph, of `n` images, or None without one."""
    found = [each for each in graph.output if each.name in (SCOPE_SCORE, SCOPE_P)]
    if n is None:
        return "model.onnx has a scope check and the card has none" if found else None
    if [each.name for each in found] != [SCOPE_SCORE, SCOPE_P] or not all(map(_per_image, found)):
        return f"model.onnx must have outputs '{SCOPE_SCORE}' and '{SCOPE_P}' float [N]"
    images: Any = next((each for each in graph.initializer if each.name == CALIBRATION), None)
    if images is None or list(images.dims) != [n + 1]:
        return f"model.onnx must have an initializer '{CALIBRATION}' of the card's {n} images"
    return None


def _per_image(value: onnx.ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    sizes = [each.dim_value for each in tensor.shape.dim]
    return tensor.elem_type == TensorProto.FLOAT and sizes == [0]


def _drop_output(graph: onnx.GraphProto) -> None:
    kept = [each for each in graph.output if each.name != SCOPE_FEATURES]
    del graph.output[:]
    graph.output.extend(kept)


DEPTHS: Final = 6
FEW_LAYERS: Final = 12
WIDEST: Final = 160  # features in all: more cost time and flag little more (docs/results.md)


def chosen_taps(sizes: Sequence[int]) -> list[int]:
    """Return the places of the maps to use, of all in their order; `sizes` are their channels.

    Of fewer than 12 maps, it is none. Else the narrowest of each sixth of the depth is used, narrow
    ones first, as long as all of them have at most 160 channels.

    >>> chosen_taps([32, 64]), chosen_taps([32, 16] * 6)
    ([], [1, 3, 5, 7, 9, 11])
    """
    if len(sizes) < FEW_LAYERS:
        return []
    bounds = [round(len(sizes) * part / DEPTHS) for part in range(DEPTHS + 1)]
    groups = pairwise(bounds)
    narrowest = [min(range(first, end), key=sizes.__getitem__) for first, end in groups]
    used: list[int] = []
    for place in sorted(narrowest, key=sizes.__getitem__):
        if sizes[place] + sum(sizes[each] for each in used) <= WIDEST:
            used.append(place)
    return sorted(used)


LEAST: Final = 19  # calibration images; with fewer no p-value is as small as ALPHA
MOST_FITTED, MOST_CALIBRATED = 600, 1_000  # images; with more, only the interval is narrower
METHOD: Final = "mahalanobis"


@dataclass(frozen=True)
class ScopeFeatures:
    """Features of in-scope images, all float32: means of maps, and then statistics of the image.

    Attributes:
        fitted: (M, D), of images that describe the features.
        calibrated: (n, D), of other images, which training has not seen.
        maps: how many of the features are of maps; 0 if the network shows none.
    """

    fitted: npt.NDArray[np.float32]
    calibrated: npt.NDArray[np.float32]
    maps: int

    @property
    def described(self) -> str:
        own = f"{self.fitted.shape[1] - self.maps} statistics of the image"
        return f"means of {self.maps} of the network's channels, and {own}" if self.maps else own


class ScopeCheck(NamedTuple):
    """What a graph gets, and what its card says."""

    parameters: ScopeParameters
    card: ScopeCard


def fit_scope(features: ScopeFeatures, *, split: str) -> ScopeCheck | None:
    """Fit a scope check; None if there are too few images. `split` names those that calibrate."""
    fitted, calibrated = features.fitted, features.calibrated
    if len(calibrated) < LEAST or len(fitted) < 2:
        return None
    score = Mahalanobis.fit_parts(fitted, features.maps)
    center, matrix = score.center.astype(np.float32), score.matrix.astype(np.float32)
    scores = (((calibrated - center) @ matrix) ** 2).sum(axis=1)  # in float32, as in the graph
    share = flagged_share(len(scores))
    card = ScopeCard(
        method=METHOD,
        features=features.described,
        reference_split=split,
        fitted_on=len(fitted),
        alpha=ALPHA,
        flagged=FlaggedShare(n=len(scores), lower=share.lower, upper=share.upper),
    )
    return ScopeCheck(ScopeParameters(center, matrix, scores), card)
