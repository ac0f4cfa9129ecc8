"""`candor monitor`, and `candor predictions` for models that are served elsewhere."""

from pathlib import Path
from typing import Annotated, Any

import typer

from candor.commands.options import DEFAULT_URL, JsonOption, LedgerOption, UrlOption, settings
from candor.commands.upload import UPLOAD_TIMEOUT_S, TokenOption, send_table, token_of


def monitor(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one (default: 8080).")] = None,
    ledger: LedgerOption = None,
) -> None:
    """Serve the monitor alone: labels, predictions from elsewhere, reports and metrics, for servers that only record.

    Start two or more on one PostgreSQL: all of them answer, one leads (prunes), another takes over when it is gone.
    """
    from serving.process.monitor_server import serve_alone

    raise typer.Exit(serve_alone(settings(host=host, port=port, ledger=ledger)))


def predictions(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .csv with a header, .ndjson or .parquet: request_id (or prediction_id), probabilities (or "
            "predicted, confidence)[, served_at, tags, audit, label, source, observed_at, model, version]."
        ),
    ],
    model: Annotated[str | None, typer.Option(help="The model, for rows that name none.")] = None,
    version: Annotated[int | None, typer.Option(help="Its version, for rows that name none [default: newest].")] = None,
    classes: Annotated[
        str | None, typer.Option(help="First declare the model, with these classes: names with commas between them.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    json_out: JsonOption = False,
) -> None:
    """Send answers of a model that Candor does not serve, so that it is watched; the same again changes nothing.

    The columns are those of `candor ledger export`; others are not sent. An interrupted upload goes on where it was
    (FILE.progress) when the command is given again. Rows that were not recorded are written to FILE.rejected.csv with
    the reason, and the exit code is 1.
    """
    from monitoring.external.body import FIELDS
    from serving.client.client import Client
    from serving.client.upload import Upload

    defaults: dict[str, Any] = {"model": model, "version": version}
    defaults = {name: value for name, value in defaults.items() if value is not None}
    if classes is not None and model is None:
        raise typer.BadParameter("--classes declares a model: name it by --model")
    with Client(url, token=token_of(token_file), timeout_s=UPLOAD_TIMEOUT_S) as client:
        if classes is not None:
            client.declare({"version": 1} | defaults | {"classes": [name.strip() for name in classes.split(",")]})
        upload = Upload(file, FIELDS, defaults=defaults)
        send_table(upload, client, "/predictions-log", needs=("probabilities", "confidence"), json_out=json_out)
