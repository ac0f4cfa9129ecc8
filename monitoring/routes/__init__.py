"""The monitoring room over HTTP: labels in; reports, metrics and pages out. Every route is declared
here.

The handlers raise MonitoringError or SQLAlchemyError; the application that mounts them answers
those (serving's table of errors). The ledger is read, and bodies are parsed, off the event loop.
"""

from typing import Annotated, Final

from msgspec import Meta
from sqlalchemy.exc import SQLAlchemyError

from model_store.store.store import Store
from monitoring.api.body_budget import BodyBudget
from monitoring.api.endpoint import JSON, Endpoint, Parameter, bind
from monitoring.api.fields import Uuid, Version
from monitoring.errors import (
    AlarmAcknowledged,
    AnswersSpooled,
    BodiesFull,
    BodyCompressed,
    BodyNotJson,
    BodyTimeout,
    BodyTooLarge,
    FeedbackInvalid,
    FormInvalid,
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
    TableInvalid,
    TagNotWatched,
)
from monitoring.feedback.body import LIST_LIMIT, Label, LabelsRejected
from monitoring.ledger.database import Ledger
from monitoring.logged.body import LoggedPrediction, LoggedPredictionsRejected
from monitoring.logged.declaration import LoggedModel
from monitoring.metrics.accuracy_gauges import AccuracyGauges
from monitoring.metrics.counters import MonitorMetrics
from monitoring.metrics.drift_gauges import DriftGauges
from monitoring.metrics.window_gauges import WindowGauges
from monitoring.recording.recorder import Recorder
from monitoring.routes.alarms import AcknowledgeForm, AlarmNote, AlarmRoutes
from monitoring.routes.downloads import DownloadRoutes
from monitoring.routes.exposition import MetricsRoute
from monitoring.routes.feedback import FeedbackRoutes
from monitoring.routes.form import MEDIA_TYPE as FORM
from monitoring.routes.label_page import LabelForm, LabelPageRoutes
from monitoring.routes.logged_predictions import LoggedPredictionRoutes
from monitoring.routes.reports import Production, ReportRoutes
from monitoring.routes.request import BodyReader
from monitoring.routes.tables import CSV, NDJSON

__all__ = ["ENDPOINTS", "METRICS", "Production", "endpoints"]

