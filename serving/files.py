"""What a client reads from disk to send: images below folders, and labels in a CSV file."""

import csv
from collections.abc import Iterable
from pathlib import Path

from serving.errors import ServingError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm"})


class NothingToSend(ServingError, ValueError):
    """A folder without images, or a file without labels."""


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return files as they are given, and folders by the images below them, sorted.

    Raises:
        NothingToSend: a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in IMAGE_SUFFIXES)
        if not inside:
            raise NothingToSend(f"there is no image in {path}; known are {', '.join(sorted(IMAGE_SUFFIXES))}")
        found += inside
    return found


def read_labels(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV with a header, as items for `Client.feedback`; empty fields are left out.

    Raises:
        NothingToSend: there is no row, or no column `label`.
    """
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = [{key: value for key, value in row.items() if key and value} for row in csv.DictReader(lines)]
    if not rows or not all("label" in row for row in rows):
        raise NothingToSend(f"{file} needs a header line, rows below it, and a value in the column 'label' of each")
    return rows
