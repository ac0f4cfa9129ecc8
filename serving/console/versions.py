"""The page of a model's versions: their cards, what differs, promote and roll back, and who did what when."""

from dataclasses import dataclass
from typing import Any, Final

from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from model_store.canary import promote_version
from model_store.catalog import catalog_of
from model_store.difference import BundleDifference, difference
from model_store.errors import ModelStoreError
from model_store.history import StoreEvent, read_events
from model_store.lifecycle import roll_back, rollback_target
from model_store.store import Store
from monitoring.api.endpoint import Endpoint, Parameter
from monitoring.api.fields import Version
from monitoring.errors import BodiesFull, BodyNotJson, BodyTimeout, BodyTooLarge, FeedbackInvalid
from monitoring.pages.formatting import versions_path
from monitoring.pages.rendering import answer_page, render
from monitoring.routes.form import MEDIA_TYPE, read_form
from monitoring.routes.request import BodyReader, read_actor
from serving.errors import ModelNotLoaded

_LONGEST: Final = 44  # characters of a value that differs
_CONFLICT: Final = 409
_HTML: Final = {"text/html": str}


class VersionForm(Struct, frozen=True):
    """What to do, with which version, and why."""

    action: str
    version: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class VersionRoutes:
    """The handlers of the page."""

    store: Store
    bodies: BodyReader

    async def page(self, request: Request) -> Response:
        """The versions, and what differs between two of them if the query names them."""
        name, query = request.path_params["model"], request.query_params
        found = await to_thread.run_sync(
            self._read, name, query.get("first"), query.get("second"), query.get("done", "")
        )
        return answer_page(found)

    async def act(self, request: Request) -> Response:
        """Promote a version or roll back, then show the page again."""
        name = request.path_params["model"]
        async with self.bodies.parsed(request, read_form) as fields:
            try:
                done = await to_thread.run_sync(self._act, name, fields, read_actor(request))
            except (ModelStoreError, OSError) as error:
                return answer_page(await to_thread.run_sync(self._refused, name, error), status=_CONFLICT)
        return RedirectResponse(f"{versions_path(name)}?done={done}", status_code=303)

    def _act(self, name: str, fields: dict[str, str], actor: str) -> int:
        """Returns the version that is now in production."""
        self._require(name)
        action, why, version = fields.get("action"), fields.get("why"), fields.get("version", "")
        if action == "rollback":
            return roll_back(self.store, name, by=actor, why=why).version
        if action != "promote" or not (version.isascii() and version.isdecimal() and len(version) < 10):
            raise FeedbackInvalid("The form must say `promote` with a version, or `rollback`.")
        promote_version(self.store, name, int(version), by=actor, why=why)
        return int(version)

    def _refused(self, name: str, error: Exception) -> str:
        reason = str(error)
        if isinstance(error, OSError):
            reason = (
                f"This server cannot write to its model store ({error.strerror}). Use `candor promote` where it can be "
                "written."
            )
        return self._read(name, None, None, "", reason=f"{reason[:1].upper()}{reason[1:]}")

    def _read(self, name: str, first: str | None, second: str | None, done: str, reason: str = "") -> str:
        self._require(name)
        events, broken = self._history(name)
        entries = sorted(catalog_of(self.store, name), key=lambda each: -each.version)
        page: dict[str, Any] = {
            "model": name,
            "entries": entries,
            "reason": reason or broken,
            "first": first,
            "second": second,
        }
        return render(
            "versions.html",
            **page,
            production=next((each.version for each in entries if each.production), None),
            back=self._rollback_target(name),
            differences=self._compare(name, first, second),
            events=events,
            done=int(done) if done.isascii() and done.isdecimal() and len(done) < 10 else None,
        )

    def _require(self, name: str) -> None:
        known = self.store.models()
        if name not in known:
            raise ModelNotLoaded(name, known=known)

    def _history(self, name: str) -> tuple[list[StoreEvent], str]:
        """What was done, newest first, or why that cannot be said."""
        try:
            return read_events(self.store.storage, name)[::-1], ""
        except ModelStoreError as error:
            return [], str(error)

    def _rollback_target(self, name: str) -> int | None:
        try:
            return rollback_target(self.store, name)
        except ModelStoreError:
            return None

    def _compare(self, name: str, first: str | None, second: str | None) -> list[tuple[str, str, str]] | str | None:
        """Rows of what differs; a sentence if that cannot be said; None if nothing is asked."""
        if first is None or second is None:
            return None
        numbers = [text for text in (first, second) if text.isascii() and text.isdecimal() and len(text) < 10]
        if len(numbers) < 2:
            return "Choose two versions to compare."
        try:
            found = difference(*(self.store.read(name, int(number)) for number in numbers))
        except ModelStoreError as error:
            return str(error)
        return [_row(each) for each in found]


def _row(each: BundleDifference) -> tuple[str, str, str]:
    return each.field, _short(each.first), _short(each.second)


def _short(value: Any) -> str:
    text = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/versions/{model}",
        handler=VersionRoutes.page,
        tag="pages",
        summary="A page with the versions of a model, what differs between two of them, and their history.",
        gives=_HTML,
        parameters=(
            Parameter("first", "query", Version, "a version to compare"),
            Parameter("second", "query", Version, "with this one"),
        ),
        refuses=(ModelNotLoaded,),
    ),
    Endpoint(
        method="POST",
        path="/versions/{model}",
        handler=VersionRoutes.act,
        tag="pages",
        summary="Promote a version, or roll back, from that page's form.",
        scope="admin",
        takes={MEDIA_TYPE: VersionForm},
        redirects=True,
        refuses=(BodiesFull, BodyNotJson, BodyTimeout, BodyTooLarge, FeedbackInvalid, ModelNotLoaded),
    ),
)
