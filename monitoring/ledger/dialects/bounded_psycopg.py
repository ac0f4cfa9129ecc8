"""Connections of psycopg that do not wait without end for a server that is silent: stopped, or
waiting itself for a standby that is gone.

The limits of the server (statement_timeout) and of TCP do not help there: the server does not run,
and its kernel acknowledges what is sent. Binary releases of psycopg before 3.2.11 did not look at
the clock while they waited.
"""

import math
import time
from collections.abc import Generator
from typing import Any

import psycopg

from monitoring.ledger.dialects.dialect import connecting


class BoundedConnection(psycopg.Connection[Any]):
    """Fails a statement, and closes itself, if no answer came within `limit_s`, within what is left
    of `left_s` for all statements together, or before `ends_s` of the monotonic clock.
    """

    limit_s = 5.0
    left_s = math.inf
    ends_s = math.inf

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        return super().wait(self._limited(gen), *arguments, **options)

    def _limited(self, gen: Any) -> Generator[Any, Any, Any]:
        begun_s = time.monotonic()
        patience_s = min(self.limit_s, self.left_s)
        ends_s = min(begun_s + patience_s, self.ends_s, connecting.ends_s)
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > ends_s:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(
                        f"the database gave no answer within {patience_s:.1f} s"
                    )
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value
        finally:
            self.left_s -= time.monotonic() - begun_s


def connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> BoundedConnection:
    """For SQLAlchemy's event `do_connect`."""
    left_s = connecting.ends_s - time.monotonic()
    if left_s < options["connect_timeout"]:
        options["connect_timeout"] = max(1, math.ceil(left_s))
    return BoundedConnection.connect(*arguments, **options)
