"""What a request head must not hold: what two programs could read differently, and long lines."""

import re
from typing import Final

from serving.errors import HeadTooLarge, MalformedHttp

# of the target, and of each header but cookies, which proxies that sign people in make long: what
# reads a query or a content type of 60 KB takes 6 to 19 ms
MAX_LINE_BYTES: Final = 8 * 1024
_HOST: Final = re.compile(rb"(\[[\da-fA-F:.]+\]|[\w.-]*)(:\d*)?")
_ONCE: Final = (b"host", b"authorization")


def check_head(
    names: list[bytes], headers: dict[bytes, bytes], http_version: str, target: bytes
) -> None:
    """Raise MalformedHttp for what the parser takes, and another program might read otherwise, or
    HeadTooLarge.
    """
    if http_version not in ("1.0", "1.1"):
        raise MalformedHttp(f"HTTP/{http_version} is not spoken here; use HTTP/1.1.")
    lines = (value for name, value in headers.items() if name != b"cookie")
    if max(map(len, (target, *lines))) > MAX_LINE_BYTES:
        raise HeadTooLarge("the address in the request, or a header, is over 8 KiB.")
    if headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        raise MalformedHttp("the only transfer encoding that this server reads is chunked.")
    if http_version == "1.0" and b"transfer-encoding" in headers:
        raise MalformedHttp("HTTP/1.0 has no transfer encoding.")
    for name in _ONCE:
        if names.count(name) > 1:
            raise MalformedHttp(f"the header {name.decode()} was sent twice.")
    if http_version == "1.1" and b"host" not in headers:
        raise MalformedHttp("HTTP/1.1 needs the header host.")
    if not _HOST.fullmatch(headers.get(b"host", b"")):
        raise MalformedHttp("the header host is no name or address, with a port or without.")
    if not target.startswith(b"/"):
        _, _, named = target.partition(b"://")
        if named and named.partition(b"/")[0].lower() != headers.get(b"host", b"").lower():
            raise MalformedHttp("the target names another host than the header host.")
    if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise MalformedHttp("the only expectation that this server meets is 100-continue.")
