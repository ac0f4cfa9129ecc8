"""The part of Grafana's dashboard format (11.6) that our dashboards use. A field that is not listed
is an error.

The end-to-end test compiles them against Grafana's own TypeScript types; this needs no network. The
files by which Grafana is provisioned have no such types: these models follow "Provision Grafana" in
its documentation.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


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
