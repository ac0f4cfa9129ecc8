"""The exported network in other precisions: float16, and int8 by ONNX Runtime's static
quantization.

Both leave division by the temperature and softmax in float32: the network before them is converted
by itself, and they are attached again. int8 has a scale per channel of each weight, and takes the
ranges of activations from images.

Rounding moves logits, so a variant needs its own temperature, and its own referral threshold and
prediction sets. One that loses more accuracy than allowed is not published.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict, get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from model_store.bundle.calibration_card import (
    CalibrationCard,
    ConformalCard,
    Referral,
    TestContradiction,
)
from model_store.bundle.card import Precision, VariantCard
from model_store.bundle.graph import INPUT, OUTPUT, TEMPERATURE, logits_name, with_logits
from model_store.bundle.scope_fit import MOST_CALIBRATED, ScopeCheck
from model_store.bundle.scope_graph import SCOPE_FEATURES, with_scope
from model_store.image import InputSpec
from model_store.runtime import open_session  # before ONNX Runtime's own tools
from training.datasets import Split
from training.datasets.dataset import evenly_spread
from training.errors import BadRun, UnknownName
from training.evaluation.caveats import Contradiction
from training.evaluation.evaluation import Evaluation, Method, Predictions, evaluate, temperature_of
from training.runs.onnx_graph import calibrated

AT_ONCE = 64


def to_float16(network: bytes) -> bytes:
    """The graph of an exported network with weights and activations in float16."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        converted = convert_float_to_float16(_without_end(network), keep_io_types=True)
    return _with_end(converted, logits_name(network))


