"""`OwnHosts`: the names under which a server may be addressed.

A page that somebody opens can let its own name point at an address of this server (DNS rebinding),
and the browser then takes both for one site. The header `Host` gives such a request away, so names
that are not the server's are refused.
"""

import ipaddress
from typing import Final

from serving.errors import UnknownHost

ALL: Final = "*"
_KEPT: Final = 64


class OwnHosts:
    """The names of this server.

    Always its own are IP addresses, `localhost`, and names without a dot, such as a container's,
    which nobody can register. `names` are more of them; "*" allows all, ".example.org" every name
    that ends so.
    """

    def __init__(self, *names: str) -> None:
        self._all = ALL in names
        lowered = [name.lower().rstrip(".") for name in names]
        self._names = frozenset(name for name in lowered if not name.startswith("."))
        self._ends = tuple(name for name in lowered if name.startswith("."))
        self._known: set[bytes] = {
            b""
        }  # headers found allowed; one without a host is not from a browser

    def check(self, header: bytes) -> None:
        """Raise UnknownHost unless the value of a Host header names this server."""
        if header in self._known or self._all:
            return
        name = _host_name(header)
        if not (self._is_unregistrable(name) or name in self._names or name.endswith(self._ends)):
            raise UnknownHost(name)
        if len(self._known) < _KEPT and len(header) < 256:
            self._known.add(header)

    @staticmethod
    def _is_unregistrable(name: str) -> bool:
        if "." not in name and ":" not in name:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.endswith(".localhost")
        return True


def _host_name(header: bytes) -> str:
    """The host of `host[:port]`, in lower case, an IPv6 address without its brackets."""
    text = header.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")
