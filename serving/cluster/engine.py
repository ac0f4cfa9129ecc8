"""`candor serve --engine ray`: deploys the server on a Ray cluster until a signal arrives.

The replicas outlive this process if it is killed; the same command takes them over.
"""

import contextlib
import logging
import re
import signal
import threading
from typing import Any, Final

from hosting.errors import ClusterError, SettingsError
from hosting.listener import address, announce, announce_missing_store, listen, tls_files
from hosting.settings import Settings
from hosting.steps import start
from serving.cluster.connection import joined
from serving.cluster.replica import ReplicaApp, local_settings, settings_here, shared_settings
from serving.process.server import NOTHING_ANSWERED

logger = logging.getLogger(__name__)

APPLICATION: Final = "candor"
# More than a replica admits and refuses at a time: the replica decides, and not Ray.
REQUESTS_PER_REPLICA: Final = 16_384


def serve(settings: Settings) -> int:
    """Serve on a Ray cluster until a signal arrives. Returns the exit code.

    Raises SettingsError before anything is started, and ClusterError.
    """
    check(settings)
    start(settings)
    with joined() as ray:
        from ray import serve as ray_serve

        place = _start_proxies(ray, ray_serve, settings)
        _deploy(ray_serve, settings)
        with contextlib.suppress(KeyboardInterrupt):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.default_int_handler)
            announce(f"Candor serves on {place}")
            announce_missing_store(settings, consequence=NOTHING_ANSWERED)
            threading.Event().wait()
        logger.info("draining")
        ray_serve.delete(APPLICATION)
        if not ray_serve.status().applications:
            ray_serve.shutdown()
    logger.info("server stopped")
    return 0


def check(settings: Settings) -> None:
    """Raise SettingsError for settings that several replicas cannot have."""
    url = settings.ledger_url
    if url is not None and url.startswith("sqlite"):
        raise SettingsError(
            "replicas run on several machines, and a SQLite ledger is a file of one: set "
            "CANDOR_LEDGER to a PostgreSQL database (docs/how-to/postgresql.md), or to 'off'."
        )
    if settings.spool_limit_bytes:
        raise SettingsError(
            "no replica would find the spool of another: unset CANDOR_SPOOL_LIMIT_BYTES."
        )


def _start_proxies(ray: Any, ray_serve: Any, settings: Settings) -> str:
    """Start Ray's proxies on every node that has a replica; returns their address."""
    with contextlib.closing(listen(settings.host, 0)) as free:
        port = settings.port or free.getsockname()[1]
    certificate, key = tls_files(settings) or (None, None)
    options = {"host": settings.host, "port": port, "keep_alive_timeout_s": 75}  # as one server's
    if certificate is not None:
        options |= {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    try:
        ray_serve.start(proxy_location="EveryNode", http_options=options)
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise ClusterError(f"Ray's proxies do not start: {error}") from error
    return address(settings.host, port, settings)


def _deploy(ray_serve: Any, settings: Settings) -> None:
    shared, local = shared_settings(settings), local_settings(settings)

    def build() -> ReplicaApp:
        return ReplicaApp(settings_here(shared, local))

    server = ray_serve.deployment(
        ray_serve.ingress(build)(),
        name="server",
        max_ongoing_requests=REQUESTS_PER_REPLICA,
        autoscaling_config={
            "min_replicas": settings.ray_min_replicas,
            "max_replicas": max(settings.ray_min_replicas, settings.ray_max_replicas),
            "target_ongoing_requests": settings.max_batch,
        },
        ray_actor_options={
            "num_cpus": settings.threads or 1,
            "num_gpus": int(settings.device in ("cuda", "tensorrt")),
        },
        graceful_shutdown_timeout_s=settings.drain_s,
        max_constructor_retry_count=3,
        logging_config={"enable_access_log": False},  # as a single server
    )
    try:
        ray_serve.run(server.bind(), name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        ray_serve.delete(APPLICATION)
        # of a trace, the line that names what was raised
        said = re.findall(r"^ *[\w.]+(?:Error|Unusable): (.*)", str(error), re.MULTILINE)
        reason = said[-1] if said else error
        raise ClusterError(f"the replicas do not start: {reason}") from error
