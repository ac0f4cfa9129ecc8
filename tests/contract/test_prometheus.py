"""Every alert has its runbook and its test cases. The dashboards are sound. Dashboards and rules
name every metric that is exported or recorded, and no other.
"""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import promql_parser
import yaml

import monitoring
from docs.generators.server import families
from tests.builders.prometheus import DASHBOARDS, Asked, asked, panels, sample_names

ROOT = Path(monitoring.__file__).parents[1]
RULE_FOLDER = ROOT / "monitoring" / "rules"
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ["## Meaning", "## Look at", "## Do"]


def alerts() -> dict[str, dict[str, Any]]:
    groups = [
        group
        for path in RULE_FOLDER.glob("*.rules.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_every_alert_is_tested_firing_and_silent() -> None:
    seen: dict[str, set[bool]] = defaultdict(set)
    for path in RULE_FOLDER.glob("*.test.yml"):
        for case in yaml.safe_load(path.read_text())["tests"]:
            for test in case.get("alert_rule_test", []):
                seen[test["alertname"]].add(bool(test["exp_alerts"]))
    lacking = [name for name in alerts() if seen[name] != {True, False}]
    assert not lacking, (
        f"give {lacking} a case that fires and one with `exp_alerts: []` in the .test.yml beside"
    )


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("Candor*.md")} == set(alerts()), (
        "each alert needs docs/runbooks/ALERT.md: copy the nearest"
    )
    assert {rule["labels"]["severity"] for rule in alerts().values()} == {"page", "ticket"}
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        page = (RUNBOOKS / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n")
        assert re.findall(r"^## .*", page, flags=re.M) == SECTIONS
        assert f"`{rule['labels']['severity']}`" in page
        assert f"]({name}.md)" in (RUNBOOKS / "README.md").read_text()


RULE_FILES = sorted((Path(monitoring.__file__).parent / "rules").glob("*.rules.yml"))
RULES = [
    rule
    for path in RULE_FILES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
SELECTOR = re.compile(r"(?<![\w:])(?:[a-z_]+:)?candor_[\w:]+")
EXPRESSIONS = asked() + [
    Asked("rules", rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES
]
NAMES = set(SELECTOR.findall(" ".join(entry.expr for entry in EXPRESSIONS)))


def test_every_expression_parses() -> None:
    for entry in EXPRESSIONS:
        promql_parser.parse(entry.expr.replace("$__rate_interval", "5m"))
    assert len(EXPRESSIONS) > 100


def test_every_name_is_exported_or_recorded_and_the_other_way_round() -> None:
    exported = sample_names()
    assert NAMES - exported - RECORDED == set(), "dashboards and rules name what is not exported"
    counted = {name for name in exported if not name.endswith(("_created", "_sum", "_count"))}
    assert counted - NAMES == set(), "use them in monitoring/dashboards or monitoring/rules"


def test_variables_are_defined_before_they_are_used() -> None:
    for board in DASHBOARDS.values():
        defined = {variable["name"] for variable in board["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(board)))
        assert used - {"__rate_interval"} <= defined


def test_panels_of_a_version_show_one_finding_and_no_sum_over_several() -> None:
    """`finding` is empty for a model with exclusive classes, as is the variable."""
    variables = {each["name"] for each in DASHBOARDS["model"]["templating"]["list"]}
    assert "finding" in variables
    of_model = [each for each in asked() if each.board == "model" and "$version" in each.expr]
    assert of_model
    for each in of_model:
        selectors = re.findall(r"\{[^}]*\}", each.expr)
        assert all('finding="$finding"' in selector for selector in selectors), each
    for each in asked():
        grouped = re.findall(r"by \(([^)]*)\)", each.expr)
        names = set(re.findall(r"candor_\w+", each.expr))
        if each.board == "overview" and names & OF_FINDINGS:
            assert all("finding" in labels for labels in grouped), each


OF_FINDINGS = {
    family.name
    for family in families()
    if family.name.startswith(("candor_calibration", "candor_accuracy", "candor_diagnosis"))
}


def test_every_dashboard_and_panel_has_an_id_of_its_own() -> None:
    assert set(DASHBOARDS) == {"overview", "model", "operations"}
    assert len({board["uid"] for board in DASHBOARDS.values()}) == len(DASHBOARDS)
    for board in DASHBOARDS.values():
        ids = [panel["id"] for panel in panels(board)]
        assert len(ids) == len(set(ids))
