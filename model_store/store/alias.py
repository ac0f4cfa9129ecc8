"""An alias such as `production`: a line of JSON with its bundle, who set it, when and why."""

import os
import pwd
import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_store.bundle.manifest import MAX_VERSION, Digest
from model_store.errors import AliasError

PRODUCTION = "production"
WHY_LIMIT = 1_000  # characters of why something is done
ALIAS_PATTERN = r"[a-z][a-z0-9_-]{0,31}"


class Alias(BaseModel):
    """Where an alias points, by version and by the digest of the bundle.

    Attributes:
        by: who set it: a user of the operating system, or a process.
        why: the reason that was given, if any.
        before: the version to which it pointed before.
        action: whether it was set, or rolled back to what was before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1, le=MAX_VERSION, strict=True)
    digest: Digest
    at: datetime
    by: Annotated[str, Field(max_length=200)]
    why: Annotated[str, Field(max_length=WHY_LIMIT)] | None = None
    before: int | None = None
    action: Literal["set", "rolled back"] = "set"

    def as_text(self) -> str:
        """Return the line that its file holds."""
        return self.model_dump_json(exclude_none=True) + "\n"


def new_alias(
    *,
    version: int,
    digest: str,
    by: str | None = None,
    why: str | None = None,
    before: int | None = None,
    action: Literal["set", "rolled back"] = "set",
) -> Alias:
    """Return an alias that is set now, by default by the current user. Raises AliasError."""
    try:
        return Alias(
            version=version,
            digest=digest,
            at=datetime.now(UTC),
            by=by or current_user(),
            why=why,
            before=before,
            action=action,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise AliasError(f"the alias cannot be set: {first['loc'][0]}: {first['msg']}") from error


def parse_alias(model: str, alias: str, data: bytes) -> Alias:
    """Return what the file of an alias says. Raises AliasError."""
    try:
        return Alias.model_validate_json(data)
    except ValidationError as error:
        raise AliasError(
            f"the alias '{alias}' of '{model}' is refused: {_reason(model, data, error)}"
        ) from error


def require_alias_name(alias: str) -> str:
    """Return the name of an alias. Raises AliasError if it cannot be one."""
    if not re.fullmatch(ALIAS_PATTERN, alias):
        raise AliasError(
            f"{alias[:80]!r} is not a name for an alias: use 1 to 32 of a-z, 0-9, '_', '-', "
            "starting with a letter"
        )
    return alias


def current_user() -> str:
    """Return the name of the user who runs this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number without a name
        return f"uid {os.getuid()}"


def _reason(model: str, data: bytes, error: ValidationError) -> str:
    again = f"set it again with `candor promote {model} VERSION`"
    if not data.strip():
        return f"its file is empty; {again}"
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place + ': ' if place else ''}{first['msg']} in {data[:40]!r}; {again}"
