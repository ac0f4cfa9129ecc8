"""The pages of `candor serve` and `candor monitor`, with their handlers."""

from collections.abc import Callable
from typing import Final

from anyio import CapacityLimiter

from console import answers, index, labeling, models, recalibration, sign_in, versions
from console.answer_links import ImageLinks
from console.tabs import Tabs, never
from hosting.auth import AccessControl
from model_store.store.store import Store
from monitoring.http.body_budget import BodyBudget
from monitoring.http.endpoint import Endpoint, bind
from monitoring.ledger.database import Ledger
from monitoring.recording.recorder import Recorder
from monitoring.routes.reports import Production, ReportRoutes
from monitoring.routes.request import BodyReader

SERVER_PAGES: Final = (*(*sign_in.ENDPOINTS, *versions.ENDPOINTS, *recalibration.ENDPOINTS),)
LEDGER_PAGES: Final = (
    *(*index.ENDPOINTS, *models.ENDPOINTS, *answers.ENDPOINTS),
    *labeling.ENDPOINTS,
)
ENDPOINTS: Final = (*SERVER_PAGES, *LEDGER_PAGES)


def server_pages(
    *,
    access: AccessControl,
    bodies: BodyBudget,
    store: Store,
    ledger: Ledger | None,
    tries: Callable[[str], bool] = never,
    troubles: versions.Troubles = versions.no_troubles,
) -> list[Endpoint]:
    """The pages that every server has.

    `ledger` is None where this process keeps no labels; `tries`: whether it answers images with a
    model; `troubles` says by version why this process does not serve it well.
    """
    reader, tabs = BodyReader(bodies), Tabs(store, ledger is not None, tries)
    return bind(
        SERVER_PAGES,
        sign_in.SignInRoutes(access, bodies),
        versions.VersionRoutes(store, reader, tabs, ledger, troubles),
        recalibration.RecalibrationRoutes(store, reader, tabs, ledger, CapacityLimiter(1)),
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
    served: Production = production if serves else lambda _model: None
    reader, reports = BodyReader(bodies), ReportRoutes(ledger, production, served)
    tabs = Tabs(store, tries=lambda model: served(model) is not None)
    return bind(
        LEDGER_PAGES,
        index.IndexRoutes(reports, tabs),
        models.ModelPages(reports, recorder, reader, production, tabs),
        answers.AnswerPageRoutes(ledger, production, reader, links, tabs),
        labeling.LabelPageRoutes(ledger, recorder, production, reader, links, tabs),
    )
