"""`candor serve --engine ray`: deploys the server on a Ray cluster until a signal arrives.

The replicas outlive this process if it is killed; the same command takes them over.
"""

import contextlib
import logging
import os
import re
import signal
import threading
from types import FrameType
from typing import Any, Final

from calibration.wording import parameter
from hosting.errors import ClusterError, SettingsError
from hosting.http_server import FORCED
from hosting.listener import (
    address,
    announce,
    announce_missing_store,
    listen,
    prepare,
    tls_files,
)
from hosting.settings import Settings
from serving.cluster.connection import joined
from serving.cluster.metric_targets import end_directory
from serving.cluster.placed_settings import PlacedSettings
from serving.cluster.replica import ReplicaApp, build_app
from serving.process.server import NOTHING_ANSWERED

logger = logging.getLogger(__name__)

APPLICATION: Final = "candor"
KEEP_ALIVE_S: Final = 75  # as long as a single server keeps an idle connection
# More than a replica admits and refuses at a time: the replica decides, as a single server does,
# and not Ray.
REQUESTS_PER_REPLICA: Final = 16_384
HEALTH_CHECK_S: Final = 5.0
TRIES: Final = 3  # to start a replica
# Read by Ray's proxies, their middleware, and by what starts them: Ray kills a proxy that is not
# ready after 5 s, the time that a busy machine takes to start Python.
PROXIES: Final = {
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.cluster.front.middlewares",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
}


def serve(settings: Settings) -> int:
    """Serve on a Ray cluster until a signal arrives. Returns the exit code.

    Raises SettingsError before anything is started, ListenError if the address is in use, and
    ClusterError.
    """
    check(settings)
    prepare(settings)
    stopped = _stop_on_signals()
    with joined(settings, PROXIES) as ray:
        from ray import serve as ray_serve

        place = _start_proxies(ray, ray_serve, settings)
        _deploy(ray_serve, settings)
        announce(f"Candor serves on {place}")
        announce_missing_store(settings, consequence=NOTHING_ANSWERED)
        stopped.wait()
        logger.info("draining")
        ray_serve.delete(APPLICATION)
        end_directory(ray)
        if not ray_serve.status().applications:
            ray_serve.shutdown()
    logger.info("server stopped")
    return 0


def check(settings: Settings) -> None:
    """Raise SettingsError for settings that several replicas cannot have."""
    url = settings.ledger_url
    if url is not None and url.startswith("sqlite"):
        raise SettingsError(
            f"the replicas of {parameter('engine', 'ray')} run on several machines, and a SQLite "
            "ledger is a file of one: set CANDOR_LEDGER to a PostgreSQL database "
            "(docs/how-to/postgresql.md), or to 'off'."
        )
    if not settings.ledger_required:
        raise SettingsError(
            f"a replica of {parameter('engine', 'ray')} leaves no spool that another one would "
            "find: unset CANDOR_LEDGER_REQUIRED."
        )
    if settings.ray_min_replicas > settings.ray_max_replicas:
        raise SettingsError(
            f"CANDOR_RAY_MIN_REPLICAS is {settings.ray_min_replicas}, more than "
            f"CANDOR_RAY_MAX_REPLICAS, {settings.ray_max_replicas}."
        )


def _stop_on_signals() -> threading.Event:
    """An event that the first SIGTERM or Ctrl-C sets; the second one ends the process at once."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        if stopped.is_set():
            os._exit(FORCED)
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopped


def _start_proxies(ray: Any, ray_serve: Any, settings: Settings) -> str:
    """Start Ray's proxies on every node that has a replica; returns the address.

    Raises ListenError, or ClusterError if proxies run at another address or do not start.
    """
    running, tls = _running_port(ray), tls_files(settings)
    if running is None:
        with contextlib.closing(listen(settings.host, settings.port)) as free:
            port = free.getsockname()[1]
            place = address(free, settings)
    elif settings.port in (0, running):
        port, place = running, f"{'http' if tls is None else 'https'}://{settings.host}:{running}"
    else:
        raise ClusterError(
            f"Ray Serve already listens on port {running} of this cluster, not on {settings.port}; "
            f"give {parameter('port', running)}, or run `serve shutdown` first."
        )
    certificate, key = map(str, tls) if tls else (None, None)
    options = {"host": settings.host, "port": port, "keep_alive_timeout_s": KEEP_ALIVE_S}
    try:
        ray_serve.start(
            proxy_location="EveryNode",
            http_options=options | {"ssl_certfile": certificate, "ssl_keyfile": key},
        )
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise ClusterError(f"Ray's proxies do not start: {error}") from error
    return place


def _running_port(ray: Any) -> int | None:
    """The port of the proxies that run on the cluster; None if Ray Serve does not."""
    try:
        controller = ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
    except ValueError:
        return None
    return int(ray.get(controller.get_http_config.remote()).port)


def _deploy(ray_serve: Any, settings: Settings) -> None:
    placed = PlacedSettings.of(settings)

    def build() -> ReplicaApp:
        return build_app(placed)

    deployment = ray_serve.deployment(
        ray_serve.ingress(build)(), name="server", **_options(settings)
    )
    try:
        ray_serve.run(deployment.bind(), name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        reason = _reason(ray_serve) or str(error)
        ray_serve.delete(APPLICATION)
        raise ClusterError(f"the replicas do not start: {reason}") from error


def _options(settings: Settings) -> dict[str, Any]:
    on_gpu = settings.device in ("cuda", "tensorrt")
    return {
        "max_ongoing_requests": REQUESTS_PER_REPLICA,
        "autoscaling_config": {
            "min_replicas": settings.ray_min_replicas,
            "max_replicas": settings.ray_max_replicas,
            "target_ongoing_requests": settings.max_batch,
            "upscale_delay_s": settings.ray_upscale_s,
            "downscale_delay_s": settings.ray_downscale_s,
        },
        "ray_actor_options": {"num_cpus": settings.ray_replica_cpus, "num_gpus": int(on_gpu)},
        "graceful_shutdown_timeout_s": settings.drain_s,
        "health_check_period_s": HEALTH_CHECK_S,
        # A line for each request, which a single server does not log.
        "logging_config": {"enable_access_log": False},
        "max_constructor_retry_count": TRIES,
    }


def _reason(ray_serve: Any) -> str | None:
    """Why the last replica did not start: the last line of its trace that names an error."""
    application = ray_serve.status().applications.get(APPLICATION)
    deployments = application.deployments.values() if application else ()
    lines = [line.strip() for each in deployments for line in each.message.splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Lost|Unusable): ", line)]
    return re.sub(r"^[\w.]+: ", "", errors[-1]) if errors else None
