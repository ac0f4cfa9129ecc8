"""`candor feedback` and `candor predictions`: labels and answers from a file, sent to a running server."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candor.commands.options import JsonOption

if TYPE_CHECKING:
    from serving.client.client import Client
    from serving.client.upload import TableUpload

UPLOAD_TIMEOUT_S = 120.0
DEFAULT_URL = "http://127.0.0.1:8080"

UrlOption = Annotated[str, typer.Option(help="Address of a running `candor serve` or `candor monitor`.")]
TokenOption = Annotated[Path | None, typer.Option(help="File with the bearer token, if the server asks for one.")]


def feedback(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A .csv with a header, .ndjson or .parquet. Columns: label, and prediction_id or model and request_id."
        ),
    ] = None,
    prediction_id: Annotated[str | None, typer.Option(help="Label one answer, by its id, instead of a file.")] = None,
    label: Annotated[str | None, typer.Option(help="The true class of that answer.")] = None,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    json_out: JsonOption = False,
) -> None:
    """Upload the true labels of answers.

    Uploading the same labels again changes nothing. If an upload is
    interrupted, run the command again: it continues where it stopped
    (FILE.progress). Rows that were not recorded go to FILE.rejected.csv with the
    reason, and the exit code is 1.
    """
    from candor.terminal.console import print_json, stdout
    from monitoring.feedback.body import FIELDS
    from serving.client.client import Client
    from serving.client.upload import TableUpload

    if (file is None) == (prediction_id is None) or (prediction_id is None) != (label is None):
        raise typer.BadParameter("give either a file, or --prediction-id with --label")
    with Client(url, token=_token(token_file), timeout_s=UPLOAD_TIMEOUT_S) as client:
        if file is not None:
            _send(TableUpload(file, FIELDS), client, "/feedback", needs=("label",), json_out=json_out)
            return
        (result,) = client.feedback([{"prediction_id": prediction_id, "label": label}])
    print_json([result]) if json_out else stdout.print(f"{result['status']}: 1")


def predictions(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .csv with a header, .ndjson or .parquet. Columns: request_id or prediction_id; probabilities, or "
            "predicted and confidence; optional: served_at, tags, audit, label, source, observed_at, model, version."
        ),
    ],
    model: Annotated[str | None, typer.Option(help="Model of the rows that name none.")] = None,
    version: Annotated[int | None, typer.Option(help="Version of the rows that name none (default: newest).")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Declare the model first, with these classes, separated by commas.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    json_out: JsonOption = False,
) -> None:
    """Upload the answers of a model that Candor does not serve, to have it monitored.

    The columns are those of `candor ledger export`; other columns are not sent.
    Uploading the same answers again changes nothing. If an upload is
    interrupted, run the command again: it continues where it stopped
    (FILE.progress). Rows that were not recorded go to FILE.rejected.csv with the
    reason, and the exit code is 1.
    """
    from monitoring.logged.body import FIELDS
    from serving.client.client import Client
    from serving.client.upload import TableUpload

    defaults: dict[str, Any] = {"model": model, "version": version}
    defaults = {name: value for name, value in defaults.items() if value is not None}
    if classes is not None and model is None:
        raise typer.BadParameter("--classes declares a model; name it with --model")
    with Client(url, token=_token(token_file), timeout_s=UPLOAD_TIMEOUT_S) as client:
        if classes is not None:
            client.declare({"version": 1} | defaults | {"classes": [name.strip() for name in classes.split(",")]})
        upload = TableUpload(file, FIELDS, defaults=defaults)
        _send(upload, client, "/predictions-log", needs=("probabilities", "confidence"), json_out=json_out)


def _token(file: Path | None) -> str | None:
    """Return the token in a file. As an argument, other users of the machine could read it."""
    return None if file is None else file.read_text(encoding="utf-8").strip()


def _send(upload: "TableUpload", client: "Client", path: str, *, needs: Collection[str], json_out: bool) -> None:
    """Send a table with progress, print how many rows got which status, and exit with 1 if one was not recorded."""
    from candor.terminal.console import print_json, stderr, stdout
    from candor.terminal.progress import bars

    with bars() as progress:
        done = upload.run(partial(client.upload, path), needs=needs, progress=progress)
    if done.began:
        stderr.print(f"continued after row {done.began:,}, where an earlier upload stopped")
    rejected_file = str(upload.rejected_file) if done.rejected else None
    if json_out:
        print_json({**vars(done), "statuses": dict(done.statuses), "rejected_file": rejected_file})
    else:
        for status, count in sorted(done.statuses.items()):
            stdout.print(f"{status}: {count:,}")
        if done.rejected:
            stdout.print(f"{done.rejected:,} rows were not recorded; {rejected_file} has them with the reason")
    if done.rejected:
        raise typer.Exit(1)
