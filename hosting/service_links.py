"""The variables that Kubernetes injects into every pod for the Services of its namespace.

A Service named `candor` or `candor-monitor` gives variables such as `CANDOR_SERVICE_HOST`,
`CANDOR_PORT=tcp://10.0.0.1:8080` and `CANDOR_MONITOR_PORT_8080_TCP_ADDR`. They are not settings,
even where one has the name of a setting. `enableServiceLinks: false` in the pod switches them off.
Source: "Accessing the Service", Kubernetes documentation.
"""

import re
from collections.abc import Mapping
from typing import Final

from pydantic_settings.sources import EnvSettingsSource

PREFIX: Final = "CANDOR_"
_SERVICE: Final = re.compile(r"(?:.*_)?SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)")
_PORT: Final = re.compile(r"(?:.*_)?PORT")  # by its value alone: CANDOR_PORT is a setting as well
_PORT_PART: Final = re.compile(r"(?:.*_)?PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?")
_ADDRESS: Final = re.compile(r"(?:tcp|udp|sctp)://\S+", re.IGNORECASE)


def is_service_link(variable: str, value: str) -> bool:
    """Whether a variable of the environment comes from a Service whose name begins with candor."""
    name = variable.upper()
    if not name.startswith(PREFIX):
        return False
    rest = name.removeprefix(PREFIX)
    by_name = _SERVICE.fullmatch(rest) or _PORT_PART.fullmatch(rest)
    return bool(by_name or (_PORT.fullmatch(rest) and _ADDRESS.fullmatch(value.strip())))


def service_links(environment: Mapping[str, str]) -> list[str]:
    """The names of all such variables, in order."""
    return sorted(name for name, value in environment.items() if is_service_link(name, value))


class EnvironmentWithoutLinks(EnvSettingsSource):
    """The environment as pydantic reads it, without those variables."""

    def __call__(self) -> dict[str, object]:
        self.env_vars = {
            name: value
            for name, value in self.env_vars.items()
            if value is None or not is_service_link(name, value)
        }
        return super().__call__()
