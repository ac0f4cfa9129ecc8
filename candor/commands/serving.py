"""`candor serve`: the server that answers for images."""

import gc
from typing import TYPE_CHECKING, Any, Literal

from candor.commands.options import FilePath, OnAlarm, Place, any_store, require_store, settings
from candor.commands.verb import verb

if TYPE_CHECKING:
    from candor.server_process import ServerProcess
    from model_store.store.store import Store


@verb
def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    store: Place | None = None,
    ledger: str | None = None,
    recalibrate_on_alarm: OnAlarm | None = None,
    require_signature: FilePath | None = None,
    engine: Literal["process", "ray"] | None = None,
) -> "ServerProcess":
    """Serve the production version of every model over HTTP, with ledger and monitoring.

    `candor config show` lists all settings and what they mean.

    Example: candor serve --port 8080

    Args:
        ledger: Ledger URL, or 'off' (default: sqlite:///./candor.db).
        require_signature: Serve only what the owner of this public key, a PEM file, has signed.
        engine: Run one process, or replicas on a Ray cluster (default: process).

    Returns:
        A server in a process of its own, on a free port if none is given. It ends with `close`, a
        `with` block, or this process.

    Raises:
        Refused: no model is in production, or the server does not start.
    """
    from candor.server_process import ServerProcess

    require_production(any_store(store))
    given = {
        "host": host,
        "port": port or 0,
        "store": store,
        "ledger": ledger,
        "recalibrate_on_alarm": recalibrate_on_alarm,
        "require_signature": require_signature,
        "engine": engine,
    }
    return ServerProcess({name: value for name, value in given.items() if value is not None})


def run_server(**given: Any) -> int:
    """Serve until a signal; return the exit code. The parameters are those of `serve`."""
    gc.disable()  # importing frees nothing, yet a dozen collections would take a tenth of the start
    chosen = settings(**given)
    if chosen.engine == "ray":
        from serving.cluster.engine import serve as run
    else:
        from serving.process.server import serve as run
    gc.enable()
    return run(chosen)


def require_production(store: "Store") -> None:
    """Raise NotInStore if there is no model in production."""
    from model_store.errors import NotInStore

    require_store(store)
    if not any(store.production(name) is not None for name in store.models()):
        raise NotInStore(
            f"{store.storage.address} has no model in production; run `candor promote` first"
        )
