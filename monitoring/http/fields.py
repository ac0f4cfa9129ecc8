"""Types of fields that several bodies have, and whole numbers in queries and forms."""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from monitoring.errors import FeedbackInvalid, MonitoringError, brief

LARGEST: Final = 999_999_999  # also the highest version
ID_LIMIT: Final = 200  # characters of an id, a model's name, a label or a source

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=ID_LIMIT)]
Uuid: TypeAlias = Annotated[Text, Meta(extra_json_schema={"format": "uuid"})]
Moment: TypeAlias = Annotated[
    Text, Meta(description="ISO 8601; UTC where it names no zone", examples=["2026-11-25"])
]
Version: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, le=1)]


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


def check_storable(
    name: str, value: str | None, *, refusal: type[MonitoringError] = FeedbackInvalid
) -> str | None:
    """Return a text that a database can store, or None. Raises `refusal`."""
    if value is not None and ("\0" in value or not (value.isascii() or _encodes(value))):
        raise refusal(
            f"Field '{name}' must be text without NUL characters and lone surrogates; got "
            f"{brief(value)}."
        )
    return value


def _encodes(value: str) -> bool:
    """Whether the text is free of lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
