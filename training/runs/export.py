"""From a run folder to a published bundle: an ONNX graph, checked against torch before it is written, and its card.

Exporting a run twice under the same name and version writes the same bytes.
"""

import hashlib
from dataclasses import asdict, dataclass
from importlib.metadata import version as version_of
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from calibration.calibrators import Calibrator
from model_store.bundle import write_bundle
from model_store.card import (
    CalibrationCard,
    CalibrationMethod,
    Card,
    ConformalCard,
    InputCard,
    Provenance,
    Referral,
    TrainingCard,
    Verification,
)
from model_store.store import Store
from training.errors import BadRun, UselessModel
from training.evaluation.evaluation import Evaluation, Method, read_evaluation, temperature_of
from training.evaluation.usefulness import shortcomings
from training.features.answer_views import ViewAverage
from training.networks.classifier import Classifier, build_classifier
from training.runs.config import RunRecord, read_record
from training.runs.finish import read_finish
from training.runs.onnx_graph import CalibratedClassifier, to_onnx, verify
from training.runs.onnx_maps import add_maps, class_maps

# Choices of --calibrator and their methods in the evaluation.
EXPORTABLE: dict[str, Method] = {
    "temperature": "temperature",
    "perturbed": "perturbed",
    "vector": "vector",
    "histogram": "histogram",
    "isotonic": "isotonic",
    "none": "uncalibrated",
}
# How the card names them; the others are temperatures fitted on validation, 1 for "none".
METHODS: dict[Method, CalibrationMethod] = {
    "perturbed": "perturbed",
    "vector": "vector",
    "histogram": "histogram",
    "isotonic": "isotonic",
}


@dataclass(frozen=True)
class ExportedModel:
    """A published bundle: card, version, and how its graph compares with torch."""

    card: Card
    version: int
    verification: Verification


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
    onnx, difference = _graph(model, evaluation.calibrators[calibrator], samples)
    verified = Verification(
        images=len(samples),
        alone=len(samples),
        max_difference=difference,
        libraries={library: version_of(library) for library in ("onnxruntime", "torch")},
    )
    card = build_card(run, record, evaluation, calibrator=calibrator, name=name)
    card = card.model_copy(update={"verification": verified})
    cards: list[Card] = []

    def build(folder: Path, version: int) -> None:
        cards.append(write_bundle(folder, card=card.model_copy(update={"version": version}), onnx=onnx))

    version = store.publish(name, build)
    return ExportedModel(cards[-1], version, verified)


def _graph(model: CalibratedClassifier, calibrator: Calibrator, samples: NDArray[np.uint8]) -> tuple[bytes, float]:
    """The graph, and the largest difference of its probabilities to those of torch and of the calibrator."""
    network = to_onnx(model, samples)
    difference = verify(network, model, samples)
    maps = class_maps(calibrator)
    if maps is None:
        return network, difference
    mapped, of_maps = add_maps(network, calibrator, maps, samples)
    return mapped, max(difference, of_maps)


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


def build_card(run: Path, record: RunRecord, evaluation: Evaluation, *, calibrator: Method, name: str) -> Card:
    """The card of version 1, without file hashes, which are added on writing; its reference is the validation split."""
    referral = evaluation.referral(calibrator)
    return Card(
        name=name,
        version=1,
        classes=record.classes,
        input=InputCard(
            channels=record.channels,
            height=record.height,
            width=record.width,
            resize=record.resize,
            window=record.window,
            frames=record.frames,
        ),
        provenance=_provenance(run, record),
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


def _provenance(run: Path, record: RunRecord) -> Provenance:
    config, loaded = record.config, record.loaded
    choices = config.model_dump(mode="json")
    if isinstance(config.weights, Path):
        choices["weights"] = config.weights.name
    return Provenance(
        dataset=record.dataset,
        fingerprint=record.fingerprint,
        backbone=config.backbone,
        loss=config.loss,
        beta=config.beta,
        seed=config.seed,
        epochs=config.epochs,
        libraries=record.libraries,
        git_commit=record.git_commit,
        created_at=read_finish(run),
        training=TrainingCard(
            choices=choices,
            loaded=asdict(loaded) | {"source": Path(loaded.source).name} if loaded else None,
            images={split: tuple(counts) for split, counts in record.counts.items()},
            processes=record.processes,
            device=record.device,
            backbone_sha256=record.backbone_sha256,
            checkpoint_sha256=checkpoint_sha256(run),
        ),
    )


def checkpoint_sha256(run: Path) -> str:
    """SHA-256 (hex) of a run's checkpoint. Raises BadRun."""
    try:
        return hashlib.sha256((run / "checkpoint.safetensors").read_bytes()).hexdigest()
    except OSError as error:
        raise BadRun(f"{run} is not a finished run: checkpoint.safetensors cannot be read ({error})") from error


def _samples(run: Path) -> NDArray[np.uint8]:
    try:
        return np.load(run / "samples.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadRun(f"{run} is not a finished run: samples.npy cannot be read ({error})") from error
