"""The answers behind a figure as JSON, and the filter in the address that its pages share.

A parameter that is no word of the filter is the key of a tag: `?site=A&wrong=1`. A key that is such
a word is written out: `?tag=label=x`.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Final

from anyio import to_thread
from msgspec import Meta
from starlette.requests import Request

from calibration.bins import BIN_EDGES
from calibration.scope.verdict import ALPHA
from model_store.tags import is_key
from monitoring.errors import FeedbackInvalid, QueryInvalid, brief
from monitoring.feedback.body import check_storable, read_uuid
from monitoring.http.endpoint import Parameter
from monitoring.http.fields import Uuid, read_whole_number
from monitoring.ledger.answer_search import AnswerSearch
from monitoring.ledger.database import Ledger
from monitoring.ledger.sum_tables import admitted
from monitoring.ledger.versions import choose
from monitoring.reports.answers import AnswerList, list_answers
from monitoring.reports.page_data import read_span
from monitoring.routes.reports import Production
from monitoring.routes.request import read_finding, read_version

MOST: Final = 500
PAGE: Final = 50
_DAY: Final = Annotated[str, Meta(examples=["2026-11-08"])]
_FLAG: Final = Annotated[str, Meta(examples=["1"])]
FILTER: Final = (
    Parameter("from", "query", _DAY, "first UTC day on which answers were served"),
    Parameter("to", "query", _DAY, "last UTC day"),
    Parameter(
        "bin",
        "query",
        Annotated[str, Meta(examples=["0.87-0.93"])],
        "confidence, above the first number and up to the second; two decimals name the edge of "
        "a bin",
    ),
    Parameter("predicted", "query", str, "what was answered; A,B: one of these classes"),
    Parameter("others", "query", _FLAG, "1: the rest of what bin, predicted and tags together say"),
    Parameter("label", "query", str, "what the label says"),
    Parameter("wrong", "query", _FLAG, "1: the label contradicts the answer; 0: it agrees"),
    Parameter("labeled", "query", _FLAG, "1: has a label that counts as truth; 0: has none"),
    Parameter("audit", "query", _FLAG, "1: drawn at random for the audit"),
    Parameter("doubtful", "query", _FLAG, f"1: the image's scope p-value is at most {ALPHA:g}"),
    Parameter("tag", "query", str, "a tag whose key is one of these words, as key=value"),
    Parameter("before", "query", Uuid, "from the page before: where this one begins"),
)
LIMIT: Final = Parameter("limit", "query", Annotated[int, Meta(ge=1, le=MOST)], "answers at a time")
# What is not the key of a tag.
OF_PAGES: Final = ("sort", "case", "kept", "done")  # words of pages alone
WORDS: Final = frozenset(
    ("version", "finding", LIMIT.name, *OF_PAGES, *(each.name for each in FILTER))
)


class AnswerRoutes:
    def __init__(self, ledger: Ledger, production: Production) -> None:
        self._ledger, self._production = ledger, production

    async def answers(self, request: Request) -> AnswerList:
        return await to_thread.run_sync(self._find, request)

    def _find(self, request: Request) -> AnswerList:
        query, model = request.query_params, request.path_params["model"]
        text, version = query.get("limit", str(PAGE)), read_version(request)
        limit = read_whole_number(text, "The query's 'limit'", refusal=QueryInvalid, most=MOST)
        before = read_before(query)
        with self._ledger.read() as connection:
            chosen = self._production(model) if version is None else version
            row = choose(connection, model, chosen, read_finding(request))
            wanted = read_filter(query, keys=admitted(connection, model))
            return list_answers(connection, row, wanted, before=before, limit=limit)


def read_filter(query: Mapping[str, str], *, keys: Collection[str] | None = None) -> AnswerSearch:
    """Read a filter from an address; an empty value asks nothing. Raises QueryInvalid.

    `keys`: the names that are keys of tags; by default all that are no words of the filter.
    """
    given = {name: text for name, text in query.items() if text}
    for name, text in given.items():
        if name in OF_PAGES or (keys is not None and name not in WORDS and name not in keys):
            known = ", ".join((*sorted(keys or ()), *(each.name for each in FILTER)))
            raise QueryInvalid(
                f"This address does not know the parameter {brief(name)}; it knows {known}."
            )
        check_storable(name, text, refusal=QueryInvalid)
    span = read_span(given.get("from"), given.get("to"))
    return AnswerSearch(
        tags=_read_tags(given),
        first_day=span.first,
        last_day=span.last,
        confidence=_read_bin(given["bin"]) if "bin" in given else None,
        predicted=given.get("predicted"),
        label=given.get("label"),
        wrong=_read_flag(given, "wrong"),
        labeled=_read_flag(given, "labeled"),
        others=bool(_read_flag(given, "others", only=True)),
        audited=bool(_read_flag(given, "audit", only=True)),
        doubtful=bool(_read_flag(given, "doubtful", only=True)),
    )


def read_before(query: Mapping[str, str]) -> bytes | None:
    """Read where a page begins; None for the first. Raises QueryInvalid."""
    text = query.get("before")
    try:
        return read_uuid("before", text) if text else None
    except FeedbackInvalid as error:
        raise QueryInvalid(str(error)) from None


def query_of_tag(key: str, value: str) -> dict[str, str]:
    """Return the parameters that ask for a tag.

    >>> query_of_tag("site", "A"), query_of_tag("from", "A")
    ({'site': 'A'}, {'tag': 'from=A'})
    """
    return {"tag": f"{key}={value}"} if key in WORDS else {key: value}


def _read_tags(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    tags = {name: text for name, text in given.items() if name not in WORDS}
    if "tag" in given:
        key, equals, value = given["tag"].partition("=")
        if not (equals and value and is_key(key)):
            raise QueryInvalid(f"Got the tag {brief(given['tag'])}; expected key=value.")
        tags[key] = value
    return tuple(sorted(tags.items()))


def _read_flag(given: Mapping[str, str], name: str, *, only: bool = False) -> bool | None:
    """True for 1, False for 0, which `only` excludes; None if the flag is not there."""
    text = given.get(name)
    if text is not None and text not in ("1",) + ("0",) * (not only):
        expected = "1" if only else "1 or 0"
        raise QueryInvalid(f"Got {name}={brief(text)}; expected {expected}.")
    return None if text is None else text == "1"


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
