"""The graph and the card of a run with findings: calibrators, thresholds and their promises."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.calibrators.temperature import sigmoid
from calibration.findings.calibrator import UNFITTED
from model_store.bundle.calibration_card import ConformalCard
from model_store.bundle.finding_card import FindingCard, ThresholdRule, binary_card, finding_card
from model_store.bundle.graph import logits_name, with_calibrator
from model_store.bundle.scope import fit_scope
from model_store.bundle.scope_graph import with_scope
from training.errors import BadRun, UnknownName, UselessModel
from training.evaluation.findings import (
    DEFAULT_RULE,
    FindingsEvaluation,
    evaluate_findings,
    findings_shortcomings,
)
from training.evaluation.predictions import read_predictions
from training.networks.classifier import Classifier
from training.networks.scope_taps import find_taps
from training.runs.config import RunRecord
from training.runs.export_parts import EVERY, ExportChoices, ExportParts, verification
from training.runs.onnx_graph import to_findings_onnx, verify
from training.runs.scope import read_scope


def findings_parts(
    run: Path,
    record: RunRecord,
    classifier: Classifier,
    samples: NDArray[np.uint8],
    choices: ExportChoices,
) -> ExportParts:
    """What to publish of a run. Raises BadRun, UnknownName, UselessModel, ExportMismatch."""
    evaluation = evaluate_findings(record.classes, read_predictions(run))
    _check(run, evaluation, choices)
    found = findings_shortcomings(evaluation)
    if found and not choices.anyway:
        raise UselessModel(run, found)
    if choices.calibrator == "none":
        plain = (UNFITTED,) * len(evaluation.names)
        evaluation = FindingsEvaluation(evaluation.names, evaluation.predictions, plain)
    cards = tuple(_card(evaluation, place, choices.rules) for place in range(len(evaluation.names)))
    p, labels = evaluation.probabilities("val", "calibrated"), evaluation.predictions["val"].labels
    check = fit_scope(read_scope(run), split="val")
    taps = find_taps(classifier, record.spec) if check else None
    onnx = with_calibrator(
        to_findings_onnx(taps or classifier, samples, evaluation.names),
        temperature=[each.temperature for each in evaluation.calibrators],
        class_bias=[each.bias[0] for each in evaluation.calibrators],
    )
    difference = verify(
        onnx,
        classifier,
        evaluation.calibrate,
        samples,
        logits=logits_name(onnx),
        uncalibrated=sigmoid,
    )
    if check:
        onnx = with_scope(onnx, check.parameters)
    known = ~np.isnan(labels)
    pooled = binary_card(p[known], labels[known] == 1, split="val")
    described = {
        "findings": cards,
        "calibration": pooled,
        "scope": check.card if check else None,
        "verification": verification(difference, samples),
    }
    return ExportParts(onnx, described)


def _check(run: Path, evaluation: FindingsEvaluation, choices: ExportChoices) -> None:
    if choices.calibrator not in ("temperature", "none"):
        raise BadRun(
            f"{run} has findings: their calibrator is temperature or none; got {choices.calibrator}"
        )
    for name in choices.rules:
        if name not in (*evaluation.names, EVERY):
            raise UnknownName("finding", name, evaluation.names)


def _card(
    evaluation: FindingsEvaluation, place: int, rules: Mapping[str, ThresholdRule]
) -> FindingCard:
    name, val = evaluation.names[place], evaluation.predictions["val"]
    wanted = rules.get(name) or rules.get(EVERY)
    rule = DEFAULT_RULE if wanted is None else (wanted.kind, wanted.value)
    threshold, (kind, value) = evaluation.threshold(place, rule)
    card = finding_card(
        name,
        evaluation.probabilities("val", "calibrated")[:, place],
        val.labels[:, place],
        split="val",
        calibrator=evaluation.calibrators[place],
        threshold=threshold,
        rule=ThresholdRule(kind=kind, value=value),
        groups=val.groups,
    )
    sets = evaluation.sets(place, threshold)
    return card.model_copy(
        update={"conformal": None if sets is None else ConformalCard.from_sets(sets)}
    )
