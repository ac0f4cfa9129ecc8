"""The dashboard and the rules name nothing that is not exported or recorded."""

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

import monitoring
from monitoring.drift_gauges import DriftGauges
from monitoring.window_gauges import WindowGauges
from serving.admission import Load
from serving.metrics import ServingMetrics
from tests.unit.monitoring.desk import Desk

ROOM = Path(monitoring.__file__).parent
DASHBOARD = json.loads((ROOM / "dashboards" / "candor.json").read_text(encoding="utf-8"))
RULE_FILES = [yaml.safe_load(path.read_text()) for path in sorted((ROOM / "rules").glob("*.rules.yml"))]
RULES = [rule for file in RULE_FILES for group in file["groups"] for rule in group["rules"]]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
SELECTOR = re.compile(r"(?<![\w:])(?:[a-z_]+:)?candor_[\w:]+")


def panel_expressions() -> list[str]:
    targets = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    annotations = [entry for entry in DASHBOARD["annotations"]["list"] if "expr" in entry]
    return [entry["expr"] for entry in targets + annotations]


def rule_expressions() -> list[str]:
    return [rule["expr"] for rule in RULES]


@pytest.fixture
def exported(desk: Desk) -> set[str]:
    desk.registry.register(WindowGauges(desk.ledger))
    desk.registry.register(DriftGauges(desk.ledger))
    ServingMetrics(desk.registry).of_version("pneumonia", 1, Load(service_s=0.1))
    return {sample.name for family in desk.registry.collect() for sample in family.samples}


@pytest.mark.parametrize("expression", panel_expressions() + rule_expressions())
def test_every_expression_parses_and_names_what_exists(expression: str, exported: set[str]) -> None:
    promql_parser.parse(expression.replace("$__rate_interval", "5m"))
    names = set(SELECTOR.findall(expression))
    assert names <= exported | RECORDED


def test_the_expressions_were_found() -> None:
    assert len(panel_expressions()) > 20
    assert len(rule_expressions()) > 35


def test_every_counter_and_gauge_of_the_room_is_looked_at(exported: set[str]) -> None:
    looked_at = set(SELECTOR.findall(" ".join(panel_expressions() + rule_expressions())))
    serving = ("candor_batch", "candor_decode", "candor_inference", "candor_queue")
    unseen = {name for name in exported if not name.endswith(("_created", "_sum", "_count"))} - looked_at
    unseen = {name for name in unseen if not name.startswith(serving)}
    assert unseen == set()


def test_panels_are_placed_apart_and_say_what_they_mean() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        for cell in (
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        ):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]
        assert panel["type"] == "row" or panel["description"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_variables_are_defined_before_they_are_used() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                walk(inner)
        elif isinstance(value, str):
            used.update(re.findall(r"\$\{?(\w+)", value))

    walk(DASHBOARD)
    assert used - {"__rate_interval"} <= defined
