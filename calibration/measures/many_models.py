"""Which of many models show an error that looking at so many does not explain."""

import math
from collections.abc import Sequence


def beyond_chance(evidence: Sequence[float], *, alpha: float = 0.05) -> list[bool]:
    """Choose models so that at most a share `alpha` of those chosen is calibrated, on average.

    The e-BH procedure (Wang and Ramdas, "False discovery rate control with e-values", JRSS-B
    2022, section 3): of N models the k with most evidence, for the largest k whose least e-value
    is at least N / (alpha k). It holds however models depend on each other.

    Args:
        evidence: (N,) natural logarithms of e-values; -inf where nothing was found.
        alpha: in (0, 1).

    >>> beyond_chance([9.0, 3.1, -math.inf]), beyond_chance([3.1])
    ([True, False, False], [True])
    """
    ordered = sorted(evidence, reverse=True)
    least = [math.log(len(evidence) / (alpha * (at + 1))) for at in range(len(ordered))]
    enough = [value for value, needed in zip(ordered, least, strict=True) if value >= needed]
    return [bool(enough) and value >= enough[-1] for value in evidence]
