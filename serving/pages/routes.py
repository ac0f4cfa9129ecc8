"""The pages of `candor serve` and `candor monitor`, with their handlers."""

from typing import Final

from anyio import CapacityLimiter

from model_store.store.store import Store
from monitoring.http.body_budget import BodyBudget
from monitoring.http.endpoint import Endpoint, bind
from monitoring.ledger.database import Ledger
from monitoring.recording.recorder import Recorder
from monitoring.routes.reports import Production, ReportRoutes
from monitoring.routes.request import BodyReader
from serving.http.auth import AccessControl
from serving.pages import (
    answers,
    downloads,
    labeling,
    models,
    recalibration,
    sign_in,
    time_zone,
    versions,
)
from serving.pages.answer_links import ImageLinks

SERVER_PAGES: Final = (
    *(*sign_in.ENDPOINTS, *time_zone.ENDPOINTS),
    *(*versions.ENDPOINTS, *recalibration.ENDPOINTS),
)
LEDGER_PAGES: Final = (
    *(*models.ENDPOINTS, *answers.ENDPOINTS),
    *(*downloads.ENDPOINTS, *labeling.ENDPOINTS),
)
ENDPOINTS: Final = (*SERVER_PAGES, *LEDGER_PAGES)


def server_pages(
    *,
    access: AccessControl,
    bodies: BodyBudget,
    store: Store,
    ledger: Ledger | None,
    troubles: versions.Troubles = versions.no_troubles,
) -> list[Endpoint]:
    """The pages that every server has. `ledger` is None where this process keeps no labels;
    `troubles` says by version why this process does not serve it well.
    """
    reader = BodyReader(bodies)
    return bind(
        SERVER_PAGES,
        sign_in.SignInRoutes(access, bodies),
        time_zone.TimeZoneRoutes(reader),
        versions.VersionRoutes(store, reader, ledger, troubles),
        recalibration.RecalibrationRoutes(store, reader, ledger, CapacityLimiter(1)),
    )


def ledger_pages(
    recorder: Recorder,
    ledger: Ledger,
    *,
    bodies: BodyBudget,
    store: Store,
    production: Production,
    serves: bool,
    links: ImageLinks = ImageLinks(),  # noqa: B008 it cannot change
) -> list[Endpoint]:
    """The pages that show what the ledger knows.

    `production` names the version that a page is about when the request names none; `serves`:
    whether this process answers images with that version; `links`: where the images are.
    """
    reader, reports = BodyReader(bodies), ReportRoutes(ledger, production)
    return bind(
        LEDGER_PAGES,
        models.ModelPages(reports, recorder, reader, production, serves=serves, store=store),
        downloads.DownloadRoutes(reports),
        answers.AnswerPageRoutes(ledger, production, links),
        labeling.LabelPageRoutes(ledger, recorder, production, reader, links),
    )
