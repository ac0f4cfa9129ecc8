"""uvloop with two limits: on the time of a TLS handshake, and on how long another thread keeps the
interpreter.
"""

import sys
from typing import Any, Final

import uvloop

HANDSHAKE_S: Final = (
    10.0  # as long as a request head may take; HTTP does not know the connection before it
)
TURN_S: Final = 0.001


class BoundedLoop(uvloop.Loop):
    """Its TLS servers close a connection that does not shake hands in HANDSHAKE_S; by default it
    would be 60 s.

    While it runs, a thread that parses gives the interpreter back after TURN_S. An answer asks for
    the interpreter a dozen times, so with Python's 5 ms it waits up to 0.1 s for two such threads.
    """

    def run_forever(self) -> None:
        """See asyncio."""
        before_s = sys.getswitchinterval()
        sys.setswitchinterval(TURN_S)
        try:
            super().run_forever()
        finally:
            sys.setswitchinterval(before_s)

    async def create_server(self, *arguments: Any, **options: Any) -> Any:
        """See asyncio."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE_S)
        return await super().create_server(*arguments, **options)
