"""The fields of a form that a page of ours sends, for the routes that people act with."""

from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from msgspec import Struct, structs

from monitoring.errors import FormInvalid, brief
from monitoring.feedback.body import check_storable

MEDIA_TYPE = "application/x-www-form-urlencoded"
_FIELDS_LIMIT = 20


def form_reader(kind: type[Struct]) -> Callable[[bytes], dict[str, str]]:
    """A function that reads the form `kind` as its fields by name; empty ones are left out.

    It raises FormInvalid, also for a field that the form does not have, or that is given twice.
    """
    known = tuple(field.encode_name for field in structs.fields(kind))

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
