"""The grid that sums are kept on: multiples of 2^-32, so that adding them is exact and knows no order.

float64 adds two million terms of at most 1 on it without rounding, enough for the answers of a day in one bin. Sums
over all days are kept as whole numbers of units: 64 bits hold two thousand million answers.
"""

GRID = 2.0**32


def on_grid(value: float) -> float:
    """The multiple of 2^-32 nearest to `value`."""
    return round(value * GRID) / GRID


def units(value: float) -> int:
    """`value` as a whole number of units of 2^-32, the nearest.

    >>> units(0.5), units(1.0) == 2**32
    (2147483648, True)
    """
    return round(value * GRID)
