"""`candor serve`: the server that answers for images."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candor.commands.options import (
    HostOption,
    OnAlarmOption,
    PortOption,
    StoreOption,
    option,
    require_store,
    settings,
)

if TYPE_CHECKING:
    from model_store.store.store import Store


def serve(
    host: HostOption = None,
    port: PortOption = None,
    store: StoreOption = None,
    ledger: Annotated[
        str | None, option("Ledger URL, or 'off' (default: sqlite:///./candor.db).")
    ] = None,
    on_alarm: OnAlarmOption = None,
    require_signature: Annotated[
        Path | None, option("Serve only what the owner of this public key, a PEM file, has signed.")
    ] = None,
    engine: Annotated[
        str | None,
        option(
            "Run one process, or replicas on a Ray cluster (default: process).",
            metavar="process|ray",
        ),
    ] = None,
) -> None:
    """Serve the production version of every model over HTTP, with ledger and monitoring.

    `candor config show` lists all settings and what they mean.

    Example: candor serve --port 8080
    """
    gc.disable()  # importing frees nothing, yet a dozen collections would take a tenth of the start
    chosen = settings(
        host=host,
        port=port,
        store=store,
        ledger=ledger,
        recalibrate_on_alarm=on_alarm,
        require_signature=require_signature,
        engine=engine,
    )
    if chosen.engine == "ray":
        from serving.cluster.engine import serve as run_server
    else:
        from serving.process.server import serve as run_server
    gc.enable()
    raise typer.Exit(run_server(chosen))


def require_production(store: "Store") -> None:
    """Raise NotInStore if there is no model in production."""
    from model_store.errors import NotInStore

    require_store(store)
    if not any(store.production(name) is not None for name in store.models()):
        raise NotInStore(
            f"{store.storage.address} has no model in production; run `candor promote` first"
        )
