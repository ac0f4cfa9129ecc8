"""`candor calibrate`: predictions from anywhere become a report and a calibrator; no model, no
server, no store.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from candor.commands.options import JsonOption

if TYPE_CHECKING:
    from calibration.calibrators.portable import PortableCalibrator
    from candor.predictions.calibration import Calibration
    from candor.predictions.labeled import LabeledPredictions, ReadingOptions

_COLUMNS, _MEANING, _OUTPUT = "Columns", "What they mean", "Output"


def calibrate(
    file: Annotated[
        Path,
        typer.Argument(
            help="Predictions and true labels (none with --apply): .csv, .ndjson, .parquet, or "
            ".npz of arrays."
        ),
    ],
    label: Annotated[
        str | None, typer.Option(help="Column of the true class.", rich_help_panel=_COLUMNS)
    ] = None,
    probabilities: Annotated[
        str | None,
        typer.Option(
            help="Columns of the classes' probabilities, separated by commas; * stands for "
            "anything.",
            rich_help_panel=_COLUMNS,
        ),
    ] = None,
    logits: Annotated[
        str | None,
        typer.Option(
            help="The same for logits; * alone takes the columns found.", rich_help_panel=_COLUMNS
        ),
    ] = None,
    confidence: Annotated[
        str | None,
        typer.Option(help="Column of the predicted class's probability.", rich_help_panel=_COLUMNS),
    ] = None,
    predicted: Annotated[
        str | None, typer.Option(help="Column of the predicted class.", rich_help_panel=_COLUMNS)
    ] = None,
    correct: Annotated[
        str | None,
        typer.Option(
            help="Column that says whether the answer was right.", rich_help_panel=_COLUMNS
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Column of the patient or the like (default: patient, if there is one).",
            rich_help_panel=_COLUMNS,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names of the classes, in the order of their columns or numbers.",
            rich_help_panel=_MEANING,
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(help="The class that a single column is about.", rich_help_panel=_MEANING),
    ] = None,
    normalize: Annotated[
        bool,
        typer.Option("--normalize", help="Divide each row by its sum.", rich_help_panel=_MEANING),
    ] = False,
    allow_label_changes: Annotated[
        bool,
        typer.Option(
            "--allow-label-changes",
            help="Consider calibrators that may change the predicted class.",
        ),
    ] = False,
    apply: Annotated[
        Path | None,
        typer.Option(
            help="Fit nothing: apply this calibrator to rows that need no labels, and write them "
            "to --to."
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            help="CSV file for the calibrated rows of --apply, with their ids.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.html, report.json, reliability.svg, and calibrator.json and "
            ".onnx if one helps.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write the report to this file, as one HTML page.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    json_out: JsonOption = False,
) -> None:
    """Measure how calibrated predictions are, and fit a calibrator to take away.

    Takes what you have: a column per class, one probability of two classes, a
    confidence with the predicted class, percent, logits, labels as names,
    numbers or one-hot columns. It says what it took each column for, and refuses
    what it cannot know.

    A calibrator is offered only if it improves rows that it has not seen. Below
    100 rows none is fitted.

    Example: candor calibrate predictions.csv --out calibrated; then candor calibrate
    new.csv --apply calibrated/calibrator.json --to new-calibrated.csv
    """
    from candor.predictions.calibration import examine_predictions
    from candor.predictions.reading import read_predictions
    from candor.terminal.calibration import calibration_tables, preview_lines
    from candor.terminal.console import print_json, stderr, stdout
    from candor.terminal.progress import bars
    from monitoring.http.json_body import plain

    if probabilities is not None and logits is not None:
        raise typer.BadParameter("give either --probabilities or --logits")
    if (apply is None) != (to is None):
        raise typer.BadParameter("--apply CALIBRATOR goes with --to FILE.csv")
    calibrator = None if apply is None else _calibrator(apply)
    options = _options(
        label=label,
        probabilities=probabilities,
        logits=logits,
        confidence=confidence,
        predicted=predicted,
        correct=correct,
        group=group,
        classes=classes,
        positive=positive,
        normalize=normalize,
        calibrator=calibrator,
    )
    with bars() as progress:
        read = read_predictions(file, options, progress=progress)
    stderr.print(f"{file}, {len(read.rows):,} rows, read as", soft_wrap=True)
    for line in preview_lines(read):
        stderr.print(line, soft_wrap=True)
    if calibrator is not None and to is not None:
        _apply(read, calibrator, to)
        return
    done = examine_predictions(
        read, title=f"Calibration of {file.name}", allow_label_changes=allow_label_changes
    )
    if json_out:
        print_json(plain(done.as_dict()))
    else:
        for part in calibration_tables(done):
            stdout.print(part)
    _write(done, out, html)


def _options(
    *,
    label: str | None,
    probabilities: str | None,
    logits: str | None,
    confidence: str | None,
    predicted: str | None,
    correct: str | None,
    group: str | None,
    classes: str | None,
    positive: str | None,
    normalize: bool,
    calibrator: "PortableCalibrator | None",
) -> "ReadingOptions":
    from candor.predictions.columns import ColumnWishes
    from candor.predictions.labeled import ReadingOptions

    scores = None if logits == "*" else logits or probabilities
    kind: Literal["logits", "probabilities"] | None = (
        "logits" if logits else "probabilities" if probabilities else None
    )
    return ReadingOptions(
        wishes=ColumnWishes(
            label=label,
            predicted=predicted,
            confidence=confidence,
            correct=correct,
            group=group,
            scores=scores,
            kind=kind,
        ),
        classes=None if classes is None else tuple(name.strip() for name in classes.split(",")),
        positive=positive,
        normalize=normalize,
        needs_labels=calibrator is None,
        known=() if calibrator is None or calibrator.of == "confidence" else calibrator.classes,
    )


def _write(done: "Calibration", out: Path | None, html: Path | None) -> None:
    """Write what was asked for, and say where."""
    import json

    from candor.terminal.console import stderr
    from monitoring.http.json_body import plain

    if html is not None:
        html.write_text(done.page(), encoding="utf-8")
        stderr.print(f"The report is in {html}", soft_wrap=True)
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    done.plot().save(out / "reliability.svg")
    (out / "report.html").write_text(done.page(), encoding="utf-8")
    figures = json.dumps(plain(done.as_dict()), indent=2, ensure_ascii=False, allow_nan=False)
    (out / "report.json").write_text(f"{figures}\n", encoding="utf-8")
    stderr.print(_kept_calibrator(done, out), soft_wrap=True)


def _kept_calibrator(done: "Calibration", out: Path) -> str:
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


def _calibrator(file: Path) -> "PortableCalibrator":
    from calibration.calibrators.portable import PortableCalibrator

    return PortableCalibrator.from_json(file.read_text(encoding="utf-8"))


def _apply(read: "LabeledPredictions", calibrator: "PortableCalibrator", to: Path) -> None:
    """Write the rows as the calibrator gives them."""
    from candor.predictions.calibrated_table import write_calibrated
    from candor.terminal.console import stderr, stdout

    write_calibrated(read, calibrator, to)
    for note in read.notes:
        stderr.print(f"Note: {note}", soft_wrap=True)
    stdout.print(
        f"{to}: {len(read.rows):,} rows, calibrated by {calibrator.method}", soft_wrap=True
    )
