"""Whole numbers in queries and forms, with one sentence for all that are none or out of range."""

from typing import Final

from monitoring.errors import brief

LARGEST: Final = 999_999_999  # also the highest version


def read_whole_number(
    text: str,
    what: str,
    *,
    refusal: type[Exception],
    least: int = 1,
    most: int = LARGEST,
    also: str = "",
) -> int:
    """The number that `text` writes in digits.

    Args:
        what: its place, as a sentence begins.
        refusal: what to raise for anything else.
        also: what else may stand in the place.

    >>> read_whole_number("3", "The query's 'version'", refusal=ValueError)
    3
    >>> read_whole_number("0", "The query's 'version'", refusal=ValueError)
    Traceback (most recent call last):
        ...
    ValueError: The query's 'version' must be a whole number from 1 to 999,999,999; got '0'.
    """
    if (
        text.isascii()
        and text.isdecimal()
        and len(text) <= len(str(LARGEST))
        and least <= int(text) <= most
    ):
        return int(text)
    raise refusal(
        f"{what} must be a whole number from {least:,} to {most:,}{also}; got {brief(text)}."
    )