def to_int8(network: bytes, images: NDArray[np.uint8]) -> bytes:
    """The graph of an exported network with weights in int8 and activations in uint8 (QDQ).

    `images` uint8 (n, C, H, W) set the ranges of the activations.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="candor-int8-") as folder, _quiet():
        whole, prepared, quantized = (
            Path(folder) / f"{name}.onnx" for name in ("whole", "prepared", "int8")
        )
        onnx.save(_without_end(network), whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_last_nodes(onnx.load(prepared).graph, _inner_names(network)),
        )
        return _with_end(onnx.load(quantized), logits_name(network))


def infer(network: bytes, batches: Iterable[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    """Logits (n, K) of an exported network and, if it has them, features (n, D)."""
    names = _inner_names(network)
    graph = with_logits(network, names[0])
    session = open_session(graph, exact=True)
    found = [session.run(names, {INPUT: images}) for images in batches]
    return [np.concatenate(each) for each in zip(*found, strict=True)]


def _inner_names(network: bytes) -> list[str]:
    """The logits, and the features of the scope check if there are any."""
    outputs = {each.name for each in onnx.load_model_from_string(network).graph.output}
    return [logits_name(network), *({SCOPE_FEATURES} & outputs)]


class _Batches:
    """Images as ONNX Runtime's quantizer reads them."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        starts = range(0, len(images), AT_ONCE)
        self._batches = ({INPUT: images[start : start + AT_ONCE]} for start in starts)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch; None after the last."""
        return next(self._batches, None)


def _without_end(network: bytes) -> onnx.ModelProto:
    """The graph from the image to the logits and features."""
    extractor = Extractor(onnx.load_model_from_string(network))
    return extractor.extract_model([INPUT], _inner_names(network))


def _last_nodes(graph: onnx.GraphProto, tensors: Sequence[str]) -> list[str]:
    """The names of the nodes that make the logits, and of those that only features need."""
    first, *others = (_needed(graph, tensor) for tensor in tensors)
    last = [node.name for node in graph.node if tensors[0] in node.output]
    return [*last, *(name for needed in others for name in needed if name not in first)]


def _needed(graph: onnx.GraphProto, tensor: str) -> list[str]:
    """The names of the nodes that a tensor is computed by."""
    wanted, found = {tensor}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node.name)
    return found


def _with_end(proto: onnx.ModelProto, logits: str) -> bytes:
    """The graph continued from the logits to probabilities, with a temperature of 1."""
    graph = proto.graph
    features = graph.output[1:]
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), TEMPERATURE))
    graph.node.append(
        helper.make_node(
            "Div", [logits, TEMPERATURE], ["logits_by_temperature"], name="by_temperature"
        )
    )
    graph.node.append(
        helper.make_node("Softmax", ["logits_by_temperature"], [OUTPUT], name="softmax", axis=-1)
    )
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", classes])
    )
    graph.output.extend(features)
    used = {node.domain for node in graph.node} | {""}  # the tools declare more
    opsets = [opset for opset in proto.opset_import if opset.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(opsets)
    for each in (proto, graph, *graph.node):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")
    return bytes(proto.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence ONNX Runtime's tools, which print, warn and log through the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


class CalibrationParts(TypedDict):
    """The fields of a card, or of a variant on it, that belong to a calibrator."""

    calibration: CalibrationCard
    referral: Referral | None
    conformal: ConformalCard


def calibration_parts(
    evaluation: Evaluation, calibrator: Method, contradicted: Contradiction | None = None
) -> CalibrationParts:
    """Describe a calibrator; its reference is the validation split."""
    return {
        "calibration": CalibrationCard.from_reference(
            # As the graph holds it.
            temperature=float(np.float32(temperature_of(evaluation.calibrators[calibrator]))),
            split="val",
            method="temperature" if calibrator == "uncalibrated" else calibrator,
            sums=evaluation.sums("val", calibrator),
            measures=evaluation.measures["val"][calibrator],
            confusion=evaluation.confusion("val", calibrator),
            answers=evaluation.answers_by_bin("val", calibrator),
            contradicted=TestContradiction(**asdict(contradicted)) if contradicted else None,
        ),
        "referral": Referral.from_threshold(evaluation.referral(calibrator)),
        "conformal": ConformalCard.from_sets(evaluation.conformal(calibrator)),
    }


MAX_ACCURACY_LOSS = 0.01
RANGE_IMAGES = 256  # validation images, spread over the split, for the ranges of int8 activations


@dataclass(frozen=True)
class PrecisionVariant:
    """A variant to publish: its part of the card, and its graph."""

    card: VariantCard
    onnx: bytes


@dataclass(frozen=True)
class RefusedVariant:
    """A variant that is not published, and why, as a sentence."""

    precision: str
    reason: str


@dataclass(frozen=True)
class VariantBuilder:
    """What every variant is made from.

    Attributes:
        network: the exported graph without a calibrator.
        evaluation: of the run, whose probabilities are those of the float32 graph.
        split: the validation split, or all images with out-of-fold answers.
        calibrator: the method whose kind each variant gets.
        max_accuracy_loss: on validation; more is refused.
        scope: the check of the float32 graph; each variant gets scores of its own.
        validation_images: of the split; the last ones, if there are more.
    """

    network: bytes
    evaluation: Evaluation
    split: Split
    spec: InputSpec
    calibrator: Method
    max_accuracy_loss: float = MAX_ACCURACY_LOSS
    scope: ScopeCheck | None = None
    validation_images: int | None = None

    @property
    def _folded(self) -> bool:
        """Whether the split is all images with out-of-fold answers, which the networks learned."""
        return self.validation_images not in (None, len(self.split))

    def build(self, precision: str) -> PrecisionVariant | RefusedVariant:
        """The variant of one precision, unless it loses too much."""
        if precision == "float16":
            network = to_float16(self.network)
        else:
            chosen = self.split.spread(RANGE_IMAGES)
            images = [self.split.images.input(index, self.spec) for index in chosen]
            network = to_int8(self.network, np.stack(images))
        val = self.evaluation.predictions["val"]
        logits, *features = infer(network, self._batches())
        if self._folded:  # the ensemble has seen all of them; its answers move as the graph's do
            logits = val.logits + logits - infer(self.network, self._batches())[0]
        own = evaluate({"val": Predictions(logits, val.labels, val.groups)})
        before = self.evaluation.probabilities("val", self.calibrator)
        after = own.probabilities("val", self.calibrator)
        right, still_right = (p.argmax(1) == val.labels for p in (before, after))
        loss = float(right.mean() - still_right.mean())
        if not loss <= self.max_accuracy_loss:
            return RefusedVariant(
                precision,
                f"{precision} is not published: it answers {loss:.2%} fewer of the validation "
                f"images correctly than float32, and at most {self.max_accuracy_loss:.2%} are "
                "allowed (--max-accuracy-loss).",
            )
        parts = calibration_parts(own, self.calibrator)
        card = VariantCard(
            precision=precision,
            file=f"model.{precision}.onnx",
            accuracy_loss=loss,
            agreement=float((before.argmax(1) == after.argmax(1)).mean()),
            max_difference=min(1.0, float(np.abs(before - after).max())),
            **parts,
        )
        graph = calibrated(network, own.calibrators[self.calibrator])
        if self.scope is None:
            return PrecisionVariant(card, graph)
        maps = features[0] if features else np.empty((len(logits), 0), np.float32)
        check = self._scope_check(self.scope, maps, after.argmax(axis=1))
        card = card.model_copy(update={"scope": check.card})
        return PrecisionVariant(card, with_scope(graph, check.parameters))

    def _scope_check(
        self, scope: ScopeCheck, maps: NDArray[np.float32], predicted: NDArray[np.int64]
    ) -> ScopeCheck:
        """The check with features of maps (n, D) and answers (n,) of this precision."""
        images = self.validation_images or len(self.split)
        chosen = evenly_spread(images, MOST_CALIBRATED)
        return scope.calibrated_on(maps[-images:][chosen], predicted[-images:][chosen])

    def _batches(self) -> Iterator[NDArray[np.uint8]]:
        starts = range(0, len(self.split), AT_ONCE)
        return (self.split.inputs(self.spec, start=start, stop=start + AT_ONCE) for start in starts)


def check_precisions(precisions: Sequence[str], calibrator: Method) -> None:
    """Raise UnknownName for an unknown precision, BadRun for `perturbed`, which has no variants."""
    for each in precisions:
        if each not in get_args(Precision):
            raise UnknownName("precision", each, get_args(Precision))
    if set(precisions) - {"float32"} and calibrator == "perturbed":
        raise BadRun(
            "a variant is calibrated on validation images, so it has no `perturbed` calibrator: "
            "choose another --calibrator, or --precision float32"
        )
