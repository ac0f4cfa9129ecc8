"""The rules and examples as promtool and amtool see them. tests/contract/test_rules.py checks what needs neither."""

import shutil
import subprocess
from pathlib import Path
from typing import Literal

import pytest
import yaml
from prometheus_client import CollectorRegistry

import monitoring
from serving.process.monitor import open_monitor
from serving.settings import Settings

ROOM = Path(monitoring.__file__).parent
RULES = ROOM / "rules"
RULE_FILES = sorted(path.name for path in RULES.glob("*.rules.yml"))


def run(tool: str, *arguments: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is missing: install Debian's packages prometheus and prometheus-alertmanager")
    done = subprocess.run([tool, *arguments], cwd=RULES, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", RULE_FILES)
def test_the_rules_are_sound(name: str) -> None:
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", name)


@pytest.mark.parametrize("name", RULE_FILES)
def test_the_rules_compute_and_alert_as_they_should(name: str) -> None:
    run("promtool", "test", "rules", name.replace(".yml", ".test.yml"))


def test_the_example_of_alertmanager_is_sound_and_routes_by_severity() -> None:
    run("amtool", "check-config", "../alertmanager.yml")
    for severity, receiver in {"page": "page", "ticket": "ticket", "info": "nobody"}.items():
        run("amtool", "config", "routes", "test", "--config.file=../alertmanager.yml",
            f"--verify.receivers={receiver}", f"severity={severity}")  # fmt: skip


def test_the_configuration_of_the_compose_example_is_sound(tmp_path: Path) -> None:
    compose = yaml.safe_load((ROOM.parent / "compose.yaml").read_text())
    (tmp_path / "prometheus.yml").write_text(compose["configs"]["prometheus"]["content"])
    run("promtool", "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))


@pytest.mark.parametrize(("where", "reads"), [("inside", True), ("apart", False)])
def test_only_a_process_that_reads_the_ledger_has_what_the_alert_asks_for(
    where: Literal["inside", "apart"], reads: bool, tmp_path: Path
) -> None:
    """CandorLedgerUnreadable asks of processes with `candor_monitor_leader` for the ledger's gauges."""
    registry = CollectorRegistry()
    settings = Settings(ledger=f"sqlite:///{tmp_path / 'ledger.db'}", monitor=where)
    with open_monitor(settings, registry, production=lambda _: None):
        names = {family.name for family in registry.collect()}
    assert "candor_predictions" in names
    assert ("candor_monitor_leader" in names) is reads
    assert ("candor_calibration_labels" in names) is reads
