"""The monitoring room over HTTP: labels in; reports, metrics and pages out.

The routes raise MonitoringError or SQLAlchemyError; the application that mounts them answers those (serving's table of
errors). The ledger is read, and bodies are parsed, off the event loop.
"""

from starlette.routing import Route

from monitoring.ledger.database import Ledger
from monitoring.metrics.counters import MonitorMetrics
from monitoring.metrics.drift_gauges import DriftGauges
from monitoring.metrics.window_gauges import WindowGauges
from monitoring.recording.recorder import Recorder
from monitoring.routes.alarms import AlarmRoutes
from monitoring.routes.exposition import MetricsRoute
from monitoring.routes.feedback import FeedbackRoutes
from monitoring.routes.log import LogRoutes
from monitoring.routes.reports import Production, ReportRoutes

__all__ = ["Production", "routes"]


def routes(
    recorder: Recorder, ledger: Ledger, metrics: MonitorMetrics, *, production: Production | None = None
) -> list[Route]:
    """The routes to mount; also registers the ledger's gauges with the metrics' registry, so call it once.

    `production` says which version of a model a report is about when the caller names none; without it, or when it says
    None, that is the version registered last.
    """
    metrics.registry.register(DriftGauges(ledger))
    metrics.registry.register(WindowGauges(ledger))
    reports = ReportRoutes(ledger, production or (lambda model: None))
    return [
        Route("/feedback", FeedbackRoutes(recorder).post, methods=["POST"]),
        Route("/predictions-log", LogRoutes(recorder).post, methods=["POST"]),
        Route("/models-log", LogRoutes(recorder).declare, methods=["POST"]),
        Route("/calibration", reports.summaries, methods=["GET"]),
        Route("/calibration/{model}", reports.report, methods=["GET"]),
        Route("/calibration/{model}/acknowledge", AlarmRoutes(recorder).acknowledge, methods=["POST"]),
        Route("/calibration/{model}/reset", AlarmRoutes(recorder).reset, methods=["POST"]),
        Route("/calibration/{model}/slices", reports.slices, methods=["GET"]),
        Route("/calibration/{model}/history", reports.history, methods=["GET"]),
        Route("/calibration/{model}/page", reports.page, methods=["GET"]),
        Route("/metrics", MetricsRoute(metrics.registry).get, methods=["GET"]),
        Route("/", reports.index, methods=["GET"]),
    ]
