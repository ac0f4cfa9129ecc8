"""From features of in-scope images to the scope check of a bundle: parameters and card."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from calibration.scope.p_values import flagged_share
from calibration.scope.scores import Mahalanobis
from calibration.scope.verdict import ALPHA
from model_store.bundle.card import FlaggedShare, ScopeCard
from model_store.bundle.scope_graph import ScopeParameters

LEAST: Final = 19  # calibration images; with fewer no p-value is as small as ALPHA
MOST_FITTED, MOST_CALIBRATED = 600, 1_000  # images; with more, only the interval is narrower
METHOD: Final = "mahalanobis"


@dataclass(frozen=True)
class ScopeFeatures:
    """Features of in-scope images, all float32: means of maps, and then statistics of the image.

    Attributes:
        fitted: (M, D), of images that describe the features.
        calibrated: (n, D), of other images, which training has not seen.
        maps: how many of the features are of maps; 0 if the network shows none.
    """

    fitted: npt.NDArray[np.float32]
    calibrated: npt.NDArray[np.float32]
    maps: int

    @property
    def described(self) -> str:
        own = f"{self.fitted.shape[1] - self.maps} statistics of the image"
        return f"means of {self.maps} of the network's channels, and {own}" if self.maps else own


class ScopeCheck(NamedTuple):
    """What a graph gets, and what its card says."""

    parameters: ScopeParameters
    card: ScopeCard


def fit_scope(features: ScopeFeatures, *, split: str) -> ScopeCheck | None:
    """Fit a scope check; None if there are too few images. `split` names those that calibrate."""
    fitted, calibrated = features.fitted, features.calibrated
    if len(calibrated) < LEAST or len(fitted) < 2:
        return None
    score = Mahalanobis.fit_parts(fitted, features.maps)
    center, matrix = score.center.astype(np.float32), score.matrix.astype(np.float32)
    scores = (((calibrated - center) @ matrix) ** 2).sum(axis=1)  # in float32, as in the graph
    share = flagged_share(len(scores))
    card = ScopeCard(
        method=METHOD,
        features=features.described,
        reference_split=split,
        fitted_on=len(fitted),
        alpha=ALPHA,
        flagged=FlaggedShare(n=len(scores), lower=share.lower, upper=share.upper),
    )
    return ScopeCheck(ScopeParameters(center, matrix, scores), card)
