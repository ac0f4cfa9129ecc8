"""Tags in prediction requests: `monitoring.tags`, with errors as MalformedRequest."""

from monitoring import tags
from monitoring.errors import TagsInvalid
from serving.errors import MalformedRequest


def read_tags(text: str) -> str | None:
    """Tags from `X-Candor-Tags: site=A,device=CT-2` or a form's field `tags`. Raises
    MalformedRequest.
    """
    try:
        return tags.read_tags(text)
    except TagsInvalid as error:
        raise MalformedRequest(str(error)) from None


def tags_of(value: object) -> str | None:
    """Tags from the object in a JSON item; None if there are none. Raises MalformedRequest."""
    try:
        return tags.tags_of(value)
    except TagsInvalid as error:
        raise MalformedRequest(str(error)) from None
