"""The answers behind a figure as JSON, and the filter in the address that its pages share.

A parameter that is no word of the filter is the key of a tag: `?site=A&wrong=1`. A key that is such
a word is written out: `?tag=label=x`.
"""

from collections.abc import Collection, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

from anyio import to_thread
from starlette.requests import Request

from calibration.bins import BIN_EDGES
from model_store.tags import is_key
from monitoring.errors import QueryInvalid, brief
from monitoring.http.fields import check_storable
from monitoring.http.query import parameters_of, read_query
from monitoring.ledger.answer_search import AnswerSearch
from monitoring.ledger.database import Ledger
from monitoring.ledger.sum_tables import admitted
from monitoring.ledger.versions import choose
from monitoring.reports.answers import AnswerList, list_answers
from monitoring.reports.page_data import read_span
from monitoring.routes.queries import AnswerFilter, AnswersQuery
from monitoring.routes.reports import Production

_Filter = TypeVar("_Filter", bound=AnswerFilter)
# What is not the key of a tag.
OF_PAGES: Final = ("sort", "case", "kept", "done")  # words of pages alone
WORDS: Final = frozenset((*OF_PAGES, *parameters_of(AnswersQuery)))


class Asked(NamedTuple, Generic[_Filter]):
    """What an address of answers asks: its query, and the answers that the query means."""

    query: _Filter
    answers: AnswerSearch

    @property
    def before(self) -> bytes | None:
        return None if self.query.before is None else self.query.before.bytes


class AnswerRoutes:
    def __init__(self, ledger: Ledger, production: Production) -> None:
        self._ledger, self._production = ledger, production

    async def answers(self, request: Request) -> AnswerList:
        return await to_thread.run_sync(self._find, request)

    def _find(self, request: Request) -> AnswerList:
        model = request.path_params["model"]
        with self._ledger.read() as connection:
            keys = admitted(connection, model)
            asked = read_filter(request.query_params, AnswersQuery, keys=keys)
            version = asked.query.version or self._production(model)
            row = choose(connection, model, version, asked.query.finding)
            limit = asked.query.limit
            return list_answers(connection, row, asked.answers, before=asked.before, limit=limit)


def read_filter(
    query: Mapping[str, str], kind: type[_Filter], *, keys: Collection[str] | None = None
) -> Asked[_Filter]:
    """Read a filter from an address; an empty value asks nothing. Raises QueryInvalid.

    `keys`: the names that are keys of tags; by default all that are no words of the filter.
    """
    given = {name: text for name, text in query.items() if text}
    words = parameters_of(kind)
    tags = {name: text for name, text in given.items() if name not in words}
    for name, text in tags.items():
        if name in WORDS or (keys is not None and name not in keys):
            known = ", ".join((*sorted(keys or ()), *words))
            raise QueryInvalid(
                f"This address does not know the parameter {brief(name)}; it knows {known}."
            )
        check_storable(name, text, refusal=QueryInvalid)
    asked = read_query(given, kind)
    span = read_span(asked.first, asked.last)
    return Asked(
        asked,
        AnswerSearch(
            tags=tuple(sorted((tags | _read_tag(asked.tag)).items())),
            first_day=span.first,
            last_day=span.last,
            confidence=None if asked.bin is None else _read_bin(asked.bin),
            predicted=asked.predicted,
            label=asked.label,
            wrong=None if asked.wrong is None else asked.wrong == "1",
            labeled=None if asked.labeled is None else asked.labeled == "1",
            others=asked.others is not None,
            audited=asked.audit is not None,
            doubtful=asked.doubtful is not None,
        ),
    )


def query_of_tag(key: str, value: str) -> dict[str, str]:
    """Return the parameters that ask for a tag.

    >>> query_of_tag("site", "A"), query_of_tag("from", "A")
    ({'site': 'A'}, {'tag': 'from=A'})
    """
    return {"tag": f"{key}={value}"} if key in WORDS else {key: value}


def _read_tag(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    key, equals, value = text.partition("=")
    if not (equals and value and is_key(key)):
        raise QueryInvalid(f"Got the tag {brief(text)}; expected key=value.")
    return {key: value}


def _read_bin(text: str) -> tuple[float, float]:
    above, _, upto = text.partition("-")
    try:
        ends = (_edge(above), _edge(upto))
    except ValueError:
        ends = (1.0, 0.0)
    if not 0 <= ends[0] < ends[1] <= 1:
        raise QueryInvalid(
            f"Got the bin {brief(text)}; expected two numbers from 0 to 1, such as 0.87-0.93."
        )
    return ends


def _edge(text: str) -> float:
    """The number, or the edge of a bin that it names with two decimals."""
    number = float(text)
    return next((edge for edge in BIN_EDGES if round(edge, 2) == number), number)
