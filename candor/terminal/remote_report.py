"""The report of a running server, from its JSON, so that it prints as one from the ledger does."""

import math
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from monitoring.reports.findings import FindingsReport, kind_of_report
from monitoring.reports.report import Report


def read_report(data: Mapping[str, Any]) -> Report | FindingsReport:
    """Return the report of a model, or those of its findings. Raises KeyError, TypeError or
    ValueError for JSON that is none, such as that of another release.
    """
    found: Report | FindingsReport = _read(kind_of_report(data), data)
    return found


def _read(kind: Any, value: Any) -> Any:
    """The value as this type; JSON writes null for a float that is not a number."""
    found = value
    if value is None:
        found = math.nan if kind is float else None
    elif get_origin(kind) in (Union, UnionType):
        (inner,) = (each for each in get_args(kind) if each is not NoneType)
        found = _read(inner, value)
    elif get_origin(kind) in (tuple, list):
        found = tuple(_read(get_args(kind)[0], each) for each in value)
    elif hasattr(kind, "__dataclass_fields__"):
        hints = _hints(kind)
        found = kind(
            **{each.name: _read(hints[each.name], value[each.name]) for each in fields(kind)}
        )
    elif isinstance(kind, type) and issubclass(kind, tuple):
        hints = _hints(kind)
        found = kind(*(_read(hints[name], each) for name, each in zip(hints, value, strict=True)))
    elif isinstance(kind, type) and issubclass(kind, Enum):
        found = kind(value)
    return found


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
