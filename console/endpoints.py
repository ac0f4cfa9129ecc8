"""Pages, their files and their forms as endpoints, and the fields of a form.

They are for people: `/openapi.json` has none of them.
"""

from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from msgspec import Struct

from monitoring.errors import FormInvalid, QueryInvalid, brief
from monitoring.http.endpoint import PAGES, Endpoint, Handler, Scope
from monitoring.http.fields import check_storable
from monitoring.http.query import NoQuery

_FIELDS_LIMIT = 20


def page(
    path: str,
    handler: Handler,
    *queries: str,
    scope: Scope | None,
    query: type[Struct] = NoQuery,
    takes_tags: bool = False,
) -> Endpoint:
    """A page, or a file that one offers, with the parameters that its address may have."""
    return Endpoint(
        method="GET",
        path=path,
        handler=handler,
        tag=PAGES,
        query=query,
        queries=queries,
        scope=scope,
        takes_tags=takes_tags,
    )


def form(
    path: str,
    handler: Handler,
    *queries: str,
    scope: Scope | None,
    query: type[Struct] = NoQuery,
) -> Endpoint:
    """What the form of a page sends."""
    return Endpoint(
        method="POST",
        path=path,
        handler=handler,
        tag=PAGES,
        query=query,
        queries=queries,
        scope=scope,
    )


def form_reader(*known: str) -> Callable[[bytes], dict[str, str]]:
    """A function that reads a form as its fields by name; empty ones are left out.

    It raises FormInvalid, also for a field that the form does not have, or that is given twice.
    """

    def read(body: bytes) -> dict[str, str]:
        try:
            fields = parse_qs(
                body.decode("ascii"),
                keep_blank_values=True,
                max_num_fields=_FIELDS_LIMIT,
                errors="strict",
            )
        except ValueError:
            raise FormInvalid(
                "The form cannot be read; send it from the page it stands on."
            ) from None
        for name, values in fields.items():
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise FormInvalid(f"The form does not know the field {brief(name)}; {has}.")
            if len(values) > 1:
                raise FormInvalid(
                    f"The form gives {brief(name)} {len(values)} times; give it once."
                )
        found = {name: value for name, (value,) in fields.items() if value}
        for name, value in found.items():
            check_storable(name, value, refusal=FormInvalid)
        return found

    return read


def read_reason(fields: Mapping[str, str], name: str, *, limit: int) -> str:
    """The text in which a person says why, which the pages ask for. Raises FormInvalid."""
    text = fields.get(name, "").strip()
    if not 1 <= len(text) <= limit:
        got = f"got {len(text):,} characters" if text else "it says nothing"
        raise FormInvalid(
            f"The form's '{name}' must say why, in at most {limit:,} characters; {got}."
        )
    return text


def read_flag(fields: Mapping[str, str], name: str) -> bool:
    """Whether a box is ticked; its value is "yes". Raises QueryInvalid."""
    text = fields.get(name, "")
    if text not in ("", "yes"):
        raise QueryInvalid(f"'{name}' must be yes, or left out; got {brief(text)}.")
    return bool(text)
