"""What `candor train` prints about findings."""

from typing import TYPE_CHECKING

from calibration.document import FigureTable, Part
from calibration.figures import figure
from calibration.findings.calibrator import FEWEST_POSITIVES
from calibration.findings.measures import FindingMeasures, macro
from calibration.wording import percent
from training.evaluation.findings import FindingsEvaluation
from training.evaluation.predictions import EVALUATED

if TYPE_CHECKING:
    from training.runs.config import RunRecord

MEASURED = ("labeled", "positives", "AUROC", "AUPRC", "ECE", "floor", "O/E")


def findings_tables(evaluation: FindingsEvaluation, _: "RunRecord") -> list[Part]:
    """Return the measures of each finding on validation and test, and what is not calibrated."""
    parts: list[Part] = []
    for split in EVALUATED:
        measured = evaluation.measures(split, "calibrated")
        rows = [_row(name, each) for name, each in zip(evaluation.names, measured, strict=True)]
        means = macro(measured)
        mean = _cells(*(means[name] for name in ("auroc", "auprc", "ece", "ece_floor")))
        rows.append([f"mean of {means['findings']:g}", "", "", *mean, ""])
        title = f"{split}: calibrated probabilities" + (" (fitted here)" if split == "val" else "")
        parts.append(FigureTable(title, ("", *MEASURED), rows))
    parts.append(
        "ECE compares probability and share present in bins of equally many images; O/E is the "
        "number of positives by the sum of probabilities. candor export chooses thresholds."
    )
    return [*parts, *_uncalibrated(evaluation)]


def _row(name: str, each: FindingMeasures) -> list[str]:
    counts = (f"{each.labeled:,}", f"{each.positives:,}")
    values = _cells(each.auroc, each.auprc, each.ece, each.ece_floor)
    return [name, *counts, *values, figure(each.observed_expected, 2)]


def _cells(*measured: float | None) -> list[str]:
    auroc, auprc, ece, floor = measured
    return [figure(auroc), figure(auprc), percent(ece), percent(floor)]


def _uncalibrated(evaluation: FindingsEvaluation) -> list[str]:
    fitted = zip(evaluation.names, evaluation.calibrators, strict=True)
    few = [name for name, each in fitted if not each.fitted]
    if not few:
        return []
    return [
        f"Not calibrated: {', '.join(few)}. Validation has fewer than {FEWEST_POSITIVES} images "
        "with the finding, or as few without it, or its labels do not determine a temperature."
    ]
