"""The monitoring room over HTTP: labels in; reports and metrics out. Every route is declared
here.

The handlers raise MonitoringError or SQLAlchemyError; the application that mounts them answers
those (hosting's table of errors). The ledger is read, and bodies are parsed, off the event loop.
"""

from functools import partial
from typing import Annotated, Final

from msgspec import Meta
from sqlalchemy.exc import SQLAlchemyError

from monitoring.errors import (
    AnswersSpooled,
    AuditMissing,
    BodiesFull,
    BodyCompressed,
    BodyNotJson,
    BodyTimeout,
    BodyTooLarge,
    FeedbackInvalid,
    FindingNeeded,
    FindingUnknown,
    LabelUnknown,
    ModelDiffers,
    ModelInvalid,
    ModelNotInLedger,
    ModelServed,
    ModelsFull,
    NoteInvalid,
    PendingFull,
    PredictionDiffers,
    PredictionInvalid,
    QueryInvalid,
    RecorderClosed,
    SourcesInvalid,
    TableInvalid,
    TagNotWatched,
)
from monitoring.feedback.body import LIST_LIMIT, Label, LabelsRejected
from monitoring.http.body_budget import BodyBudget
from monitoring.http.endpoint import JSON, Endpoint, bind
from monitoring.ledger.database import Ledger
from monitoring.logged.body import LoggedPrediction, LoggedPredictionsRejected
from monitoring.logged.declaration import LoggedModel
from monitoring.metrics.counters import MonitorMetrics
from monitoring.metrics.ledger_gauges import LedgerGauges
from monitoring.recording.recorder import Recorder
from monitoring.routes.alarms import AlarmNote, AlarmRoutes
from monitoring.routes.answers import AnswerRoutes
from monitoring.routes.exposition import MetricsRoute
from monitoring.routes.intake import FeedbackRoutes, LoggedPredictionRoutes
from monitoring.routes.queries import (
    AnswersQuery,
    HistoryQuery,
    LoggedQuery,
    OfVersion,
    ReportQuery,
    WaitingQuery,
    WindowQuery,
)
from monitoring.routes.reports import Production, ReportRoutes
from monitoring.routes.request import BodyReader
from monitoring.routes.sources import PoliciesToSet, SourceRoutes
from monitoring.routes.tables import CSV, NDJSON
from monitoring.routes.waiting import WaitingRoutes

__all__ = ["ENDPOINTS", "METRICS", "Production", "endpoints"]

