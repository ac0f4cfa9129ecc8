"""Addresses of answers: of those behind a figure, without a part of a filter, and of their images
in an archive.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from calibration.scope.verdict import ALPHA
from calibration.wording import percent
from monitoring.diagnosis.vocabulary import terms
from monitoring.ledger.answer_search import AnswerSearch
from monitoring.ledger.sum_tables import AUDIT, DOUBTFUL
from monitoring.reports.answers import ListedAnswer
from monitoring.reports.report import Report
from monitoring.routes.answers import query_of_tag


class ImageLinks(NamedTuple):
    """Where images are: a template with {request_id} or {prediction_id}; None if it is not set."""

    template: str | None = None

    def of(self, answer: ListedAnswer) -> str | None:
        """The address of an answer's image; None where it needs an id that is not known."""
        return self.to(answer.prediction_id, answer.request_id)

    def to(self, prediction_id: str, request_id: str | None) -> str | None:
        """The same by the ids.

        >>> ImageLinks("https://pacs.example/?a={request_id}").to("", "A&B")
        'https://pacs.example/?a=A%26B'
        """
        if self.template is None or (request_id is None and "{request_id}" in self.template):
            return None
        ids = {"prediction_id": prediction_id, "request_id": request_id or ""}
        return self.template.format(**{name: quote(each, safe="") for name, each in ids.items()})


def address(model: str, query: Mapping[str, str], file: str = "page") -> str:
    return f"/models/{quote(model, safe='')}/answers/{file}?{urlencode(query)}"


def answers_address(report: Report, name: str = "", **asked: str) -> str:
    """The answers behind a figure of a report: of a slice, if `name` says which, or of all.

    `asked`: more of the filter; `since` stands for its first day.
    """
    audit = {"audit": "1"} if report.audited else {}
    since = asked.pop("since", "")
    days = {"from": since} if since else {}
    query = dict(parse_qsl(report.query)) | audit | days | _of_slice(name) | asked
    return address(report.model, query)


def _of_slice(name: str) -> dict[str, str]:
    """The filter of a slice, by its name in the ledger.

    >>> _of_slice("predicted:cat"), _of_slice("true:dog"), _of_slice("tag:site=A")
    ({'predicted': 'cat'}, {'label': 'dog'}, {'site': 'A'})
    """
    kind, _, value = name.partition(":")
    if kind == "tag":
        key, _, text = value.partition("=")
        return query_of_tag(key, text)
    if kind == AUDIT:
        return {"audit": "1"}
    if name.startswith(DOUBTFUL):
        return {"doubtful": "1"} | _of_slice(name.removeprefix(DOUBTFUL).lstrip())
    return {"predicted": value} if kind == "predicted" else {"label": value} if value else {}


class FilterPart(NamedTuple):
    """A part of the filter: in words, and the address without it."""

    words: str
    without: str


_SAID: Final = {"label": "label", "from": "since", "to": "until"}


def filter_parts(model: str, wanted: AnswerSearch, asked: dict[str, str]) -> list[FilterPart]:
    """What the page says of its filter, with the addresses that leave one part out."""
    flags = {
        "wrong": {"1": "wrong", "0": "right"}.get(asked.get("wrong", "")),
        "labeled": {"1": "labeled", "0": "without a label"}.get(asked.get("labeled", "")),
        "audit": "drawn for the audit" if wanted.audited else None,
        "doubtful": f"doubtful images (p up to {ALPHA:g})" if wanted.doubtful else None,
    }
    flags["kept"] = "kept for a meeting" if "kept" in asked else None
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
