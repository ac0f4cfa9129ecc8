"""What to do about a model, the first thing first: each step with the page on which it is done."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from calibration.diagnosis.facts import AnswerGroup
from calibration.diagnosis.groups import ALL, CONFIDENCE, PREDICTED, confidences
from console.answer_links import address as answers_at
from console.formatting import (
    calendar_day,
    label_path,
    recalibrate_path,
    slices_path,
    versions_path,
)
from monitoring.diagnosis.facts import RECALIBRATIONS, Action, ActionCode, Alarm
from monitoring.diagnosis.phrases import group_words
from monitoring.diagnosis.vocabulary import terms
from monitoring.diagnosis.words import ACTIONS_SHOWN, action_words
from monitoring.drift.tag_settings import TAG_PREFIX
from monitoring.http.endpoint import Viewer
from monitoring.recalibration.answers import options_of
from monitoring.reports.report import ReportSummary
from monitoring.routes.answers import query_of_tag

LABEL: Final = (ActionCode.AUDIT, ActionCode.COMPLETE_AUDIT, ActionCode.LABEL)
_GROUPS: Final = 2  # values of a tag, of each of which the answers are a step
_VERSIONS: Final = (ActionCode.PROMOTE, ActionCode.ROLL_BACK)


class Acting(StrEnum):
    """Whether versions of a model can be acted on from this process: it can, or why not."""

    HERE = "here"
    NO_STORE = "no store"
    NOT_STORED = "not stored"


class NextStep(NamedTuple):
    """A thing to do, and where; no address: not in the console, or not by this reader."""

    words: str
    address: str | None


class Todo(NamedTuple):
    """What to do: the first steps, and the active alarms, which this reader may acknowledge."""

    steps: tuple[NextStep, ...]
    alarms: tuple[Alarm, ...]


def todo(report: ReportSummary, viewer: Viewer, acting: Acting) -> Todo:
    """Return what a reader can do about a model."""
    able = [
        each
        for each in report.diagnosis.actions
        if each.available and each.code is not ActionCode.ACKNOWLEDGE
    ]
    steps = (step for each in able for step in _steps(each, report, viewer, acting))
    alarms = report.diagnosis.alarms if viewer.may("admin") else ()
    return Todo(tuple(steps)[:ACTIONS_SHOWN], alarms)


def _steps(
    action: Action, report: ReportSummary, viewer: Viewer, acting: Acting
) -> Iterator[NextStep]:
    """The steps of an action: where a cause is looked for, the answers of each group by itself."""
    if action.code is not ActionCode.FIND_CAUSE or not viewer.may("feedback"):
        is_dated = action.code not in RECALIBRATIONS  # as the verdict above it says since when
        said = action if is_dated else replace(action, since_s=None)
        words = action_words(said, figures=False)  # which are on the remedy's page
        yield NextStep(words, _address(action, report, viewer, acting))
        return
    group = action.group or AnswerGroup(ALL)
    which = terms(report.finding).which
    for value in group.values[:_GROUPS] or ("",):
        one = replace(group, values=(value,) if value else ())
        words = which if one.key == ALL else f"{which}: {group_words(one)}"
        yield NextStep(words, cases_address(report, one, action.since_s))


def findings_todo(
    findings: Sequence[ReportSummary], viewer: Viewer, acting: Acting
) -> tuple[NextStep, ...]:
    """The first step about each finding, whose alarm is acknowledged on its own page."""
    found = ((each.finding, todo(each, viewer, acting)) for each in findings)
    return tuple(
        NextStep(f"{name}: {words}", address)
        for name, of_one in found
        for words, address in of_one.steps[:1]
    )


def cases_address(report: ReportSummary, group: AnswerGroup, since_s: float | None) -> str:
    """Where the labeled answers behind a figure are."""
    since = {} if since_s is None else {"from": calendar_day(int(since_s // 86_400))}
    query = dict(parse_qsl(report.query)) | {terms(report.finding).filter: "1"} | since
    return answers_at(report.model, query | filter_of(group))


def filter_of(group: AnswerGroup) -> dict[str, str]:
    """The filter of answers for a group, as far as a filter can say it."""
    inner = {} if group.within is None else filter_of(group.within)
    if group.key.startswith(TAG_PREFIX):
        values = ",".join(filter(None, group.values))
        return inner | (query_of_tag(group.key.removeprefix(TAG_PREFIX), values) if values else {})
    if group.key == CONFIDENCE:
        return inner | {"bin": "-".join(map("{:.4g}".format, confidences(group)))}
    return inner | ({"predicted": ",".join(group.values)} if group.key == PREDICTED else {})


def filter_of_others(group: AnswerGroup) -> dict[str, str]:
    """The filter of all answers but those of a group; empty if a filter cannot say it."""
    said, parts = filter_of(group), 1 if group.within is None else 2
    return said | {"others": "1"} if len(said) == parts else {}


def label_address(action: Action, report: ReportSummary) -> str:
    """Where to label what an action asks for: answers of its group, those drawn, or at random."""
    of_group = {} if action.group is None else filter_of(action.group)
    if of_group:
        query = dict(parse_qsl(report.query)) | of_group | {"labeled": "0"}
        return answers_at(report.model, query)
    queue = "&queue=random" if action.code is ActionCode.LABEL else ""
    return f"{label_path(report.model)}?{report.query}{queue}"


def _address(action: Action, report: ReportSummary, viewer: Viewer, acting: Acting) -> str | None:
    """The page on which an action is done."""
    changes = viewer.may("admin") and acting is Acting.HERE and not action.elsewhere
    if action.code in RECALIBRATIONS and changes:
        asked = urlencode(options_of(action) | {"preview": "yes"})
        return f"{recalibrate_path(report.model)}?{report.query}&{asked}"
    if action.code in _VERSIONS and changes:
        return versions_path(report.model)
    if action.code in LABEL and viewer.may("feedback"):
        return label_address(action, report)
    if action.code is ActionCode.FIND_CAUSE:
        return f"{slices_path(report.model)}?{report.query}"
    return None
