"""The dashboards are up to date and typed, and they and the rules name nothing that is not exported or recorded."""

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import monitoring
from monitoring.dashboards.boards import BOARDS
from monitoring.dashboards.frame import as_json
from tests.builders.dashboards import DASHBOARDS, FOLDER, Asked, asked, panels, sample_names

RULE_FILES = sorted((Path(monitoring.__file__).parent / "rules").glob("*.rules.yml"))
RULES = [rule for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
SELECTOR = re.compile(r"(?<![\w:])(?:[a-z_]+:)?candor_[\w:]+")
EXPRESSIONS = asked() + [Asked("rules", rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES]
NAMES = set(SELECTOR.findall(" ".join(entry.expr for entry in EXPRESSIONS)))


@pytest.mark.parametrize("name", BOARDS)
def test_the_json_is_what_its_description_makes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == as_json(BOARDS[name]()), "run: python -m monitoring.dashboards"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafanas_schema_reads_all_of_it(name: str) -> None:
    register_default_plugins()
    read = Dashboard.from_json(DASHBOARDS[name])
    again = json.loads(json.dumps(read, cls=JSONEncoder))
    for variable in again["templating"]["list"]:
        for field in ("auto", "auto_min", "auto_count"):
            variable.pop(field, None)
    assert again == DASHBOARDS[name]


def test_every_dashboard_has_its_json() -> None:
    assert set(BOARDS) == set(DASHBOARDS)
    assert len({board["uid"] for board in DASHBOARDS.values()}) == len(DASHBOARDS)


def test_every_expression_parses() -> None:
    for entry in EXPRESSIONS:
        promql_parser.parse(entry.expr.replace("$__rate_interval", "5m"))
    assert len(EXPRESSIONS) > 100


def test_every_name_is_exported_or_recorded_and_the_other_way_round() -> None:
    exported = sample_names() - {"candor_monitor_leader", "candor_shadow_skipped_total"}
    assert exported | RECORDED >= NAMES
    counted = {name for name in exported if not name.endswith(("_created", "_sum", "_count"))}
    assert counted - NAMES == set()


def test_panels_are_placed_apart_and_say_what_they_mean() -> None:
    for board in DASHBOARDS.values():
        taken: dict[tuple[int, int], str] = {}
        for panel in panels(board):
            grid = panel["gridPos"]
            across, down = range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])
            assert across.stop <= 24
            for cell in ((x, y) for x in across for y in down):
                assert taken.setdefault(cell, panel["title"]) == panel["title"]
            assert panel["type"] == "row" or panel["description"]
            references = [target["refId"] for target in panel.get("targets", [])]
            assert len(references) == len(set(references))


def test_a_series_that_is_styled_is_there() -> None:
    for board in DASHBOARDS.values():
        for panel in panels(board):
            legends = {target.get("legendFormat") for target in panel.get("targets", [])}
            legends |= set(_renamed(panel).values())
            styled = {each["matcher"]["options"] for each in panel.get("fieldConfig", {}).get("overrides", [])}
            assert styled <= legends, panel["title"]


def test_columns_of_tables_are_renamed_from_their_queries() -> None:
    for board in DASHBOARDS.values():
        for panel in panels(board):
            known = {f"Value #{target['refId']}" for target in panel.get("targets", [])}
            assert set(_renamed(panel)) <= known
            for name in _kept(panel):
                assert name in known | {"bin", "model", "version"}


def _renamed(panel: dict[str, Any]) -> dict[str, str]:
    return dict(
        pair for each in panel.get("transformations", []) for pair in each["options"].get("renameByName", {}).items()
    )


def _kept(panel: dict[str, Any]) -> list[str]:
    filters = [each for each in panel.get("transformations", []) if each["id"] == "filterFieldsByName"]
    return [name for each in filters for name in each["options"]["include"]["names"]]


def test_variables_are_defined_before_they_are_used() -> None:
    for board in DASHBOARDS.values():
        defined = {variable["name"] for variable in board["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(board)))
        assert used - {"__rate_interval"} <= defined
