"""Check every image file once before training: is it intact, what are its size, content and
patient?

A small SQLite file in the cache folder keeps the results by path, size and modification time, so a
second check costs one `stat` per file. It keeps a DICOM PatientID only as a hash.

These facts can give a class away: its images are gray, large, framed or of one type, the others are
not. A network that can tell a class by its format need not look at the findings. Accuracy and
calibration then look perfect, and both are gone where all images come from one device.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calibration.measures.ranking import auroc
from model_store.errors import ImageError
from model_store.image import is_dicom, open_image, patient_of
from model_store.image.frames import Frames
from training.datasets.records import Listing, Record
from training.progress import Progress, silent

STAGE = "check images"
DECODER = 1  # raise it when the decoder accepts or refuses other files than before
BATCH = 256  # files between two writes to the cache
EDGE_SPREAD = 1 / 32  # JPEG compression changes the gray values of a plain border a little
GRAY_MODES = ("1", "L", "I", "F")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one file: `reason` says why it cannot be used (None if it can); sides are
    in pixels.

    `digest` is the SHA-256 of the file; `patient` a hash of the DICOM PatientID, None without one.
    `plain_sides` counts the sides, of four, whose outermost pixels are alike, as in a frame or a
    padded image.
    """

    digest: bytes = b""
    width: int = 0
    height: int = 0
    channels: Literal[1, 3] = 1
    patient: str | None = None
    plain_sides: int = 0
    reason: str | None = None


def inspect(
    paths: Sequence[Path], *, frames: Frames, cache: Path | None, progress: Progress = silent
) -> dict[Path, Facts]:
    """Facts about each file; opens only files whose facts are not in the file `cache`."""
    stamps = {path: stamp for path in paths if (stamp := _stamp(path)) is not None}
    known = {path: Facts(reason="there is no such file") for path in paths if path not in stamps}
    with closing(_open(cache)) as kept:
        known |= _recall(kept, stamps, frames)
        missing = [path for path in stamps if path not in known]
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="candor-check") as pool:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                facts = pool.map(lambda path: inspect_file(path, frames=frames), batch)
                new = dict(zip(batch, facts, strict=True))
                _keep(kept, new, stamps, frames)
                known |= new
                progress(STAGE, start + len(batch), len(missing))
    return known


def inspect_file(path: Path, *, frames: Frames) -> Facts:
    """Open and decode one file; if that fails, `reason` of the result says why."""
    try:
        data = path.read_bytes()
        image, patient = open_image(data, frames=frames), _patient(data)
    except (ImageError, OSError) as error:
        return Facts(reason=str(error))
    channels: Literal[1, 3] = 1 if image.mode.startswith(GRAY_MODES) else 3
    digest = hashlib.sha256(data).digest()
    return Facts(digest, image.width, image.height, channels, patient, _plain_sides(image))


def _plain_sides(image: Image.Image) -> int:
    """Number of sides of an image whose outermost pixels are alike: within EDGE_SPREAD of the
    image's range of values.

    >>> # the gradient runs down
    >>> _plain_sides(Image.new("L", (9, 5))), _plain_sides(Image.linear_gradient("L"))
    (4, 2)
    """
    values = np.asarray(image.convert("RGB") if image.mode.startswith("P") else image, np.float32)
    limit = EDGE_SPREAD * float(np.ptp(values))
    return sum(
        float(np.ptp(side, axis=0).max()) <= limit
        for side in (values[0], values[-1], values[:, 0], values[:, -1])
    )


def _patient(data: bytes) -> str | None:
    name = patient_of(data) if is_dicom(data) else None
    return None if name is None else hashlib.sha256(name.encode()).hexdigest()[:16]


Stamp = tuple[int, int]  # size in bytes, time of change in nanoseconds

# A new column needs a new name of the table, since a user's cache may have the old one.
SCHEMA = """CREATE TABLE IF NOT EXISTS file_facts (
    path TEXT, decoder INTEGER, frames TEXT, size INTEGER, changed_ns INTEGER,
    digest BLOB, width INTEGER, height INTEGER, channels INTEGER, patient TEXT,
    plain_sides INTEGER, reason TEXT,
    PRIMARY KEY (path, frames)) WITHOUT ROWID"""


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _open(cache: Path | None) -> sqlite3.Connection:
    """Open the cache. An unreadable one is replaced: everything in it can be computed again."""
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(cache or ":memory:", timeout=60)
    try:
        connection.execute(SCHEMA)
    except sqlite3.DatabaseError:
        connection.close()
        if cache is None:
            raise
        cache.unlink()
        return _open(cache)
    return connection


