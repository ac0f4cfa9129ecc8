"""The connection to a Ray cluster. Only here is Ray imported first, which the extra `ray` installs.

It is the cluster that `RAY_ADDRESS` names, else the one that `ray start` began on this machine,
else one that begins here and ends with this process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from calibration.wording import parameter
from hosting.errors import ClusterError
from hosting.logs import configure_logging
from model_store.installation import install_command

# Ray kills a proxy that is not ready after 5 s, the time that a busy machine takes to start Python.
PATIENCE: Final = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}


@contextmanager
def joined() -> Iterator[Any]:
    """The module `ray`, connected. Raises ClusterError, also if the extra is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends its makers nothing
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"{parameter('engine', 'ray')} needs more packages ({error}): {install_command('ray')}"
        ) from error
    options = {"include_dashboard": False, "runtime_env": {"env_vars": PATIENCE}}
    try:
        ray.init(logging_level="warning", **options)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(f"no Ray cluster can be joined or started: {error}") from error
    configure_logging()
    try:
        yield ray
    finally:
        ray.shutdown()
