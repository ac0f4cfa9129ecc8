"""Who is answered in a context: set by access control, read where clients take turns."""

from contextvars import ContextVar
from typing import Final, TypeAlias

Sender: TypeAlias = tuple[str, int]  # the token's name or the address, and a number of the request
SENDER: Final[ContextVar[Sender]] = ContextVar("sender", default=("", 0))
