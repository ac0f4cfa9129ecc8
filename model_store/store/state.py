"""What the events of a model add up to: its aliases, its canary, and what was taken out."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, PositiveInt

from model_store.bundle.files import ClosedRecord
from model_store.bundle.manifest import Digest
from model_store.errors import VersionRetired
from model_store.store.event import Mode, StoreEvent, how_tried

PRODUCTION: Final = "production"
End: TypeAlias = Literal["promoted", "aborted"]


class Alias(ClosedRecord):
    """Where an alias points, by version and by the digest of the bundle.

    Attributes:
        by: who set it: a user of the operating system, or a process.
        before: the version to which it pointed before.
        action: whether it was set, or rolled back to what was before.
    """

    version: int
    digest: Digest
    at: datetime
    by: str
    why: str | None = None
    before: int | None = None
    action: Literal["set", "rolled back"] = "set"


class Canary(ClosedRecord):
    """A version that is tried beside production, until that or another canary takes its place.

    Mode `share` gives it a share of the requests that name no version. Mode `header` gives it the
    requests that ask for it with `X-Candor-Canary: true`. In mode `shadow` it computes beside
    production and never answers.
    """

    version: PositiveInt
    digest: Digest
    mode: Mode
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    started_at: datetime
    ended: End | None = None
    ended_at: datetime | None = None
    reason: str | None = None

    @property
    def how(self) -> str:
        """What it is tried on, as the end of a sentence."""
        return how_tried(self.mode, self.share)


@dataclass(frozen=True)
class ModelState:
    """The state of a model after these events, oldest first."""

    events: tuple[StoreEvent, ...] = ()

    @cached_property
    def aliases(self) -> dict[str, Alias]:
        """Every alias by its name, sorted."""
        found: dict[str, Alias | None] = {}
        for event in self.events:
            if event.alias is not None:
                found[event.alias] = None if event.action == "removed" else _alias(event)
        return {name: alias for name, alias in sorted(found.items()) if alias is not None}

    @property
    def production(self) -> int | None:
        """The version in production."""
        alias = self.aliases.get(PRODUCTION)
        return None if alias is None else alias.version

    @cached_property
    def canary(self) -> Canary | None:
        """The canary that runs, or how the last one ended."""
        canary = None
        for event in self.events:
            canary = _tried(canary, event)
        return canary

    @property
    def running(self) -> Canary | None:
        """The canary that runs."""
        return self.canary if self.canary is not None and self.canary.ended is None else None

    @cached_property
    def retired(self) -> dict[int, StoreEvent]:
        """By version, how it was taken out. Nothing may point at it."""
        found: dict[int, StoreEvent] = {}
        for event in self.events:
            if event.version is None:
                continue
            if event.action in ("retired", "collected"):
                found[event.version] = event
            elif event.action == "restored":
                found.pop(event.version, None)
        return found

    @property
    def tried(self) -> set[int]:
        """The versions that were in production once, or whose canary was aborted."""
        return {
            event.version
            for event in self.events
            if event.version and (event.alias == PRODUCTION or event.action == "canary aborted")
        }

    def earlier(self, alias: str) -> int | None:
        """Return where a rollback takes an alias: before the last step that was not rolled back.

        >>> at = {"at": datetime(2026, 1, 1), "by": "ann", "alias": "production"}
        >>> at["digest"] = f"sha256:{64 * '0'}"
        >>> set_to = tuple(StoreEvent(action="set", version=version, **at) for version in (1, 2, 3))
        >>> ModelState(set_to).earlier("production")
        2
        >>> back = StoreEvent(action="rolled back", version=2, **at)
        >>> ModelState((*set_to, back)).earlier("production")
        1
        """
        stack: list[int | None] = []
        for event in self.events:
            if event.alias != alias:
                continue
            if event.action == "rolled back":
                while stack and stack[-1] != event.version:
                    stack.pop()
            elif not stack or stack[-1] != event.version:
                stack.append(event.version)
        return stack[-2] if len(stack) > 1 else None

    def require_not_retired(self, model: str, version: int) -> None:
        """Raise VersionRetired if a version was taken out."""
        taken_out = self.retired.get(version)
        if taken_out is not None:
            because = f": {taken_out.why}" if taken_out.why else ""
            raise VersionRetired(
                f"version {version} of '{model}' was {taken_out.action} on "
                f"{taken_out.at:%Y-%m-%d} by {taken_out.by}{because}; `candor models retire "
                f"{model} {version} --undo` brings it back"
            )

    def require_unused(self, model: str, version: int) -> None:
        """Raise VersionRetired if an alias or the running canary points at a version."""
        users = [
            f"the alias '{name}'" for name, at in self.aliases.items() if at.version == version
        ]
        if self.running is not None and self.running.version == version:
            users.append("its canary")
        if users:
            raise VersionRetired(
                f"version {version} of '{model}' cannot be taken out: {' and '.join(users)} points "
                "at it; promote another version, or end the canary, first"
            )


def _alias(event: StoreEvent) -> Alias:
    return Alias.model_validate(event.model_dump(include=set(Alias.model_fields)))


def _tried(canary: Canary | None, event: StoreEvent) -> Canary | None:
    """The canary after an event."""
    if event.action == "canary started":
        fields = event.model_dump(include={"version", "digest", "mode", "share"}, exclude_none=True)
        return Canary(started_at=event.at, **fields)
    if canary is None or canary.ended is not None or event.version != canary.version:
        return canary
    if event.action == "canary changed":
        return canary.model_copy(update={"mode": event.mode, "share": event.share or 0.0})
    if event.action == "canary aborted":
        return _ended(canary, "aborted", event)
    return _ended(canary, "promoted", event) if event.alias == PRODUCTION else canary


def _ended(canary: Canary, end: End, event: StoreEvent) -> Canary:
    return canary.model_copy(update={"ended": end, "ended_at": event.at, "reason": event.why})
