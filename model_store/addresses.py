"""How an address is printed, wherever it is: never with what may be a password or a token."""

import re
from typing import Final

_USER: Final = re.compile(r"(?:(?<=://)|^(?![^@]*://)(?=[^@]*:)).*@", re.DOTALL)
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)


def names_user(address: str) -> bool:
    """Whether an address with :// holds a user, and maybe a password.

    >>> names_user("s3://key:secret@bucket/models"), names_user("s3://bucket/a@b")
    (True, False)
    """
    return "@" in address.partition("://")[2].split("/")[0]


def shown_address(address: str) -> str:
    """An address without user, password and query; a path stays as it is.

    >>> shown_address("s3://key:secret@bucket/models?token=1")
    's3://***@bucket/models?***'
    >>> shown_address("candor:pass@word/@db/candor"), shown_address("/data/a@b/models")
    ('***@db/candor', '/data/a@b/models')
    """
    shown = _USER.sub("***@", address, count=1)
    is_address = "://" in address or shown != address
    return _QUERY.sub("?***", shown) if is_address else shown
