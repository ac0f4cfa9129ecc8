"""The path of the hot route: /predictions/{model}[/{version}]."""

from typing import Final
from urllib.parse import unquote

PREFIX: Final = "/predictions/"


def split_path(path: str) -> tuple[str, str | None]:
    """Model and version of a path that begins with PREFIX. The version is None if the path has
    none.
    """
    model, slash, version = path[len(PREFIX) :].rstrip("/").partition("/")
    return unquote(model), version if slash else None
