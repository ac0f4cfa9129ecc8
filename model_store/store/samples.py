"""Sample images of a model, `samples.zip` beside its versions, for people who try it.

They are not in bundles, because a bundle leaves the house, and images are somebody's. Whoever may
write to the store puts them there. The server decodes them like any image that is sent.
"""

import io
import zipfile
from collections.abc import Sequence
from typing import Final, NamedTuple

from model_store.bundle.files import UnsafeFile
from model_store.errors import SamplesInvalid
from model_store.store.storage import Storage

SAMPLES_FILE: Final = "samples.zip"
MOST: Final = 24
LARGEST_BYTES: Final = 15 * 2**20  # all together, as the file and unpacked: it is read whole
LONGEST_NAME: Final = 100


class Sample(NamedTuple):
    """An encoded image and its name."""

    name: str
    data: bytes


def read_samples(storage: Storage, model: str) -> list[Sample]:
    """Return the sample images of a model, by name; none if it has none. Raises SamplesInvalid."""
    try:
        data = storage.read(model, SAMPLES_FILE)
    except (OSError, UnsafeFile) as error:
        raise SamplesInvalid(f"{SAMPLES_FILE} of '{model}' cannot be read: {error}") from error
    return [] if data is None else _unpacked(model, data)


def write_samples(storage: Storage, model: str, samples: Sequence[Sample]) -> None:
    """Replace the sample images of a model; none removes them. Raises SamplesInvalid."""
    _check(model, samples)
    if not samples:
        while (old := storage.read(model, SAMPLES_FILE)) is not None and not storage.swap(
            model, SAMPLES_FILE, old, None
        ):
            pass
        return
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for each in sorted(samples):
            packed.writestr(zipfile.ZipInfo(each.name), each.data)
    storage.write(model, SAMPLES_FILE, stream.getvalue())


def _unpacked(model: str, data: bytes) -> list[Sample]:
    """The images; what is too much is refused before it is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            entries = packed.infolist()
            if len(entries) > MOST or sum(entry.file_size for entry in entries) > LARGEST_BYTES:
                raise _too_much(model)
            samples = []
            for entry in entries:
                with packed.open(entry) as file:
                    samples.append(Sample(entry.filename, file.read(entry.file_size + 1)))
    # NotImplementedError is a RuntimeError.
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
        raise SamplesInvalid(
            f"{SAMPLES_FILE} of '{model}' is no archive that can be read: {error}"
        ) from error
    _check(model, samples)
    return sorted(samples)


def _check(model: str, samples: Sequence[Sample]) -> None:
    if len(samples) > MOST or sum(len(each.data) for each in samples) > LARGEST_BYTES:
        raise _too_much(model)
    names = [each.name for each in samples]
    for name in names:
        plain = name.isprintable() and not set(name) & set("/\\") and 0 < len(name) <= LONGEST_NAME
        if not plain or names.count(name) > 1:
            raise SamplesInvalid(
                f"samples of '{model}' need different names of at most {LONGEST_NAME} printable "
                f"characters without slashes; got {name[:LONGEST_NAME]!r}"
            )


def _too_much(model: str) -> SamplesInvalid:
    limit = f"{LARGEST_BYTES / 2**20:.0f} MiB"
    return SamplesInvalid(f"'{model}' can have at most {MOST} sample images of {limit} together")
