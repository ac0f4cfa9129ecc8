"""What a card says of the scope check: is an image like those that the model was made for?"""

from typing import Annotated

from pydantic import Field

from model_store.bundle.calibration_card import Fraction
from model_store.bundle.records import OpenRecord

NO_PROMISE = "The scope check promises nothing about images that it does not flag."


class FlaggedShare(OpenRecord):
    """A share of in-scope images that is flagged at `alpha`: between `lower` and `upper`, in 95 of
    100 draws of the calibration images.
    """

    n: int = Field(ge=1, description="calibration images")
    lower: Fraction
    upper: Fraction


class ScopeCard(OpenRecord):
    """The graph's outputs `scope_score` and `scope_p`, each [N].

    `scope_p` is a conformal p-value among `n` calibration images: of images like these, at most a
    share alpha has one of at most alpha, on average over calibration sets
    (`calibration.scope.p_values`). Nothing is promised about other images, which may look in scope.
    """

    method: str = Field(min_length=1, description="mahalanobis, or a later one")
    features: str = Field(description="which of the network's features are scored")
    reference_split: str = Field(description="of the calibration images")
    fitted_on: int = Field(ge=1, description="images that the features were described with")
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(description="at which images are flagged")
    flagged: FlaggedShare
    by_class: dict[str, FlaggedShare] | None = Field(
        default=None,
        description="measured on the calibration images of each predicted class, or finding "
        "answered as present, that has enough",
    )
