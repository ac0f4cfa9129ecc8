"""Which of a network's maps its scope check looks at.

A network of few layers is not looked at: its maps find nothing that the statistics of the image
(`scope_statistics`) do not find, and cost time that such a network does not take itself.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

DEPTHS: Final = 6
FEW_LAYERS: Final = 12
WIDEST: Final = 160  # features in all: more cost time and flag little more (docs/results.md)


def chosen_taps(sizes: Sequence[int]) -> list[int]:
    """Return the places of the maps to use, of all in their order; `sizes` are their channels.

    Of fewer than 12 maps, it is none. Else the narrowest of each sixth of the depth is used, narrow
    ones first, as long as all of them have at most 160 channels.

    >>> chosen_taps([32, 64]), chosen_taps([32, 16] * 6)
    ([], [1, 3, 5, 7, 9, 11])
    """
    if len(sizes) < FEW_LAYERS:
        return []
    bounds = [round(len(sizes) * part / DEPTHS) for part in range(DEPTHS + 1)]
    groups = pairwise(bounds)
    narrowest = [min(range(first, end), key=sizes.__getitem__) for first, end in groups]
    used: list[int] = []
    for place in sorted(narrowest, key=sizes.__getitem__):
        if sizes[place] + sum(sizes[each] for each in used) <= WIDEST:
            used.append(place)
    return sorted(used)
