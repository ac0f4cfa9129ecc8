"""From a run folder to a published bundle: one self-contained ONNX file, checked against torch before it is written.

The graph maps uint8 images to calibrated probabilities and contains normalization, network, calibrator and softmax.
`temperature` is a buffer of shape (1,), which the exporter keeps as an initializer of that name, so that a
recalibration can edit it. With vector scaling, logits are scaled and shifted first and `temperature` is 1. A later
recalibration adds its remedy after both. Histogram and isotonic cannot be exported, since their output is not logits.
"""

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from calibration.calibrators import Calibrator
from calibration.vector import Vector
from model_store.bundle import write_bundle
from model_store.card import CalibrationCard, CalibrationMethod, Card, ConformalCard, InputCard, Provenance, Referral
from model_store.runtime import ort
from model_store.store import Store
from training.errors import BadRun, ExportMismatch, UselessModel
from training.evaluation.evaluation import Evaluation, Method, read_evaluation, temperature_of
from training.evaluation.usefulness import shortcomings
from training.features.answer_views import ViewAverage
from training.networks.classifier import Classifier, build_classifier
from training.runs.config import RunRecord, read_record

OPSET = 20
MAX_DIFFERENCE = 1e-4


# Choices of --calibrator and their methods in the evaluation.
EXPORTABLE: dict[str, Method] = {
    "temperature": "temperature",
    "perturbed": "perturbed",
    "vector": "vector",
    "none": "uncalibrated",
}
# How the card names them; the others are temperatures fitted on validation, 1 for "none".
METHODS: dict[Method, CalibrationMethod] = {"perturbed": "perturbed", "vector": "vector"}


class CalibratedClassifier(nn.Module):
    """uint8 (N, C, H, W) -> probabilities float32 (N, K): the served graph."""

    temperature: Tensor

    def __init__(self, classifier: nn.Module, calibrator: Calibrator) -> None:
        super().__init__()
        self.classifier = classifier
        self.scaling = Scaling(calibrator) if isinstance(calibrator, Vector) else nn.Identity()
        self.register_buffer("temperature", torch.tensor([temperature_of(calibrator)], dtype=torch.float32))

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.scaling(self.classifier(image)) / self.temperature, dim=1)


class Scaling(nn.Module):
    """Vector scaling: logits (N, K) times a weight per class, plus a bias per class."""

    weight: Tensor
    bias: Tensor

    def __init__(self, vector: Vector) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(vector.weight, dtype=torch.float32))
        self.register_buffer("bias", torch.tensor(vector.bias, dtype=torch.float32))

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.weight + self.bias


@dataclass(frozen=True)
class ExportedModel:
    """A published bundle: card, version, and the largest difference of ONNX Runtime and torch on `images` images."""

    card: Card
    version: int
    max_difference: float
    images: int


def export(
    run: Path, store: Store, name: str, *, calibrator: Method = "temperature", anyway: bool = False
) -> ExportedModel:
    """Publish the run in folder `run` as the next version of model `name`, with one of EXPORTABLE in the graph.

    On the sample images of the run, probabilities of torch and ONNX Runtime must differ by at most 1e-4. A model that
    is of no use (`training.evaluation.usefulness`) is refused unless `anyway`. Raises BadRun, UselessModel,
    ExportMismatch, or what the store raises; nothing is published then.
    """
    record = read_record(run)
    evaluation = read_evaluation(run)
    if calibrator not in evaluation.calibrators:
        raise BadRun(f"{run} has no {calibrator} calibrator; train with --perturbed to get one")
    found = shortcomings(evaluation, record.classes, method=calibrator, balanced=record.config.balances)
    if found and not anyway:
        raise UselessModel(run, found)
    model = CalibratedClassifier(_answering(run, record), evaluation.calibrators[calibrator]).eval()
    samples = _samples(run)
    onnx = to_onnx(model, samples)
    difference = verify(onnx, model, samples)
    cards: list[Card] = []

    def build(folder: Path, version: int) -> None:
        card = build_card(record, evaluation, calibrator=calibrator, name=name, version=version)
        cards.append(write_bundle(folder, card=card, onnx=onnx))

    version = store.publish(name, build)
    return ExportedModel(cards[-1], version, difference, len(samples))


