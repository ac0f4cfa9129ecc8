"""`candor monitor`."""

from typing import Annotated

import typer

from commands.options import LedgerOption, settings


def monitor(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one (default: 8080).")] = None,
    ledger: LedgerOption = None,
) -> None:
    """Serve the monitor alone: labels, predictions from elsewhere, reports and metrics, for servers that only record.

    Start two or more on one PostgreSQL: all of them answer, one leads (prunes), another takes over when it is gone.
    """
    from serving.alone import serve_alone

    raise typer.Exit(serve_alone(settings(host=host, port=port, ledger=ledger)))
