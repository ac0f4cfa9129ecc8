"""JSON bodies as types, in and out: msgspec decodes, checks and encodes them.

Decoding straight into the type is the fast path. Where it fails, the json module parses the body
once more, because it is more lenient (NaN, a byte order mark, UTF-16). Its result decides whether
the body is accepted. An object that gives a key twice is refused: parsers differ in which of the
two they take.

A parser builds an object for each value before anybody can count them, and holds the interpreter's
lock meanwhile. So the signs that separate values are counted first, which takes milliseconds: a
body of 8 MB may hold 4 million zeros.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from types import GenericAlias
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

from calibration.strict_json import doubled
from monitoring.errors import BodyNotJson, brief

Kind = TypeVar("Kind", bound=msgspec.Struct)
_Error = TypeVar("_Error", bound=BaseException)

VALUES_LIMIT: Final = 500_000
CONTAINERS_LIMIT: Final = 50_000  # lists and objects, which cost much more than numbers
SMALL_BYTES: Final = 64 * 1024  # holds too few values to count them

_BLANKS: Final = 1_000  # bytes in which JSON has begun, however it is laid out
_BEFORE: Final = b" \t\r\n\0\xef\xbb\xbf\xff\xfe"  # blanks, and what marks UTF-8, UTF-16 and UTF-32
_SHOWN: Final = 12
_SAID: Final = 150  # characters
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class Entries(NamedTuple):
    """The items of a body, an error in place of an unreadable one; `single`: one bare item."""

    items: list[Any]
    single: bool


class JsonReader(Generic[Kind]):
    """Reads JSON as `kind`, a Struct.

    `refusal` is raised with a sentence, in which `whole` names the value. `prepare` is applied to
    parsed JSON that is not `kind` as it stands, for spellings that are accepted beside the
    documented one; it may raise `refusal` too. `numbers_as_text`: numbers may be text.
    """

    def __init__(
        self,
        kind: type[Kind],
        refusal: type[Exception],
        *,
        whole: str = "The body",
        prepare: Callable[[Any], Any] = lambda value: value,
        numbers_as_text: bool = False,
    ) -> None:
        self._kind, self.refusal, self._whole, self._prepare = kind, refusal, whole, prepare
        self._strict = not numbers_as_text
        self.fields = frozenset(field.encode_name for field in msgspec.structs.fields(kind))
        self._one = msgspec.json.Decoder(kind)
        self._list = msgspec.json.Decoder[list[Kind]](GenericAlias(list, (kind,)))

    def read(self, body: bytes) -> Kind:
        """Read a body. Raises BodyNotJson and `refusal`."""
        self._count(body)
        with suppress(*_UNREADABLE):
            found = self._one.decode(body)
            check_keys(body)
            return found
        return self._once(parse(body, whole=self._whole))

    def convert(self, value: Any) -> Kind:
        """Read parsed JSON. Raises `refusal`."""
        prepared = self._prepare(value)
        try:
            return msgspec.convert(prepared, self._kind, strict=self._strict)
        except msgspec.ValidationError as error:
            hint = f" Known: {', '.join(sorted(self.fields))}." if "unknown" in str(error) else ""
            raise self.refusal(f"{self._whole} cannot be read: {said(error)}.{hint}") from None
        except UnicodeEncodeError as error:
            raise self.refusal(
                f"{self._whole} holds text with lone surrogates: {brief(error.object)}."
            ) from None

    def read_entries(self, body: bytes, *, limit: int) -> Entries:
        """Read one item, or a list of 1 to `limit`. Raises BodyNotJson and `refusal`."""
        self._count(body)
        with suppress(*_UNREADABLE):
            single = body[:1] != b"["
            items = [self._one.decode(body)] if single else self._list.decode(body)
            check_keys(body)
            if 1 <= len(items) <= limit:
                return Entries(items, single=single)
        value = parse(body)
        if isinstance(value, dict):
            return Entries([self._entry(value)], single=True)
        if not isinstance(value, list) or not value:
            got = "an empty list" if value == [] else f"{brief(str(value))}"
            raise self.refusal(f"The body must be one object or a list of objects; got {got}.")
        if len(value) > limit:
            raise self.refusal(
                f"A list holds at most {limit:,} items; got {len(value):,}. Send a table instead."
            )
        return Entries([self._entry(each) for each in value], single=False)

    def _count(self, body: bytes) -> None:
        if too_many(body, values=VALUES_LIMIT, containers=CONTAINERS_LIMIT):
            if not begins_as_json(body):
                raise BodyNotJson(
                    f"{self._whole} must be JSON; got something else ({brief(str(body[:_SHOWN]))})."
                )
            raise self.refusal(
                f"The body holds over {VALUES_LIMIT:,} values, or {CONTAINERS_LIMIT:,} lists and "
                "objects, or numbers of thousands of digits. Send it in several requests, or as a "
                "table."
            )

    def _once(self, value: Any) -> Kind:
        """Read what `parse` returned. Raises `refusal`."""
        if (key := key_given_twice(value)) is not None:
            raise self.refusal(
                f"{self._whole} gives {brief(key)} twice in one object; give it once."
            )
        return self.convert(value)

    def _entry(self, value: Any) -> Any:
        try:
            return self._once(value)
        except self.refusal as error:
            return clear_tracebacks(error)


def said(error: msgspec.ValidationError) -> str:
    """What msgspec says of a value, printable and at a length that cannot fill a log.

    >>> try:
    ...     msgspec.convert([1], list[str])
    ... except msgspec.ValidationError as error:
    ...     said(error)
    'Expected `str`, got `int` - at `$[0]`'
    """
    return repr(str(error)[:_SAID])[1:-1]


def too_many(body: bytes, *, values: int, containers: int) -> bool:
    """Whether JSON may hold more values, or lists and objects, than that, or is full of digits.
    Signs inside of texts count too.

    >>> too_many(b"[" + b"0," * 40_000 + b"0]", values=40_000, containers=1)
    True
    """
    return len(body) > SMALL_BYTES and (
        body.count(b",") >= values
        or body.count(b"[") + body.count(b"{") > containers
        or has_long_numbers(body)
    )


def has_long_numbers(body: bytes) -> bool:
    """Whether at least four of the samples of a text, one in 8 KiB, are digits alone.

    A number of 60 MB takes a parser 0.1 s. No base64 of an image has 32 digits in a row.

    >>> has_long_numbers(b"9" * 40_000), has_long_numbers(b"9," * 40_000)
    (True, False)
    """
    samples = (body[at : at + 32] for at in range(0, len(body), 8192))
    return sum(map(bytes.isdigit, samples)) > 3


def begins_as_json(body: bytes) -> bool:
    """Whether the first bytes are those of JSON, in any encoding that `parse` reads. Blanks alone
    may be.

    >>> begins_as_json(b' [1]'), begins_as_json('[1]'.encode("utf-16"))
    (True, True)
    >>> begins_as_json(bytes(range(128, 255)))
    False
    """
    start = body[:_BLANKS].lstrip(_BEFORE)[:1]
    return not start or start in b'[{"-0123456789tfn'


def parse(body: bytes, *, whole: str = "The body") -> Any:
    """Parse JSON. Raises BodyNotJson, also for what is nested too deeply."""
    try:
        return json.loads(body, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        why = "its bytes are no text" if isinstance(error, UnicodeDecodeError) else str(error)
        what = "nothing" if not body else f"something else ({brief(why)})"
        raise BodyNotJson(f"{whole} must be JSON; got {what}.") from error


class _GivenTwice(dict[str, Any]):
    """An object with a key that was there twice."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    given_twice = _GivenTwice(found)
    given_twice.key = doubled(pairs)
    return given_twice


