"""A model's history over all its versions, in sentences, newest last."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypedDict

from msgspec import Meta
from sqlalchemy import Connection

from calibration.wording import counted, percent
from monitoring.diagnosis.lower_rates import OPERATING
from monitoring.diagnosis.phrases import answers_in_stream, lower_sentence, tolerance
from monitoring.diagnosis.vocabulary import terms
from monitoring.drift import events
from monitoring.drift.events import (
    ACKNOWLEDGED,
    ALARM,
    ENDED,
    NOTED,
    PROMOTED,
    RECALIBRATED,
    RECALIBRATING,
    RESET,
    SETTINGS,
    SHADOWED,
    SOURCES,
    STARTED,
    TAGS,
    Event,
)
from monitoring.drift.tag_settings import tag_of
from monitoring.ledger.schema import DAY_NS
from monitoring.ledger.sum_tables import DOUBTFUL
from monitoring.ledger.versions import choose, of_finding
from monitoring.reports.recalibrations import BEGUN, describe_recalibration

LIMIT = 1_000


class TimelineEntry(TypedDict):
    """One event. `at` is ISO 8601; `feedback_id` the last label before it; `tag` whose watch it is
    about, if not that of all answers (`operating`: a rate at the threshold in use); `detail`
    depends on the kind.
    """

    kind: str
    at: str
    sentence: str
    feedback_id: int
    tag: str | None
    detail: Annotated[
        dict[str, Any], Meta(description="depends on the kind, and on the release that wrote it")
    ]


class VersionedEntry(TimelineEntry):
    """One event of a version, or of one `finding` of it."""

    version: int
    finding: str


def read_timeline(
    connection: Connection,
    model: str,
    *,
    version: int | None = None,
    finding: str | None = None,
    since_day: int | None = None,
) -> list[VersionedEntry]:
    """Read the latest events of a model, or of one version or finding; `since_day`: from this UTC
    day on, counted from 1970.

    Raises ModelNotInLedger.
    """
    known = of_finding(connection, model, finding)
    rows = [row for row in known if version in (None, row.version)]
    if not rows:
        choose(connection, model, version, finding)  # which says what there is
    dated = [
        (event.at_ns, row, event)
        for row in rows
        for event in told(events.read_all(connection, row.watched_version_id))
        if event.at_ns // DAY_NS >= (since_day or 0)
    ]
    latest = sorted(dated, key=lambda entry: entry[0])[-LIMIT:]
    return [
        {"version": row.version, "finding": row.finding, **as_entry(event, row.finding)}
        for _, row, event in latest
    ]


def as_entry(event: Event, finding: str = "") -> TimelineEntry:
    """Return one event as plain data; `finding`: the one that the watch is about, if any."""
    return {
        "kind": event.kind,
        "at": datetime.fromtimestamp(event.at_ns / 1e9, tz=UTC).isoformat(timespec="seconds"),
        "sentence": _sentence(event, finding),
        "feedback_id": event.feedback_id,
        "tag": _tag(event),
        "detail": event.detail,
    }


def told(history: Sequence[Event]) -> list[Event]:
    """Return the events that people read: those with a sentence, without starts of tags."""
    return [
        event
        for event in history
        if event.kind in _SENTENCES and not (event.name and event.kind == STARTED)
    ]


def _tag(event: Event) -> str | None:
    return tag_of(event.name) if event.name else None


def _sentence(event: Event, finding: str) -> str:
    if event.name == OPERATING:
        return lower_sentence(event.detail)
    if event.kind == ALARM and event.name != DOUBTFUL:
        return describe_alarm(event.detail, _tag(event), finding)
    return _SENTENCES[event.kind](event)


def _of_tag(event: Event) -> str:
    if event.name == DOUBTFUL:
        return " of doubtful images"
    return f" of answers with {_tag(event)}" if event.name else ""


def _restarted(event: Event) -> str:
    detail, of_tag = event.detail, _of_tag(event)
    by = f" by {detail['actor']}" if detail.get("actor") else ""
    note = f": {detail['note']}" if detail.get("note") else ""
    what = (
        f"The alarm{of_tag} was acknowledged"
        if detail.get("was_active")
        else f"The watch{of_tag} was reset without an alarm"
    )
    after = f" after {counted(detail.get('labels', 0), 'label')}"
    return f"{what}{by}{'' if event.name == DOUBTFUL else after}{note}."


def _set(event: Event) -> str:
    detail, of_tag = event.detail, _of_tag(event)
    began = (
        f"The watch{of_tag} started"
        if event.kind == STARTED
        else f"The settings of the watch{of_tag} changed"
    )
    audited = ", audited answers only" if detail.get("audit") else ""
    is_whole = detail.get("class_wise", True) or detail.get("flat", False)
    blind = "" if is_whole else ", predicted classes not told apart"
    allowed = tolerance(detail["tolerance"], detail.get("flat", False))
    return (
        f"{began}: at least {detail['average_run_length']:,.0f} labels between false alarms on "
        f"average, tolerance {allowed}{audited}{blind}."
    )


def _sources(event: Event) -> str:
    named = ", ".join(f"{source}: {each}" for source, each in event.detail["policies"].items())
    again = counted(event.detail["answers"], "answer")
    return f"The policy of label sources changed ({named}); {again} were counted again."


def _tags(event: Event) -> str:
    keys = ", ".join(event.detail["keys"])
    if not keys:
        return "No tag is watched by itself any more."
    return f"The values of {keys} are watched by themselves, too."


def _doubtful(event: Event) -> str:
    return (
        f"The alarm of doubtful images was raised by the answers of "
        f"{_day(event.detail['day'] * DAY_NS)}: more than {percent(event.detail['promised'])} of "
        "the images are unlike those that the model was made for."
    )


_SENTENCES: Final[dict[str, Callable[[Event], str]]] = {
    ALARM: _doubtful,
    STARTED: _set,
    SETTINGS: _set,
    ACKNOWLEDGED: _restarted,
    RESET: _restarted,
    TAGS: _tags,
    ENDED: lambda event: f"The watch{_of_tag(event)} ended.",
    SOURCES: _sources,
    RECALIBRATING: lambda _: BEGUN,
    RECALIBRATED: lambda event: describe_recalibration(event.detail),
    NOTED: lambda event: f"Note by {event.detail['actor']}: {event.detail['note']}",
    PROMOTED: lambda _: "This version was promoted to production.",
    SHADOWED: lambda _: "This version began to answer as a shadow, which no client sees.",
}


def describe_alarm(detail: dict[str, Any], tag: str | None = None, finding: str = "") -> str:
    """Describe an alarm event; `tag`: whose alarm it is, if not that of all answers; `finding`:
    what the answers are about, if they are about one.
    """
    where = answers_in_stream(detail.get("stream", "all"), detail.get("name"))
    if tag is not None:
        where = f"{'all' if where == 'all answers' else where} of them"
    of_tag, their = (f" of answers with {tag}", "of their ") if tag is not None else ("", "")
    often = "less" if detail["direction"] == "over" else "more"
    claim = terms(finding).alarm.format(finding=finding, often=often)
    return (
        f"The alarm{of_tag} was raised after {detail['labels']:,} {their}labels, in {where}, which "
        f"{claim}."
    )


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, tz=UTC).strftime("%d %B %Y").lstrip("0")
