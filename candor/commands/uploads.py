"""`candor feedback` and `candor predictions`: labels and answers from a file, sent to a running
server.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.commands.options import FileIdOption, JsonOption, TokenOption, UrlOption, read_token
from candor.predictions.image_files import FileIdRule

if TYPE_CHECKING:
    from candor.predictions.upload import TableUpload
    from candor.predictions.upload_columns import UploadColumns
    from serving.client import Client

UPLOAD_TIMEOUT_S = 120.0
DEFAULT_URL = "http://127.0.0.1:8080"


def feedback(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A .csv with a header, .ndjson or .parquet. Columns: label, and file, "
            "prediction_id or request_id; "
            "optional: model, source, observed_at."
        ),
    ] = None,
    prediction_id: Annotated[
        str | None, typer.Option(help="Label one answer, by its id, instead of a file.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="The true class of that answer; with a file, its column of true classes "
            "(default: label)."
        ),
    ] = None,
    early: Annotated[
        bool,
        typer.Option(
            "--early", help="The labels come before their answers: it is no failure if all wait."
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model of rows that name an answer by file or request_id (default: the only one)."
        ),
    ] = None,
    request_id: FileIdOption = FileIdRule.FILENAME,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    json_out: JsonOption = False,
) -> None:
    """Upload the true labels of answers.

    A column `file` joins labels to answers by file name, if the images were
    sent with `candor predict --request-id filename`. A file that is sorted by
    label is sent in a random order, for the sake of the drift watch.

    Uploading the same labels again changes nothing. If an upload is
    interrupted, run the command again: it continues where it stopped
    (FILE.progress). Rows that were not recorded go to FILE.rejected.csv with the
    reason, and the exit code is 1. It is 1, too, if no label found its answer.

    Example: candor feedback labels.csv
    """
    from serving.client import Client

    if (file is None) == (prediction_id is None) or (prediction_id is not None and label is None):
        raise typer.BadParameter("give either a file, or --prediction-id with --label")
    with Client(url, token=read_token(token_file), timeout_s=UPLOAD_TIMEOUT_S) as client:
        if file is not None:
            _send_labels(
                file,
                client,
                label=label,
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
        typer.Argument(
            help="A .csv with a header, .ndjson or .parquet. Columns: request_id or "
            "prediction_id; probabilities, or "
            "predicted and confidence; optional: served_at, tags, audit, label, source, "
            "observed_at, model, version."
        ),
    ],
    model: Annotated[str | None, typer.Option(help="Model of the rows that name none.")] = None,
    version: Annotated[
        int | None, typer.Option(help="Version of the rows that name none (default: newest).")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Declare the model first, with these classes, separated by commas."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of the true class (default: label).")
    ] = None,
    predicted: Annotated[
        str | None, typer.Option(help="Column of the predicted class (default: predicted).")
    ] = None,
    confidence: Annotated[
        str | None, typer.Option(help="Column of its probability (default: confidence).")
    ] = None,
    probabilities: Annotated[
        str | None,
        typer.Option(
            help="Columns of the classes' probabilities, by commas; * stands for anything."
        ),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    json_out: JsonOption = False,
) -> None:
    """Upload the answers of a model that Candor does not serve, to have it monitored.

    The columns are those of `candor ledger export`. Others are mapped by name
    (`truth`, `prediction`, `p_CLASS`), and it says so; what is not sent is said,
    too.

    Uploading the same answers again changes nothing. If an upload is
    interrupted, run the command again: it continues where it stopped
    (FILE.progress). Rows that were not recorded go to FILE.rejected.csv with the
    reason, and the exit code is 1.

    Example: candor predictions answers.csv --model retina --classes healthy,ill
    """
    from candor.predictions.columns import ColumnWishes
    from candor.predictions.tables import read_columns
    from candor.predictions.upload import TableUpload
    from candor.predictions.upload_columns import prediction_columns
    from monitoring.logged.body import FIELDS
    from serving.client import Client

    wishes = ColumnWishes(
        label=label, predicted=predicted, confidence=confidence, scores=probabilities
    )
    found = prediction_columns(read_columns(file), FIELDS, wishes)
    _tell(file, found)
    defaults: dict[str, Any] = {"model": model, "version": version}
    defaults = {name: value for name, value in defaults.items() if value is not None}
    if classes is not None and model is None:
        raise typer.BadParameter("--classes declares a model; name it with --model")
    with Client(url, token=read_token(token_file), timeout_s=UPLOAD_TIMEOUT_S) as client:
        if classes is not None:
            client.declare(
                {"version": 1}
                | defaults
                | {"classes": [name.strip() for name in classes.split(",")]}
            )
        upload = TableUpload(file, lambda row: defaults | found.item(row))
        scores = [each.column for each in found.columns.scores] if found.sends_scores else []
        sure = [found.sources.get(name, name) for name in ("probabilities", "confidence")]
        needs = ((*sure, *scores), ("request_id", "prediction_id"))
        _send(upload, client, "/predictions-log", needs=needs, json_out=json_out)


def _send_labels(
    file: Path,
    client: "Client",
    *,
    label: str | None,
    model: str | None,
    rule: FileIdRule,
    early: bool,
    json_out: bool,
) -> None:
    """Send a table of labels, after a look at what its columns are."""
    from candor.predictions.columns import ColumnWishes
    from candor.predictions.image_files import require_distinct_rows
    from candor.predictions.tables import read_columns, read_rows
    from candor.predictions.upload import TableUpload
    from candor.predictions.upload_columns import ANSWER, label_columns, label_item
    from monitoring.feedback.body import FIELDS

    found = label_columns(read_columns(file), FIELDS, ColumnWishes(label=label))
    column = found.columns.label or "label"
    require_distinct_rows(read_rows(file), rule)
    _tell(file, found)
    make = partial(label_item, fields=FIELDS, model=model or _model_of(file, client), rule=rule)

    def item(row: Mapping[str, Any]) -> dict[str, Any]:
        truth = {"label": row[column]} if column in row else {}
        return make({name: value for name, value in row.items() if name != "label"} | truth)

    upload = TableUpload(file, item, mixed=column)
    _send(
        upload,
        client,
        "/feedback",
        needs=((column,), ANSWER),
        json_out=json_out,
        all_may_wait=early,
    )


def _tell(file: Path, found: "UploadColumns") -> None:
    """Say on stderr which columns were taken for what, where that is not plain."""
    from candor.terminal.console import stderr

    for line in found.told():
        stderr.print(f"{file}: {line}", soft_wrap=True)


def _model_of(file: Path, client: "Client") -> str | None:
    """Return the server's only model if the table needs one, that is, if it names neither answers
    nor models.
    """
    from candor.predictions.tables import read_columns
    from serving.client import ServerRefused

    if {"prediction_id", "model"} & set(read_columns(file)):
        return None
    try:
        return client.only_model()
    except ServerRefused as refused:
        why = (
            "a monitor does not say which model a label is for"
            if refused.status == 404
            else refused.detail
        )
        raise typer.BadParameter(f"name the model ({why})", param_hint="--model") from refused


def _show_result(result: dict[str, Any], prediction_id: str | None, *, json_out: bool) -> None:
    """Print what became of one label, and exit with 1 if it was not recorded."""
    from candor.terminal.console import print_json, stderr, stdout

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
        stderr.print(f"candor: {prediction_id} was not labeled: {reason}", soft_wrap=True)
    if reason is not None:
        raise typer.Exit(1)


def _send(
    upload: "TableUpload",
    client: "Client",
    path: str,
    *,
    needs: Sequence[Collection[str]],
    json_out: bool,
    all_may_wait: bool = True,
) -> None:
    """Send a table with progress, and print how many rows got which status.

    Exits with 1 if a row was not recorded, and, unless `all_may_wait`, if every label waits for its
    answer.
    """
    from calibration.wording import counted
    from candor.terminal.console import print_json, stderr, stdout
    from candor.terminal.progress import bars

    with bars() as progress:
        done = upload.run(partial(client.upload, path), needs=needs, progress=progress)
    if upload.is_grouped:
        stderr.print(
            f"{upload.file} is sorted by label; its rows were sent in a random order, because the "
            "drift watch must not "
            "see one class after the other",
            soft_wrap=True,
        )
    if done.began:
        stderr.print(f"continued after row {done.began:,}, where an earlier upload stopped")
    rejected_file = str(upload.rejected_file) if done.rejected else None
    if json_out:
        print_json({**vars(done), "statuses": dict(done.statuses), "rejected_file": rejected_file})
    else:
        for status, count in sorted(done.statuses.items()):
            stdout.print(f"{status}: {count:,}")
        if done.rejected:
            were = "was" if done.rejected == 1 else "were"
            stdout.print(
                f"{counted(done.rejected, 'row')} {were} not recorded; reasons: {rejected_file}"
            )
    pending = done.statuses["pending"]
    if pending:
        stderr.print(
            "pending: no answer has this request id yet, so the label waits for it. Were the "
            "images sent with "
            "--request-id, and with the same rule (filename or path)?",
            soft_wrap=True,
        )
    waits = pending == done.statuses.total() and not all_may_wait
    if pending and waits:
        stderr.print(
            f"candor: {upload.file}: no label found its answer. If these labels come before their "
            "answers, say --early",
            soft_wrap=True,
        )
    if done.rejected or (pending and waits):
        raise typer.Exit(1)
