"""`candor calibrate`: predictions from anywhere become a report and a calibrator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import JsonOption, argument, option, threshold_rule
from candor.terminal.console import note, print_json, stdout

if TYPE_CHECKING:
    from calibration.calibrators.portable import PortableCalibrator
    from candor.predictions.calibration import Calibration
    from candor.predictions.findings_calibration import FindingsCalibration
    from candor.predictions.labeled import Predictions


def calibrate(
    file: Annotated[
        Path,
        argument("Predictions and labels (none with --apply): .csv, .ndjson, .parquet, .npz."),
    ],
    label: Annotated[str | None, option("Column of the true class (label).")] = None,
    scores: Annotated[
        str | None,
        option("Columns of scores, by commas, or 'score_*' (p_CLASS, ...)."),
    ] = None,
    logits: Annotated[bool, option("The scores are logits.", "--logits")] = False,
    percent: Annotated[bool, option("The scores are percent, from 0 to 100.", "--percent")] = False,
    normalize: Annotated[bool, option("Divide each row by its sum.", "--normalize")] = False,
    classes: Annotated[
        str | None, option("Names of the classes, in the order of columns or numbers.")
    ] = None,
    positive: Annotated[str | None, option("The class that a single column is about.")] = None,
    confidence: Annotated[
        str | None, option("Column of the predicted class's probability (confidence).")
    ] = None,
    predicted: Annotated[str | None, option("Column of the predicted class (predicted).")] = None,
    correct: Annotated[str | None, option("Column of 1 where it was right (correct).")] = None,
    group: Annotated[
        str | None, option("Column of patient or slide; none if each row stands alone.")
    ] = None,
    group_pattern: Annotated[
        str | None, option("Regular expression; its first group is the patient in file names.")
    ] = None,
    findings: Annotated[
        str | None, option("Columns are findings: 'A|B', those looked for; '*' for all.")
    ] = None,
    exclusive: Annotated[
        bool, option("They are exclusive classes though they look like findings.", "--exclusive")
    ] = False,
    threshold: Annotated[
        str, option("Of findings: half, youden, sensitivity=0.9, cost=4, ...")
    ] = "half",
    allow_label_changes: Annotated[
        bool, option("Try calibrators that may change the class.", "--allow-label-changes")
    ] = False,
    apply: Annotated[
        Path | None, option("Fit nothing: apply this calibrator, and write rows to --to.")
    ] = None,
    to: Annotated[Path | None, option("CSV file for the calibrated rows, with their ids.")] = None,
    out: Annotated[
        Path | None, option("Folder for report, diagram, and calibrator if one helps.")
    ] = None,
    json_out: JsonOption = False,
) -> None:
    """Measure how calibrated predictions are, and fit a calibrator to take away.

    Reads a column `label` and one of scores per class, `prob` of two classes, or
    `confidence` and `predicted`. Options name other columns. Rows whose `split`
    is train are left out; val fits and test judges. Of findings, a column of
    labels each: 1, 0, -1 uncertain, blank unknown.

    Example: candor calibrate predictions.csv --out calibrated; then candor calibrate
    new.csv --apply calibrated/calibrator.json --to new-calibrated.csv
    """
    from calibration.calibrators.portable import PortableCalibrator
    from candor.predictions.arrays import kind_of
    from candor.predictions.columns import ColumnWishes
    from candor.predictions.labeled import Examining, ReadingOptions
    from candor.predictions.reading import read_predictions
    from candor.terminal.calibration import examined_tables, preview_lines
    from candor.terminal.progress import bars
    from monitoring.http.json_body import plain

    if (apply is None) != (to is None):
        raise typer.BadParameter("--apply CALIBRATOR goes with --to FILE.csv")
    if apply is not None and out is not None:
        raise typer.BadParameter("--apply fits and measures nothing that --out could write")
    calibrator = None if apply is None else PortableCalibrator.from_json(apply.read_text("utf-8"))
    options = ReadingOptions(
        wishes=ColumnWishes(
            label=label,
            predicted=predicted,
            confidence=confidence,
            correct=correct,
            group=group,
            group_pattern=group_pattern,
            scores=scores,
            kind=kind_of(logits=logits, percent=percent),
        ),
        classes=None if classes is None else tuple(name.strip() for name in classes.split(",")),
        positive=positive,
        normalize=normalize,
        needs_labels=calibrator is None,
        findings=(calibrator and calibrator.looked_for) or findings,
        exclusive=exclusive,
        known=() if calibrator is None or calibrator.of == "confidence" else calibrator.classes,
    )
    with bars() as progress:
        read = read_predictions(file, options, progress=progress)
    note(f"{file}, {len(read.rows):,} rows, read as")
    for line in preview_lines(read):
        note(line)
    if calibrator is not None and to is not None:
        _apply(read, calibrator, to)
        return
    how = Examining(
        title=f"Calibration of {file.name}",
        allow_label_changes=allow_label_changes,
        rule=threshold_rule(threshold),
    )
    done = read.examined(how)
    if json_out:
        print_json(plain(done.as_dict()))
    else:
        for part in examined_tables(done):
            stdout.print(part)
    if out is not None:
        _write(done, out)


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


def _apply(read: "Predictions", calibrator: "PortableCalibrator", to: Path) -> None:
    """Write the rows as the calibrator gives them."""
    from candor.predictions.calibrated_table import write_calibrated

    write_calibrated(read, calibrator, to)
    for sentence in (*read.left_out, *read.notes):
        note(f"Note: {sentence}")
    stdout.print(f"{to}: {len(read.rows):,} rows, calibrated by {calibrator.method}")
