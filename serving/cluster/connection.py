"""The connection to a Ray cluster. Only here is Ray imported first, which the extra `ray` installs.

It is the cluster that `RAY_ADDRESS` names, else the one that `ray start` began on this machine,
else one that begins here and ends with this process.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from calibration.wording import parameter
from hosting.errors import ClusterError
from hosting.logs import configure_logging
from hosting.settings import Settings
from model_store.installation import install_command

SILENT: Final = {"RAY_USAGE_STATS_ENABLED": "0"}  # Ray sends its makers nothing


@contextmanager
def joined(settings: Settings, environment: dict[str, str] | None = None) -> Iterator[Any]:
    """The module `ray`, connected; what Ray starts for this process has `environment` too.

    Raises ClusterError, also if the extra is not installed.
    """
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"{parameter('engine', 'ray')} needs more packages ({error}): {install_command('ray')}"
        ) from error
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        runtime = {"runtime_env": {"env_vars": environment}} if environment else {}
        ray.init(logging_level="warning", include_dashboard=False, **runtime)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(f"no Ray cluster can be joined or started: {error}") from error
    for number, handler in handlers.items():  # Ray sets its own
        signal.signal(number, handler)
    configure_logging(settings.log_level)
    try:
        yield ray
    finally:
        ray.shutdown()
