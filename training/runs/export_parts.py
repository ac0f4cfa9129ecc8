"""What an export publishes of a run besides its record: calibrators, thresholds, their promises."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calibration.calibrators.temperature import sigmoid, softmax
from calibration.findings.calibrator import UNFITTED
from calibration.wording import parameter
from model_store.bundle.calibration_card import (
    CalibrationCard,
    ConformalCard,
    Referral,
    TestContradiction,
)
from model_store.bundle.finding_card import FindingCard, ThresholdRule, binary_card, finding_card
from model_store.bundle.graph import with_calibrator
from training.errors import BadRun, UnknownName, UselessModel
from training.evaluation.calibrators import Method
from training.evaluation.caveats import contradiction
from training.evaluation.evaluation import evaluate
from training.evaluation.findings import (
    DEFAULT_RULE,
    FindingsEvaluation,
    evaluate_findings,
    findings_shortcomings,
)
from training.evaluation.predictions import read_predictions
from training.evaluation.usefulness import beats_constant, shortcomings
from training.runs.config import RunRecord
from training.runs.onnx_graph import Calibrate, calibrated, to_findings_onnx, to_onnx


@dataclass(frozen=True)
class ExportChoices:
    """What the user chose, as `training.runs.export.export` takes it. `rules`: how the threshold of
    each finding is chosen, by name; EVERY stands for the others.
    """

    calibrator: Method
    anyway: bool
    rules: Mapping[str, ThresholdRule]


EVERY: Final = ""


@dataclass(frozen=True)
class ExportParts:
    """The end of the graph, and what the card says of it.

    Attributes:
        described: fields of the card.
        shortcomings: where the model fails though it is of use.
        network: the graph without calibrator of a classifier, or its taps, and sample images.
        calibrated: the graph with calibrator of one without.
        calibrate: probabilities of logits (N, K) with the calibrator.
        uncalibrated: those without.
    """

    described: Mapping[str, Any]
    shortcomings: Sequence[str]
    network: Callable[[nn.Module, NDArray[np.uint8]], bytes]
    calibrated: Callable[[bytes], bytes]
    calibrate: Calibrate
    uncalibrated: Calibrate


def class_parts(run: Path, record: RunRecord, choices: ExportChoices) -> ExportParts:
    """Those of exclusive classes; the calibrator's reference is validation.

    Raises BadRun, UselessModel.
    """
    if choices.rules:
        raise BadRun(f"{run} has exclusive classes; {parameter('threshold')} is for findings")
    evaluation = evaluate(read_predictions(run))
    contradicted = contradiction(evaluation, choices.calibrator)
    calibrator = "none" if contradicted and not choices.anyway else choices.calibrator
    balanced = record.config.class_weights == "balanced"
    found = shortcomings(evaluation, record.classes, method=calibrator, balanced=balanced)
    if found and not choices.anyway and not beats_constant(evaluation, calibrator):
        raise UselessModel(run, found)
    fitted = evaluation.affine(calibrator)
    card = CalibrationCard.from_reference(
        # as the graph holds it; a vector stands before the division
        temperature=1.0 if calibrator == "vector" else float(np.float32(fitted.temperature)),
        split="val",
        method="temperature" if calibrator == "none" else calibrator,
        sums=evaluation.sums("val", calibrator),
        measures=evaluation.measures["val"][calibrator],
        confusion=evaluation.confusion("val", calibrator),
        answers=evaluation.answers_by_bin("val", calibrator),
        contradicted=TestContradiction(**asdict(contradicted)) if contradicted else None,
    )
    described = {
        "calibration": card,
        "referral": Referral.from_threshold(evaluation.referral(calibrator)),
        "conformal": ConformalCard.from_sets(evaluation.conformal(calibrator)),
    }
    graph = partial(calibrated, calibrator=fitted)
    return ExportParts(described, found, to_onnx, graph, fitted, softmax)


def findings_parts(run: Path, record: RunRecord, choices: ExportChoices) -> ExportParts:
    """Those of findings. Raises BadRun, UnknownName, UselessModel."""
    evaluation = evaluate_findings(record.classes, read_predictions(run))
    names = evaluation.names
    _check(run, names, choices)
    found = findings_shortcomings(evaluation)
    if found and not choices.anyway:
        raise UselessModel(run, found)
    if choices.calibrator == "none":
        evaluation = replace(evaluation, calibrators=(UNFITTED,) * len(names))
    cards = tuple(_finding_card(evaluation, place, choices.rules) for place in range(len(names)))
    p, labels = evaluation.probabilities("val", "calibrated"), evaluation.predictions["val"].labels
    known = ~np.isnan(labels)
    pooled = binary_card(p[known], labels[known] == 1, split="val")
    return ExportParts(
        {"findings": cards, "calibration": pooled},
        (),
        partial(to_findings_onnx, names=names),
        partial(
            with_calibrator,
            temperature=[each.temperature for each in evaluation.calibrators],
            class_bias=[each.bias[0] for each in evaluation.calibrators],
        ),
        evaluation.calibrate,
        sigmoid,
    )


def _check(run: Path, names: Sequence[str], choices: ExportChoices) -> None:
    if choices.calibrator not in ("temperature", "none"):
        raise BadRun(
            f"{run} has findings: their calibrator is temperature or none; got {choices.calibrator}"
        )
    for name in choices.rules:
        if name not in (*names, EVERY):
            raise UnknownName("finding", name, tuple(names))


def _finding_card(
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
