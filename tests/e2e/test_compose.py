"""`docker compose --profile demo up`, as processes: dashboard and Alertmanager alarm."""

import json
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import httpx
import pytest
import yaml

from tests.builders.composition import PROGRAMS, Composition
from tests.builders.manifests import ROOT
from tests.builders.postgres import Cluster
from tests.builders.processes import PATIENCE_S, wait_until
from tests.builders.prometheus import DASHBOARDS, hurried, panels

pytestmark = [
    pytest.mark.nightly,  # alerts of a real Prometheus: test_monitoring_prometheus.py
    pytest.mark.programs(*PROGRAMS.values()),
]
SHORT = ("--rate", "30", "--clean", "4", "--label-delay", "1", "--once", "--json")


@pytest.fixture
def composition(tmp_path: Path, postgres: Cluster) -> Iterator[Composition]:
    started = Composition(tmp_path, postgres, edited=hurried)
    yield started
    started.close()


def paths_of_rules(composition: Composition) -> list[str]:
    groups = httpx.get(f"{composition.url('prometheus')}/api/v1/rules").json()["data"]["groups"]
    return [Path(group["file"]).name for group in groups]


def test_the_demo_raises_the_alarm_on_the_dashboard(composition: Composition) -> None:
    composition.start_all()
    assert set(paths_of_rules(composition)) == {"candor.rules.yml", "serving.rules.yml"}
    wait_until(
        lambda: len(composition.query('up{job="candor"} == 1')) == 2, "server and monitor scraped"
    )
    (stat,) = (
        panel for panel in panels(DASHBOARDS["overview"]) if panel["title"] == "Active drift alarms"
    )
    (target,) = stat["targets"]

    def alarms() -> list[str]:
        return [series["value"][1] for series in composition.query(target["expr"])]

    wait_until(lambda: alarms() == ["0"])
    demo = composition.start("demo", *SHORT)
    assert demo.wait(PATIENCE_S) == 0, composition.log("demo")
    log = composition.log("demo")
    figures = json.loads(log[log.index("{") :])
    assert figures["missed"] == 0
    assert 0 < figures["labels_after_shift"] < 500  # how long that takes is the machine's matter
    wait_until(lambda: alarms() == ["1"], "the dashboard to show the alarm")

    def paged() -> bool:
        alerts = httpx.get(f"{composition.url('alertmanager')}/api/v2/alerts").json()
        return "CandorCalibrationDrift" in {alert["labels"]["alertname"] for alert in alerts}

    wait_until(paged, "Alertmanager to have the alert")
    (rule,) = yaml.safe_load(
        (ROOT / "deploy/kubernetes/autoscaling/adapter-rule.yaml").read_text()
    )["rules"]
    given = {
        "<<.GroupBy>>": "instance",
        "<<.Series>>": rule["name"]["as"],
        "<<.LabelMatchers>>": 'job="candor"',
    }
    query = reduce(lambda text, pair: text.replace(*pair), given.items(), rule["metricsQuery"])
    # what the autoscaler would see: of the server, not of the monitor
    (wait,) = composition.query(query)
    assert wait["metric"]["instance"] == composition.url("candor").removeprefix("http://")
    assert 0 <= float(wait["value"][1]) < 60
    page = httpx.get(f"{composition.url('monitor')}/models/digits/report/page")
    assert page.status_code == 200
