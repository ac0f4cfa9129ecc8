"""Asks the server of this machine whether it is alive, at the address that the settings say."""

import http.client
import ipaddress
import json
import ssl
from dataclasses import dataclass
from typing import Any

from serving.errors import SettingsError
from serving.settings import Settings

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Health:
    """What the server said: whether it is `alive` (or ready, if that was asked), where, and why
    not.
    """

    alive: bool
    url: str
    reason: str | None = None


def ask(settings: Settings, *, ready: bool = False, timeout_s: float = TIMEOUT_S) -> Health:
    """Ask /healthz, or /readyz if `ready`. Raises SettingsError if the settings do not say at which
    port.
    """
    if settings.port == 0:
        raise SettingsError(
            "CANDOR_PORT is 0, so the server took a free port, and nobody but its output says which"
        )
    host, scheme = (
        _reachable(settings.host),
        "http" if settings.tls_certificate is None else "https",
    )
    path = "/readyz" if ready else "/healthz"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}{path}"
    try:
        status, body = _get(host, settings.port, path, tls=scheme == "https", timeout_s=timeout_s)
    except (OSError, http.client.HTTPException) as error:
        return Health(
            False, url, str(getattr(error, "strerror", None) or error) or type(error).__name__
        )
    if status != http.HTTPStatus.OK:
        return Health(False, url, f"{status} {body[:300].decode(errors='replace')}")
    found = _parsed(body)
    if not isinstance(found, dict) or "status" not in found:
        return Health(False, url, "it is no server of Candor's")
    return Health(True, url)


def _get(host: str, port: int, path: str, *, tls: bool, timeout_s: float) -> tuple[int, bytes]:
    connection = (
        _secure(host, port, timeout_s)
        if tls
        else http.client.HTTPConnection(host, port, timeout=timeout_s)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _secure(host: str, port: int, timeout_s: float) -> http.client.HTTPSConnection:
    # The certificate is for the name that clients use, not for the loopback's; nothing secret is
    # sent.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _reachable(host: str) -> str:
    """The address at which a server that listens on `host` can be asked on this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
