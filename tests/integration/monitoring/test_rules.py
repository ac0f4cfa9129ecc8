"""Rules and examples as promtool and amtool see them; see tests/contract/test_prometheus.py."""

import subprocess
from pathlib import Path
from typing import Literal

import pytest
from prometheus_client import CollectorRegistry

import monitoring
from console.monitor import open_monitor
from hosting.settings import Settings
from model_store.torchserve.counters import COUNTERS
from serving.inference.metrics import ServingMetrics
from tests.builders.programs import need

ROOM = Path(monitoring.__file__).parent
RULES = ROOM / "rules"
RULE_FILES = sorted(path.name for path in RULES.glob("*.rules.yml"))


def run(tool: str, *arguments: str) -> None:
    done = subprocess.run(
        [need(tool), *arguments], cwd=RULES, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", RULE_FILES)
def test_the_rules_are_sound(name: str) -> None:
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", name)


@pytest.mark.parametrize("name", RULE_FILES)
def test_the_rules_compute_and_alert_as_they_should(name: str) -> None:
    run("promtool", "test", "rules", name.replace(".yml", ".test.yml"))


def test_the_example_of_alertmanager_is_sound_and_routes_by_severity() -> None:
    run("amtool", "check-config", "../alertmanager.yml")
    for severity, receiver in {"page": "page", "ticket": "ticket"}.items():
        run("amtool", "config", "routes", "test", "--config.file=../alertmanager.yml",
            f"--verify.receivers={receiver}", f"severity={severity}")  # fmt: skip


def test_the_configuration_of_the_compose_example_is_sound() -> None:
    run("promtool", "check", "config", "--syntax-only", "../../deploy/compose/prometheus.yml")


def test_only_a_server_has_what_tells_servers_from_monitors_and_torchserve(tmp_path: Path) -> None:
    """CandorNothingServes counts processes with `candor_decode_seconds`."""
    server, monitor = CollectorRegistry(), CollectorRegistry()
    ServingMetrics(server)
    with open_monitor(Settings(ledger=f"sqlite:///{tmp_path / 'ledger.db'}"), monitor):
        names = [{family.name for family in registry.collect()} for registry in (server, monitor)]
    assert ["candor_decode_seconds" in each for each in (*names, COUNTERS)] == [True, False, False]


@pytest.mark.parametrize(("where", "reads"), [("inside", True), ("apart", False)])
def test_only_a_process_that_reads_the_ledger_has_what_the_alert_asks_for(
    where: Literal["inside", "apart"], reads: bool, tmp_path: Path
) -> None:
    """CandorLedgerUnreadable asks for gauges where `candor_monitor_leader` is."""
    registry = CollectorRegistry()
    settings = Settings(ledger=f"sqlite:///{tmp_path / 'ledger.db'}", monitor=where)
    with open_monitor(settings, registry, production=lambda _: None):
        names = {family.name for family in registry.collect()}
    assert "candor_predictions" in names
    assert ("candor_monitor_leader" in names) is reads
    assert ("candor_calibration_labels" in names) is reads
