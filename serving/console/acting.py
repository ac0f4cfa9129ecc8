"""The pages that act on the versions of a model store, for `candor serve` and for `candor
monitor`.
"""

from typing import Final

from anyio import CapacityLimiter

from model_store.store.store import Store
from monitoring.api.endpoint import Endpoint, bind
from monitoring.ledger.database import Ledger
from monitoring.routes.request import BodyReader
from serving.console.recalibration import ENDPOINTS as RECALIBRATION_ENDPOINTS
from serving.console.recalibration import RecalibrationRoutes
from serving.console.versions import ENDPOINTS as VERSION_ENDPOINTS
from serving.console.versions import VersionRoutes

ENDPOINTS: Final = (*VERSION_ENDPOINTS, *RECALIBRATION_ENDPOINTS)


def acting(store: Store, bodies: BodyReader, ledger: Ledger | None) -> list[Endpoint]:
    """The endpoints with their handlers. `ledger` is None where this process keeps no labels."""
    versions = VersionRoutes(store, bodies, ledger)
    return bind(ENDPOINTS, versions, RecalibrationRoutes(store, bodies, ledger, CapacityLimiter(1)))
