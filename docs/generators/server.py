"""What a server can be set to, what it counts, and how it refuses: from its own code."""

import typing
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Literal

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from docs.generators.markdown import table
from monitoring.ledger.database import Ledger
from monitoring.metrics.counters import MonitorMetrics
from monitoring.metrics.drift_gauges import DriftGauges
from monitoring.metrics.window_gauges import WindowGauges
from monitoring.routes.refusals import FAULTS, REFUSALS, REJECTIONS
from serving.errors import INTERNAL, STATUS
from serving.http.routes import CODES
from serving.inference.metrics import ServingMetrics
from serving.settings import PREFIX, Settings


def settings() -> str:
    """Every environment variable of `serving/settings.py`."""
    rows = (
        (f"`{PREFIX}{name.upper()}`", f"`{field.default}`", f"{field.description}{_choices(field.annotation)}")
        for name, field in Settings.model_fields.items()
    )
    return table(("variable", "default", "meaning"), rows)


def metrics() -> str:
    """Every metric that a server or a monitor exports."""
    rows = [(f"`{_exported(family)}`", family.type, family.documentation) for family in families()]
    return table(("metric", "type", "meaning"), sorted(rows))


def errors() -> str:
    """Every error code, by status."""
    codes: dict[int, set[str]] = {}
    for status, code in refusals():
        codes.setdefault(status, set()).add(code)
    rows = ((str(status), ", ".join(f"`{code}`" for code in sorted(codes[status]))) for status in sorted(codes))
    return table(("status", "codes"), rows)


def families() -> Iterator[Metric]:
    """All metric families, with names and help as they are exported."""
    registry = CollectorRegistry()
    ServingMetrics(registry)
    MonitorMetrics(registry)
    yield from registry.collect()
    with TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        gauges: tuple[Collector, ...] = (WindowGauges(ledger), DriftGauges(ledger))
        for collector in gauges:
            yield from collector.describe()


def refusals() -> set[tuple[int, str]]:
    """Status and code of every error that an answer can carry."""
    tables = (STATUS.values(), REFUSALS.values(), REJECTIONS.values(), FAULTS.values(), CODES.items())
    return {pair for each in tables for pair in each} | {(INTERNAL.status, INTERNAL.code)}


def _exported(family: Metric) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


def _choices(annotation: object) -> str:
    if typing.get_origin(annotation) is not Literal:
        return ""
    return " One of " + ", ".join(f"`{choice}`" for choice in typing.get_args(annotation)) + "."