_BODY = (BodyCompressed, BodyTooLarge, BodyTimeout, BodyNotJson, BodiesFull)
_WRITES = (RecorderClosed, SQLAlchemyError)
_REPORT = (ModelNotInLedger, QueryInvalid, SQLAlchemyError)
_ListLength = Meta(min_length=1, max_length=LIST_LIMIT)
_HTML: Final = {"text/html": str}
_OF_VERSION: Final = Parameter(
    "version", "query", Version, "a version; the one in production if left out"
)
_WINDOW: Final = Parameter(
    "window",
    "query",
    Annotated[str, Meta(examples=["all"])],
    "all (the default), last:N labels, days:N, or promotion",
)
_SPAN: Final = tuple(
    Parameter(
        name,
        "query",
        Annotated[str, Meta(examples=["2026-10-01"])],
        f"{which} day of charts over time",
    )
    for name, which in (("since", "first"), ("until", "last"))
)


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
            *(*_BODY, *_WRITES, AnswersSpooled, PendingFull),
            *(FeedbackInvalid, LabelUnknown, ModelNotInLedger, TableInvalid),
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
        refuses=(*_BODY, ModelInvalid, ModelDiffers, ModelServed, ModelsFull, *_WRITES),
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
        parameters=(
            Parameter("model", "query", str, "for items that name none"),
            Parameter(
                "version", "query", Version, "for items that name none; the newest if left out"
            ),
        ),
        refuses=(
            *(*_BODY, *_WRITES, AnswersSpooled),
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
        parameters=(_OF_VERSION,),
        refuses=(*_BODY, NoteInvalid, ModelNotInLedger, QueryInvalid, TagNotWatched, *_WRITES),
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
_PAGE_FORMS: Final = (
    Endpoint(
        method="POST",
        path="/models/{model}/report/page",
        handler=AlarmRoutes.by_form,
        tag="calibration",
        summary="Acknowledge the drift alarm from the form of that page.",
        scope="admin",
        takes={FORM: AcknowledgeForm},
        parameters=(_OF_VERSION,),
        redirects=True,
        refuses=(
            *_BODY,
            AlarmAcknowledged,
            FormInvalid,
            NoteInvalid,
            ModelNotInLedger,
            QueryInvalid,
            TagNotWatched,
            *_WRITES,
        ),
    ),
)
_REPORTS: Final = (
    Endpoint(
        method="GET",
        path="/reports",
        handler=ReportRoutes.summaries,
        tag="calibration",
        summary="Every model's report without its bins, slices and history.",
        refuses=(SQLAlchemyError,),
    ),
    Endpoint(
        method="GET",
        path="/models/{model}/report",
        handler=ReportRoutes.report,
        tag="calibration",
        summary="How calibrated a model is on what it served.",
        parameters=(_OF_VERSION, _WINDOW),
        refuses=_REPORT,
    ),
    Endpoint(
        method="GET",
        path="/models/{model}/report/slices",
        handler=ReportRoutes.slices,
        tag="calibration",
        summary="For whom: calibration by predicted class and tag, worst first, and by true class.",
        parameters=(_OF_VERSION, _WINDOW),
        refuses=_REPORT,
    ),
    Endpoint(
        method="GET",
        path="/models/{model}/report/history",
        handler=ReportRoutes.history,
        tag="calibration",
        summary="What happened to a model: starts, promotions, alarms, acknowledgments, resets, "
        "settings.",
        parameters=(Parameter("version", "query", Version, "a version; all if left out"),),
        refuses=_REPORT,
    ),
    Endpoint(
        method="GET",
        path="/models/{model}/report/page",
        handler=ReportRoutes.page,
        tag="calibration",
        summary="The report as a page, with a chart day by day and the versions side by side.",
        gives=_HTML,
        parameters=(_OF_VERSION, _WINDOW, *_SPAN),
        refuses=_REPORT,
    ),
    Endpoint(
        method="GET",
        path="/models/{model}/report/download/{file}",
        handler=DownloadRoutes.file,
        tag="calibration",
        summary="A chart or table of that page as a file, such as days.csv or reliability.svg.",
        gives={"text/csv": str, "image/svg+xml": str},
        parameters=(
            _OF_VERSION,
            _WINDOW,
            *_SPAN,
            Parameter("class", "query", str, "of a reliability diagram; all if left out"),
        ),
        refuses=_REPORT,
    ),
    Endpoint(
        method="GET",
        path="/",
        handler=ReportRoutes.index,
        tag="pages",
        summary="All models at a glance.",
        gives=_HTML,
        refuses=(SQLAlchemyError,),
    ),
)
_LABELING: Final = (
    Endpoint(
        method="GET",
        path="/label/{model}",
        handler=LabelPageRoutes.page,
        tag="pages",
        summary="A page to label answers, one after the other, without seeing what the model said.",
        scope="feedback",
        gives=_HTML,
        parameters=(
            _OF_VERSION,
            Parameter(
                "answer", "query", str, "a prediction id; the next answer that waits if left out"
            ),
            Parameter("skip", "query", int, "answers to pass over"),
            Parameter(
                "done",
                "query",
                Uuid,
                "the prediction id that was just labeled; the page shows its answer",
            ),
            Parameter(
                "status",
                "query",
                str,
                "what was done with that label: accepted, corrected, unchanged",
            ),
        ),
        refuses=_REPORT,
    ),
    Endpoint(
        method="POST",
        path="/label/{model}",
        handler=LabelPageRoutes.label,
        tag="pages",
        summary="Record the label of that page's form.",
        scope="feedback",
        takes={FORM: LabelForm},
        redirects=True,
        refuses=(*_BODY, *_WRITES, AnswersSpooled, FeedbackInvalid, FormInvalid),
    ),
)
METRICS: Final = Endpoint(
    method="GET",
    path="/metrics",
    handler=MetricsRoute.get,
    tag="metrics",
    summary="Metrics as Prometheus text, or OpenMetrics if asked for.",
    gives={"text/plain": str, "application/openmetrics-text": str},
    refuses=(SQLAlchemyError,),
)
ENDPOINTS: Final = (*_INTAKE, *_ALARMS, *_PAGE_FORMS, *_REPORTS, *_LABELING, METRICS)


def endpoints(
    recorder: Recorder,
    ledger: Ledger,
    metrics: MonitorMetrics,
    *,
    production: Production | None = None,
    bodies: BodyBudget | None = None,
    serves: bool = False,
    store: Store | None = None,
) -> list[Endpoint]:
    """The endpoints with their handlers. Call it once, because it registers the ledger's gauges
    with the registry.

    `production` names the version that a report is about when the request names none. Without it,
    or when it returns None, that is the version registered last. `bodies` is the memory that their
    bodies share with others. `serves`: whether this process answers images with that version.
    `store`: whose versions this process can act on.
    """
    reader = BodyReader(bodies or BodyBudget())
    metrics.registry.register(DriftGauges(ledger))
    metrics.registry.register(WindowGauges(ledger))
    metrics.registry.register(AccuracyGauges(ledger))
    reports = ReportRoutes(ledger, production or (lambda model: None), serves=serves, store=store)
    return bind(
        ENDPOINTS,
        FeedbackRoutes(recorder, reader),
        LoggedPredictionRoutes(
            recorder, reader, served=production if production and serves else lambda _model: None
        ),
        AlarmRoutes(recorder, reader),
        reports,
        DownloadRoutes(reports),
        LabelPageRoutes(ledger, recorder, production or (lambda model: None), reader),
        MetricsRoute(metrics.registry),
    )
