"""`candor feedback` and `candor predictions`: tables of labels and answers, sent to a server."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibration.wording import counted
from candor.commands.options import (
    DEFAULT_URL,
    FileIdOption,
    JsonOption,
    TokenOption,
    UrlOption,
    argument,
    option,
    read_token,
)
from candor.predictions.image_files import FileIdRule
from candor.terminal.console import note, print_json, stdout

if TYPE_CHECKING:
    from candor.predictions.upload import TableUpload
    from serving.client import Client

UPLOAD_TIMEOUT_S = 120.0


def feedback(
    file: Annotated[
        Path | None,
        argument(
            "A .csv with a header, .ndjson or .parquet. Columns: label, or one for each finding, "
            "and file, prediction_id or request_id; optional: looked_for, model, source, reader, "
            "observed_at, patient."
        ),
    ] = None,
    prediction_id: Annotated[
        str | None, option("Label one answer, by its id, instead of a file.")
    ] = None,
    label: Annotated[
        str | None,
        option(
            "The true class of that answer; with a file, its column of true classes (default: "
            "label)."
        ),
    ] = None,
    findings: Annotated[
        str | None,
        option(
            "Columns with a finding each: 1, 0, -1 (uncertain) or blank; by commas (default: those "
            "of the model's findings). Of lists such as Edema|Mass: those that were looked for, "
            "'A|B|C' or '*' for all."
        ),
    ] = None,
    group: Annotated[
        str | None,
        option(
            "Column of the patient, of answers that were served without one (default: one that is "
            "called so); none if each answer stands alone."
        ),
    ] = None,
    early: Annotated[
        bool,
        option("The labels come before their answers: it is no failure if all wait.", "--early"),
    ] = False,
    model: Annotated[
        str | None,
        option("Model of rows that name an answer by file or request_id (default: the only one)."),
    ] = None,
    request_id: FileIdOption = FileIdRule.FILENAME,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    json_out: JsonOption = False,
) -> None:
    """Upload the true labels of answers.

    A column `file` or `path` joins labels to answers by file name, if the images
    were sent with `candor predict --request-id filename`. A file that is sorted
    by label is sent in a random order, for the sake of the drift watch.

    Labels of findings have a column each, or are a list such as Edema|Mass in
    `label` with the findings that the reader looked for (`*`: all) in
    `looked_for`. A blank is a missing label, never a negative one.

    Uploading the same labels again changes nothing. If an upload is
    interrupted, run the command again: it continues where it stopped
    (FILE.progress). Rows that were not recorded go to FILE.rejected.csv with the
    reason, and the exit code is 1. It is 1, too, if no label found its answer.

    Example: candor feedback labels.csv
    """
    from serving.client import Client

    if (file is None) == (prediction_id is None) or (prediction_id is not None and label is None):
        raise typer.BadParameter("give either a file, or --prediction-id with --label")
    if prediction_id is not None and any((findings, group, model, early)):
        raise typer.BadParameter(
            "--findings, --group, --model and --early are for a file; --prediction-id names one "
            "answer"
        )
    with Client(url, token=read_token(token_file), timeout_s=UPLOAD_TIMEOUT_S) as client:
        if file is not None:
            _send_labels(
                file,
                client,
                label=label,
                findings=findings,
                group=group,
                model=model,
                rule=request_id,
                early=early,
                json_out=json_out,
            )
            return
        (result,) = client.feedback([{"prediction_id": prediction_id, "label": label}])
    _show_result(result, prediction_id, json_out=json_out)


def predictions(
    file: Annotated[
        Path,
        argument(
            "A .csv with a header, .ndjson or .parquet. Columns: request_id or prediction_id; "
            "probabilities, or predicted and confidence; optional: served_at, tags, patient, "
            "audit, label, source, reader, observed_at, model, version."
        ),
    ],
    model: Annotated[str | None, option("Model of the rows that name none.")] = None,
    version: Annotated[
        int | None, option("Version of the rows that name none (default: newest).")
    ] = None,
    classes: Annotated[
        str | None, option("Declare the model first, with these classes, separated by commas.")
    ] = None,
    findings: Annotated[
        str | None,
        option(
            "Declare the model first, with these findings: Edema,Mass=0.3 (present from this "
            "probability on; default 0.5)."
        ),
    ] = None,
    label: Annotated[str | None, option("Column of the true class (default: label).")] = None,
    predicted: Annotated[
        str | None, option("Column of the predicted class (default: predicted).")
    ] = None,
    confidence: Annotated[
        str | None, option("Column of its probability (default: confidence).")
    ] = None,
    probabilities: Annotated[
        str | None,
        option("Columns of the classes' probabilities, by commas; * stands for anything."),
    ] = None,
    group: Annotated[
        str | None,
        option(
            "Column of the patient or slide (default: one that is called so); none if each answer "
            "stands alone."
        ),
    ] = None,
    group_pattern: Annotated[
        str | None,
        option("Regular expression whose first group is the patient in the names of files."),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    json_out: JsonOption = False,
) -> None:
    """Upload the answers of a model that Candor does not serve, to have it monitored.

    The columns are those of `candor ledger export`; options name those that are
    called otherwise. Probabilities may have a column each (`p_CLASS`). What is
    not sent is said. A model with findings has a column of probabilities for each
    (`p_Edema`), and may have one of labels: 1, 0, -1 (uncertain) or blank
    (`Edema` or `label_Edema`).

    Uploading the same answers again changes nothing. If an upload is
    interrupted, run the command again: it continues where it stopped
    (FILE.progress). Rows that were not recorded go to FILE.rejected.csv with the
    reason, and the exit code is 1.

    Example: candor predictions answers.csv --model retina --classes healthy,ill
    """
    from candor.predictions.columns import ColumnWishes
    from candor.predictions.tables import read_columns
    from candor.predictions.upload import TableUpload, require_columns
    from candor.predictions.upload_columns import declaration, prediction_columns
    from monitoring.logged.body import FIELDS
    from serving.client import Client

    wishes = ColumnWishes(
        label=label,
        predicted=predicted,
        confidence=confidence,
        group=group,
        group_pattern=group_pattern,
        scores=probabilities,
    )
    defaults: dict[str, Any] = {"model": model, "version": version}
    defaults = {name: value for name, value in defaults.items() if value is not None}
    try:
        declared = declaration(classes, findings)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--findings") from None
    if declared and model is None:
        raise typer.BadParameter(f"--{next(iter(declared))} declares a model; name it with --model")
    with Client(url, token=read_token(token_file), timeout_s=UPLOAD_TIMEOUT_S) as client:
        known = () if classes else declared.get("findings") or _findings_of(client, model, file)
        names = read_columns(file)
        found = prediction_columns(names, FIELDS, wishes, file=file, findings=tuple(known))
        for line in found.told():
            note(f"{file}: {line}")
        scores = [each.column for each in found.columns.scores] if found.sends_scores else []
        sure = [found.sources.get(name, name) for name in ("probabilities", "confidence")]
        require_columns(file, (*sure, *scores), ("request_id", "prediction_id"))
        if declared:
            client.declare({"version": 1} | defaults | declared)
        upload = TableUpload(file, lambda row: defaults | found.item(row))
        _send(upload, client, "/predictions-log", json_out=json_out)


def _send_labels(
    file: Path,
    client: "Client",
    *,
    label: str | None,
    findings: str | None,
    group: str | None,
    model: str | None,
    rule: FileIdRule,
    early: bool,
    json_out: bool,
) -> None:
    """Send a table of labels, after a look at its columns and before one at the server."""
    from candor.predictions import upload_columns as columns
    from candor.predictions.columns import ColumnWishes
    from candor.predictions.image_files import file_of, require_distinct_rows
    from candor.predictions.tables import read_columns, read_rows
    from candor.predictions.upload import TableUpload, require_columns
    from candor.terminal.progress import working
    from monitoring.feedback.body import FIELDS

    names = read_columns(file)
    found = columns.label_columns(names, FIELDS, ColumnWishes(label=label, group=group), file=file)
    looked_for, asked = columns.wished_findings(findings)
    if not looked_for and not asked and found.columns.label is None and found.unknown:
        asked = columns.finding_columns(found, _findings_of(client, model, file))
    column = found.columns.label or "label"
    require_columns(file, tuple(asked.values()) or (column,), columns.ANSWER)
    with working(f"Reading {file}"):
        require_distinct_rows(read_rows(file), rule)
    found = found.with_labels(asked) if asked else found
    for line in found.told():
        note(f"{file}: {line}")
    if model is None and not {"prediction_id", "model"} & set(names):
        model = _only_model(client)

    def item(row: Mapping[str, Any]) -> dict[str, Any]:
        fields = ({"looked_for": looked_for} if looked_for else {}) | found.item(row)
        return columns.label_item(fields, file=file_of(row), model=model, rule=rule)

    upload = TableUpload(file, item, mixed=tuple(asked.values()) or (column,))
    _send(upload, client, "/feedback", json_out=json_out, all_may_wait=early)


def _findings_of(client: "Client", model: str | None, file: Path) -> tuple[str, ...]:
    """Return the findings of the model that the table is about; none of one with classes."""
    from candor.predictions.tables import read_rows
    from serving.client import ServerRefused

    row = next(read_rows(file), {})
    named = model or row.get("model") or ("prediction_id" not in row and _only_model(client))
    try:
        report = client.calibration(named or client.only_model())
    except ServerRefused:
        return ()
    return tuple(each["finding"] for each in report.get("findings", ()))


def _only_model(client: "Client") -> str:
    """Return the server's only model; a usage error if there is none or several."""
    from serving.client import ServerRefused

    try:
        return client.only_model()
    except ServerRefused as refused:
        unsaid = "a monitor does not say which model a label is for"
        is_monitor = refused.status == 404 and refused.code != "unknown_model"
        why = unsaid if is_monitor else refused.detail
        raise typer.BadParameter(f"name the model ({why})", param_hint="--model") from refused


