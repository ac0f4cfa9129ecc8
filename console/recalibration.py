"""The page that previews a recalibration on the ledger's labels, and publishes exactly that: as a
canary, or into production.

The form carries what the preview was made of: the version, its bundle, the last label, and a
fingerprint of the result. Labels that arrive later do not matter, because the fit is repeated on
those that were there. If anything else is not as it was, nothing is published, and the page shows
the preview of now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.endpoints import form, form_reader, page, read_flag, read_reason
from console.formatting import versions_path
from console.recalibration_page import recalibration_values
from console.rendering import answer_page, render
from console.tabs import Tabs
from console.versions import CONFLICT, refusal, require_model, require_version
from model_store.errors import CanaryError, ModelStoreError, TagsInvalid
from model_store.store.canary import promote_version, running_canary, start_canary
from model_store.store.event import WHY_LIMIT
from model_store.store.store import Store
from monitoring.diagnosis.phrases import group_words
from monitoring.errors import (
    FindingNeeded,
    FormInvalid,
    QueryInvalid,
    RecalibrationHarms,
    RecalibrationRefused,
)
from monitoring.http.endpoint import Viewer, read_viewer, wants_page
from monitoring.http.fields import read_whole_number
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import require_known
from monitoring.ledger.watched_version import title_of
from monitoring.recalibration import (
    AnswerFilter,
    Recalibration,
    RecalibrationPreview,
    read_group,
    read_since,
    recalibrate,
)
from monitoring.recalibration.draft import require_fair_labels
from monitoring.recalibration.publication import publish_draft
from monitoring.recalibration.subgroup import name_of
from monitoring.routes.request import BodyReader

FEWEST: Final = 100  # labels, unless the form says otherwise
_PLACES: Final[Mapping[str, str]] = {  # what the page calls the fields that a person fills in
    "last": "'Only the latest labels' (last)",
    "min_labels": "'At least so many labels' (min_labels)",
}
_NO_LEDGER: Final = (
    "This server keeps no labels itself, so it cannot fit anything. Use the console of `candor "
    "monitor`, or `candor recalibrate` where the ledger is."
)
_CHANGED: Final = (
    "nothing was published: labels were corrected or erased, or the bundle was replaced, since the "
    "preview was made. Below is what a recalibration does now."
)


_OPTIONS: Final = (  # as `candor recalibrate` has them
    *("version", "finding", "since", "last", "subgroup", "min_labels"),
    *("allow_label_changes", "chosen_labels"),
)
_SEEN: Final = ("production", "next", "until", "seen")  # what the preview was made of
_FORM = form_reader(*_OPTIONS, *_SEEN, "accept_harm", "why", "then")
_SHARE: Final = 0.1  # of the requests, that the canary answers
_THEN: Final = ("canary", "promote")  # what follows the publication


_FLAGS: Final = ("allow_label_changes", "chosen_labels")


class Wanted(NamedTuple):
    version: int | None
    finding: str | None
    since: str | None
    last: int | None
    subgroup: str | None
    min_labels: int
    allow_label_changes: bool
    chosen_labels: bool

    def fields(self) -> dict[str, object]:
        """The fields of a form; those left out have none."""
        given = self._asdict() | {flag: "yes" for flag in _FLAGS if getattr(self, flag)}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class RecalibrationRoutes:
    """The handlers of the page. `ledger` is None where this server keeps no labels."""

    store: Store
    bodies: BodyReader
    tabs: Tabs
    ledger: Ledger | None
    fitting: CapacityLimiter  # fits take seconds of a core, so they run one after the other

    async def page(self, request: Request) -> Response:
        name, viewer = request.path_params["model"], read_viewer(request)
        query = request.query_params
        wanted, asked = read_wanted(query), read_flag(query, "preview")
        html = await to_thread.run_sync(
            self._read, name, wanted, viewer, asked, limiter=self.fitting
        )
        return answer_page(html)

    async def publish(self, request: Request) -> Response:
        """Publish what the preview showed, or say why not and show the preview of now."""
        name, viewer = request.path_params["model"], read_viewer(request)
        async with self.bodies.parsed(request, _FORM) as fields:
            try:
                wanted = read_wanted(fields)
            except QueryInvalid as error:
                raise FormInvalid(str(error)) from None
            try:
                await to_thread.run_sync(
                    self._publish, name, wanted, fields, viewer, limiter=self.fitting
                )
            except (RecalibrationRefused, ModelStoreError, OSError) as error:
                if isinstance(error, RecalibrationHarms) and not wants_page(request.scope):
                    raise
                reason = refusal(error, command="candor recalibrate")
                page = await to_thread.run_sync(
                    self._read, name, wanted, viewer, True, reason, limiter=self.fitting
                )
                return answer_page(page, status=CONFLICT)
        return RedirectResponse(f"{versions_path(name)}?done=yes", status_code=303)

    def _publish(self, name: str, wanted: Wanted, fields: dict[str, str], viewer: Viewer) -> None:
        require_model(self.store, name)
        if wanted.version is None:
            raise FormInvalid("The form must say which version is recalibrated.")
        until, number = _number(fields, "until"), _number(fields, "next")
        why, then = read_reason(fields, "why", limit=WHY_LIMIT), fields.get("then")
        if then not in _THEN:
            raise FormInvalid(f"The form's 'then' must be one of {', '.join(_THEN)}.")
        self._require_as_seen(name, fields, number)
        running = running_canary(self.store, name)
        if running is not None and then == "canary":
            raise CanaryError(
                f"nothing was published: version {running.version} is tried now; end that first."
            )
        drafted = self._draft(name, wanted, until=until)
        if drafted.fingerprint != fields.get("seen"):
            raise RecalibrationRefused(_CHANGED)
        if not wanted.chosen_labels:
            require_fair_labels(drafted)
        publish_draft(
            self._require_ledger(),
            self.store,
            drafted,
            accept_harm=read_flag(fields, "accept_harm"),
            as_version=number,
            by=viewer.name,
            why=why,
        )
        said = {"by": viewer.name, "why": why}
        if then == "canary":
            start_canary(self.store, name, number, mode="share", share=_SHARE, **said)
        else:
            promote_version(self.store, name, number, **said)

    def _require_as_seen(self, name: str, fields: Mapping[str, str], number: int) -> None:
        """Raise RecalibrationRefused if production or the newest version has changed."""
        production, latest = self.store.production(name), self.store.versions(name)[-1]
        if fields.get("production") != str(production):
            raise RecalibrationRefused(
                f"nothing was published: version {production} was put into production since the "
                "preview was made."
            )
        if latest + 1 > number:
            raise RecalibrationRefused(
                f"nothing was published: version {latest} was published since the preview was "
                "made. Look at that one first."
            )

    def _draft(self, name: str, wanted: Wanted, *, until: int | None = None) -> Recalibration:
        return recalibrate(
            self._require_ledger(),
            self.store,
            name,
            version=wanted.version,
            finding=wanted.finding,
            answer_filter=AnswerFilter(
                since_ns=None if wanted.since is None else read_since(wanted.since),
                last=wanted.last,
                until_feedback_id=until,
                group=None if wanted.subgroup is None else read_group(wanted.subgroup),
            ),
            min_labels=wanted.min_labels,
            allow_label_changes=wanted.allow_label_changes,
            chosen_labels=wanted.chosen_labels,
            publish=False,
        )

    def _require_ledger(self) -> Ledger:
        if self.ledger is None:
            raise RecalibrationRefused(_NO_LEDGER)
        return self.ledger

    def _read(
        self, name: str, wanted: Wanted, viewer: Viewer, asked: bool, reason: str = ""
    ) -> str:
        require_model(self.store, name)
        if wanted.version is not None:
            require_version(self.store, name, wanted.version)
        page: dict[str, Any] = {"model": name, "viewer": viewer, "wanted": wanted}
        page |= {"title": title_of(name, wanted.finding)}
        page |= {"tabs": self.tabs.of(name, viewer, "Versions")}
        page |= {"reason": reason, "refused": "", "findings": ()}
        page |= dict.fromkeys(("production", "shown", "running"))
        page |= {"versions": self.store.versions(name), "fewest": FEWEST}
        try:
            page["production"] = self.store.production(name)
            page["findings"] = findings = self._findings(name, wanted.version)
            require_known(wanted.finding, findings)
            if asked:
                page |= self._preview(name, wanted)
        except (RecalibrationRefused, FindingNeeded, ModelStoreError, OSError) as error:
            page["refused"] = refusal(error)
        return render("recalibrate.html", **page)

    def _findings(self, name: str, version: int | None) -> tuple[str, ...]:
        """The findings of a version, by default of the one in production; none of classes."""
        card = self.store.read(name, version, signed=False).card
        return tuple(each.name for each in card.asked)

    def _preview(self, name: str, wanted: Wanted) -> dict[str, Any]:
        drafted = self._draft(name, wanted)
        seen = {
            "version": drafted.parent_version,
            "production": self.store.production(name),
            "next": self.store.versions(name)[-1] + 1,
            "until": drafted.until_feedback_id,
            "seen": drafted.fingerprint,
        }
        return recalibration_values(RecalibrationPreview(drafted)) | {
            "drafted": drafted,
            "hidden": wanted.fields() | seen,
            "unfair": not (wanted.chosen_labels or drafted.fair_labels),
            "harmed": [group_words(each.group) for each in drafted.proposal.harmed],
            "running": running_canary(self.store, name),
        }


def read_wanted(fields: Mapping[str, str]) -> Wanted:
    """The options in a query or a form; empty ones count as left out. Raises QueryInvalid."""
    return Wanted(
        version=_optional(fields, "version"),
        finding=fields.get("finding") or None,
        since=_since(fields),
        last=_optional(fields, "last"),
        subgroup=_subgroup(fields),
        min_labels=_optional(fields, "min_labels") or FEWEST,
        allow_label_changes=read_flag(fields, "allow_label_changes"),
        chosen_labels=read_flag(fields, "chosen_labels"),
    )


def _since(fields: Mapping[str, str]) -> str | None:
    text = fields.get("since", "").strip() or None
    if text is not None:
        read_since(text)
    return text


def _subgroup(fields: Mapping[str, str]) -> str | None:
    """The tags of the only answers to recalibrate. Raises QueryInvalid."""
    text = fields.get("subgroup", "").strip()
    try:
        return name_of(read_group(text)) if text else None
    except TagsInvalid as error:
        raise QueryInvalid(str(error)) from None


def _optional(fields: Mapping[str, str], name: str) -> int | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    return read_whole_number(
        text, _PLACES.get(name, f"'{name}'"), refusal=QueryInvalid, also=", or left empty"
    )


def _number(fields: Mapping[str, str], name: str) -> int:
    number = _optional(fields, name)
    if number is None:
        raise FormInvalid(f"The form must say '{name}'; send it from the page with the preview.")
    return number


ENDPOINTS: Final = (
    page("/recalibrate/{model}", RecalibrationRoutes.page, *_OPTIONS, "preview", scope="admin"),
    form("/recalibrate/{model}", RecalibrationRoutes.publish, scope="admin"),
)
