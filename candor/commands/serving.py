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
from candor.terminal.console import note, stderr

if TYPE_CHECKING:
    from serving.settings import Settings


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
    tune: Annotated[
        bool,
        option(
            "First measure for ten seconds which threads and batch suit this machine.", "--tune"
        ),
    ] = False,
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
    raise typer.Exit(run_server(_tuned(chosen) if tune else chosen))


def _tuned(known: "Settings") -> "Settings":
    """Return the settings that suit the largest model in production best; prints what was tried."""
    from candor.terminal.tables import table
    from serving.inference.predictor import served_variant
    from serving.inference.tuning import tune, tuned

    store = known.opened_store
    require_store(store)
    bundles = [
        served_variant(store.read(name), known.precision, device=known.device)
        for name in store.models()
        if store.production(name) is not None
    ]
    if not bundles:
        raise typer.BadParameter(
            f"{store.storage.address} has no model in production to tune for; run `candor promote` "
            "first"
        )
    largest = max(bundles, key=lambda bundle: len(bundle.onnx))
    note(f"measuring {largest.card.name} version {largest.card.version} for ten seconds ...")
    trials = tune(largest, device=known.device)
    rows = [
        [
            str(each.threads),
            "yes" if each.spinning else "no",
            str(each.batch),
            f"{each.images_per_s:.1f}",
        ]
        for each in sorted(trials, key=lambda each: -each.images_per_s)
    ]
    stderr.print(table("", ["threads", "spinning", "batch", "images/s"], rows))
    best = trials[0]
    note(
        f"chosen: CANDOR_THREADS={best.threads} CANDOR_SPINNING={str(best.spinning).lower()} "
        f"CANDOR_MAX_BATCH={best.batch}; set them to start without measuring"
    )
    return tuned(known, best)
