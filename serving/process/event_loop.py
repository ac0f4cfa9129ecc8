"""uvloop with a limit on the time of a TLS handshake, before which the HTTP protocol does not know the connection."""

from typing import Any, Final

import uvloop

HANDSHAKE_S: Final = 10.0  # as long as a request head may take


class BoundedLoop(uvloop.Loop):
    """Its TLS servers close a connection that does not shake hands in HANDSHAKE_S; by default it would be 60 s."""

    async def create_server(self, *arguments: Any, **options: Any) -> Any:
        """See asyncio."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE_S)
        return await super().create_server(*arguments, **options)
