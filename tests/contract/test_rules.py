"""Every alert has its runbook and its test cases."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

import monitoring

ROOT = Path(monitoring.__file__).parents[1]
RULES = ROOT / "monitoring" / "rules"
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ["## What it means", "## What to look at", "## What to do", "## How to silence it"]


def alerts() -> dict[str, dict[str, Any]]:
    groups = [
        group
        for path in RULES.glob("*.rules.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_every_alert_is_tested_firing_and_silent() -> None:
    seen: dict[str, set[bool]] = defaultdict(set)
    for path in RULES.glob("*.test.yml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for test in case.get("alert_rule_test", []):
                seen[test["alertname"]].add(bool(test["exp_alerts"]))
    assert {name: seen[name] for name in alerts()} == {name: {True, False} for name in alerts()}


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("Candor*.md")} == set(alerts())
    assert {rule["labels"]["severity"] for rule in alerts().values()} == {"page", "ticket", "info"}
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        page = (RUNBOOKS / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n")
        assert re.findall(r"^## .*", page, flags=re.M) == SECTIONS
        assert f"`{rule['labels']['severity']}`" in page
        assert f"]({name}.md)" in (RUNBOOKS / "README.md").read_text()
