"""Which images a model was made from, as short keyed hashes of its inputs.

Images that it has seen make a model look better than it is. With the hashes in the bundle, a server
notices them among live ones. A hash is eight bytes of BLAKE2b with a key of the bundle: it does not
give an image back, but **whoever has the bundle and an image can tell that the model has seen it**.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

DIGEST_FILE: Final = "training_images.bin"
MOST_DIGESTS: Final = 16_384  # 128 KiB
KEY_BYTES: Final = 16
_DIGEST = np.dtype(">u8")


class DigestsInvalid(ValueError):
    """The bytes are no digests."""


@dataclass(frozen=True)
class TrainingDigests:
    """A key, and sorted digests (M,) of images, at most MOST_DIGESTS."""

    key: bytes
    digests: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, images: Iterable[npt.NDArray[np.uint8]], *, key: bytes) -> "TrainingDigests":
        """Digest images (C, H, W), the inputs of the model. `key`: KEY_BYTES."""
        return cls(key, np.unique(np.fromiter((_digest(key, x) for x in images), np.uint64)))

    def seen(self, images: Iterable[npt.NDArray[np.uint8]]) -> int:
        """How many of these inputs are among the images."""
        given = np.fromiter((_digest(self.key, x) for x in images), np.uint64)
        return int(np.isin(given, self.digests).sum())

    def as_bytes(self) -> bytes:
        """The content of DIGEST_FILE: the key, then eight bytes for each digest, big-endian."""
        return self.key + self.digests.astype(_DIGEST).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "TrainingDigests":
        """Read DIGEST_FILE. Raises DigestsInvalid."""
        rest = len(data) - KEY_BYTES
        if rest < 0 or rest % _DIGEST.itemsize or rest > MOST_DIGESTS * _DIGEST.itemsize:
            raise DigestsInvalid(f"it has {len(data)} bytes")
        found = np.frombuffer(data[KEY_BYTES:], _DIGEST).astype(np.uint64)
        return cls(data[:KEY_BYTES], found)


def _digest(key: bytes, image: npt.NDArray[np.uint8]) -> int:
    data = np.ascontiguousarray(image).data
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest())
