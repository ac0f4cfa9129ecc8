"""The rules as Prometheus sees them, the example of Alertmanager as that does, and a page for each alert."""

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

import monitoring
from serving.settings import Settings

ROOM = Path(monitoring.__file__).parent
RULES = ROOM / "rules"
RULE_FILES = sorted(path.name for path in RULES.glob("*.rules.yml"))
RUNBOOKS = ROOM.parent / "docs" / "runbooks"
SECTIONS = ["## What it means", "## What to look at", "## What to do", "## How to silence it"]


def alerts() -> dict[str, dict[str, Any]]:
    groups = [group for name in RULE_FILES for group in yaml.safe_load((RULES / name).read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


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


def test_every_alert_is_tested_firing_and_silent() -> None:
    seen: dict[str, set[bool]] = defaultdict(set)
    for path in RULES.glob("*.test.yml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for test in case.get("alert_rule_test", []):
                seen[test["alertname"]].add(bool(test["exp_alerts"]))
    assert {name: seen[name] for name in alerts()} == {name: {True, False} for name in alerts()}


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("Candor*.md")} == set(alerts())
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        page = (RUNBOOKS / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n")
        assert re.findall(r"^## .*", page, flags=re.M) == SECTIONS
        assert f"`{rule['labels']['severity']}`" in page
        assert f"]({name}.md)" in (RUNBOOKS / "README.md").read_text()


def test_the_example_of_alertmanager_is_sound_and_routes_by_severity() -> None:
    run("amtool", "check-config", "../alertmanager.yml")
    for severity, receiver in {"page": "page", "ticket": "ticket", "info": "nobody"}.items():
        run("amtool", "config", "routes", "test", "--config.file=../alertmanager.yml",
            f"--verify.receivers={receiver}", f"severity={severity}")  # fmt: skip
    assert {rule["labels"]["severity"] for rule in alerts().values()} == {"page", "ticket", "info"}


def test_the_compose_example_names_what_is_there(tmp_path: Path) -> None:
    compose = yaml.safe_load((ROOM.parent / "compose.yaml").read_text())
    config = compose["configs"]["prometheus"]["content"]
    (tmp_path / "prometheus.yml").write_text(config)
    run("promtool", "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))
    assert yaml.safe_load(config)["scrape_configs"][0]["job_name"] == "candor"
    mounts = [volume for service in compose["services"].values() for volume in service.get("volumes", [])]
    for source in (mount.split(":")[0] for mount in mounts):
        assert source in compose["volumes"] or source == "./model_store/models" or (ROOM.parent / source).exists()
    environment = compose["services"]["candor"]["environment"]
    assert {name.removeprefix("CANDOR_").lower() for name in environment} <= Settings.model_fields.keys()
