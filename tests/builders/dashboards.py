"""The dashboards as their JSON has them, and everything they ask Prometheus."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import monitoring
from docs.generators.server import families

FOLDER = Path(monitoring.__file__).parent / "dashboards"
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*.json"))
}


class Asked(NamedTuple):
    """One expression, and where it stands."""

    board: str
    title: str
    expr: str


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """All panels, those in rows too."""
    return [inner for panel in board["panels"] for inner in (panel, *panel.get("panels", []))]


def asked() -> list[Asked]:
    """The expressions of panels and annotations."""
    found = []
    for name, board in DASHBOARDS.items():
        for panel in panels(board):
            found += [
                Asked(name, panel["title"], target["expr"]) for target in panel.get("targets", [])
            ]
        annotations = board.get("annotations", {}).get("list", [])
        found += [
            Asked(name, entry["name"], entry["expr"]) for entry in annotations if "expr" in entry
        ]
    return found


def sample_names() -> set[str]:
    """The names under which Prometheus stores what a server exports."""
    return {
        family.name + suffix for family in families() for suffix in SUFFIXES.get(family.type, [""])
    }
