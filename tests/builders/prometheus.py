"""The dashboards as their JSON has them, the part of Grafana's format (11.6) that they use, and
everything that they ask Prometheus.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

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


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class DataSource(Model):
    type: Literal["prometheus"]
    uid: Literal["${datasource}"]


class Target(Model):
    datasource: DataSource
    expr: str = Field(min_length=1)
    ref_id: str = Field(pattern="^[A-Z]$")
    legend_format: str = Field(min_length=1)
    instant: bool
    range: bool
    format: Literal["time_series", "table"] = "time_series"


class Grid(Model):
    x: int = Field(ge=0)
    y: int = Field(ge=0)
    w: int = Field(ge=1, le=24)
    h: int = Field(ge=1)


class Defaults(Model):
    unit: str | None = None
    min: float | None = None
    max: float | None = None
    custom: dict[str, Any] = {}
    mappings: list[dict[str, Any]] = []
    thresholds: dict[str, Any] = {}


class Override(Model):
    matcher: dict[str, str]
    properties: list[dict[str, Any]]


class FieldConfig(Model):
    defaults: Defaults
    overrides: list[Override]


class Transformation(Model):
    id: Literal["joinByField", "filterFieldsByName", "organize", "sortBy", "merge"]
    options: dict[str, Any]


class Row(Model):
    type: Literal["row"]
    id: int
    title: str = Field(min_length=1)
    grid_pos: Grid
    collapsed: bool
    panels: list["Panel"]


class Panel(Model):
    type: Literal["barchart", "stat", "table", "timeseries", "xychart"]
    id: int
    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    datasource: DataSource
    grid_pos: Grid
    field_config: FieldConfig
    targets: list[Target] = Field(min_length=1)
    options: dict[str, Any] = {}
    transformations: list[Transformation] = []
    repeat_direction: Literal["h"] = "h"
    transparent: bool = False


class Variable(Model):
    type: Literal["custom", "datasource", "query"]
    name: str = Field(min_length=1)
    label: str = Field(min_length=1)
    query: str
    multi: bool
    include_all: bool
    skip_url_sync: bool
    allow_custom_value: bool = True
    datasource: DataSource | None = None
    refresh: int | None = None
    sort: int | None = None


class Variables(Model):
    items: list[Variable] = Field(alias="list")


class Annotation(Model):
    name: str = Field(min_length=1)
    datasource: DataSource
    enable: bool
    hide: bool
    built_in: int
    icon_color: str
    expr: str = Field(min_length=1)


class Annotations(Model):
    items: list[Annotation] = Field(alias="list", default=[])


class Dashboard(Model):
    uid: str = Field(pattern="^candor-[a-z]+$")
    title: str = Field(pattern="^Candor: ")
    description: str = Field(min_length=1)
    schema_version: Literal[41]
    tags: list[str]
    editable: bool
    refresh: str
    time: dict[str, str]
    timezone: str
    fiscal_year_start_month: int
    graph_tooltip: Literal[0, 1, 2]
    links: list[dict[str, Any]]
    annotations: Annotations
    templating: Variables
    panels: list[Panel | Row]


class SourceOptions(Model):
    time_interval: str = Field(pattern=r"^\d+[smh]$")


class ProvisionedSource(Model):
    name: str = Field(min_length=1)
    type: Literal["prometheus"]
    uid: str = Field(pattern="^[a-zA-Z0-9_-]{1,40}$")
    access: Literal["proxy"]
    url: str = Field(pattern="^http://")
    is_default: bool
    json_data: SourceOptions


class DataSourceProvisioning(Model):
    api_version: Literal[1]
    datasources: list[ProvisionedSource] = Field(min_length=1)


class ProviderOptions(Model):
    path: str = Field(pattern="^/")


class DashboardProvider(Model):
    name: str = Field(min_length=1)
    folder: str
    type: Literal["file"]
    allow_ui_updates: bool
    options: ProviderOptions


class DashboardProvisioning(Model):
    api_version: Literal[1]
    providers: list[DashboardProvider] = Field(min_length=1)


_SUBSTITUTIONS = (
    (r"\b(scrape_interval|evaluation_interval|interval): \d+[smh]", r"\1: 1s"),
    (r"\bfor: \d+[smh]", "for: 1s"),
    (r"\bgroup_wait: \d+s", "group_wait: 0s"),
    (r"\bgroup_interval: \d+m", "group_interval: 1s"),
)


def hurried(text: str) -> str:
    """The text with every interval and delay at a second."""
    for pattern, replacement in _SUBSTITUTIONS:
        text = re.sub(pattern, replacement, text)
    return text