def _show_result(result: dict[str, Any], prediction_id: str | None, *, json_out: bool) -> None:
    """Print what became of one label, and exit with 1 if it was not recorded."""
    lost = {
        "unknown": "the server's ledger has no answer with this id. `candor predict --url` and "
        "every answer show it",
        "expired": "the ledger no longer keeps an answer of that age",
    }
    reason = lost.get(result["status"])
    if json_out:
        print_json([result])
    elif reason is None:
        stdout.print(f"{result['status']}: 1")
    else:
        note(f"candor: {prediction_id} was not labeled: {reason}")
    if reason is not None:
        raise typer.Exit(1)


def _send(
    upload: "TableUpload", client: "Client", path: str, *, json_out: bool, all_may_wait: bool = True
) -> None:
    """Send a table with progress, and print how many rows got which status.

    Exits with 1 if a row was not recorded, and, unless `all_may_wait`, if every label waits for its
    answer.
    """
    from candor.terminal.progress import bars

    with bars() as progress:
        done = upload.run(partial(client.upload, path), progress=progress)
    if upload.is_grouped:
        note(
            f"{upload.file} is sorted by label; its rows were sent in a random order, because the "
            "drift watch must not see one class after the other"
        )
    if done.began:
        note(f"continued after row {done.began:,}, where an earlier upload stopped")
    rejected_file = str(upload.rejected_file) if done.rejected else None
    if json_out:
        print_json({**vars(done), "statuses": dict(done.statuses), "rejected_file": rejected_file})
    else:
        for status, count in sorted(done.statuses.items()):
            stdout.print(f"{status}: {count:,}")
        if done.rejected:
            stdout.print(f"{counted(done.rejected, 'row')} not recorded; reasons: {rejected_file}")
    pending = done.statuses["pending"]
    if pending:
        note(
            "pending: no answer has this request id yet, so the label waits for it. Were the "
            "images sent with --request-id, and with the same rule (filename or path)?"
        )
    waits = pending == done.statuses.total() and not all_may_wait
    if pending and waits:
        note(
            f"candor: {upload.file}: no label found its answer. If these labels come before their "
            "answers, say --early"
        )
    if done.rejected or (pending and waits):
        raise typer.Exit(1)
