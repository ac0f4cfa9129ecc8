"""The page of a model's versions: cards, differences, promotion, canary, and history."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from anyio import to_thread
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from model_store.errors import ModelStoreError
from model_store.lifecycle.canary import Canary, read_canary
from model_store.lifecycle.changes import rollback_target
from model_store.store.catalog import CatalogEntry, catalog_of
from model_store.store.history import StoreEvent, read_events
from model_store.store.store import Store
from monitoring.diagnosis.live_comparison import card_comparison_words
from monitoring.diagnosis.words import words_of
from monitoring.errors import BundleReplaced, QueryInvalid
from monitoring.http.endpoint import Parameter, Viewer, read_viewer
from monitoring.http.fields import Version, read_whole_number
from monitoring.ledger.database import Ledger
from monitoring.routes.form import form_reader
from monitoring.routes.request import BodyReader
from serving.errors import ModelNotStored, StoreMissing, VersionNotStored
from serving.pages.comparison import VersionComparison, compare_versions
from serving.pages.endpoints import form, page
from serving.pages.formatting import versions_path
from serving.pages.model_views import REFRESH_S
from serving.pages.rendering import answer_page, render
from serving.pages.sections import TONES
from serving.pages.tabs import Tabs
from serving.pages.version_acts import Act, VersionActs


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
_SAID: Final = {  # what was done; each is said only while it is so
    "promoted": "Version {} is in production. Running servers switch within a second and lose no "
    "request.",
    "started": "Version {} is tried beside production. Servers begin within a second.",
    "changed": "The canary, version {}, goes on with its new share.",
    "ended": "The canary, version {}, has ended. Production is not affected.",
    "published": "Version {} is published, and answers nothing yet. Try it as a canary, or put it "
    "into production.",
}


class VersionForm(Struct, frozen=True):
    """What to do, with which version, and why.

    `seen`: the version in production that the page showed. `mode` and `share`, in percent, are
        those of a canary;
    `anyway`: promote one without labels.
    """

    action: str
    why: str
    seen: str
    version: str | None = None
    mode: str | None = None
    share: str | None = None
    anyway: str | None = None


_FORM = form_reader(VersionForm)


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
        _check_done(query)
        return answer_page(await to_thread.run_sync(self._read, name, read_viewer(request), query))

    async def act(self, request: Request) -> Response:
        """Do what a form says, then show the page again."""
        name, viewer = request.path_params["model"], read_viewer(request)
        async with self.bodies.parsed(request, _FORM) as fields:
            try:
                done, version = await to_thread.run_sync(self._act, name, viewer, fields)
            except (ModelStoreError, BundleReplaced, OSError) as error:
                reason = refusal(error)
                return answer_page(
                    await to_thread.run_sync(self._read, name, viewer, {}, reason), status=CONFLICT
                )
        return RedirectResponse(f"{versions_path(name)}?done={done}&of={version}", status_code=303)

    def _act(self, name: str, viewer: Viewer, fields: dict[str, str]) -> Act:
        require_model(self.store, name)
        return VersionActs(self.store, self.ledger, name, actor=viewer.name).act(fields)

    def _read(self, name: str, viewer: Viewer, query: dict[str, str], reason: str = "") -> str:
        require_model(self.store, name)
        events, broken = self._history(name)
        entries = sorted(catalog_of(self.store, name), key=lambda each: -each.version)
        production = next((each.version for each in entries if each.production), None)
        canary, unread = self._canary(name)
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
            card_comparison_words=card_comparison_words,
            tones=TONES,
            back=self._rollback_target(name),
            compared=self._compare(name, query),
            events=events,
            said=_said(query, entries=entries, canary=canary, production=production),
            trial=self._trial(name, production, canary),
            likened=self._likened(name, production, canary),
            likened_two=self._likened_two(name, query),
        )

    def _history(self, name: str) -> tuple[list[StoreEvent], str]:
        """What was done, newest first, or why that cannot be said."""
        try:
            return read_events(self.store.storage, name)[::-1], ""
        except ModelStoreError as error:
            return [], str(error)

    def _canary(self, name: str) -> tuple[Canary | None, str]:
        """The running or the last canary, or why it cannot be read."""
        try:
            return read_canary(self.store, name), ""
        except ModelStoreError as error:
            return None, str(error)

    def _trial(
        self, name: str, production: int | None, canary: Canary | None
    ) -> list[tuple[str, int, Any]] | str:
        """Role, version and report of production and a running canary, or why they are unknown."""
        if canary is None or canary.ended is not None:
            return []
        acts = VersionActs(self.store, self.ledger, name, actor="")
        versions = [("production", production), ("canary", canary.version)]
        try:
            return [
                (role, number, acts.report(number))
                for role, number in versions
                if number is not None
            ]
        except SQLAlchemyError:
            return NO_LEDGER

    def _likened(self, name: str, production: int | None, canary: Canary | None) -> str:
        """How a running canary differs live from production; empty if that is unknown."""
        if canary is None or canary.ended is not None:
            return ""
        acts = VersionActs(self.store, self.ledger, name, actor="")
        try:
            return acts.compared(production, canary.version)
        except SQLAlchemyError:
            return ""

    def _likened_two(self, name: str, query: dict[str, str]) -> str:
        """How two versions differ live on the same days; empty if that is not asked or unknown."""
        if not all(each in query for each in _COMPARED):
            return ""
        first, second = (_version(query, each) for each in _COMPARED)
        try:
            return VersionActs(self.store, self.ledger, name, actor="").compared(first, second)
        except SQLAlchemyError:
            return ""

    def _rollback_target(self, name: str) -> int | None:
        try:
            return rollback_target(self.store, name)
        except ModelStoreError:
            return None

    def _compare(self, name: str, query: dict[str, str]) -> VersionComparison | str | None:
        """What differs; a sentence if a bundle cannot be read; None if nothing is asked.

        Raises QueryInvalid or VersionNotStored.
        """
        asked = [each for each in _COMPARED if each in query]
        if not asked:
            return None
        if len(asked) < len(_COMPARED):
            raise QueryInvalid(
                "Two versions are compared: the query needs both 'first' and 'second'."
            )
        numbers = [_version(query, each) for each in _COMPARED]
        for number in numbers:
            require_version(self.store, name, number)
        try:
            return compare_versions(*(self.store.read(name, number) for number in numbers))
        except ModelStoreError as error:
            return str(error)


def _version(query: dict[str, str], name: str) -> int:
    """A version in the query. Raises QueryInvalid."""
    return read_whole_number(query[name], f"The query's '{name}'", refusal=QueryInvalid)


def _check_done(query: dict[str, str]) -> None:
    """Raise QueryInvalid for words that no form of the page leads to."""
    done, of = query.get("done"), query.get("of")
    if (done is None) != (of is None) or (done is not None and done not in _SAID):
        raise QueryInvalid(
            f"The query's 'done' must be one of {', '.join(_SAID)}, with 'of', a version."
        )
    if of is not None:
        _version(query, "of")


def refusal(error: Exception, *, command: str = "candor promote") -> str:
    """Why the store refused, as a sentence; `command` does the same elsewhere."""
    reason = str(error)
    if isinstance(error, OSError) and not isinstance(error, ModelStoreError):
        reason = (
            f"this server cannot write to its model store ({error.strerror}). Use `{command}` "
            "where it can be written"
        )
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."


def _said(
    query: dict[str, str],
    *,
    entries: list[CatalogEntry],
    canary: Canary | None,
    production: int | None,
) -> str | None:
    """What was done, if it is so: an address that somebody made up says nothing."""
    if "done" not in query:
        return None
    done, number = query["done"], _version(query, "of")
    is_canary = canary is not None and canary.version == number
    runs = canary is not None and canary.ended is None
    so = {
        "promoted": production == number,
        "started": is_canary and runs,
        "changed": is_canary and runs,
        "ended": is_canary and not runs,
        "published": number in {each.version for each in entries} and number != production,
    }
    return _SAID[done].format(number) if so[done] else None


ENDPOINTS: Final = (
    page(
        "/versions/{model}",
        VersionRoutes.page,
        summary="A page with the versions of a model, what differs between two of them, their "
        "canary and history.",
        parameters=(
            Parameter("first", "query", Version, "a version to compare"),
            Parameter("second", "query", Version, "with this one"),
            Parameter(
                "done", "query", str, "what a form has just done, which the page says if it is so"
            ),
            Parameter("of", "query", Version, "with which version"),
        ),
        refuses=(ModelNotStored, StoreMissing, VersionNotStored),
    ),
    form(
        "/versions/{model}",
        VersionRoutes.act,
        VersionForm,
        summary="Promote a version, roll back, or start, change, promote or end a canary, from "
        "that page's forms.",
        scope="admin",
        conflicts=True,
        refuses=(ModelNotStored, StoreMissing),
    ),
)
