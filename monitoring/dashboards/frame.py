"""What every dashboard shares: its variables, links to the others, and its JSON."""

import json

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from monitoring.dashboards.panels import SOURCE

TAG = "candor"
WINDOWS = "all,last:500"
_OF_INTERVALS = ("auto", "auto_min", "auto_count")


def frame(uid: str, title: str, text: str) -> dashboard.Dashboard:
    """An empty dashboard that knows its data source."""
    board = dashboard.Dashboard(title).uid(uid).description(text).tags([TAG, "calibration"]).editable()
    board = board.refresh("30s").time("now-24h", "now").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    link = dashboard.DashboardLink("Candor").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    board = board.link(link.as_dropdown(True).include_vars(True).keep_time(True))
    return board.with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))


def of_a_model(board: dashboard.Dashboard) -> dashboard.Dashboard:
    """Ask for a model, a version and a window, and mark the alarms."""
    board = board.with_variable(_choice("model", "Model", "label_values(candor_predictions_total, model)"))
    versions = 'label_values(candor_predictions_total{model="$model"}, version)'
    board = board.with_variable(_choice("version", "Version", versions))
    board = board.with_variable(dashboard.CustomVariable("window").label("Window").values(WINDOWS).multi(False))
    return board.annotation(
        dashboard.AnnotationQuery()
        .name("Drift alarms")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("red")
        .expr('sum by (version) (increase(candor_calibration_drift_alarms_total{model="$model"}[1m])) > 0')
    )


def as_json(board: dashboard.Dashboard) -> str:
    """As it is kept in this folder."""
    built = board.build()
    for number, panel in enumerate(built.panels or [], 1):
        panel.id_val = number
    plain = json.loads(json.dumps(built, cls=JSONEncoder))
    for variable in plain["templating"]["list"]:
        for name in _OF_INTERVALS:  # the library writes them for every kind of variable
            variable.pop(name, None)
    return json.dumps(plain, indent=1, sort_keys=True) + "\n"


def _choice(name: str, label: str, values: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(values)
    variable = variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).multi(False)
    return variable.sort(model.VariableSort.NUMERICAL_DESC)
