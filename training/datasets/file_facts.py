"""Check every image file once before training: is it intact, what are its size, content and
patient?

A file in the cache folder keeps the answers by path, size and time of change, so a second check
costs one `stat` per image. It keeps a DICOM PatientID only as a hash.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from model_store.bundle.files import write_whole
from model_store.errors import ImageError
from model_store.image import is_dicom, open_image, patient_of
from model_store.image.frames import Frames
from training.progress import Progress

DECODER = 1  # raise it when the decoder accepts or refuses other files than before
BATCH = 256  # files between two reports of progress
GRAY_MODES = ("1", "L", "I", "F")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one image: `reason` says why it cannot be used (None if it can).

    Sides are in pixels, `digest` is the SHA-256 of the file in hexadecimal, and `patient` a hash of
    the DICOM PatientID, None without one.
    """

    digest: str = ""
    width: int = 0
    height: int = 0
    channels: Literal[1, 3] = 1
    patient: str | None = None
    reason: str | None = None


def check_files(
    paths: Sequence[Path], root: Path, *, frames: Frames, cache: Path | None, progress: Progress
) -> list[Facts]:
    """Facts about each file; opens only those whose facts the folder `cache` lacks for `root`."""
    key = hashlib.sha256(f"{DECODER} {frames} {root.resolve()}".encode()).hexdigest()
    kept = None if cache is None else cache / f"{key[:16]}.json"
    stamps = {str(path): _stamp(path) for path in paths}
    known = {
        path: facts for path, (stamp, facts) in _recalled(kept).items() if stamps.get(path) == stamp
    }
    missing = [path for path in map(str, paths) if path not in known]
    try:
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="candor-check") as pool:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                facts = pool.map(lambda path: check_file(Path(path), frames=frames), batch)
                known |= zip(batch, facts, strict=True)
                progress("check images", start + len(batch), len(missing))
    finally:
        if kept is not None and missing:
            kept.parent.mkdir(parents=True, exist_ok=True)
            rows = {path: (*stamps[path], astuple(facts)) for path, facts in known.items()}
            write_whole(kept, json.dumps(rows).encode())
    return [known[str(path)] for path in paths]


def check_file(path: Path, *, frames: Frames) -> Facts:
    """Open and decode one file; if that fails, `reason` of the result says why."""
    try:
        data = path.read_bytes()
        image, patient = open_image(data, frames=frames), _patient(data)
    except FileNotFoundError:
        return Facts(reason="there is no such file")
    except (ImageError, OSError) as error:
        return Facts(reason=str(error))
    channels: Literal[1, 3] = 1 if image.mode.startswith(GRAY_MODES) else 3
    digest = hashlib.sha256(data).hexdigest()
    return Facts(digest, image.width, image.height, channels, patient)


def _patient(data: bytes) -> str | None:
    name = patient_of(data) if is_dicom(data) else None
    return None if name is None else hashlib.sha256(name.encode()).hexdigest()[:16]


def _stamp(path: Path) -> list[int]:
    """Size in bytes and time of change in nanoseconds; nothing of a file that is not there."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _recalled(kept: Path | None) -> dict[str, tuple[list[int], Facts]]:
    """What the cache has; a damaged one has nothing, since all can be computed again."""
    if kept is None:
        return {}
    try:
        rows = json.loads(kept.read_bytes())
        return {path: (stamp, Facts(*facts)) for path, (*stamp, facts) in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
