"""Early warnings from the images: are they as bright and as rich in contrast as the card's
reference images?

The value is the distance of the live average from the card's, in standard deviations between
reference images (at least one gray level). A warning is raised above 0.25 and above what chance
exceeds once in a thousand times, if images are independent. The content of an image does not count:
a shift may leave both figures unchanged.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist

from calibration.wording import counted
from monitoring.findings.early_warnings import EarlyWarning, quiet
from monitoring.ledger.inputs import Inputs

ENOUGH = 200  # images before they are compared
NOTABLE_DISTANCE = 0.25
_NARROWEST = 1.0  # gray levels
_CHANCE = NormalDist().inv_cdf(0.9995)
_NAMES = {"mean": ("image_brightness", "brightness"), "contrast": ("image_contrast", "contrast")}


def find_image_warnings(live: Inputs, reference: Mapping[str, float]) -> tuple[EarlyWarning, ...]:
    """Compare a window's images with the card's `input_reference`."""
    return tuple(_warning(which, live, reference) for which in _NAMES)


def distance(live: Inputs, reference: Mapping[str, float], which: str) -> tuple[float, float]:
    """Return the signed distance of the live average and its limit; `which` is mean or contrast.

    >>> live = Inputs(400, 120.0, 20.0, 50.0, 8.0)
    >>> card = {"mean": 110.0, "mean_sd": 20.0, "contrast": 50.0, "contrast_sd": 8.0, "n": 400}
    >>> distance(live, card, "mean")[0], distance(live, card, "contrast")[0]
    (0.5, 0.0)
    """
    spread = max(reference[f"{which}_sd"], _NARROWEST)
    value = (getattr(live, which) - reference[which]) / spread
    noise = _CHANCE * math.sqrt(
        (getattr(live, f"{which}_sd") / spread) ** 2 / live.n + 1 / reference["n"]
    )
    return value, max(NOTABLE_DISTANCE, noise)


def _warning(which: str, live: Inputs, reference: Mapping[str, float]) -> EarlyWarning:
    name, noun = _NAMES[which]
    if live.n < ENOUGH:
        so_far = counted(live.n, "image")
        sentence = (
            f"Image {noun} is compared with the card once there are {ENOUGH:,} images ({so_far} so "
            "far)."
        )
        return quiet(name, NOTABLE_DISTANCE, sentence)
    value, limit = distance(live, reference, which)
    sentence = (
        f"The average image {noun} is {getattr(live, which):.1f} gray levels; on the card's "
        f"reference data it was {reference[which]:.1f} (a difference of {value:+.2f} standard "
        f"deviations, limit {limit:.2f})."
    )
    return EarlyWarning(name, value, limit, abs(value) > limit, sentence)
