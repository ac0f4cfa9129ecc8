"""How the name of an image's file becomes a request id, so that labels can be joined by file name.

The same rule runs when an image is sent and when its label is. Files whose ids would be equal are
refused before anything is sent, because a label could not tell them apart.
"""

import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path, PureWindowsPath

from serving.errors import ServingError


class FileIdRule(StrEnum):
    """What a request id is made of."""

    FILENAME = "filename"  # scan.png
    PATH = "path"  # the path as it is given, such as ward-3/scan.png


class SameFileId(ServingError, ValueError):
    """Two files would get one request id, or a name cannot be one."""


def file_id(file: str | Path, rule: FileIdRule) -> str:
    r"""Return the request id of a file. Accents are composed, and both kinds of slashes separate
    folders.

    >>> file_id("ward-3/scan.png", FileIdRule.FILENAME), file_id("C:\\ward-3\\scan.png", FileIdRule.FILENAME)
    ('scan.png', 'scan.png')
    >>> file_id("./ward-3//scan.png", FileIdRule.PATH)
    'ward-3/scan.png'
    """
    path = PureWindowsPath(unicodedata.normalize("NFC", str(file).strip()))
    return path.name if rule is FileIdRule.FILENAME else path.as_posix()


def require_distinct(files: Iterable[Path], rule: FileIdRule) -> None:
    """Raise SameFileId if two of the files would get the same request id, or one a name that cannot
    be sent.
    """
    seen: dict[str, Path] = {}
    for file in files:
        key = file_id(file, rule)
        if not key.isprintable():
            raise SameFileId(
                f"the name {key!r} has control characters and cannot be a request id: rename the "
                "file"
            )
        if key in seen:
            advice = (
                "name them by --request-id path"
                if rule is FileIdRule.FILENAME
                else "name each file once"
            )
            raise SameFileId(
                f"{seen[key]} and {file} would both get the request id {key!r}: {advice}"
            )
        seen[key] = file
