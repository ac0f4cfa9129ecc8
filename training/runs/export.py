"""From a run folder to a published bundle: an ONNX graph, checked against torch before it is
written, and its card.

Exporting a run twice under the same name and version writes the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from safetensors.torch import load_file

from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import Card, InputCard, Provenance, TrainingCard, Verification
from model_store.bundle.finding_card import ThresholdRule
from model_store.bundle.graph import logits_name
from model_store.bundle.probing import make_probes
from model_store.bundle.scope import fit_scope, with_scope
from model_store.store.store import Store
from training.evaluation.calibrators import Method
from training.networks.classifier import Classifier, draw_trunk
from training.networks.scope_taps import find_taps
from training.runs.committee import untrained
from training.runs.config import RunRecord, read_record
from training.runs.export_parts import ExportChoices, class_parts, findings_parts
from training.runs.folder import read_finish, read_of_run
from training.runs.onnx_graph import verify
from training.runs.references import read_digests, read_samples, read_scope
from training.runs.task import OF_CLASSES, OF_FINDINGS, task_of


@dataclass(frozen=True)
class ExportedModel:
    """A published bundle, and how its graph compares with torch."""

    card: Card
    version: int
    verification: Verification


def export(
    run: Path,
    store: Store,
    name: str,
    *,
    calibrator: Method = "temperature",
    anyway: bool = False,
    rules: Mapping[str, ThresholdRule] | None = None,
) -> ExportedModel:
    """Publish the run in folder `run` as the next version of model `name`, with one of
    `training.evaluation.calibrators.EXPORTABLE` in the graph.

    On the sample images of the run, probabilities of torch and ONNX Runtime must differ by at most
    1e-4. A model that does not beat a constant answer (`training.evaluation.usefulness`) is refused
    unless `anyway`. A calibrator that test contradicts (`training.evaluation.caveats`) is left out
    unless `anyway`, and the card says so.

    With findings the calibrator is "temperature" or "none", and `rules` say how the
    thresholds are chosen.

    Raises BadRun, UnknownName, UselessModel, ExportMismatch, or what the store raises; nothing is
    published then.
    """
    record = read_record(run)
    choices = ExportChoices(calibrator, anyway, dict(rules or {}))
    parts = _PARTS[task_of(record)](run, record, choices)
    classifier = load_classifier(run)
    samples, trained_on = read_samples(run), read_digests(run)
    check = fit_scope(read_scope(run), split="val")
    taps = find_taps(classifier, record.spec) if check else None
    network = parts.network(taps or classifier, samples)
    onnx = parts.calibrated(network)
    difference = verify(
        onnx,
        classifier,
        parts.calibrate,
        samples,
        logits=logits_name(network),
        uncalibrated=parts.uncalibrated,
    )
    verified = Verification(
        images=len(samples),
        alone=len(samples),
        max_difference=difference,
        libraries={library: version(library) for library in ("onnxruntime", "torch")},
    )
    card = Card(
        name=name,
        version=1,
        classes=record.classes,
        input=InputCard(**asdict(record.spec)),
        provenance=_provenance(run, record, parts.shortcomings),
        input_reference=record.input_reference,
        scope=check.card if check else None,
        verification=verified,
        **parts.described,
    )
    graph = with_scope(onnx, check.parameters) if check else onnx
    probes = make_probes(graph, record.spec)
    cards: list[Card] = []

    def build(folder: Path, number: int) -> None:
        own = card.model_copy(update={"version": number})
        cards.append(
            write_bundle(folder, card=own, onnx=graph, probes=probes, trained_on=trained_on)
        )

    number = store.publish(name, build)
    return ExportedModel(cards[-1], number, verified)


_PARTS: Final = {OF_CLASSES: class_parts, OF_FINDINGS: findings_parts}


def load_classifier(run: Path) -> Classifier:
    """The trained classifier of a run, in evaluation mode. Raises BadRun."""
    record = read_record(run)
    classifier = untrained(record, draw_trunk(record.config.backbone, "none", seed=0))
    with read_of_run(run / "checkpoint.safetensors") as path:
        classifier.load_state_dict(load_file(path))
    return classifier.eval()


def _provenance(run: Path, record: RunRecord, found: Sequence[str]) -> Provenance:
    config = record.config
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
        created_at=read_finish(run),
        training=TrainingCard(
            choices=choices,
            images={split: tuple(counts) for split, counts in record.counts.items()},
            shortcomings=tuple(found) or None,
        ),
    )
