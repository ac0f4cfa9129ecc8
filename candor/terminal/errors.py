"""An error as one sentence for the user."""

import re

from httpx import TransportError
from sqlalchemy.exc import DBAPIError


def sentence(error: Exception) -> str:
    """Return what went wrong and with what, also for errors of libraries that leave one of the two
    out.

    >>> sentence(FileNotFoundError(2, "No such file or directory", "labels.csv"))
    'labels.csv: No such file or directory'
    """
    if isinstance(error, TransportError):
        reason = re.sub(r"^\[Errno -?\d+\] ", "", str(error)).rstrip(".") or type(error).__name__
        where = error.request.url.copy_with(userinfo=b"")  # which would be a secret
        return (
            f"no answer from {where}: {reason}; check the address, and that the server is running"
        )
    if isinstance(error, DBAPIError):  # whose text is the whole SQL statement
        return f"the ledger's database failed: {error.orig}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
