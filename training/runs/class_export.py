"""The graph and the card of a run with exclusive classes: calibrator, referral, sets."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.wording import parameter
from model_store.bundle.calibration_card import (
    CalibrationCard,
    ConformalCard,
    Referral,
    TestContradiction,
)
from model_store.bundle.graph import logits_name
from model_store.bundle.scope import fit_scope
from model_store.bundle.scope_graph import with_scope
from training.errors import BadRun, UselessModel
from training.evaluation.calibrators import Method
from training.evaluation.caveats import Contradiction, contradiction
from training.evaluation.evaluation import Evaluation, evaluate
from training.evaluation.predictions import read_predictions
from training.evaluation.usefulness import beats_constant, shortcomings
from training.networks.classifier import Classifier
from training.networks.scope_taps import find_taps
from training.runs.config import RunRecord
from training.runs.export_parts import ExportChoices, ExportParts, verification
from training.runs.onnx_graph import calibrated, to_onnx, verify
from training.runs.scope import read_scope


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
        raise BadRun(f"{run} has exclusive classes; {parameter('threshold')} is for findings")
    evaluation = evaluate(read_predictions(run))
    contradicted = contradiction(evaluation, calibrator)
    if contradicted and not anyway:
        calibrator = "none"
    balanced = record.config.class_weights == "balanced"
    found = shortcomings(evaluation, record.classes, method=calibrator, balanced=balanced)
    if found and not anyway and not beats_constant(evaluation, calibrator):
        raise UselessModel(run, found)
    fitted = evaluation.affine(calibrator)
    check = fit_scope(read_scope(run), split="val")
    taps = find_taps(classifier, record.spec) if check else None
    network = to_onnx(taps or classifier, samples)
    onnx = calibrated(network, fitted)
    verified = verification(
        verify(onnx, classifier, fitted, samples, logits=logits_name(network)), samples
    )
    if check:
        onnx = with_scope(onnx, check.parameters)
    described: dict[str, Any] = {
        "scope": check.card if check else None,
        "verification": verified,
        **_calibration_parts(evaluation, calibrator, contradicted),
    }
    return ExportParts(onnx, described, tuple(found))


def _calibration_parts(
    evaluation: Evaluation, calibrator: Method, contradicted: Contradiction | None
) -> dict[str, Any]:
    """The fields of a card that belong to a calibrator; its reference is the validation split."""
    fitted = evaluation.affine(calibrator)
    return {
        "calibration": CalibrationCard.from_reference(
            # as the graph holds it; a vector stands before the division
            temperature=1.0 if calibrator == "vector" else float(np.float32(fitted.temperature)),
            split="val",
            method="temperature" if calibrator == "none" else calibrator,
            sums=evaluation.sums("val", calibrator),
            measures=evaluation.measures["val"][calibrator],
            confusion=evaluation.confusion("val", calibrator),
            answers=evaluation.answers_by_bin("val", calibrator),
            contradicted=TestContradiction(**asdict(contradicted)) if contradicted else None,
        ),
        "referral": Referral.from_threshold(evaluation.referral(calibrator)),
        "conformal": ConformalCard.from_sets(evaluation.conformal(calibrator)),
    }
