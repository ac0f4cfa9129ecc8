"""`candor torchserve`: a TorchServe that answers with the models of the store."""

import dataclasses
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import JsonOption, StoreOption, web_address

if TYPE_CHECKING:
    from serving.torchserve.instance import TorchServeStatus
    from serving.torchserve.record import TorchServeRecord

app = typer.Typer(
    name="torchserve",
    help="Answer with TorchServe instead of Candor's own server.",
    no_args_is_help=True,
)

FolderOption = Annotated[
    Path, typer.Option(help="Folder that keeps its tokens, logs and undelivered answers.")
]
FOLDER = Path("candor-torchserve")


@app.command()
def start(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models to serve (default: all in production).")
    ] = None,
    folder: FolderOption = FOLDER,
    port: Annotated[
        int, typer.Option(min=0, max=65_531, help="First of five ports; 0 takes free ones.")
    ] = 8090,
    host: Annotated[
        str, typer.Option(help="Address for predictions and metrics; 0.0.0.0 for every interface.")
    ] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes for each model.")] = 1,
    batch_delay_ms: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="Milliseconds for which it waits for a batch to fill."
        ),
    ] = 1,
    tokens: Annotated[
        bool,
        typer.Option(
            "--tokens/--no-tokens", help="Ask for tokens, which it writes to FOLDER/key_file.json."
        ),
    ] = True,
    monitor: Annotated[
        str | None,
        typer.Option(
            help="Address of a `candor monitor` that gets every answer (default: none).",
            callback=lambda url: web_address(url),
        ),
    ] = None,
    monitor_token_file: Annotated[
        Path | None, typer.Option(help="File with the monitor's token; its scope is admin.")
    ] = None,
    foreground: Annotated[
        bool,
        typer.Option(
            "--foreground",
            help="Stay until SIGTERM or Ctrl-C, and end it then, as containers need it.",
        ),
    ] = False,
    store: StoreOption = None,
) -> None:
    """Start a TorchServe with the production version of every model.

    It needs Java 17 and the extra `torchserve`. It listens on 127.0.0.1:
    predictions on the first port, management on the second, metrics on the
    third, gRPC on the last two. Management and gRPC stay there whatever --host is.

    Example: candor torchserve start --monitor http://127.0.0.1:8080
    """
    from candor.terminal.console import stderr, stdout
    from serving.settings import load_settings
    from serving.torchserve.instance import TorchServeOptions, start, status, stay
    from serving.torchserve.record import KEYS

    settings = load_settings(
        store=store, monitor_url=monitor, monitor_token_file=monitor_token_file
    )
    if foreground:
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # process 1 of a container would ignore it
    stderr.print("starting TorchServe, which takes some seconds ...")
    record = start(
        folder,
        settings,
        TorchServeOptions(
            port=port,
            host=host,
            workers=workers,
            batch_delay_ms=batch_delay_ms,
            tokens=tokens,
            models=tuple(models or ()),
        ),
    )
    _show(status(folder))
    token = ' -H "Authorization: Bearer TOKEN"' if tokens else ""
    stdout.print(f"Ask it: curl{token} -T IMAGE {record.url()}/predictions/MODEL", soft_wrap=True)
    if tokens:
        stdout.print(f"TOKEN is `key` of `inference` in {folder / KEYS}", soft_wrap=True)
    if foreground:
        stay(folder, record)


@app.command()
def update(folder: FolderOption = FOLDER, json_out: JsonOption = False) -> None:
    """Let a running TorchServe answer with what was promoted since it was started.

    The new version is loaded beside the old one and takes over: no request
    fails. The old one stays loaded until the next update.

    Example: candor torchserve update
    """
    from candor.terminal.console import print_json, stdout
    from serving.torchserve.instance import update

    changes = update(folder)
    if json_out:
        print_json([dataclasses.asdict(change) for change in changes])
        return
    for change in changes:
        was = "new" if change.before is None else f"before: version {change.before}"
        stdout.print(f"{change.model}: version {change.after} answers ({was})")
    if not changes:
        stdout.print("Nothing was promoted since; every model answers with its production version.")


@app.command()
def status(folder: FolderOption = FOLDER, json_out: JsonOption = False) -> None:
    """Show whether it runs, where, and which versions answer. Exit code 1 if it does not run, or is
    still starting.

    Example: candor torchserve status
    """
    from candor.terminal.console import print_json
    from serving.torchserve.instance import status

    found = status(folder)
    if json_out:
        record = found.record
        addresses = (
            {name: record.url(name) for name in ("inference", "management", "metrics")}
            if record
            else {}
        )
        fields = dataclasses.asdict(found)
        print_json(fields | {"addresses": addresses if found.running else {}})
    else:
        _show(found)
    if not found.running or (found.record is not None and found.record.starting):
        raise typer.Exit(1)


@app.command()
def stop(folder: FolderOption = FOLDER) -> None:
    """End the TorchServe that was started in this folder, and its workers. Nothing else is ended.

    Example: candor torchserve stop
    """
    from candor.terminal.console import stdout
    from serving.torchserve.instance import stop

    record = stop(folder)
    stdout.print(
        "TorchServe was not running"
        if record is None
        else f"TorchServe has ended (process {record.pid})"
    )


def _show(found: "TorchServeStatus") -> None:
    from calibration.wording import counted
    from candor.terminal.console import stdout
    from candor.terminal.tables import table

    record = found.record
    if not found.running:
        stdout.print(_not_running(record), soft_wrap=True)
    elif record is not None:
        stdout.print(
            f"TorchServe runs (process {record.pid}): predictions {record.url()}, "
            f"management {record.url('management')}, metrics {record.url('metrics')}/metrics",
            soft_wrap=True,
        )
        rows = [
            [
                each.model,
                str(each.version),
                f"{each.workers} of {record.workers}",
                str(each.production or "-"),
            ]
            for each in found.models
        ]
        if record.starting:
            stdout.print("It is starting: not every model answers yet.")
        stdout.print(table("", ["model", "answers with version", "workers", "in production"], rows))
        if any(each.production not in (None, each.version) for each in found.models):
            stdout.print(
                "Another version was promoted since: `candor torchserve update` lets it answer."
            )
    if found.waiting:
        verb = "waits" if found.waiting == 1 else "wait"
        stdout.print(f"{counted(found.waiting, 'answer')} {verb} for the monitor.")


def _not_running(record: "TorchServeRecord | None") -> str:
    if record is None:
        return "TorchServe is not running; `candor torchserve start` starts it."
    return (
        f"TorchServe is not running: process {record.pid} has ended without `candor torchserve "
        "stop`. The logs in the "
        "folder say why; `candor torchserve start` starts it again."
    )
