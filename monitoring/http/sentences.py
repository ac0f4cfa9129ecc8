"""msgspec's validation errors as sentences for the caller: which field, what is expected, what was
sent.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from monitoring.errors import brief

_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
}
_KINDS |= {"array": "a list", "null": "null"}
_SIGNS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_PLACED = re.compile(r"(.*?)(?: - at (?:`key` in )?`\$(.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
_OF_KIND = re.compile(r"Expected `([^`]*)`(?:, got `.*`)?")
_BOUND = re.compile(r"Expected `(\w+)`( of length)? ([<>]=?) (\S+)")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


def explain(
    error: msgspec.ValidationError, value: Any, *, whole: str, fields: Iterable[str] = ()
) -> str:
    """The sentence for an error about `value`. `whole` names the value itself, `fields` are the
    ones it may have.

    >>> try:
    ...     msgspec.convert([1], list[str])
    ... except msgspec.ValidationError as error:
    ...     explain(error, [1], whole="The body")
    "Field '[0]' must be text; got a number."
    """
    match = _PLACED.fullmatch(str(error))
    what, path = (match[1], match[2] or "") if match else (str(error), "")
    name, got = _at(value, path, whole)
    if found := _FIELD.fullmatch(what):
        field = brief(f"{path}.{found[2]}".lstrip("."))
        if found[1].startswith("missing"):
            return f"Field {field} is missing."
        return f"Field {field} is unknown" + (
            "." if path else f"; expected some of: {', '.join(sorted(fields))}."
        )
    if found := _BOUND.fullmatch(what):
        return (
            f"{name} must {_bound(*found.groups())}; got "
            f"{f'{len(got):,}' if found[2] else _short(got)}."
        )
    if found := _OF_KIND.fullmatch(what):
        kinds = [_KINDS.get(kind, kind) for kind in found[1].split(" | ") if kind != "null"]
        return f"{name} must be {' or '.join(kinds)}; got {kind_of(got)}."
    if what == "Number out of range":
        return f"{name} must be a number in range; got {_short(got)}."
    return f"{name} cannot be read ({what}); got {_short(got)}."


def kind_of(value: Any) -> str:
    """What a JSON value is, for a sentence."""
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        type(None): "null",
    }
    return names.get(type(value), "a number") if value != [] else "an empty list"


def _at(value: Any, path: str, whole: str) -> tuple[str, Any]:
    """The name of the place in `value`, and what is there; of an object's unnamed entry, the
    object.
    """
    if not path:
        return whole, value
    found = value
    try:
        for field, index in _STEP.findall(path):
            if index == "...":
                break
            found = found[int(index)] if index else found[field]
    except (
        IndexError,
        KeyError,
        TypeError,
    ):  # a field's name that looks like the end of msgspec's sentence
        return whole, value
    return f"Field '{path.lstrip('.')}'", found


def _bound(kind: str, length: str | None, sign: str, limit: str) -> str:
    number = float(limit)
    bound = f"{_SIGNS[sign]} {int(number) if number.is_integer() else number:,}"
    if not length:
        return f"be {_KINDS[kind]}, {bound}"
    return f"have {bound} {'characters' if kind == 'str' else 'entries'}"


def _short(value: Any) -> str:
    return brief(value) if isinstance(value, str) else brief(str(value)).strip("'\"")
