"""The grid of all sums: multiples of 2^-32, so that additions are exact in any order.

On this grid float64 adds two million terms of at most 1 without rounding, enough for the answers of
a day in one bin. Sums over all days are integers in units of 2^-32; 64 bits suffice for two billion
answers.
"""

GRID = 2.0**32


def on_grid(value: float) -> float:
    """Return the multiple of 2^-32 nearest to `value`."""
    return round(value * GRID) / GRID


def units(value: float) -> int:
    """Return `value` in units of 2^-32, rounded.

    >>> units(0.5), units(1.0) == 2**32
    (2147483648, True)
    """
    return round(value * GRID)
