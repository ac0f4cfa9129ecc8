"""The fields of a form that a page of ours sends, for the routes that people act with."""

from urllib.parse import parse_qs

from monitoring.errors import FeedbackInvalid
from monitoring.feedback.body import check_storable

MEDIA_TYPE = "application/x-www-form-urlencoded"
_FIELDS_LIMIT = 20


def read_form(body: bytes) -> dict[str, str]:
    """The fields by name; empty ones are left out, and the last of a name wins. Raises FeedbackInvalid."""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=_FIELDS_LIMIT, errors="strict")
    except ValueError:
        raise FeedbackInvalid("The form cannot be read; send it from the page it stands on.") from None
    found = {name: values[-1] for name, values in fields.items()}
    for name, value in found.items():
        check_storable(name, value)
    return found
