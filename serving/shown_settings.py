"""The settings for people: each with its value, its source and its meaning, and no secret."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr

from serving.service_links import PREFIX
from serving.settings import Settings

MASKED: Final = "(set, not shown)"
_PASSWORD: Final = re.compile(r"(?<=://)[^/@]*@")
_QUERY: Final = re.compile(r"\?.*")


@dataclass(frozen=True)
class ShownSetting:
    """One setting. `source` is `default`, `environment`, or the file that holds the value."""

    variable: str
    value: str
    source: str
    meaning: str


def shown(settings: Settings) -> Iterator[ShownSetting]:
    """Yield every setting, in the order of the table. The environment must be what they were loaded
    from.
    """
    for name, field in Settings.model_fields.items():
        source = "environment" if name in settings.model_fields_set else "default"
        if name == "ledger" and settings.ledger_file is not None:
            source = str(settings.ledger_file)
        value = _masked(getattr(settings, name))
        yield ShownSetting(f"{PREFIX}{name.upper()}", value, source, field.description or "")


def _masked(value: Any) -> str:
    """A value as text: nothing of a secret, and of an address neither user, password nor query."""
    if isinstance(value, SecretStr):
        return MASKED
    if value is None:
        return "(unset)"
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return _QUERY.sub("?***", _PASSWORD.sub("***@", text)) if "://" in text else text
