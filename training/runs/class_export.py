"""The graph and the card of a run with exclusive classes: calibrator, referral, sets, variants."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.bundle.graph import logits_name
from model_store.bundle.scope_graph import with_scope
from training.datasets import Dataset, Split
from training.errors import BadRun, UselessModel
from training.evaluation.caveats import contradiction
from training.evaluation.evaluation import read_evaluation
from training.evaluation.usefulness import beats_constant, shortcomings
from training.networks.classifier import Classifier
from training.networks.scope_taps import find_taps
from training.runs.config import RunRecord
from training.runs.export_parts import ExportChoices, ExportParts, verification
from training.runs.folds import pooled_split
from training.runs.onnx_graph import calibrated, to_onnx, verify
from training.runs.precisions import (
    PrecisionVariant,
    RefusedVariant,
    VariantBuilder,
    calibration_parts,
)
from training.runs.scope import scope_check


def class_parts(
    run: Path,
    record: RunRecord,
    classifier: Classifier,
    samples: NDArray[np.uint8],
    choices: ExportChoices,
) -> ExportParts:
    """What to publish of a run. Raises BadRun, UselessModel, ExportMismatch."""
    calibrator, anyway = choices.calibrator, choices.anyway
    if choices.rules:
        raise BadRun(f"{run} has exclusive classes; --threshold is for findings")
    evaluation = read_evaluation(run)
    if calibrator not in evaluation.calibrators:
        raise BadRun(f"{run} has no {calibrator} calibrator; train with --perturbed to get one")
    contradicted = contradiction(evaluation, calibrator)
    if contradicted and not anyway:
        calibrator = "uncalibrated"
    balanced = record.config.class_weights == "balanced"
    found = shortcomings(evaluation, record.classes, method=calibrator, balanced=balanced)
    if found and not anyway and not beats_constant(evaluation, calibrator):
        raise UselessModel(run, found)
    fitted = evaluation.calibrators[calibrator]
    check = scope_check(run, evaluation, calibrator, record)
    taps = find_taps(classifier, record.spec) if check else None
    network = to_onnx(taps or classifier, samples)
    onnx = calibrated(network, fitted)
    verified = verification(
        verify(onnx, classifier, fitted, samples, logits=logits_name(network)), samples
    )
    if check:
        onnx = with_scope(onnx, check.parameters)
    wanted = [
        precision for precision in dict.fromkeys(choices.precisions) if precision != "float32"
    ]
    built: list[PrecisionVariant | RefusedVariant] = []
    if wanted:
        split = _validation(run, record, choices.dataset)
        builder = VariantBuilder(
            network,
            evaluation,
            split,
            record.spec,
            calibrator,
            choices.max_accuracy_loss,
            check,
            sum(record.counts["val"]),
        )
        built = [builder.build(precision) for precision in wanted]
    variants = [each for each in built if isinstance(each, PrecisionVariant)]
    described: dict[str, Any] = {
        "scope": check.card if check else None,
        "verification": verified,
        "variants": tuple(variant.card for variant in variants) or None,
        **calibration_parts(evaluation, calibrator, contradicted),
    }
    return ExportParts(
        onnx,
        described,
        {each.card.precision: each.onnx for each in variants},
        tuple(each for each in built if isinstance(each, RefusedVariant)),
        tuple(found),
        check.neighbors if check else None,
    )


def _validation(run: Path, record: RunRecord, dataset: Dataset | None) -> Split:
    """The validation split of the run's data. Raises BadRun if it is not given."""
    if dataset is None:
        raise BadRun(
            f"variants of {run} are calibrated on its validation images: give the data that it was "
            "trained on"
        )
    if dataset.fingerprint != record.fingerprint:
        raise BadRun(
            f"the data is not that of {run}: got fingerprint {dataset.fingerprint[:12]}..., "
            f"expected {record.fingerprint[:12]}...; give the same images and labels"
        )
    folded = record.config.validation == "folds"
    return pooled_split(dataset) if folded else dataset.splits["val"]
