"""The page of the answers behind a figure, with their labels, and the same as a file.

The filter is in the address. From each answer there is a way to its image, in the archive if
CANDOR_IMAGE_LINK says where that is, and to the page that labels it.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec
from anyio import to_thread
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from calibration.scope.verdict import ALPHA
from calibration.wording import percent
from console.answer_links import ImageLinks, address
from console.endpoints import page
from console.rendering import PAGE_HEADERS, answer_page, render
from console.tabs import Tabs
from model_store.csv_cells import CsvTable
from monitoring.diagnosis.vocabulary import terms
from monitoring.errors import PictureMissing, QueryInvalid, brief
from monitoring.http.endpoint import read_viewer
from monitoring.ledger.answer_search import AnswerSearch
from monitoring.ledger.database import Ledger
from monitoring.ledger.pictures import read_picture
from monitoring.ledger.sum_tables import admitted
from monitoring.ledger.versions import choose_first
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.reports.answers import ListedAnswer, list_answers
from monitoring.routes.answers import FILTER, SORT, WORDS, query_of_tag, read_before, read_filter
from monitoring.routes.reports import Production
from monitoring.routes.request import read_finding, read_version

SHOWN: Final = 16
SORTED: Final = 500  # newest answers, of which the page shows the first by another order
_PORTION: Final = 500  # answers of a file that are read at a time
_COLUMNS: Final = (
    *("prediction_id", "request_id", "served_at", "tags", "predicted", "confidence"),
    *("label", "right", "source", "reader", "second_reading", "audited", "scope_p", "link"),
)


class FilterPart(NamedTuple):
    """A part of the filter: in words, and the address without it."""

    words: str
    without: str


def _confidence(answer: ListedAnswer) -> float:
    return -answer.confidence


def _doubt(answer: ListedAnswer) -> float:
    return 1.0 if answer.scope_p is None else answer.scope_p


_ORDERS: Final = {"confidence": _confidence, "doubt": _doubt}


class AnswerPageRoutes:
    def __init__(
        self, ledger: Ledger, production: Production, links: ImageLinks, tabs: Tabs
    ) -> None:
        self._ledger, self._production = ledger, production
        self._links, self._tabs = links, tabs

    async def page(self, request: Request) -> Response:
        return answer_page(await to_thread.run_sync(self._page, request))

    async def table(self, request: Request) -> Response:
        """All of these answers as CSV, read portion by portion."""
        portions = self._portions(request)
        first = await to_thread.run_sync(next, portions)  # raises what a page would
        name = quote(request.path_params["model"], safe="")
        return StreamingResponse(
            _joined(first, portions),
            headers=PAGE_HEADERS | {"content-disposition": f'attachment; filename="{name}.csv"'},
            media_type="text/csv; charset=utf-8",
        )

    async def picture(self, request: Request) -> Response:
        asked = request.path_params["prediction_id"]
        png = await to_thread.run_sync(kept_picture, self._ledger, asked)
        return Response(png, headers=PAGE_HEADERS, media_type="image/png")

    def _page(self, request: Request) -> str:
        query = dict(request.query_params)
        before, sort = read_before(query), query.pop(SORT, "")
        if sort and sort not in _ORDERS:
            raise QueryInvalid(f"Got sort={brief(sort)}; expected {' or '.join(_ORDERS)}.")
        with self._ledger.read() as connection:
            row, findings = self._chosen(connection, request)
            tags = admitted(connection, row.model)
            wanted, limit = read_filter(query, keys=tags), SORTED if sort else SHOWN
            found = list_answers(connection, row, wanted, before=before, limit=limit)
        if sort:
            first = sorted(found.answers, key=_ORDERS[sort])[:SHOWN]
            found = msgspec.structs.replace(found, answers=first)
        asked = {name: text for name, text in query.items() if text and name != "before"}
        asked |= row.query
        return render(
            "answers.html",
            found=found,
            findings=findings,
            classes=row.classes,
            parts=_parts(row.model, wanted, asked),
            asked=asked,
            own=row.query,
            title=row.title,
            said=terms(row.finding),
            tags={key: sorted(tags[key]) for key in sorted(tags) if key not in WORDS},
            newest=address(row.model, asked),
            sort=sort,
            sorted_of=SORTED,
            orders={each: address(row.model, asked | {SORT: each}) for each in _ORDERS},
            older=found.before
            and not sort
            and address(row.model, asked | {"before": found.before}),
            file=address(row.model, asked, "answers.csv"),
            links=[self._links.of(each) for each in found.answers],
            scope_images=scope["flagged"]["n"] if (scope := row.card.get("scope")) else 0,
            is_first=before is None,
            shown_at_once=SHOWN,
            tabs=self._tabs.of(
                row.model, read_viewer(request), "Answers", query=urlencode(row.query)
            ),
        )

    def _chosen(self, connection: Connection, request: Request) -> tuple[WatchedVersion, list[str]]:
        model, version = request.path_params["model"], read_version(request)
        number = self._production(model) if version is None else version
        return choose_first(connection, model, number, read_finding(request))

    def _portions(self, request: Request) -> Iterator[str]:
        query = request.query_params
        before = read_before(query)
        header = [_COLUMNS]
        while header or before is not None:
            with self._ledger.read() as connection:
                row, _ = self._chosen(connection, request)
                wanted = read_filter(query, keys=admitted(connection, row.model))
                found = list_answers(connection, row, wanted, before=before, limit=_PORTION)
            rows = [_cells(each, self._links.of(each)) for each in found.answers]
            yield _csv([*header, *rows])
            header, before = [], read_before({"before": found.before or ""})


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


def _joined(first: str, others: Iterator[str]) -> Iterator[str]:
    yield first
    yield from others


def _parts(model: str, wanted: AnswerSearch, asked: dict[str, str]) -> list[FilterPart]:
    """What the page says of its filter, with the addresses that leave one part out."""
    flags = {
        "wrong": {"1": "wrong", "0": "right"}.get(asked.get("wrong", "")),
        "labeled": {"1": "labeled", "0": "without a label"}.get(asked.get("labeled", "")),
        "audit": "drawn for the audit" if wanted.audited else None,
        "doubtful": f"doubtful images (p up to {ALPHA:g})" if wanted.doubtful else None,
    }
    words = {name: text for name, text in flags.items() if text}
    words |= {name: f"{before} {asked[name]}" for name, before in _SAID.items() if name in asked}
    words |= {"others": "all but"} if wanted.others else {}
    words |= {"predicted": f"answered {wanted.predicted}"} if wanted.predicted else {}
    if wanted.confidence:
        words["bin"] = f"{terms(asked.get('finding')).claim} " + " to ".join(
            map(percent, wanted.confidence)
        )
    for key, value in wanted.tags:
        (name,) = query_of_tag(key, value)
        words[name] = f"{key}={value}"
    return [
        FilterPart(text, address(model, {other: asked[other] for other in asked if other != name}))
        for name, text in words.items()
    ]


_SAID: Final = {"label": "label", "from": "since", "to": "until"}


def _cells(answer: ListedAnswer, link: str | None) -> list[object]:
    truth = next((each for each in reversed(answer.labels) if each.counts_as == "truth"), None)
    second = [each.label for each in answer.labels if each.counts_as == "second_reading"]
    tags = json.dumps(answer.tags) if answer.tags else None
    return [
        *(answer.prediction_id, answer.request_id, answer.served_at, tags),
        *(answer.predicted, answer.confidence, answer.label, answer.right),
        *((truth.source, truth.reader) if truth else (None, None)),
        *("; ".join(second) or None, answer.audited, answer.scope_p, link),
    ]


def _csv(rows: Iterable[Sequence[object]]) -> str:
    """The rows as CSV; what is not known is an empty cell."""
    text = io.StringIO()
    CsvTable(text).writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()


_FILTERED: Final = ("version", "finding", *(each.name for each in FILTER))
_filtered = partial(page, scope="feedback", takes_tags=True)
ENDPOINTS: Final = (
    _filtered("/models/{model}/answers/page", AnswerPageRoutes.page, *_FILTERED, SORT),
    _filtered("/models/{model}/answers/answers.csv", AnswerPageRoutes.table, *_FILTERED),
    page("/pictures/{prediction_id}", AnswerPageRoutes.picture, scope="feedback"),
)
