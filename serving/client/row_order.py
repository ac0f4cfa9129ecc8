"""The order in which the rows of a table of labels are sent.

The drift watch sees labels in the order of their arrival, and its promise needs an order that does
not depend on the outcome. Labels made from a folder of images are sorted by class: first those of
one class, then those of the next.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

_FEWEST: Final = 20
_BLOCK: Final = 100_000
_Row = TypeVar("_Row")


def is_grouped(labels: Iterable[object]) -> bool:
    """Whether equal labels stand together: less than half as many changes between neighbors as in a
    random order.

    >>> is_grouped(["cat"] * 30 + ["dog"] * 30), is_grouped(["cat", "dog"] * 30)
    (True, False)
    """
    counts: Counter[object] = Counter()
    changes, last = 0, None
    for label in labels:
        changes += bool(counts) and label != last
        counts[label] += 1
        last = label
    n = counts.total()
    expected = n - sum(count**2 for count in counts.values()) / n if n else 0.0
    return n >= _FEWEST and len(counts) > 1 and changes < expected / 2


def shuffled(rows: Iterable[_Row], *, block: int = _BLOCK) -> Iterator[_Row]:
    """Yield the rows in an order that looks random and is the same each time, by blocks of `block`
    rows.
    """
    order, left = random.Random(0), iter(rows)
    while taken := list(islice(left, block)):
        order.shuffle(taken)
        yield from taken
