"""Signs in the images themselves: are they as bright, and of as much contrast, as those that the card was measured on?

The distance of the live average from the card's, in standard deviations between images of the card's reference (at
least one gray level). It is raised above .25 and above what chance does once in a thousand times, images taken as
independent. Blind to what is in the picture: a shift may leave both as they were.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from monitoring.findings.early_warnings import EarlyWarning
from monitoring.ledger.inputs import Inputs

ENOUGH = 200  # images from which on they are compared
NOTABLE_DISTANCE = 0.25
_NARROWEST = 1.0  # gray levels
_CHANCE = NormalDist().inv_cdf(0.9995)
_NAMES = {"mean": ("image_brightness", "Brightness"), "contrast": ("image_contrast", "Contrast")}


def find_image_warnings(live: Inputs, reference: Mapping[str, Any]) -> tuple[EarlyWarning, ...]:
    """The signs of the inputs of a window against the card's `input_reference`."""
    return tuple(_sign(which, live, reference) for which in _NAMES)


def distance(live: Inputs, reference: Mapping[str, Any], which: str) -> tuple[float, float]:
    """The signed distance of the live average, and the limit of its size; `which` is mean or contrast.

    >>> live = Inputs(400, 120.0, 20.0, 50.0, 8.0)
    >>> card = {"mean": 110.0, "mean_sd": 20.0, "contrast": 50.0, "contrast_sd": 8.0, "n": 400}
    >>> distance(live, card, "mean")[0], distance(live, card, "contrast")[0]
    (0.5, 0.0)
    """
    spread = max(reference[f"{which}_sd"], _NARROWEST)
    value = (getattr(live, which) - reference[which]) / spread
    noise = _CHANCE * math.sqrt((getattr(live, f"{which}_sd") / spread) ** 2 / live.n + 1 / reference["n"])
    return value, max(NOTABLE_DISTANCE, noise)


def _sign(which: str, live: Inputs, reference: Mapping[str, Any]) -> EarlyWarning:
    name, noun = _NAMES[which]
    if live.n < ENOUGH:
        waits = f"{live.n:,} images: their {noun.lower()} is compared with the card from {ENOUGH:,} on."
        return EarlyWarning(name, math.nan, NOTABLE_DISTANCE, False, waits)
    value, limit = distance(live, reference, which)
    sentence = (
        f"{noun} of the images is {getattr(live, which):.1f} gray levels on average, {reference[which]:.1f} on the "
        f"card's reference ({value:+.2f} of its standard deviations, limit {limit:.2f})."
    )
    return EarlyWarning(name, value, limit, abs(value) > limit, sentence)
