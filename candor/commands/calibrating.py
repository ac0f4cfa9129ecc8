"""`candor calibrate`: predictions from anywhere become a report and a calibrator."""

from functools import partial
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

_column, _meaning, _output = (
    partial(option, rich_help_panel=panel) for panel in ("Columns", "What they mean", "Output")
)


def calibrate(
    file: Annotated[
        Path,
        argument(
            "Predictions and true labels (none with --apply): .csv, .ndjson, .parquet, or .npz of "
            "arrays."
        ),
    ],
    label: Annotated[str | None, _column("Column of the true class.")] = None,
    probabilities: Annotated[
        str | None,
        _column(
            "Columns of the classes' probabilities, separated by commas; * stands for anything."
        ),
    ] = None,
    logits: Annotated[
        str | None, _column("The same for logits; * alone takes the columns found.")
    ] = None,
    confidence: Annotated[
        str | None, _column("Column of the predicted class's probability.")
    ] = None,
    predicted: Annotated[str | None, _column("Column of the predicted class.")] = None,
    correct: Annotated[
        str | None, _column("Column that says whether the answer was right.")
    ] = None,
    group: Annotated[
        str | None,
        _column(
            "Column of the patient, slide or the like (default: one that is called so); none if "
            "each row stands alone."
        ),
    ] = None,
    group_pattern: Annotated[
        str | None,
        _column("Regular expression whose first group is the patient in the names of files."),
    ] = None,
    classes: Annotated[
        str | None, _meaning("Names of the classes, in the order of their columns or numbers.")
    ] = None,
    findings: Annotated[
        str | None,
        _meaning(
            "Columns are findings, of which a row may have several: those looked for in every row, "
            "joined by |, or '*' for all."
        ),
    ] = None,
    exclusive: Annotated[
        bool,
        _meaning("Labels are exclusive classes though they look like findings.", "--exclusive"),
    ] = False,
    threshold: Annotated[
        str,
        _meaning(
            "Findings are present from here on: half, youden, sensitivity=0.9, specificity=0.9 or "
            "cost=4 (a missed one costs 4 false alarms)."
        ),
    ] = "half",
    positive: Annotated[str | None, _meaning("The class that a single column is about.")] = None,
    normalize: Annotated[bool, _meaning("Divide each row by its sum.", "--normalize")] = False,
    allow_label_changes: Annotated[
        bool,
        option(
            "Consider calibrators that may change the predicted class.", "--allow-label-changes"
        ),
    ] = False,
    apply: Annotated[
        Path | None,
        option(
            "Fit nothing: apply this calibrator to rows that need no labels, and write them to "
            "--to."
        ),
    ] = None,
    to: Annotated[
        Path | None, _output("CSV file for the calibrated rows of --apply, with their ids.")
    ] = None,
    out: Annotated[
        Path | None,
        _output(
            "Folder for report.html, report.json, reliability.svg, and calibrator.json and .onnx "
            "if one helps."
        ),
    ] = None,
    html: Annotated[
        Path | None, _output("Write the report to this file, as one HTML page.")
    ] = None,
    json_out: JsonOption = False,
) -> None:
    """Measure how calibrated predictions are, and fit a calibrator to take away.

    Takes what you have: a column per class, one probability of two classes, a
    confidence with the predicted class, percent, logits, labels as names,
    numbers or one-hot columns. It says what it took each column for, and refuses
    what it cannot know.

    Of findings, such as Edema and Mass on one image, it takes a column of labels
    for each (1, 0, -1 uncertain, blank unknown) or lists such as Edema|Mass.

    A calibrator is offered only if it improves rows that it has not seen. Below
    100 rows none is fitted.

    Example: candor calibrate predictions.csv --out calibrated; then candor calibrate
    new.csv --apply calibrated/calibrator.json --to new-calibrated.csv
    """
    from calibration.calibrators.portable import PortableCalibrator
    from candor.predictions.columns import ColumnWishes
    from candor.predictions.labeled import Examining, ReadingOptions
    from candor.predictions.reading import read_predictions
    from candor.terminal.calibration import examined_tables, preview_lines
    from candor.terminal.progress import bars
    from monitoring.http.json_body import plain

    if probabilities is not None and logits is not None:
        raise typer.BadParameter("give either --probabilities or --logits")
    if (apply is None) != (to is None):
        raise typer.BadParameter("--apply CALIBRATOR goes with --to FILE.csv")
    calibrator = None if apply is None else PortableCalibrator.from_json(apply.read_text("utf-8"))
    options = ReadingOptions(
        wishes=ColumnWishes(
            label=label,
            predicted=predicted,
            confidence=confidence,
            correct=correct,
            group=group,
            group_pattern=group_pattern,
            scores=None if logits == "*" else logits or probabilities,
            kind="logits" if logits else "probabilities" if probabilities else None,
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
    _write(done, out, html)


def _write(done: "Calibration | FindingsCalibration", out: Path | None, html: Path | None) -> None:
    """Write what was asked for, and say where."""
    import json

    from monitoring.http.json_body import plain

    if html is not None:
        html.write_text(done.page(), encoding="utf-8")
        note(f"The report is in {html}")
    if out is None:
        return
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
