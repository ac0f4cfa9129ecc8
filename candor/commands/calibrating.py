"""`candor calibrate`: predictions from anywhere become a report and a calibrator."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from calibration.wording import parameter
from candor.commands.options import PYTHON, RARE, FilePath, WrongUse, threshold_rule, unused
from candor.terminal.console import note
from candor.terminal.verb_result import PlainResult

if TYPE_CHECKING:
    import numpy.typing as npt

    from candor.predictions.calibration import Calibration
    from candor.predictions.findings_calibration import FindingsCalibration
    from candor.predictions.labeled import Predictions


def calibrate(
    probabilities: Annotated["npt.ArrayLike | FilePath", Path, "FILE"],
    labels: Annotated["npt.ArrayLike | None", str, "--label"] = None,
    *,
    scores: str | None = None,
    logits: bool = False,
    percent: bool = False,
    normalize: bool = False,
    classes: str | Sequence[str] | None = None,
    positive: str | None = None,
    confidence: str | None = None,
    predicted: str | None = None,
    correct: Annotated[str | None, RARE] = None,
    groups: Annotated["npt.ArrayLike | None", str, "--group"] = None,
    group_pattern: str | None = None,
    findings: str | None = None,
    exclusive: Annotated[bool, RARE] = False,
    threshold: str = "half",
    allow_label_changes: Annotated[bool, RARE] = False,
    bins: Annotated[int | None, PYTHON] = None,
    seed: Annotated[int, PYTHON] = 0,
    out: FilePath | None = None,
) -> "Calibration | Any":
    """Measure how calibrated predictions are, and fit a calibrator to take away.

    Reads a column `label` and one of scores per class, `prob` of two classes, or `confidence` and
    `predicted`; options name other columns. Rows whose `split` is train are left out; val fits and
    test judges. Of findings, a column of labels each: 1, 0, -1 uncertain, blank unknown. Python
    gives arrays, too: probabilities (N, K) or (N,) and labels (N,), or (N, K) of findings.

    Example: candor calibrate predictions.csv --out calibrated; then candor calibrate new.csv
        --apply calibrated/calibrator.json --to new-calibrated.csv

    Args:
        probabilities: Predictions and labels (none with --apply): .csv, .ndjson, .parquet, .npz.
        labels: Column of the true class (label).
        scores: Columns of scores, by commas, or 'score_*' (p_CLASS, ...).
        logits: The scores are logits.
        percent: The scores are percent, from 0 to 100.
        normalize: Divide each row by its sum.
        classes: Names of the classes, in the order of columns or numbers.
        positive: The class that a single column is about.
        confidence: Column of the predicted class's probability (confidence).
        predicted: Column of the predicted class (predicted).
        correct: Column of 1 where it was right (correct).
        groups: Column of patient or slide; none if each row stands alone.
        group_pattern: Regular expression; its first group is the patient in the paths.
        findings: Columns are findings: 'A|B', those looked for; '*' for all.
        exclusive: They are exclusive classes though they look like findings.
        threshold: Of findings: half, youden, sensitivity=0.9, cost=4, ...
        allow_label_changes: Try calibrators that may change the class.
        bins: Confidence bins of equal width, and of equal mass (15).
        seed: Of the split into fitting and judging rows.
        out: Folder for report, diagram, and calibrator if one helps.

    Returns:
        A Calibration; a FindingsCalibration if columns are findings.

    Raises:
        ValueError: what is wrong with the arrays or the table, in a sentence.

    >>> # 90 % confident, right 70 % of the time
    >>> found = calibrate([[0.1, 0.9]] * 200, [1] * 140 + [0] * 60)
    >>> found.standing.value, round(float(found.transform([[0.1, 0.9]])[0, 1]), 2)
    ('overconfident', 0.7)
    """
    from calibration.bins import BIN_COUNT
    from candor.predictions.labeled import Examining, LabeledFindings
    from candor.predictions.reading import read_arrays, reading_options, require_bins
    from candor.terminal.progress import bars

    options = reading_options(
        scores=scores,
        logits=logits,
        percent=percent,
        normalize=normalize,
        classes=classes,
        positive=positive,
        confidence=confidence,
        predicted=predicted,
        correct=correct,
        group_pattern=group_pattern,
        findings=findings,
        exclusive=exclusive,
    )
    if findings is not None:
        unused(f"{parameter('findings')} says that they are findings", exclusive=exclusive)
    count = BIN_COUNT if bins is None else require_bins(bins)
    rule, title = threshold_rule(threshold), "Calibration"
    if isinstance(probabilities, str | PathLike):
        title = f"Calibration of {Path(probabilities).name}"
    with bars() as progress:
        read = read_arrays(probabilities, labels, groups, options, progress=progress)
    are_findings = isinstance(read, LabeledFindings)
    if are_findings:
        unused(
            "these are findings",
            allow_label_changes=allow_label_changes,
            positive=positive,
            normalize=normalize,
        )
    else:
        unused("these are classes", threshold=None if threshold == "half" else threshold)
    if read.kind == "confidence":
        unused(
            "only a confidence is known",
            scores=scores,
            classes=classes,
            positive=positive,
            normalize=normalize,
            logits=logits,
        )
    else:
        unused("the scores of all classes are known", confidence=confidence)
    if logits:
        unused("logits need not sum to 1", normalize=normalize)
    if correct is not None:
        unused(f"{parameter('correct')} says it", labels=labels, predicted=predicted)
    done = read.examined(
        Examining(
            title=title,
            allow_label_changes=allow_label_changes,
            rule=rule,
            seed=seed,
            bins=count,
        )
    )
    if out is not None:
        _write(done, Path(out))
    return done


def calibrate_in_shell(
    *, apply: Path | None = None, to: Path | None = None, **given: Any
) -> PlainResult:
    """Calibrate, and show what was taken for what; or apply a calibrator.

    Args:
        apply: Fit nothing: apply this calibrator, and write rows to --to.
        to: CSV file for the calibrated rows, with their ids.
    """
    from monitoring.http.json_body import plain

    if (apply is None) != (to is None):
        raise WrongUse(
            f"{parameter('apply', 'CALIBRATOR')} goes with {parameter('to', 'FILE.csv')}"
        )
    file: Path = given.pop("probabilities")
    if apply is not None and to is not None:
        return _apply(file, apply, to, **given)
    out = given.pop("out")
    done = calibrate(file, **given)
    _preview(file, done.predictions)
    if out is not None:
        _write(done, out)
    return PlainResult(plain(done.as_dict()), *done.document())


def _preview(file: Path, read: "Predictions") -> None:
    """Say what was taken for what, and the first row as it was understood."""
    note(f"{file}, {len(read.rows):,} rows, read as")
    for line in (*(f"  {role}: {columns}" for role, columns in read.taken), *read.example()):
        note(line)


def _apply(
    file: Path,
    calibrator: Path,
    to: Path,
    *,
    labels: str | None,
    groups: str | None,
    findings: str | None,
    threshold: str,
    allow_label_changes: bool,
    out: Path | None,
    **given: Any,
) -> PlainResult:
    """Write the rows as the calibrator gives them."""
    from calibration.calibrators.portable import PortableCalibrator
    from candor.predictions.reading import read_arrays, reading_options
    from candor.terminal.progress import bars

    unused(
        f"{parameter('apply')} fits and measures nothing",
        out=out,
        allow_label_changes=allow_label_changes,
        threshold=None if threshold == "half" else threshold,
    )
    made = PortableCalibrator.from_json(calibrator.read_text("utf-8"))
    options = replace(
        reading_options(findings=made.looked_for or findings, **given),
        needs_labels=False,
        known=() if made.of == "confidence" else made.classes,
    )
    with bars() as progress:
        read = read_arrays(file, labels, groups, options, progress=progress)
    _preview(file, read)
    read.write_calibrated(made, to)
    for sentence in (*read.left_out, *read.notes):
        note(f"Note: {sentence}")
    return PlainResult(
        {"file": str(to), "rows": len(read.rows), "calibrator": made.method},
        f"{to}: {len(read.rows):,} rows, calibrated by {made.method}",
    )


def _write(done: "Calibration | FindingsCalibration", out: Path) -> None:
    """Write report, diagram and calibrator, and say where."""
    import json

    from monitoring.http.json_body import plain

    out.mkdir(parents=True, exist_ok=True)
    done.save_pictures(out)
    (out / "report.html").write_text(done.page(), encoding="utf-8")
    figures = json.dumps(plain(done.as_dict()), indent=2, ensure_ascii=False, allow_nan=False)
    (out / "report.json").write_text(f"{figures}\n", encoding="utf-8")
    note(_kept_calibrator(done, out))


def _kept_calibrator(done: "Calibration | FindingsCalibration", out: Path) -> str:
    """Write the calibrator if one was fitted, and say what is in the folder."""
    files = [out / "calibrator.json", out / "calibrator.onnx"]
    if done.calibrator.method != "none":
        for file in files:
            done.save(file)
        return f"Calibrator and report are in {out}"
    old = [file.name for file in files if file.exists()]
    earlier = f" {' and '.join(old)} there came from an earlier run." if old else ""
    return (
        f"The report is in {out}. No calibrator was written: none was fitted that improves "
        f"predictions.{earlier}"
    )
