"""Every dashboard by the name of its file."""

from collections.abc import Callable

from grafana_foundation_sdk.builders.dashboard import Dashboard

from monitoring.dashboards.one_model import one_model
from monitoring.dashboards.operations import operations
from monitoring.dashboards.overview import overview

BOARDS: dict[str, Callable[[], Dashboard]] = {"overview": overview, "model": one_model, "operations": operations}
