"""From features of in-scope images to the scope check of a bundle: parameters, card, and the
images that it was fitted on.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from calibration.intervals.confidence_sequence import share_interval
from calibration.scope.p_values import flagged_share, p_values
from calibration.scope.scores import SummedMahalanobis
from calibration.scope.verdict import ALPHA
from model_store.bundle.card import FlaggedShare, ScopeCard
from model_store.bundle.scope_graph import ScopeParameters

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


LEAST: Final = 19  # calibration images; with fewer no p-value is as small as ALPHA
MOST_FITTED, MOST_CALIBRATED = 600, 1_000  # images; with more, only the interval is narrower
ENOUGH_OF_CLASS: Final = 20
METHOD: Final = "mahalanobis"


@dataclass(frozen=True)
class ScopeFeatures:
    """Features of in-scope images, all float32: means of maps, and then statistics of the image.

    Attributes:
        fitted: (M, D), of images that describe the features.
        calibrated: (n, D), of other images, which training has not seen.
        maps: how many of the features are of maps; 0 if the network shows none.
        images: what is known of those of `fitted`.
    """

    fitted: npt.NDArray[np.float32]
    calibrated: npt.NDArray[np.float32]
    maps: int
    images: ReferenceImages | None = None

    @property
    def described(self) -> str:
        own = f"{self.fitted.shape[1] - self.maps} statistics of the image"
        return f"means of {self.maps} of the network's channels, and {own}" if self.maps else own

    @property
    def enough(self) -> bool:
        """Whether a scope check can be made of them."""
        return len(self.calibrated) >= LEAST and len(self.fitted) >= 2


@dataclass(frozen=True)
class ScopeCheck:
    """A fitted scope check. `statistics` (n, S) are those of the calibration images. Without
    `classes`, or findings, none has a share of its own. `neighbors` are the images that it was
    fitted on.
    """

    parameters: ScopeParameters
    card: ScopeCard
    statistics: npt.NDArray[np.float32]
    classes: tuple[str, ...] = ()
    neighbors: ScopeNeighbors | None = None


def fit_scope(
    features: ScopeFeatures,
    *,
    split: str,
    classes: Sequence[str] = (),
    predicted: npt.NDArray[Any] | None = None,
) -> ScopeCheck | None:
    """Fit a scope check; None if there are too few images.

    `predicted` are the predicted classes of the calibration images, (n,) numbers, or whether each
    of the findings `classes` is present by its threshold, bool (n, K).
    """
    if not features.enough:
        return None
    score = SummedMahalanobis.fit(features.fitted, features.maps)
    unfit = ScopeParameters(
        score.center.astype(np.float32), score.matrix.astype(np.float32), np.empty(0, np.float32)
    )
    parameters = replace(unfit, calibration=unfit.scores(features.calibrated))
    card = ScopeCard(
        method=METHOD,
        features=features.described,
        reference_split=split,
        fitted_on=len(features.fitted),
        alpha=ALPHA,
        **_shares(parameters.calibration, predicted, classes),
    )
    own, images = features.calibrated[:, features.maps :], features.images
    vectors = parameters.vectors(features.fitted)
    kept = None if images is None else ScopeNeighbors.of(images, vectors)
    return ScopeCheck(parameters, card, own, tuple(classes), kept)


class _Shares(TypedDict):
    flagged: FlaggedShare
    by_class: dict[str, FlaggedShare] | None


def _shares(
    scores: npt.NDArray[np.float32], predicted: npt.NDArray[Any] | None, classes: Sequence[str]
) -> _Shares:
    share = flagged_share(len(scores))
    return {
        "flagged": FlaggedShare(n=len(scores), lower=share.lower, upper=share.upper),
        "by_class": None if predicted is None else _by_class(scores, predicted, classes),
    }


def _by_class(
    scores: npt.NDArray[np.float32], predicted: npt.NDArray[Any], classes: Sequence[str]
) -> dict[str, FlaggedShare] | None:
    """The share flagged of each class or finding, each image by its rank among all."""
    n_all = len(scores)
    flagged = (p_values(scores, scores) * (n_all + 1) - 1) / n_all <= ALPHA  # among the others
    found = {}
    columns = predicted if predicted.ndim == 2 else predicted[:, None] == np.arange(len(classes))
    for name, of_class in zip(classes, columns.T, strict=True):
        n = int(of_class.sum())
        if n >= ENOUGH_OF_CLASS:
            share = share_interval(n, float(flagged[of_class].sum()))
            found[name] = FlaggedShare(n=n, lower=share.lower, upper=share.upper)
    return found or None
