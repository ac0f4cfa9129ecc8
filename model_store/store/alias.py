"""An alias such as `production`: a line of JSON with its bundle, who set it, when and why."""

import os
import pwd
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import Field, ValidationError

from model_store.bundle.manifest import MAX_VERSION, Digest
from model_store.bundle.records import ClosedRecord, first_problem
from model_store.errors import AliasError, ModelStoreError

PRODUCTION = "production"
WHY_LIMIT = 1_000  # characters of why something is done
ALIAS_PATTERN = r"[a-z][a-z0-9_-]{0,31}"
Who: TypeAlias = Annotated[str, Field(max_length=200)]
Why: TypeAlias = Annotated[str, Field(max_length=WHY_LIMIT)]
R = TypeVar("R", bound=ClosedRecord)


class Alias(ClosedRecord):
    """Where an alias points, by version and by the digest of the bundle.

    Attributes:
        by: who set it: a user of the operating system, or a process.
        before: the version to which it pointed before.
        action: whether it was set, or rolled back to what was before.
    """

    version: int = Field(ge=1, le=MAX_VERSION, strict=True)
    digest: Digest
    at: datetime
    by: Who
    why: Why | None = None
    before: int | None = None
    action: Literal["set", "rolled back"] = "set"

    def as_text(self) -> str:
        """Return the line that its file holds."""
        return self.model_dump_json(exclude_none=True) + "\n"


def made_now(
    kind: Callable[..., R], refusal: type[ModelStoreError], *, by: str | None = None, **fields: Any
) -> R:
    """Return a record of now and, by default, of the current user. Raises `refusal`."""
    try:
        return kind(at=datetime.now(UTC), by=by or current_user(), **fields)
    except ValidationError as error:
        raise refusal(f"that cannot be recorded: {first_problem(error)}") from error


def parse_alias(model: str, alias: str, data: bytes) -> Alias:
    """Return what the file of an alias says. Raises AliasError."""
    try:
        return Alias.model_validate_json(data)
    except ValidationError as error:
        problem = (
            f"{first_problem(error)} in {data[:40]!r}" if data.strip() else "its file is empty"
        )
        raise AliasError(
            f"the alias '{alias}' of '{model}' is refused: {problem}; set it again with "
            f"`candor promote {model} VERSION`"
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
