"""Image files, and the request ids that their names become, so that labels can name a file.

The same rule runs when an image is sent and when its label is. Files whose ids would be equal are
refused before anything is sent, because a label could not tell them apart.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path, PureWindowsPath
from typing import Any, Final

from calibration.grouping import group_named
from calibration.wording import parameter
from candor.predictions.errors import PredictionsRefused

# the column of a table that names the image's file: as `candor predict` writes it, or as tables
# of images for training do
FILES: Final = ("file", "path", "Path")


class FileIdRule(StrEnum):
    """What a request id is made of."""

    FILENAME = "filename"  # scan.png
    PATH = "path"  # the path as it is given, such as ward-3/scan.png


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return the given files, and the images below the given folders, sorted.

    Raises PredictionsRefused: a folder has no images.
    """
    from model_store.image.suffixes import SUFFIX_LIST, images_below

    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = images_below(path)
        if not inside:
            raise PredictionsRefused(f"{path} has no images; looked for {SUFFIX_LIST}")
        found += inside
    return found


def file_id(file: str | Path, rule: FileIdRule) -> str:
    r"""Return a file's request id. Accents are composed, and both slashes separate folders.

    >>> [file_id(file, FileIdRule.FILENAME) for file in ("ward-3/scan.png", "C:\\ward-3\\scan.png")]
    ['scan.png', 'scan.png']
    >>> file_id("./ward-3//scan.png", FileIdRule.PATH)
    'ward-3/scan.png'
    """
    path = PureWindowsPath(unicodedata.normalize("NFC", str(file).strip()))
    return path.name if rule is FileIdRule.FILENAME else path.as_posix()


def require_distinct(files: Iterable[Path], rule: FileIdRule) -> None:
    """Refuse files that would get one request id, or a name that cannot be sent.

    Raises PredictionsRefused: names the two files, or the name.
    """
    seen: dict[str, Path] = {}
    for file in files:
        key = file_id(file, rule)
        if not key.isprintable():
            raise PredictionsRefused(
                f"the name {key!r} has control characters and cannot be a request id: rename the "
                "file"
            )
        if key in seen:
            advice = "name each file once"
            if rule is FileIdRule.FILENAME:
                advice = f"name them by {parameter('request_id', FileIdRule.PATH.value)}"
            raise PredictionsRefused(
                f"{seen[key]} and {file} would both get the request id {key!r}: {advice}"
            )
        seen[key] = file


def patients_of(files: Iterable[Path], pattern: str) -> dict[Path, str]:
    r"""Return what `pattern` finds in each file's path, as it is given.

    Raises PredictionsRefused: it is no regular expression, or finds nothing in a path.

    >>> patients_of([Path("scans/p7_left.png")], r"(p\d+)_")
    {PosixPath('scans/p7_left.png'): 'p7'}
    """
    try:
        return {file: group_named(file.as_posix(), pattern) for file in files}
    except ValueError as error:
        raise PredictionsRefused(str(error)) from error


def require_distinct_rows(rows: Iterable[Mapping[str, Any]], rule: FileIdRule) -> None:
    """Refuse rows of different files that would label one answer.

    The same file in several rows is a correction. Only rows whose file names the answer are looked
    at. Raises PredictionsRefused, which names the two files.
    """
    if rule is FileIdRule.PATH:
        return
    seen: dict[tuple[Any, str], str] = {}
    for row in rows:
        file = file_of(row)
        if file is None or "prediction_id" in row or "request_id" in row:
            continue
        key, path = file_id(file, rule), file_id(file, FileIdRule.PATH)
        first = seen.setdefault((row.get("model"), key), path)
        if first != path:
            raise PredictionsRefused(
                f"{first} and {path} would both label the answer with the request id {key!r}: send "
                f"images and labels with {parameter('request_id', FileIdRule.PATH.value)}"
            )


def file_of(row: Mapping[str, Any]) -> str | None:
    """Return the file that a row of a table names, None if it names none."""
    return next((str(row[name]) for name in FILES if name in row), None)
