"""What was done with a model, when, by whom and why: a line of its history."""

import os
import pwd
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, model_validator

from model_store.bundle.files import ClosedRecord, first_problem
from model_store.bundle.manifest import MAX_VERSION, Digest
from model_store.errors import HistoryError

WHY_LIMIT = 1_000  # characters of why something is done
ALIAS_PATTERN = r"[a-z][a-z0-9_-]{0,31}"
Who: TypeAlias = Annotated[str, Field(max_length=200)]
Why: TypeAlias = Annotated[str, Field(max_length=WHY_LIMIT)]
Mode: TypeAlias = Literal["share", "header", "shadow"]
Action: TypeAlias = Literal[
    "published",
    "signed",
    "set",
    "rolled back",
    "removed",
    "retired",
    "restored",
    "collected",
    "canary started",
    "canary changed",
    "canary aborted",
]
_POINTING = ("alias", "version", "digest")
# What an event of these actions says; of the others, a version.
_SAYS: dict[Action, tuple[str, ...]] = {
    "published": ("version", "digest"),
    "set": _POINTING,
    "rolled back": _POINTING,
    "removed": ("alias",),
    "canary started": ("version", "digest", "mode"),
    "canary changed": ("version", "mode"),
}


class StoreEvent(ClosedRecord):
    """Something that was done.

    Attributes:
        version: with which version; None where an alias was removed.
        digest: of the bundle, as far as it was known.
        before: the version to which the alias pointed before.
        by: a user of the operating system, or a process.
        mode: how a canary is tried, with its share of the requests.
        previous: hash of the line before; None on the first line.
    """

    action: Action
    version: int | None = Field(default=None, ge=1, le=MAX_VERSION, strict=True)
    alias: Annotated[str, Field(pattern=f"^{ALIAS_PATTERN}$")] | None = None
    digest: Digest | None = None
    before: int | None = None
    at: datetime
    by: Who
    why: Why | None = None
    mode: Mode | None = None
    share: Annotated[float, Field(ge=0, le=1)] | None = None
    previous: str | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        missing = [name for name in _SAYS.get(self.action, ("version",)) if not getattr(self, name)]
        if missing:
            raise ValueError(f"{self.action!r} needs {', '.join(missing)}")
        return self

    @property
    def how(self) -> str | None:
        """How a canary is tried from now on; None of other events."""
        return self.mode and how_tried(self.mode, self.share or 0.0)


def how_tried(mode: Mode, share: float) -> str:
    """Say what a canary is tried on, as the end of a sentence.

    >>> how_tried("share", 0.05)
    'answers 5 % of the requests'
    """
    if mode == "share":
        return f"answers {100 * share:g} % of the requests"
    if mode == "header":
        return "answers requests with X-Candor-Canary: true"
    return "computes beside production and is only recorded"


def new_event(action: Action, *, by: str | None = None, **fields: Any) -> StoreEvent:
    """Return an event of now and, by default, of the current user.

    Raises HistoryError for long texts.
    """
    try:
        return StoreEvent(action=action, at=datetime.now(UTC), by=by or current_user(), **fields)
    except ValidationError as error:
        raise HistoryError(f"that cannot be recorded: {first_problem(error)}") from error


def current_user() -> str:
    """Return the name of the user who runs this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number without a name
        return f"uid {os.getuid()}"