def _recall(
    kept: sqlite3.Connection, stamps: dict[Path, Stamp], frames: Frames
) -> dict[Path, Facts]:
    rows = kept.execute(
        "SELECT path, size, changed_ns, digest, width, height, channels, patient, plain_sides, "
        "reason FROM file_facts WHERE decoder = ? AND frames = ?",
        (DECODER, frames),
    )
    known = {Path(path): ((size, changed_ns), facts) for path, size, changed_ns, *facts in rows}
    return {
        path: Facts(*known[path][1])
        for path, stamp in stamps.items()
        if path in known and known[path][0] == stamp
    }


def _keep(
    kept: sqlite3.Connection, facts: dict[Path, Facts], stamps: dict[Path, Stamp], frames: Frames
) -> None:
    rows: Iterable[tuple[object, ...]] = (
        (str(path), DECODER, frames, *stamps[path], *astuple(each)) for path, each in facts.items()
    )
    with kept:
        kept.executemany(f"INSERT OR REPLACE INTO file_facts VALUES ({', '.join('?' * 12)})", rows)


COMMON, RARE = 0.8, 0.2  # shares of a class and of the others that have the property
# probability that so many images of the class have the property, if images have it at random
CHANCE = 1e-3
SEPARATED = 0.95  # area under the ROC curve of a length
FEW = 5  # images below which lengths are not compared


def giveaways(listing: Listing, records: Sequence[Record], facts: dict[Path, Facts]) -> list[str]:
    """A sentence for each class and property that gives it away; `facts` has each record's path."""
    values = np.array([record.label for record in records], listing.kind.dtype)
    return [
        note
        for names, known, labels in listing.kind.questions(listing.classes, values)
        for note in _given_away(names, labels, [records[each] for each in known.tolist()], facts)
    ]


def _given_away(
    classes: Sequence[str],
    labels: NDArray[np.int64],
    records: Sequence[Record],
    facts: dict[Path, Facts],
) -> list[str]:
    """The sentences for labels (N,).

    Of two classes only the smaller one is examined, since what gives it away gives the other one
    away too.
    """
    counts = np.bincount(labels, minlength=len(classes))
    examined = [int(counts.argmin())] if len(classes) == 2 else range(len(classes))
    files = [facts[record.path] for record in records]
    suffixes = np.array([record.path.suffix.lower() for record in records])
    properties, lengths = _properties(files, suffixes), _lengths(files)
    notes: list[str] = []
    for label in examined:
        own = labels == label
        reasons = [_by_property(has, own, those) for those, has in properties.items()]
        reasons += [_by_length(values, own, *words) for words, values in lengths.items()]
        notes += [
            f"the format gives the class {classes[label]!r} away: {reason}; {REMEDY}"
            for reason in reasons
            if reason
        ]
    return notes


def _properties(files: Sequence[Facts], suffixes: NDArray[np.str_]) -> dict[str, NDArray[np.bool_]]:
    """Which images (N,) have a property, by the words for those that have it."""
    channels = np.array([file.channels for file in files])
    plain_sides = np.array([file.plain_sides for file in files])
    return {
        "gray": channels == 1,
        "in color": channels == 3,
        "framed by a border of one color": plain_sides == 4,
        "without a border of one color": plain_sides == 0,
    } | {
        f"{suffix} files" if suffix else "without a suffix": suffixes == suffix
        for suffix in np.unique(suffixes)
    }


def _lengths(files: Sequence[Facts]) -> dict[tuple[str, str], NDArray[np.float64]]:
    """A number of each image, (N,), by the words for a large and a small one."""
    widths, heights = np.array([(file.width, file.height) for file in files], np.float64).T
    return {
        ("larger", "smaller"): np.maximum(widths, heights),
        ("wider", "narrower"): widths / heights,
    }


def _by_property(has: NDArray[np.bool_], own: NDArray[np.bool_], those: str) -> str | None:
    inside, outside = has[own], has[~own]
    by_chance = has.mean() ** inside.sum() > CHANCE
    if by_chance or inside.mean() < COMMON or outside.mean() > RARE:
        return None
    return (
        f"{inside.sum()} of its {len(inside)} images are {those}, and {outside.sum()} of the "
        f"{len(outside)} others"
    )


def _by_length(
    values: NDArray[np.float64], own: NDArray[np.bool_], large: str, small: str
) -> str | None:
    if min(own.sum(), (~own).sum()) < FEW:
        return None
    area = auroc(values, own)
    if max(area, 1 - area) < SEPARATED:
        return None
    return f"its images are {large if area > 0.5 else small} than the others"


REMEDY = (
    "a model can learn that instead of the finding, so bring all images into one format, or take "
    "them from one source"
)