BODY_REFUSALS: Final = (BodyCompressed, BodyTooLarge, BodyTimeout, BodyNotJson, BodiesFull)
WRITE_REFUSALS: Final = (RecorderClosed, SQLAlchemyError)
FINDING_REFUSALS: Final = (FindingNeeded, FindingUnknown)
REPORT_REFUSALS: Final = (ModelNotInLedger, *FINDING_REFUSALS, QueryInvalid, SQLAlchemyError)
_ListLength = Meta(min_length=1, max_length=LIST_LIMIT)
_INTAKE: Final = (
    Endpoint(
        method="POST",
        path="/feedback",
        handler=FeedbackRoutes.post,
        tag="feedback",
        summary="True labels of answers: one, a list, or a table of any length. Sending the same "
        "again is safe.",
        scope="feedback",
        takes={JSON: Label | Annotated[list[Label], _ListLength], NDJSON: Label, CSV: str},
        otherwise={422: LabelsRejected},
        refuses=(
            *(*BODY_REFUSALS, *WRITE_REFUSALS, AnswersSpooled, PendingFull),
            *(FeedbackInvalid, LabelUnknown, ModelNotInLedger, TableInvalid),
            *FINDING_REFUSALS,
        ),
    ),
    Endpoint(
        method="POST",
        path="/models-log",
        handler=LoggedPredictionRoutes.declare,
        tag="logged predictions",
        summary="Declare a version of a model that Candor does not serve. The same again changes "
        "nothing.",
        scope="admin",
        takes={JSON: LoggedModel},
        refuses=(
            *BODY_REFUSALS,
            ModelInvalid,
            ModelDiffers,
            ModelServed,
            ModelsFull,
            *WRITE_REFUSALS,
        ),
    ),
    Endpoint(
        method="POST",
        path="/predictions-log",
        handler=LoggedPredictionRoutes.post,
        tag="logged predictions",
        summary="Answers of a declared model: one, a list, or a table of any length. Sending them "
        "again is safe.",
        scope="predict",
        takes={
            JSON: LoggedPrediction | Annotated[list[LoggedPrediction], _ListLength],
            NDJSON: LoggedPrediction,
            CSV: str,
        },
        otherwise={422: LoggedPredictionsRejected},
        query=LoggedQuery,
        refuses=(
            *(*BODY_REFUSALS, *WRITE_REFUSALS, AnswersSpooled),
            *(
                LabelUnknown,
                ModelNotInLedger,
                ModelServed,
                PredictionDiffers,
                PredictionInvalid,
                TableInvalid,
            ),
        ),
    ),
)
_ALARMS: Final = tuple(
    Endpoint(
        method="POST",
        path=f"/models/{{model}}/report/{verb}",
        handler=handler,
        tag="calibration",
        summary=summary,
        scope="admin",
        takes={JSON: AlarmNote},
        body_optional=True,
        query=OfVersion,
        refuses=(
            *BODY_REFUSALS,
            *FINDING_REFUSALS,
            NoteInvalid,
            ModelNotInLedger,
            QueryInvalid,
            TagNotWatched,
            AuditMissing,
            *WRITE_REFUSALS,
        ),
    )
    for verb, handler, summary in (
        (
            "acknowledge",
            AlarmRoutes.acknowledge,
            "Acknowledge the drift alarm, which restarts the watch.",
        ),
        (
            "reset",
            AlarmRoutes.reset,
            "Restart the drift watch without an alarm, for example after a planned change.",
        ),
    )
)
_report = partial(Endpoint, method="GET", tag="calibration", scope="read", refuses=REPORT_REFUSALS)
_REPORTS: Final = (
    _report(
        path="/reports",
        handler=ReportRoutes.summaries,
        summary="Every model's report without its bins, slices and history.",
        refuses=(SQLAlchemyError,),
    ),
    _report(
        path="/models/{model}/report",
        handler=ReportRoutes.report,
        summary="How calibrated a model is on what it served; of a model with findings, each of "
        "them, the worst first, or the one that is named.",
        query=ReportQuery,
    ),
    _report(
        path="/models/{model}/report/slices",
        handler=ReportRoutes.slices,
        summary="For whom: calibration by predicted class and tag, worst first, and by true class.",
        query=WindowQuery,
    ),
    _report(
        path="/models/{model}/report/history",
        handler=ReportRoutes.history,
        summary="What happened to a model: starts, promotions, alarms, acknowledgments, resets, "
        "settings.",
        query=HistoryQuery,
    ),
)
_labels = partial(Endpoint, method="GET", tag="feedback", refuses=REPORT_REFUSALS)
_ANSWERS: Final = _labels(
    path="/models/{model}/answers",
    handler=AnswerRoutes.answers,
    summary="Answers with their labels, newest first. A parameter with another name is the key of "
    "a tag, as in ?site=A&wrong=1.",
    scope="feedback",
    query=AnswersQuery,
    takes_tags=True,
)
_SOURCES: Final = (
    _labels(
        path="/models/{model}/report/sources",
        scope="read",
        handler=SourceRoutes.read,
        summary="What the labels of each source count as, and how far proxies and second readings "
        "agree with truths.",
        query=OfVersion,
    ),
    Endpoint(
        method="POST",
        path="/models/{model}/report/sources",
        handler=SourceRoutes.change,
        tag="feedback",
        summary="Set what the labels of some sources count as. Labels that arrived before are "
        "counted again.",
        scope="admin",
        takes={JSON: PoliciesToSet},
        refuses=(*BODY_REFUSALS, SourcesInvalid, ModelNotInLedger, *WRITE_REFUSALS),
    ),
)
_WAITING: Final = _labels(
    path="/models/{model}/report/waiting",
    handler=WaitingRoutes.get,
    summary="The answers to label next, at most 100: those drawn for the audit first, then those "
    "to refer, then the oldest; or those about doubtful images.",
    scope="feedback",
    query=WaitingQuery,
)
METRICS: Final = Endpoint(
    method="GET",
    path="/metrics",
    scope="read",
    handler=MetricsRoute.get,
    tag="metrics",
    summary="Metrics as Prometheus text, or OpenMetrics if asked for.",
    gives={"text/plain": str, "application/openmetrics-text": str},
    refuses=(SQLAlchemyError,),
)
ENDPOINTS: Final = (*_INTAKE, _ANSWERS, _WAITING, *_SOURCES, *_ALARMS, *_REPORTS, METRICS)


def endpoints(
    recorder: Recorder,
    ledger: Ledger,
    metrics: MonitorMetrics,
    *,
    production: Production | None = None,
    bodies: BodyBudget | None = None,
    serves: bool = False,
) -> list[Endpoint]:
    """The endpoints with their handlers. Call it once, because it registers the ledger's gauges
    with the registry.

    `production` names the version that a report is about when the request names none. Without it,
    or when it returns None, that is the version registered last. `bodies` is the memory that their
    bodies share with others. `serves`: whether this process answers images with that version.
    """
    reader = BodyReader(bodies or BodyBudget())
    metrics.registry.register(LedgerGauges(ledger))
    production = production or (lambda _model: None)
    served = production if serves else lambda _model: None
    return bind(
        ENDPOINTS,
        FeedbackRoutes(recorder, reader),
        LoggedPredictionRoutes(recorder, reader, served=served),
        AnswerRoutes(ledger, production),
        SourceRoutes(ledger, reader, production),
        WaitingRoutes(ledger, production),
        AlarmRoutes(recorder, reader),
        ReportRoutes(ledger, production, served),
        MetricsRoute(metrics.registry),
    )
