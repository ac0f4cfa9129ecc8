"""Which of a network's maps its scope check looks at."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

DEPTHS: Final = 6
WIDEST: Final = 320  # features in all: of more, a few hundred images tell little (docs/results.md)


def chosen_taps(sizes: Sequence[int]) -> list[int]:
    """Return the places of the maps to use, of all in their order; `sizes` are their channels.

    The narrowest of each sixth of the depth is used, narrow ones first, as long as all of them have
    at most 320 channels. A map of more than 320 channels is never used.

    >>> chosen_taps([32, 16, 96, 24, 600]), chosen_taps([600])
    ([0, 1, 2, 3], [])
    """
    count = min(DEPTHS, len(sizes))
    bounds = [round(len(sizes) * part / max(count, 1)) for part in range(count + 1)]
    groups = pairwise(bounds)
    narrowest = [min(range(first, end), key=sizes.__getitem__) for first, end in groups]
    used: list[int] = []
    for place in sorted(narrowest, key=sizes.__getitem__):
        if sizes[place] + sum(sizes[each] for each in used) <= WIDEST:
            used.append(place)
    return sorted(used)
