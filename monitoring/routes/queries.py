"""What the addresses of reports and answers may ask, beside the model in their path."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from calibration.diagnosis.planner import LARGEST_GAP, SMALLEST_GAP
from calibration.scope.verdict import ALPHA
from monitoring.diagnosis.coverage import NOW
from monitoring.http.fields import Version
from monitoring.ledger.waiting import Queue

MOST = 500
PAGE = 50
SKIP_LIMIT = 100_000
_Finding: TypeAlias = Annotated[str, Meta(min_length=1)]
_Day: TypeAlias = Annotated[str, Meta(examples=["2026-11-08"])]
_Set: TypeAlias = Literal["1"]
_Either: TypeAlias = Literal["1", "0"]


class OfVersion(Struct, frozen=True, kw_only=True):
    version: (
        Annotated[Version, Meta(description="a version; the one in production if left out")] | None
    ) = None
    finding: (
        Annotated[_Finding, Meta(description="a finding, of a model that has several")] | None
    ) = None


class HistoryQuery(Struct, frozen=True, kw_only=True):
    version: Annotated[Version, Meta(description="a version; all if left out")] | None = None
    finding: Annotated[_Finding, Meta(description="a finding; all if left out")] | None = None


class LoggedQuery(Struct, frozen=True, kw_only=True):
    model: Annotated[str, Meta(description="for items that name none")] | None = None
    version: (
        Annotated[Version, Meta(description="for items that name none; the newest if left out")]
        | None
    ) = None


class WindowQuery(OfVersion, frozen=True, kw_only=True):
    window: Annotated[
        str,
        Meta(
            description="now (the default: since something changed), all, or days:N",
            examples=["now"],
        ),
    ] = NOW


class ReportQuery(WindowQuery, frozen=True, kw_only=True):
    gap: (
        Annotated[
            float,
            Meta(
                ge=SMALLEST_GAP,
                le=LARGEST_GAP,
                description="open questions say how many more labels would show a gap of that "
                "size, and of whom",
                examples=[0.03],
            ),
        ]
        | None
    ) = None


class WaitingQuery(OfVersion, frozen=True, kw_only=True):
    queue: Annotated[
        Queue,
        Meta(
            description="usual (the default); random: in random order; doubtful: about doubtful "
            "images alone"
        ),
    ] = "usual"
    skip: Annotated[int, Meta(ge=0, le=SKIP_LIMIT, description="answers to pass over")] = 0


class AnswerFilter(OfVersion, frozen=True, kw_only=True):
    """Which answers; what else a query gives is the key of a tag."""

    first: (
        Annotated[_Day, Meta(description="first UTC day on which answers were served")] | None
    ) = msgspec.field(default=None, name="from")
    last: Annotated[_Day, Meta(description="last UTC day")] | None = msgspec.field(
        default=None, name="to"
    )
    bin: (
        Annotated[
            str,
            Meta(
                description="confidence, above the first number and up to the second; two "
                "decimals name the edge of a bin",
                examples=["0.87-0.93"],
            ),
        ]
        | None
    ) = None
    predicted: (
        Annotated[str, Meta(description="what was answered; A,B: one of these classes")] | None
    ) = None
    others: (
        Annotated[
            _Set, Meta(description="1: the rest of what bin, predicted and tags together say")
        ]
        | None
    ) = None
    label: Annotated[str, Meta(description="what the label says")] | None = None
    wrong: (
        Annotated[_Either, Meta(description="1: the label contradicts the answer; 0: it agrees")]
        | None
    ) = None
    labeled: (
        Annotated[_Either, Meta(description="1: has a label that counts as truth; 0: has none")]
        | None
    ) = None
    audit: Annotated[_Set, Meta(description="1: drawn at random for the audit")] | None = None
    doubtful: (
        Annotated[_Set, Meta(description=f"1: the image's scope p-value is at most {ALPHA:g}")]
        | None
    ) = None
    tag: (
        Annotated[str, Meta(description="a tag whose key is one of these words, as key=value")]
        | None
    ) = None
    before: (
        Annotated[UUID, Meta(description="from the page before: where this one begins")] | None
    ) = None


class AnswersQuery(AnswerFilter, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=MOST, description="answers at a time")] = PAGE