def load_classifier(run: Path) -> Classifier:
    """The trained classifier of a run, in evaluation mode. Raises BadRun."""
    record = read_record(run)
    classifier = build_classifier(
        record.config.backbone,
        "none",
        spec=record.spec,
        class_count=len(record.classes),
        reduction=record.config.head_reduction,
        frozen=record.config.frozen,
        seed=record.config.seed,
        head=record.config.head,
        heads=record.config.heads,
        trainable=record.config.trainable,
    )
    try:
        classifier.load_state_dict(load_file(run / "checkpoint.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BadRun(f"{run}/checkpoint.safetensors is not the checkpoint of this run ({error})") from error
    return classifier.eval()


def _answering(run: Path, record: RunRecord) -> nn.Module:
    """The trained classifier, with the mean over views around it if the run has them."""
    classifier, count = load_classifier(run), record.config.test_views
    return classifier if count == 1 else ViewAverage(classifier, count, record.spec).eval()


def to_onnx(model: CalibratedClassifier, images: NDArray[np.uint8]) -> bytes:
    """The graph of `model` as one self-contained file; `images` uint8 (n, C, H, W) are for tracing."""
    with warnings.catch_warnings():  # torch's exporter deprecates parts of torch
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.from_numpy(images),),
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_shapes={"image": {0: "batch"}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:  # its type allows for the older exporter, which returns nothing
        raise TypeError("torch.onnx.export returned no program")
    return program.model_proto.SerializeToString()


def verify(onnx: bytes, model: CalibratedClassifier, images: NDArray[np.uint8]) -> float:
    """Largest absolute difference of a probability between ONNX Runtime and torch on `images`.

    Runs all images in one batch and then the first alone, as servers do. Raises ExportMismatch above 1e-4.
    """
    session = ort.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).numpy()
    found, (first,) = session.run(None, {"image": images})[0], session.run(None, {"image": images[:1]})
    difference = max(float(np.abs(found - expected).max()), float(np.abs(first - expected[:1]).max()))
    if not difference <= MAX_DIFFERENCE:  # also refuses NaN
        raise ExportMismatch(difference=difference, limit=MAX_DIFFERENCE, images=len(images))
    return difference


def build_card(record: RunRecord, evaluation: Evaluation, *, calibrator: Method, name: str, version: int) -> Card:
    """The card of the bundle without file hashes, which are added on writing; its reference is the validation split."""
    config, referral = record.config, evaluation.referral(calibrator)
    return Card(
        name=name,
        version=version,
        classes=record.classes,
        input=InputCard(
            channels=record.channels,
            height=record.height,
            width=record.width,
            resize=record.resize,
            window=record.window,
            frames=record.frames,
        ),
        provenance=Provenance(
            dataset=record.dataset,
            fingerprint=record.fingerprint,
            backbone=config.backbone,
            loss=config.loss,
            beta=config.beta,
            seed=config.seed,
            epochs=config.epochs,
            libraries=record.libraries,
            git_commit=record.git_commit,
            created_at=datetime.now(UTC),
            parent_version=None,
        ),
        calibration=CalibrationCard.from_reference(
            temperature=float(np.float32(temperature_of(evaluation.calibrators[calibrator]))),  # as the graph holds it
            split="val",
            method=METHODS.get(calibrator, "temperature"),
            sums=evaluation.sums("val", calibrator),
            measures=evaluation.measures["val"][calibrator],
            confusion=evaluation.confusion("val", calibrator),
            answers=evaluation.answers_by_bin("val", calibrator),
        ),
        referral=Referral(
            threshold=referral.confidence,
            promised_accuracy=referral.promised_accuracy,
            delta=referral.delta,
            coverage=referral.coverage,
        )
        if referral
        else None,
        conformal=ConformalCard.from_sets(evaluation.conformal(calibrator)),
        input_reference=record.input_reference,
    )


def _samples(run: Path) -> NDArray[np.uint8]:
    try:
        return np.load(run / "samples.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadRun(f"{run} is not a finished run: samples.npy cannot be read ({error})") from error
