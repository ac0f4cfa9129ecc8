"""The reference images that the scope check finds most like an image: those that it was fitted on,
training images in models that Candor trains.

A bundle keeps neither their pictures nor their names, but a digest, the class, and in half
precision the vector whose squared length is the score. **Whoever has the bundle and an image can
tell that it is one of them.**
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

NEIGHBOR_FILE: Final = "scope_neighbors.npz"
NEAREST: Final = 3
_LARGEST: Final = 60_000.0  # of float16


class NeighborsInvalid(ValueError):
    """The bytes are no neighbors."""


class Neighbor(NamedTuple):
    """A reference image: the SHA-256 of its content in hexadecimal, its class or the findings that
    are present, and the squared distance of its vector.
    """

    digest: str
    label: str
    distance: float


@dataclass(frozen=True)
class ReferenceImages:
    """Digests and labels of images, both str (M,), as in Neighbor."""

    digests: npt.NDArray[np.str_]
    labels: npt.NDArray[np.str_]


@dataclass(frozen=True)
class ScopeNeighbors:
    """Reference images with their vectors, float16 (M, R)."""

    digests: npt.NDArray[np.str_]
    labels: npt.NDArray[np.str_]
    vectors: npt.NDArray[np.float16]

    @classmethod
    def of(cls, images: ReferenceImages, vectors: npt.NDArray[np.float32]) -> "ScopeNeighbors":
        """Keep the vectors (M, R) of the images."""
        kept = vectors.clip(-_LARGEST, _LARGEST).astype(np.float16)
        return cls(images.digests, images.labels, kept)

    def nearest(self, vector: npt.NDArray[np.float32]) -> list[Neighbor]:
        """Return the images nearest to a vector (R,), the nearest first.

        >>> kept = ScopeNeighbors(np.array(["a", "b"]), np.array(["x", "y"]), np.eye(2, dtype="e"))
        >>> kept.nearest(np.array([0, 2], "f"))[0]
        Neighbor(digest='b', label='y', distance=1.0)
        """
        distances = ((self.vectors.astype(np.float32) - vector) ** 2).sum(axis=1)
        return [
            Neighbor(str(self.digests[at]), str(self.labels[at]), float(distances[at]))
            for at in np.argsort(distances, kind="stable")[:NEAREST]
        ]

    def as_bytes(self) -> bytes:
        """The content of NEIGHBOR_FILE, the same bytes each time."""
        stream = io.BytesIO()
        np.savez(stream, **asdict(self))
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "ScopeNeighbors":
        """Read NEIGHBOR_FILE. Raises NeighborsInvalid."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                arrays: list[Any] = [found[name] for name in ("digests", "labels", "vectors")]
        except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
            raise NeighborsInvalid(f"{error}") from error
        kinds, shapes = [each.dtype.kind for each in arrays], [each.shape for each in arrays]
        if kinds != ["U", "U", "f"] or shapes[2:] != [(len(arrays[0]), *shapes[2][1:])]:
            raise NeighborsInvalid(f"it has arrays of {shapes}")
        return cls(*arrays)


def named_findings(names: Sequence[str], labels: npt.NDArray[np.float64]) -> str:
    """Return which findings (K,) are present, 1, as the label of a reference image.

    >>> [named_findings(["Edema", "Mass"], np.array(each)) for each in ([1, np.nan], [0, 0])]
    ['Edema', 'no finding']
    """
    return ", ".join(names[int(at)] for at in np.flatnonzero(labels == 1)) or "no finding"
