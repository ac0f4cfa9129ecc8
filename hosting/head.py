"""What of a head is refused here: what two programs could read differently, and long lines.

Granian bounds heads as such, and refuses what is no HTTP/1.1. Of a target that names a host it
passes on the path alone, so that `Host` counts.
"""

import re
from typing import Final

from starlette.types import Scope

from hosting.errors import HeadTooLarge, MalformedHttp

# of the target, and of each header but cookies, which proxies that sign people in make long: what
# reads a query or a content type of 60 KB takes 6 to 19 ms
MAX_LINE_BYTES: Final = 8 * 1024
_HOST: Final = re.compile(rb"(\[[\da-fA-F:.]+\]|[\w.-]*)(:\d*)?")
_ONCE: Final = frozenset({b"host", b"authorization"})
_ONLY: Final = {b"transfer-encoding": b"chunked", b"expect": b"100-continue"}


def check_head(request: Scope) -> None:
    """Raise MalformedHttp or HeadTooLarge."""
    if request["method"] == "CONNECT":
        raise MalformedHttp("CONNECT is not supported here.")
    longest = len(request["path"]) + len(request["query_string"])
    seen = set[bytes]()
    host = b""
    for name, value in request["headers"]:
        if name in _ONCE and name in seen:
            raise MalformedHttp(f"the header {name.decode()} was sent twice.")
        if name in _ONLY and value.lower() != _ONLY[name]:
            raise MalformedHttp(
                f"the only {name.decode()} that this server knows is {_ONLY[name].decode()}."
            )
        seen.add(name)
        if name == b"host":
            host = value
        elif name != b"cookie":
            longest = max(longest, len(value))
    if longest > MAX_LINE_BYTES:
        raise HeadTooLarge("the address in the request, or a header, is over 8 KiB.")
    if not host and request["http_version"] == "1.1":
        raise MalformedHttp("HTTP/1.1 needs the header host.")
    if not _HOST.fullmatch(host):
        raise MalformedHttp("the header host is no name or address, with a port or without.")
