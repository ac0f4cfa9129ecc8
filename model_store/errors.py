"""What can be wrong with a bundle, a store or an image. Each error says what to do."""

import re
from pathlib import Path

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"BZh": "bzip2",
}


class ModelStoreError(Exception):
    """Base of all errors of this room."""


class ImageError(ModelStoreError):
    """The bytes of a file or a request cannot become the model's input."""


class EmptyImage(ImageError):
    """No bytes at all."""

    def __init__(self) -> None:
        super().__init__("the image is empty, it has no bytes: send the file itself")


class UnknownImage(ImageError):
    """The bytes are in no image format that Candor reads."""

    def __init__(self, formats: tuple[str, ...], *, data: bytes = b"") -> None:
        """`data`: the bytes; those of a compressed file are called so."""
        packed = next((name for sign, name in _PACKED.items() if data.startswith(sign)), None)
        found = (
            f"are compressed ({packed}), not an image; unpack them"
            if packed
            else "are not an image"
        )
        super().__init__(f"the bytes {found}: expected one of {', '.join(formats)}")


class BrokenImage(ImageError):
    """The bytes begin like an image but cannot be decoded."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the image is damaged or cut short ({reason}): take it again from the original"
        )


class ImageTooLarge(ImageError):
    """The header announces more pixels than the limit."""

    def __init__(self, width: int, height: int, max_pixels: int) -> None:
        super().__init__(
            f"the image is {width} x {height} pixels, the limit is {max_pixels} in all: scale it "
            "down first"
        )


class ImageTooComplex(ImageError):
    """Decoding would take more work, time or memory than one image may take."""

    def __init__(self, found: str, limit: str) -> None:
        super().__init__(
            f"the image takes too much to decode ({found}; the limit is {limit}): save it as a "
            "plain JPEG or PNG first"
        )


class UnsupportedImage(ImageError):
    """A kind of image that Candor does not read: its compression, several frames, or no pixels."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"the image is {found}: expected {expected}")


class NoSuchFrame(ImageError):
    """The file has fewer frames than the number that was asked for."""

    def __init__(self, number: int, count: int) -> None:
        has = "a single frame" if count == 1 else f"{count} frames, numbered from 1"
        super().__init__(
            f"the image has {has}, and frame {number} was asked for: choose one that it has"
        )


class TooManyFrames(ImageError):
    """All frames of a file were asked for, and they are too many or too large together."""

    def __init__(self, found: int | str, limit: str) -> None:
        super().__init__(
            f"the image has {found} frames; the limit is {limit}: choose single frames by their "
            "number"
        )


class BundleError(ModelStoreError):
    """A bundle does not match its card."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"bundle {folder.parent.name}/{folder.name} is refused: {reason}")
        self.folder = folder
        self.reason = reason


class CardError(BundleError):
    """card.json is not JSON, or does not match the schema of a known format version."""


class FileError(BundleError):
    """A file is missing or altered, or its name leads out of the bundle's folder."""


class ManifestError(BundleError):
    """manifest.json is missing, altered, or not the one that an alias or the ledger names."""


class GraphError(BundleError):
    """model.onnx breaks the contract of model_store/bundle/graph.py."""


class NotInStore(ModelStoreError):
    """No such model, or no such version."""


class AliasError(ModelStoreError):
    """An alias has an invalid name, or its file does not say which bundle it means."""


class HistoryError(ModelStoreError):
    """The history of a model cannot be read, or was changed; or a line for it is too long."""


class SamplesInvalid(ModelStoreError):
    """The sample images of a model cannot be read, or are too many or too large."""


class VersionRetired(ModelStoreError):
    """The version was taken out and cannot be used; or it is in use and cannot be taken out."""


class StoreBusy(ModelStoreError):
    """Another process holds the store's lock for too long."""


class NeedsPackages(ModelStoreError):
    """Packages may be missing: `install` is then the command that adds them."""

    def __init__(self, message: str, *, install: str | None = None) -> None:
        self.install = install
        super().__init__(message if install is None else f"{message}: {install}")


class SignatureKeyInvalid(NeedsPackages):
    """A key cannot be read or used, or what signatures need is not installed."""


class StoreAddressInvalid(NeedsPackages):
    """The address names no place that a store could be at, or needs packages that are missing."""


class StoreUnreachable(ModelStoreError, OSError):
    """The store is on another machine that does not answer, or refuses."""


class CanaryError(ModelStoreError):
    """A canary cannot be started, ended or read."""


class InvalidName(ModelStoreError):
    """The name cannot be both a folder's name and a part of a URL."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:80]!r} is not a model name: use 1 to 64 of a-z, A-Z, 0-9, '_', '-', '.', "
            f"starting with a letter or a digit{_suggestion(name)}"
        )


def _suggestion(name: str) -> str:
    """Return the nearest allowed name as advice, "" if nothing is left of the name.

    >>> _suggestion("x-rays [2024]"), _suggestion("..")
    ("; for example 'x-rays-2024'", '')
    """
    near = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("_.-")[:64].rstrip("-")
    return f"; for example {near!r}" if near else ""


class ForeignModelRefused(ModelStoreError):
    """The file is no image classifier that Candor can serve, or it is not safe to run."""


class ForeignModelUnclear(ModelStoreError):
    """Neither the graph nor the labeled images tell something that the caller has to say."""


class LabeledFolderRefused(ModelStoreError):
    """The folder of labeled images cannot be used with this model."""


class TagsInvalid(ModelStoreError, ValueError):
    """Tags that cannot be read, or too many tags."""
