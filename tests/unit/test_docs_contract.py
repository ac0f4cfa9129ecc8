"""Every setting, metric, error code and route of the running program is documented."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from monitoring.ledger.database import Ledger
from monitoring.metrics.counters import MonitorMetrics
from monitoring.metrics.drift_gauges import DriftGauges
from monitoring.metrics.window_gauges import WindowGauges
from serving.error_table import ERRORS, INTERNAL, ROUTING_CODES
from serving.inference.metrics import ServingMetrics
from serving.settings import PREFIX, Settings

DOCS = Path(__file__).parents[2] / "docs"


def test_every_setting_stands_in_operations_with_its_default() -> None:
    page = (DOCS / "operations.md").read_text()
    rows = dict(re.findall(r"\| `(CANDOR_\w+)` \| `(.*?)` \|", page))
    assert rows == {f"{PREFIX}{name.upper()}": str(field.default) for name, field in Settings.model_fields.items()}


def test_every_error_code_stands_in_the_api_page_at_its_status() -> None:
    page = (DOCS / "api.md").read_text()
    rows = {
        int(status): set(re.findall(r"`([a-z_]+)`", codes))
        for status, codes in re.findall(r"\| (\d{3}) \| (.*) \|", page)
    }
    listed = {(status, code) for status, codes in rows.items() for code in codes}
    assert listed == {*ERRORS.values(), *ROUTING_CODES.items(), (INTERNAL.status, INTERNAL.code)}


def test_every_metric_stands_in_the_monitoring_page() -> None:
    registry = CollectorRegistry()
    ServingMetrics(registry)
    MonitorMetrics(registry)
    page = (DOCS / "monitoring.md").read_text()
    names = {family.name + ("_total" if family.type == "counter" else "") for family in registry.collect()}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_every_gauge_of_the_ledger_stands_in_the_monitoring_page(tmp_path: Path) -> None:
    page = (DOCS / "monitoring.md").read_text()
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        families = [*WindowGauges(ledger).describe(), *DriftGauges(ledger).describe()]
        names = {family.name for family in families}
    assert names
    assert {name for name in names if f"`{name}`" not in page} == set()
