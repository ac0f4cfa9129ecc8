"""Answers that are taken for truths: a table whose `label` is what the model said makes every model
look perfect.
"""

import math
from collections.abc import Iterable
from typing import Final

IMPLAUSIBLE: Final = 1e-3


def all_right_is_implausible(confidence: Iterable[float]) -> bool:
    """Whether answers of these confidences, were they true, would all be right with a probability
    below 1 in 1,000.

    >>> all_right_is_implausible([0.9] * 100), all_right_is_implausible([0.999] * 100)
    (True, False)
    """
    return math.fsum(math.log(max(each, 1e-12)) for each in confidence) < math.log(IMPLAUSIBLE)
