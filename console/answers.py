"""The cases behind a figure: as a gallery, one of them enlarged, and as files.

The filter is in the address. From each case there is a way to its image, in the archive if
CANDOR_IMAGE_LINK says where that is, and to the page that labels it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, Final, Literal, NamedTuple, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec
from anyio import to_thread
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from console.answer_links import ImageLinks, address, filter_parts
from console.answer_table import COLUMNS, cells, csv_lines
from console.endpoints import form, page
from console.labeling import Given, given_label
from console.meeting import MOST, ids_of, meeting_file, read_kept, write_kept
from console.rendering import PAGE_HEADERS, answer_page, render
from console.tabs import Tabs
from monitoring.diagnosis.answer_record import find_answer_record
from monitoring.diagnosis.vocabulary import terms
from monitoring.errors import PictureMissing, QueryInvalid
from monitoring.feedback.items import FeedbackStatus
from monitoring.http.endpoint import read_viewer
from monitoring.http.query import read_query
from monitoring.ledger.answer_search import AnswerSearch
from monitoring.ledger.database import Ledger
from monitoring.ledger.pictures import read_picture
from monitoring.ledger.sum_tables import admitted
from monitoring.ledger.versions import choose_first
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.reports.answers import AnswerList, ListedAnswer, list_answers
from monitoring.routes.answers import WORDS, Asked, read_filter
from monitoring.routes.queries import AnswerFilter, OfVersion
from monitoring.routes.reports import Production
from monitoring.routes.request import BodyReader

SHOWN: Final = 15
SORTED: Final = 500  # newest answers, of which the page shows the first by another order
_PORTION: Final = 500  # answers of a file that are read at a time


class Case(NamedTuple):
    """An answer that is enlarged.

    `record`: how often such answers were right; `is_drawn`: whether this process can draw its heat
    map; `before`, `after`: the ids of the cases beside it on the page; `given`: the label that it
    just got.
    """

    answer: ListedAnswer
    record: str
    is_drawn: bool
    before: str | None
    after: str | None
    given: Given | None


_ORDERS: Final[dict[str, Callable[[ListedAnswer], float]]] = {
    "confidence": lambda answer: -answer.confidence,
    "doubt": lambda answer: 1.0 if answer.scope_p is None else answer.scope_p,
}


class KeptFilter(AnswerFilter, frozen=True, kw_only=True):
    """`kept`: of the list for a meeting alone."""

    kept: Literal["yes"] | None = None


class CasesQuery(KeptFilter, frozen=True, kw_only=True):
    """`sort`: not the newest first; `case`: enlarged; `done`: what became of its label."""

    sort: Literal["confidence", "doubt"] | None = None
    case: UUID | None = None
    done: FeedbackStatus | None = None


class FileQuery(OfVersion, frozen=True, kw_only=True):
    """`images`: with the pictures."""

    images: Literal["", "yes"] = ""


_Kept = TypeVar("_Kept", bound=KeptFilter)


class AnswerPageRoutes:
    def __init__(
        self,
        ledger: Ledger,
        production: Production,
        bodies: BodyReader,
        links: ImageLinks,
        tabs: Tabs,
    ) -> None:
        self._ledger, self._production = ledger, production
        self._bodies, self._links, self._tabs = bodies, links, tabs

    async def page(self, request: Request) -> Response:
        return answer_page(await to_thread.run_sync(self._page, request))

    async def keep(self, request: Request) -> Response:
        """Put a case on the list for a meeting, or take it off, then show the page again."""
        return await write_kept(request, self._bodies)

    async def table(self, request: Request) -> Response:
        """All of these answers as CSV, read portion by portion."""
        portions = self._portions(request)
        first = await to_thread.run_sync(next, portions)  # raises what a page would
        return StreamingResponse(
            chain([first], portions),
            headers=PAGE_HEADERS | _as_file(request, "csv"),
            media_type="text/csv; charset=utf-8",
        )

    async def file(self, request: Request) -> Response:
        """The list for a meeting as one file, with its pictures where these may leave."""
        return meeting_file(
            await to_thread.run_sync(self._file, request), _as_file(request, "html")
        )

    async def picture(self, request: Request) -> Response:
        asked = request.path_params["prediction_id"]
        png = await to_thread.run_sync(kept_picture, self._ledger, asked)
        return Response(png, headers=PAGE_HEADERS, media_type="image/png")

    def _page(self, request: Request) -> str:
        given = {name: text for name, text in request.query_params.items() if text}
        viewer, kept, model = read_viewer(request), read_kept(request), request.path_params["model"]
        with self._ledger.read() as connection:
            tags = admitted(connection, model)
            of = read_filter(given, CasesQuery, keys=tags)
            row, findings = self._chosen(connection, model, of.query)
            wanted, sort = _wanted(of, kept), of.query.sort or ""
            found = _found(connection, row, wanted, before=of.before, sort=sort)
            case = self._case(connection, row, found, of.query)
        here = row.query | {name: text for name, text in given.items() if name not in _OF_CASE}
        asked = {name: text for name, text in here.items() if name != "before"}
        of_file = {name: text for name, text in asked.items() if name != "sort"}

        def at(**changed: str) -> str:
            """The address of this page with something changed."""
            return address(row.model, {k: text for k, text in (here | changed).items() if text})

        return render(
            "answers.html",
            found=found,
            case=case,
            at=at,
            here=urlencode(here),
            kept=kept,
            findings=findings,
            classes=row.classes,
            parts=filter_parts(row.model, wanted, asked),
            asked=asked,
            own=row.query,
            title=row.title,
            terms=terms(row.finding),
            tags={key: sorted(tags[key]) for key in sorted(tags) if key not in WORDS},
            orders=("", *_ORDERS),
            sort=sort,
            sorted_of=SORTED,
            csv=address(row.model, of_file, "answers.csv"),
            document=address(row.model, {}, "cases.html").rstrip("?"),
            link_of=self._links.of,
            scope_images=_scope_images(row),
            is_first=of.before is None,
            viewer=viewer,
            tabs=self._tabs.of(row.model, viewer, "Cases", query=urlencode(row.query)),
        )

    def _case(
        self,
        connection: Connection,
        row: WatchedVersion,
        found: AnswerList,
        asked: CasesQuery,
    ) -> Case | None:
        """The case that is enlarged, also one that is not on the page. Raises QueryInvalid."""
        if asked.case is None:
            return None
        key = asked.case.bytes
        alone = list_answers(connection, row, AnswerSearch(images=(key,)), limit=1).answers
        if not alone:
            raise QueryInvalid(f"Version {row.version} of {row.title} has no answer {asked.case}.")
        (answer,) = alone
        record = find_answer_record(
            self._ledger,
            connection,
            row,
            predicted=row.finding or answer.predicted,
            confidence=answer.confidence,
        )
        is_drawn = answer.has_picture and self._production(row.model) == row.version
        return Case(
            answer,
            record.of_finding if row.finding else record.sentences,
            is_drawn and self._tabs.tries(row.model),
            *_neighbors([each.prediction_id for each in found.answers], answer.prediction_id),
            given_label(connection, row, key, asked.done) if asked.done else None,
        )

    def _chosen(
        self, connection: Connection, model: str, asked: OfVersion
    ) -> tuple[WatchedVersion, list[str]]:
        version = asked.version or self._production(model)
        return choose_first(connection, model, version, asked.finding)

    def _portions(self, request: Request) -> Iterator[str]:
        model, kept, header = request.path_params["model"], read_kept(request), [COLUMNS]
        before: bytes | None = None
        while header or before is not None:
            with self._ledger.read() as connection:
                keys = admitted(connection, model)
                of = read_filter(request.query_params, KeptFilter, keys=keys)
                row, _ = self._chosen(connection, model, of.query)
                wanted, start = _wanted(of, kept), before or of.before
                found = list_answers(connection, row, wanted, before=start, limit=_PORTION)
            rows = [cells(each, self._links.of(each)) for each in found.answers]
            yield csv_lines([*header, *rows])
            header, before = [], UUID(found.before).bytes if found.before else None

    def _file(self, request: Request) -> dict[str, Any]:
        """The values of the file for a meeting."""
        kept, asked = read_kept(request), read_query(request.query_params, FileQuery)
        with self._ledger.read() as connection:
            row, _ = self._chosen(connection, request.path_params["model"], asked)
            wanted = AnswerSearch(images=ids_of(kept))
            found = list_answers(connection, row, wanted, limit=MOST)
            shown = found.answers if asked.images else []
            pngs = {
                each.prediction_id: read_picture(connection, UUID(each.prediction_id).bytes)
                for each in shown
            }
        return {
            "found": found,
            "title": row.title,
            "scope_images": _scope_images(row),
            "pngs": pngs,
        }


def _scope_images(row: WatchedVersion) -> int:
    """The calibration images of the scope check; 0 without one."""
    return row.card["scope"]["flagged"]["n"] if row.card.get("scope") else 0


def _wanted(asked: Asked[_Kept], kept: Sequence[str]) -> AnswerSearch:
    """The filter of an address, of the list for a meeting alone if it says so."""
    return replace(asked.answers, images=ids_of(kept)) if asked.query.kept else asked.answers


def _found(
    connection: Connection,
    row: WatchedVersion,
    wanted: AnswerSearch,
    *,
    before: bytes | None,
    sort: str,
) -> AnswerList:
    """The answers of a page, the newest first or in another order."""
    limit = SORTED if sort else MOST if wanted.images else SHOWN
    found = list_answers(connection, row, wanted, before=before, limit=limit)
    if not sort:
        return found
    first = sorted(found.answers, key=_ORDERS[sort])[: MOST if wanted.images else SHOWN]
    return msgspec.structs.replace(found, answers=first)


def _neighbors(listed: list[str], one: str) -> tuple[str | None, str | None]:
    """What stands before and after one of a list; of another, nothing.

    >>> _neighbors(["a", "b"], "b"), _neighbors(["a"], "b")
    (('a', None), (None, None))
    """
    if one not in listed:
        return None, None
    at, around = listed.index(one), [None, *listed, None]
    return around[at], around[at + 2]


def _as_file(request: Request, kind: str) -> dict[str, str]:
    name = quote(request.path_params["model"], safe="")
    return {"content-disposition": f'attachment; filename="{name}.{kind}"'}


def kept_picture(ledger: Ledger | None, prediction_id: str) -> bytes:
    """The PNG of what the model saw of an answer's image. Raises PictureMissing."""
    try:
        key = UUID(prediction_id).bytes
    except ValueError:
        raise PictureMissing(prediction_id) from None
    if ledger is None:
        raise PictureMissing(prediction_id)
    with ledger.read() as connection:
        png = read_picture(connection, key)
    if png is None:
        raise PictureMissing(prediction_id)
    return png


_OF_CASE: Final = ("case", "done")
_filtered = partial(page, scope="feedback", takes_tags=True)
_PAGE: Final = "/models/{model}/answers/page"
ENDPOINTS: Final = (
    _filtered(_PAGE, AnswerPageRoutes.page, query=CasesQuery),
    form(_PAGE, AnswerPageRoutes.keep, scope="feedback"),
    _filtered("/models/{model}/answers/answers.csv", AnswerPageRoutes.table, query=KeptFilter),
    page(
        "/models/{model}/answers/cases.html",
        AnswerPageRoutes.file,
        query=FileQuery,
        scope="feedback",
    ),
    page("/pictures/{prediction_id}", AnswerPageRoutes.picture, scope="feedback"),
)
