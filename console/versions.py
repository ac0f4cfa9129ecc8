"""The page of a model's versions: cards, differences, promotion, canary, and history."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.comparison import VersionComparison, compare_versions
from console.endpoints import form, form_reader, page, read_flag
from console.formatting import versions_path
from console.model_views import REFRESH_S
from console.rendering import answer_page, render
from console.sections import TONES
from console.tabs import Tabs
from console.version_acts import VersionActs
from hosting.errors import ModelNotStored, StoreMissing, VersionNotStored
from model_store.errors import ModelStoreError
from model_store.store.canary import read_canary
from model_store.store.catalog import catalog_of
from model_store.store.changes import rollback_target
from model_store.store.event import StoreEvent
from model_store.store.state import Canary
from model_store.store.store import Store
from monitoring.diagnosis.words import words_of
from monitoring.errors import BundleReplaced, QueryInvalid
from monitoring.http.endpoint import Viewer, read_viewer
from monitoring.http.fields import read_whole_number
from monitoring.ledger.database import Ledger
from monitoring.routes.request import BodyReader


def require_model(store: Store, model: str) -> None:
    """Raise StoreMissing without a model store, ModelNotStored without the model."""
    known = store.models()
    if model in known:
        return
    if not known and not store.storage.exists():
        raise StoreMissing(store.storage.address)
    raise ModelNotStored(model, known=known)


def require_version(store: Store, model: str, version: int) -> None:
    """Raise VersionNotStored without this version of a model that there is."""
    known = store.versions(model)
    if version not in known:
        raise VersionNotStored(model, version, known=known)


CONFLICT: Final = 409
NO_LEDGER: Final = "The ledger cannot be read now, so nothing shows how the versions answer."
_COMPARED: Final = ("first", "second")  # versions, in the query
_SWITCHED: Final = (
    "Version {} is in production. Running servers switch within a second and lose no request."
)
_SAID: Final[dict[str, str]] = {  # by the last act of the history
    "set": _SWITCHED,
    "rolled back": _SWITCHED,
    "canary started": "Version {} is tried beside production. Servers begin within a second.",
    "canary changed": "The canary, version {}, goes on with its new share.",
    "canary aborted": "The canary, version {}, has ended. Production is not affected.",
    "published": "Version {} is published, and answers nothing yet. Try it as a canary, or put it "
    "into production.",
}
_FORM = form_reader("action", "why", "seen", "version", "mode", "share", "anyway")


# Of a model: by version, why this process refuses it or doubts its calibration.
Troubles: TypeAlias = Callable[[str], Mapping[int, str]]


def no_troubles(_model: str) -> Mapping[int, str]:
    """Of a process that loads no version."""
    return {}


@dataclass(frozen=True)
class VersionRoutes:
    """The handlers of the page. `ledger` is None where this server keeps no labels."""

    store: Store
    bodies: BodyReader
    tabs: Tabs
    ledger: Ledger | None = None
    troubles: Troubles = no_troubles

    async def page(self, request: Request) -> Response:
        """The versions, and what differs between two of them if the query names them."""
        name, query = request.path_params["model"], dict(request.query_params)
        return answer_page(await to_thread.run_sync(self._read, name, read_viewer(request), query))

    async def act(self, request: Request) -> Response:
        """Do what a form says, then show the page again."""
        name, viewer = request.path_params["model"], read_viewer(request)
        async with self.bodies.parsed(request, _FORM) as fields:
            try:
                await to_thread.run_sync(self._act, name, viewer, fields)
            except (ModelStoreError, BundleReplaced, OSError) as error:
                reason = refusal(error)
                return answer_page(
                    await to_thread.run_sync(self._read, name, viewer, {}, reason), status=CONFLICT
                )
        return RedirectResponse(f"{versions_path(name)}?done=yes", status_code=303)

    def _act(self, name: str, viewer: Viewer, fields: dict[str, str]) -> None:
        require_model(self.store, name)
        VersionActs(self.store, self.ledger, name, actor=viewer.name).act(fields)

    def _read(self, name: str, viewer: Viewer, query: dict[str, str], reason: str = "") -> str:
        require_model(self.store, name)
        asked = _compared(query)
        events, broken = self._history(name)
        canary, unread = self._canary(name)
        runs = canary is not None and canary.ended is None
        tried = canary.version if runs and canary else None
        entries = sorted(
            catalog_of(self.store, name),
            key=lambda each: (not each.production, each.version != tried, -each.version),
        )
        production = next((each.version for each in entries if each.production), None)
        return render(
            "versions.html",
            model=name,
            tabs=self.tabs.of(name, viewer, "Versions"),
            viewer=viewer,
            refresh_s=REFRESH_S,
            entries=entries,
            troubles=self.troubles(name),
            production=production,
            canary=canary,
            reason=reason or broken or unread,
            first=query.get("first"),
            second=query.get("second"),
            words_of=words_of,
            tones=TONES,
            back=self._rollback_target(name),
            compared=self._compare(name, asked) if asked else None,
            events=events,
            said=_said(events) if read_flag(query, "done") else None,
            trial=[] if tried is None else self._trial(name, production, tried),
            likened="" if tried is None else self._live(name, production, tried),
            likened_two=self._live(name, *asked) if asked else "",
        )

    def _history(self, name: str) -> tuple[list[StoreEvent], str]:
        """What was done, newest first, or why that cannot be said."""
        try:
            return list(self.store.state(name).events[::-1]), ""
        except ModelStoreError as error:
            return [], str(error)

    def _canary(self, name: str) -> tuple[Canary | None, str]:
        """The running or the last canary, or why it cannot be read."""
        try:
            return read_canary(self.store, name), ""
        except ModelStoreError as error:
            return None, str(error)

    def _trial(
        self, name: str, production: int | None, canary: int
    ) -> list[tuple[str, int, Any]] | str:
        """Role, version and report of production and a running canary, or why they are unknown."""
        acts = VersionActs(self.store, self.ledger, name, actor="")
        versions = [("production", production), ("canary", canary)]
        try:
            return [(role, each, acts.report(each)) for role, each in versions if each is not None]
        except SQLAlchemyError:
            return NO_LEDGER

    def _live(self, name: str, first: int | None, second: int) -> str:
        """How a version differs live from another; empty if that is unknown."""
        try:
            return VersionActs(self.store, self.ledger, name, actor="").compared(first, second)
        except (SQLAlchemyError, ModelStoreError):
            return ""

    def _rollback_target(self, name: str) -> int | None:
        try:
            return rollback_target(self.store, name)
        except ModelStoreError:
            return None

    def _compare(self, name: str, versions: list[int]) -> VersionComparison | str:
        """What differs; a sentence if a bundle cannot be read. Raises VersionNotStored."""
        for number in versions:
            require_version(self.store, name, number)
        try:
            return compare_versions(*(self.store.read(name, number) for number in versions))
        except ModelStoreError as error:
            return str(error)


def _compared(query: dict[str, str]) -> list[int]:
    """The two versions to compare; none if nothing is asked. Raises QueryInvalid."""
    asked = [_version(query, name) for name in _COMPARED if name in query]
    if len(asked) == 1:
        raise QueryInvalid("Two versions are compared: the query needs both 'first' and 'second'.")
    return asked


def _version(query: dict[str, str], name: str) -> int:
    """A version in the query. Raises QueryInvalid."""
    return read_whole_number(query[name], f"The query's '{name}'", refusal=QueryInvalid)


def refusal(error: Exception, *, command: str = "candor promote") -> str:
    """Why the store refused, as a sentence; `command` does the same elsewhere."""
    reason = str(error)
    if isinstance(error, OSError) and not isinstance(error, ModelStoreError):
        reason = (
            f"this server cannot write to its model store ({error.strerror}). Use `{command}` "
            "where it can be written"
        )
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."


def _said(events: list[StoreEvent]) -> str | None:
    """What was done last."""
    said = _SAID.get(events[0].action) if events else None
    return said and said.format(events[0].version)


ENDPOINTS: Final = (
    page("/versions/{model}", VersionRoutes.page, *_COMPARED, "done", scope="read"),
    form("/versions/{model}", VersionRoutes.act, scope="admin"),
)
