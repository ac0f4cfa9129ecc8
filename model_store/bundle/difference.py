"""What differs between two bundles: every field of their cards, and their files."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from model_store.bundle.bundle import Bundle
from model_store.bundle.manifest import describe


class BundleDifference(NamedTuple):
    """A field that differs. A value is None where a bundle does not have the field."""

    field: str
    first: Any
    second: Any


def difference(first: Bundle, second: Bundle) -> list[BundleDifference]:
    """Return the fields of the cards that differ, then the files that differ, by their hash."""
    found = [each for each in _fields("", _card(first), _card(second)) if each.first != each.second]
    hashes = [
        {name: entry.sha256 for name, entry in describe(bundle.folder).items()}
        for bundle in (first, second)
    ]
    files = sorted(hashes[0].keys() | hashes[1].keys())
    return found + [
        BundleDifference(f"file {name}", hashes[0].get(name), hashes[1].get(name))
        for name in files
        if hashes[0].get(name) != hashes[1].get(name)
    ]


def _card(bundle: Bundle) -> dict[str, Any]:
    return bundle.card.model_dump(mode="json", exclude={"files"})


def _fields(path: str, first: Any, second: Any) -> Iterator[BundleDifference]:
    one, other = ({} if each is None else each for each in (first, second))
    if isinstance(one, dict) and isinstance(other, dict) and (one or other):
        for name in dict.fromkeys((*one, *other)):
            yield from _fields(f"{path}.{name}" if path else name, one.get(name), other.get(name))
    else:
        yield BundleDifference(path, first, second)
