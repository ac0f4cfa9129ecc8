"""Compressed bodies are refused before they are read: a small one may become a very large one."""

from monitoring.errors import BodyCompressed


def check_encoding(value: str) -> None:
    """Raise BodyCompressed for a `Content-Encoding` that compresses.

    >>> check_encoding("identity")
    """
    if value.strip().lower() not in ("", "identity"):
        raise BodyCompressed(ascii(value).strip("'"))
