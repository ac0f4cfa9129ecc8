"""Asks the server of this machine whether it is alive, at the address that the settings say."""

import http.client
import ipaddress
import json
import ssl
from dataclasses import dataclass

from hosting.errors import SettingsError
from hosting.settings import Settings

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Health:
    """Whether the server is alive (or ready, if that was asked), where, and why not."""

    alive: bool
    url: str
    reason: str | None = None


def ask(settings: Settings, *, ready: bool = False, timeout_s: float = TIMEOUT_S) -> Health:
    """Ask /healthz, or /readyz if `ready`. Raises SettingsError if no port is set."""
    if settings.port == 0:
        raise SettingsError(
            "CANDOR_PORT is 0, so the server took a free port, and nobody but its output says which"
        )
    host, path = _reachable(settings.host), "/readyz" if ready else "/healthz"
    scheme = "http" if settings.tls_certificate is None else "https"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}{path}"
    try:
        status, body = _get(host, settings.port, path, tls=scheme == "https", timeout_s=timeout_s)
    except (OSError, http.client.HTTPException) as error:
        return Health(
            False, url, str(getattr(error, "strerror", None) or error) or type(error).__name__
        )
    if status != http.HTTPStatus.OK:
        return Health(False, url, f"{status} {body[:300].decode(errors='replace')}")
    try:
        says = json.loads(body)
    except ValueError:
        says = None
    is_candor = isinstance(says, dict) and "status" in says
    return Health(is_candor, url, None if is_candor else "it is no server of Candor's")


def _get(host: str, port: int, path: str, *, tls: bool, timeout_s: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    if tls:
        # The certificate is for the name that clients use, not for the loopback's; nothing secret
        # is sent.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _reachable(host: str) -> str:
    """The address at which a server that listens on `host` can be asked on this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"
