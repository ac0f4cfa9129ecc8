"""Settings that hold several values, in the text of one variable: a list of texts, or an object of
numbers.
"""

import json
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def _read_list(value: Any) -> Any:
    """The parts of a text: a JSON list, or names between commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError("expected a JSON list of texts, or texts between commas") from error
    return [part.strip() for part in value.split(",") if part.strip()]


def _read_object(value: Any) -> Any:
    """The object that a JSON text is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError("expected a JSON object of numbers") from error


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_read_list)]
Tolerances = Annotated[dict[str, float], NoDecode, BeforeValidator(_read_object)]
