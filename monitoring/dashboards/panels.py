"""The few kinds of panels that the dashboards are made of. Every panel says what it means."""

from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import barchart, common, dashboard, prometheus, stat, table, timeseries, xychart
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as query
from grafana_foundation_sdk.models import xychart as xy

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
RATIO, COUNT, PLAIN, SECONDS, PER_SECOND, BYTES = "percentunit", "short", "none", "s", "reqps", "bytes"


class Query(NamedTuple):
    """An expression and what its series are called."""

    expr: str
    legend: str = "__auto"


class Size(NamedTuple):
    """Of 24 columns, and rows of some 30 pixels."""

    width: int
    height: int


HALF, SMALL = Size(12, 8), Size(4, 4)


def lines(
    title: str, text: str, *queries: Query, unit: str = RATIO, size: Size = HALF, low: float | None = 0
) -> timeseries.Panel:
    """Series over time on one axis."""
    panel = timeseries.Panel().title(title).description(text).datasource(SOURCE)
    panel = panel.span(size.width).height(size.height).unit(unit).line_width(2).fill_opacity(0)
    panel = panel.legend(common.VizLegendOptions().show_legend(True).placement(look.LegendPlacement.BOTTOM))
    if low is not None:
        panel = panel.axis_soft_min(low)
    for number, each in enumerate(queries):
        panel = panel.with_target(_range(each, number))
    return panel


def dashed(panel: timeseries.Panel, name: str, color: str) -> timeseries.Panel:
    """Draw one series as a dashed line: what the others are compared with."""
    dash = {"fill": "dash", "dash": [8, 6]}
    fixed = {"mode": "fixed", "fixedColor": color}
    values = {"custom.lineStyle": dash, "color": fixed}
    return panel.override_by_name(name, [model.DynamicConfigValue(key, value) for key, value in values.items()])


def figure(
    title: str, text: str, expr: str, *, unit: str = RATIO, size: Size = SMALL, alarm: float | None = None
) -> stat.Panel:
    """One number; red from `alarm` on."""
    panel = stat.Panel().title(title).description(text).datasource(SOURCE).unit(unit)
    panel = panel.span(size.width).height(size.height).graph_mode(look.BigValueGraphMode.NONE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    steps = [model.Threshold(value=None, color="text" if alarm is None else "green")]
    if alarm is not None:
        steps.append(model.Threshold(value=alarm, color="red"))
    panel = panel.thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
    return panel.with_target(_range(Query(expr), 0))


def words(panel: stat.Panel, **values: str) -> stat.Panel:
    """Say a value in a word: `words(panel, _0="quiet", _1="ALARM")`."""
    mapping = {value[1:]: model.ValueMappingResult(text=word) for value, word in values.items()}
    return panel.mappings([model.ValueMap(options=mapping)])


def bars(
    title: str, text: str, *queries: Query, unit: str = RATIO, by: str = "bin", size: Size = HALF
) -> barchart.Panel:
    """Bars side by side for each value of a label, as of now."""
    panel = barchart.Panel().title(title).description(text).datasource(SOURCE).unit(unit)
    panel = panel.span(size.width).height(size.height).x_field(by).fill_opacity(80)
    panel = panel.legend(common.VizLegendOptions().show_legend(True).placement(look.LegendPlacement.BOTTOM))
    for number, each in enumerate(queries):
        panel = panel.with_target(_instant(each, number))
    for transformation in _joined(by, queries):
        panel = panel.with_transformation(transformation)
    return panel


def scatter(title: str, text: str, *, x: Query, y: Query, truth: Query, by: str, size: Size = HALF) -> xychart.Panel:
    """Dots of y against x for each value of a label, with the line `truth` = x."""
    queries = (x, y, truth)
    panel = xychart.Panel().title(title).description(text).datasource(SOURCE).unit(RATIO)
    panel = panel.span(size.width).height(size.height).min(0).max(1).mapping(xy.SeriesMapping.MANUAL)
    panel = panel.show(xy.XYShowMode.POINTS)
    panel = panel.override_by_name(truth.legend, [model.DynamicConfigValue("custom.show", "lines")])
    for number, each in enumerate(queries):
        panel = panel.with_target(_instant(each, number))
    for transformation in _joined(by, queries):
        panel = panel.with_transformation(transformation)
    return panel.series([_dots(x.legend, y.legend), _dots(x.legend, truth.legend)])


def grid(title: str, text: str, columns: dict[str, Query], *, by: tuple[str, ...], units: dict[str, str]) -> Any:
    """A table with a row for each combination of the labels `by`, a column for each query."""
    panel = table.Panel().title(title).description(text).datasource(SOURCE).span(24).height(9)
    panel = panel.align(look.FieldTextAlignment.AUTO)
    names = {f"Value #{ref_id(number)}": name for number, name in enumerate(columns)}
    for number, each in enumerate(columns.values()):
        panel = panel.with_target(_instant(each, number))
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    kept = {"include": {"names": [*by, *names]}}
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="filterFieldsByName", options=kept))
    renamed = {"renameByName": names}
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=renamed))
    for name, unit in units.items():
        panel = panel.override_by_name(name, [model.DynamicConfigValue("unit", unit)])
    return panel


def ref_id(number: int) -> str:
    """A, B, C ..."""
    return chr(ord("A") + number)


def _range(each: Query, number: int) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(each.expr).legend_format(each.legend).ref_id(ref_id(number))
    return target.datasource(SOURCE).range()


def _instant(each: Query, number: int) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(each.expr).legend_format(each.legend).ref_id(ref_id(number))
    return target.datasource(SOURCE).instant().format(query.PromQueryFormat.TABLE)


def _joined(by: str, queries: tuple[Query, ...]) -> list[model.DataTransformerConfig]:
    """One frame of the label and a column for each query, named after it, sorted by the label."""
    names = {f"Value #{ref_id(number)}": each.legend for number, each in enumerate(queries)}
    kept = {"include": {"names": [by, *names]}}
    return [
        model.DataTransformerConfig(id_val="joinByField", options={"byField": by, "mode": "outer"}),
        model.DataTransformerConfig(id_val="filterFieldsByName", options=kept),
        model.DataTransformerConfig(id_val="organize", options={"renameByName": names}),
        model.DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": by}]}),
    ]


def _dots(x: str, y: str) -> xychart.XYSeriesConfig:
    def named(name: str) -> xychart.MatcherConfig:
        return xychart.MatcherConfig().id("byName").options(name)

    frame = xychart.XychartXYSeriesConfigFrame().matcher(xychart.MatcherConfig().id("byIndex").options(0))
    series = xychart.XYSeriesConfig().name(xychart.XychartXYSeriesConfigName().fixed(y)).frame(frame)
    series = series.x(xychart.XychartXYSeriesConfigX().matcher(named(x)))
    return series.y(xychart.XychartXYSeriesConfigY().matcher(named(y)))