def key_given_twice(value: Any) -> str | None:
    """A key that an object in what `parse` returned gave twice; None if there is none.

    >>> key_given_twice(parse(b'[{"a": {"b": 1, "b": 2}}]')), key_given_twice(parse(b'[{"a": 1}]'))
    ('b', None)
    """
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, _GivenTwice):
            return each.key
        if isinstance(each, dict | list):
            waiting += each.values() if isinstance(each, dict) else each
    return None


def check_keys(body: bytes | str) -> None:
    """Raise ValueError if an object gives a key twice, or for what is no JSON."""
    key = key_given_twice(json.loads(body, object_pairs_hook=_object))
    if key is not None:
        raise ValueError(f"It gives {brief(key)} twice in one object; give it once")


def encode(value: Any) -> bytes:
    """The JSON of a typed value: Structs and dataclasses as objects, NaN and infinities as null."""
    return msgspec.json.encode(value, enc_hook=_number_of_numpy)


def plain(value: Any) -> Any:
    """The plain data that `encode` writes."""
    return json.loads(encode(value))


def _number_of_numpy(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError  # msgspec's way to say that the hook does not know this type


def clear_tracebacks(error: _Error) -> _Error:
    """Drop the tracebacks of `error` and of those that led to it, and return it.

    A frame that raised may hold the error by name. Then error, traceback and frame are a cycle, and
    the body on which the frame was working stays in memory until the next full collection of
    garbage.
    """
    known: list[BaseException] = [error]
    for each in known:
        each.__traceback__ = None
        known += [
            other
            for other in (each.__cause__, each.__context__)
            if other is not None and other not in known
        ]
    return error
