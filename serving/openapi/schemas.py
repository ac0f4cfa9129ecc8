"""JSON schemas of the types that endpoints take and give: `components/schemas` of the document."""

import types
from collections.abc import Iterable, Iterator
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import inspect

Schema = dict[str, Any]


class Schemas:
    """The schemas of `kinds`, which share components by class name. Unions may hold several
    Structs.
    """

    def __init__(self, kinds: Iterable[Any]) -> None:
        leaves = list(dict.fromkeys(leaf for kind in kinds for leaf in _leaves(kind)))
        found, self.components = msgspec.json.schema_components(
            leaves, ref_template="#/components/schemas/{name}"
        )
        self._of_leaf = dict(zip(leaves, found, strict=True))
        for name in _dataclass_names(leaves):
            for field in self.components[name]["properties"].values():
                _allow_null(field)

    def of(self, kind: Any) -> Schema:
        """The schema of one of the kinds."""
        if _is_union(kind):
            return {"anyOf": [self.of(each) for each in get_args(kind)]}
        if _is_list_of_union(kind):
            return {"type": "array", "items": self.of(get_args(kind)[0])}
        found: Schema = self._of_leaf[kind]
        return found


def _leaves(kind: Any) -> Iterator[Any]:
    """The parts that msgspec describes one by one."""
    if _is_union(kind) or _is_list_of_union(kind):
        for each in get_args(kind):
            yield from _leaves(each)
    else:
        yield kind


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _is_list_of_union(kind: Any) -> bool:
    return get_origin(kind) is list and _is_union(get_args(kind)[0])


def _allow_null(schema: Schema) -> None:
    """A number of a report may be missing: what is NaN or infinite in a dataclass is null in
    JSON.
    """
    if schema.get("type") == "number":
        schema["type"] = ["number", "null"]


def _dataclass_names(kinds: Iterable[Any]) -> set[str]:
    """The names of all dataclasses in the kinds, whatever they are nested in."""
    names: set[str] = set()
    rest: list[Any] = list(inspect.multi_type_info(kinds))
    while rest:
        found = rest.pop()
        if isinstance(found, inspect.DataclassType):
            if found.cls.__name__ in names:
                continue
            names.add(found.cls.__name__)
        if isinstance(found, msgspec.Struct):
            rest += msgspec.structs.astuple(found)
        elif isinstance(found, tuple):
            rest += found
    return names
