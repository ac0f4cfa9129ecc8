"""Queries as types: a Struct says what an address may ask; it is read, checked and described from
that alone.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Final, TypeVar, get_args

import msgspec
from msgspec import Struct, inspect
from msgspec.structs import FieldInfo

from monitoring.errors import QueryInvalid, brief
from monitoring.http.fields import check_storable

Query = TypeVar("Query", bound=Struct)
_NONE: Final = type(None)


class NoQuery(Struct, frozen=True):
    """Of an address that knows no parameters."""


@cache
def parameters_of(kind: type[Struct]) -> dict[str, FieldInfo]:
    """The fields of a query by the names that the address has for them."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def type_of(field: FieldInfo) -> Any:
    """The type of a parameter that is there: without the None of one that is left out."""
    kinds = [kind for kind in get_args(field.type) if kind is not _NONE]
    return kinds[0] if _NONE in get_args(field.type) else field.type


def read_query(query: Mapping[str, str], kind: type[Query]) -> Query:
    """Read what an address asks, `endpoint.check_query` having found no other parameters. Raises
    QueryInvalid.
    """
    fields = parameters_of(kind)
    return kind(
        **{
            field.name: _read(name, query[name], type_of(field))
            for name, field in fields.items()
            if name in query
        }
    )


def _read(name: str, text: str, kind: Any) -> Any:
    check_storable(name, text, refusal=QueryInvalid)
    with suppress(msgspec.ValidationError):
        value = msgspec.convert(text, kind, strict=False)
        if not isinstance(value, int) or str(value) == text:  # msgspec reads 1e3, too
            return value
    expected = _expected(inspect.type_info(kind))
    raise QueryInvalid(f"The query's '{name}' must be {expected}; got {brief(text)}.")


def _expected(kind: inspect.Type) -> str:
    """What a parameter may be, in words."""
    match kind:
        case inspect.Metadata(type=inner):
            return _expected(inner)
        case inspect.IntType(ge=least, le=most):
            return f"a whole number from {least:,} to {most:,}"
        case inspect.FloatType(ge=least, le=most):
            return f"a number from {least:g} to {most:g}"
        case inspect.LiteralType(values=values):
            return " or ".join(map(str, values))
        case inspect.EnumType(cls=known):
            return " or ".join(each.value for each in known)
        case inspect.UUIDType():
            return "the UUID of an answer"
        case _:
            return "some text, or left out"
