"""JSON of files, cells and settings. An object that gives a key twice is refused."""

import json
from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

_Key = TypeVar("_Key", bound=Hashable)


class GivenTwice(ValueError):
    """An object gives a key twice; parsers differ in which of the two they take."""


def read_json(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError, whose text says why, also for what is nested too deeply.

    >>> read_json('{"heads": 3}')
    {'heads': 3}
    >>> read_json('{"heads": 3, "heads": 5}')
    Traceback (most recent call last):
    ...
    calibration.strict_json.GivenTwice: 'heads' is given twice in one object; give it once
    """
    try:
        return json.loads(text, object_pairs_hook=once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def once(pairs: Sequence[tuple[_Key, Any]]) -> dict[_Key, Any]:
    """The pairs as a dictionary. Raises GivenTwice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise GivenTwice(f"{str(doubled(pairs))[:60]!r} is given twice in one object; give it once")
    return found


def doubled(pairs: Sequence[tuple[_Key, Any]]) -> _Key:
    """The first key that is there twice."""
    names = [name for name, _ in pairs]
    return next(name for name in names if names.count(name) > 1)
