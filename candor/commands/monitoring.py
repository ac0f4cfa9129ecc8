"""`candor feedback`, `candor report` and `candor recalibrate`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from candor.commands.options import DEFAULT_URL, JsonOption, LedgerOption, StoreOption, UrlOption, ledger_url, settings
from candor.commands.upload import UPLOAD_TIMEOUT_S, TokenOption, send_table, token_of


def feedback(
    file: Annotated[
        Path | None,
        typer.Argument(help="A .csv with a header, .ndjson or .parquet: prediction_id (or model, request_id), label."),
    ] = None,
    prediction_id: Annotated[str | None, typer.Option(help="One answer's prediction_id, in place of a file.")] = None,
    label: Annotated[str | None, typer.Option(help="The true class of that answer.")] = None,
    url: UrlOption = DEFAULT_URL,
    token_file: TokenOption = None,
    json_out: JsonOption = False,
) -> None:
    """Send the true labels of answers, once they are known; sending the same again changes nothing.

    An interrupted upload goes on where it was (FILE.progress) when the command is given again. Rows that were not
    recorded are written to FILE.rejected.csv with the reason, and the exit code is 1.
    """
    from candor.terminal.console import print_json, stdout
    from monitoring.feedback.body import FIELDS
    from serving.client.client import Client
    from serving.client.upload import Upload

    if (file is None) == (prediction_id is None) or (prediction_id is None) != (label is None):
        raise typer.BadParameter("give either a file, or --prediction-id with --label")
    with Client(url, token=token_of(token_file), timeout_s=UPLOAD_TIMEOUT_S) as client:
        if file is not None:
            send_table(Upload(file, FIELDS), client, "/feedback", needs=("label",), json_out=json_out)
            return
        (result,) = client.feedback([{"prediction_id": prediction_id, "label": label}])
    print_json([result]) if json_out else stdout.print(f"{result['status']}: 1")


def report(
    model: Annotated[str | None, typer.Argument(help="The model (default: the only one in the ledger).")] = None,
    version: Annotated[int | None, typer.Option(help="Version (default: the one registered last).")] = None,
    window: Annotated[
        str | None,
        typer.Option(help="'all', 'promotion', 'days:N', or 'last:N' for the latest N labels (default: all)."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Answers served since then: days such as 30d, or a date such as 2026-10-01.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report as a page in one file, to be read, printed and filed.")
    ] = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Say from the ledger how calibrated a model is on what it really served."""
    from candor.terminal.console import print_json, stdout
    from candor.terminal.report import report_tables
    from monitoring.ledger.database import Ledger
    from monitoring.pages.report_page import report_page
    from monitoring.reports.page_data import read_dossier, window_since
    from monitoring.reports.report import only_model

    if window is not None and since is not None:
        raise typer.BadParameter("give either --window or --since")
    with Ledger(ledger_url(ledger)) as opened:
        chosen = window_since(since, now_ns=opened.clock()) if since else window or "all"
        found = read_dossier(opened, model or only_model(opened), version=version, window=chosen)
    if html is not None:
        html.write_text(report_page(found), encoding="utf-8")
    if json_out:
        print_json(found.report.as_dict())
        return
    for part in report_tables(found.report):
        stdout.print(part)
    if html is not None:
        stdout.print(f"The report is in {html}")


def recalibrate(
    model: Annotated[str, typer.Argument(help="The model.")],
    version: Annotated[int | None, typer.Option(help="Version to start from (default: production).")] = None,
    last: Annotated[int | None, typer.Option(help="Use the latest N labels only (default: all).")] = None,
    min_labels: Annotated[int, typer.Option(help="Refuse with fewer labels than this.")] = 100,
    store: StoreOption = None,
    ledger: LedgerOption = None,
    json_out: JsonOption = False,
) -> None:
    """Fit a new temperature on labeled answers in the ledger and publish it as the next version (not promoted)."""
    from candor.terminal.console import print_json, stdout
    from model_store.store import Store
    from monitoring.ledger.database import Ledger
    from monitoring.recalibration import Selection
    from monitoring.recalibration import recalibrate as fit
    from monitoring.reports.report import plain

    with Ledger(ledger_url(ledger)) as opened:
        done = fit(
            opened,
            Store(settings(store=store).store),
            model,
            version=version,
            selection=Selection(last=last),
            min_labels=min_labels,
        )
    if json_out:
        print_json(plain(dataclasses.asdict(done)) | {"card": done.card.model_dump(mode="json")})
        return
    stdout.print(
        f"{model} version {done.card.version}: temperature {done.old_temperature:.3f} -> {done.new_temperature:.3f}, "
        f"fitted on {done.labels} labels of version {done.parent_version}"
    )
    stdout.print(f"ECE on those labels {done.before.ece:.3f} -> {done.after.ece:.3f} (in sample: wait for new labels)")
    stdout.print(f"Next: candor promote {model} {done.card.version}")
