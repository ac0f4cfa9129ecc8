"""The demo of compose.yaml at its own pace: seconds from `up` until a visitor sees the alarm on the
dashboard.
"""

import time
from pathlib import Path

import httpx

from tests.builders.composition import Composition
from tests.builders.postgres import Cluster, find_programs
from tests.builders.processes import wait_until
from tests.builders.prometheus import DASHBOARDS, panels

GOAL_S = 300.0


def watch_demo(folder: Path) -> dict[str, float]:
    """Start every service, the demo too, with nothing hurried; return the seconds until each place
    shows the alarm.
    """
    programs = find_programs()
    assert programs is not None, "install PostgreSQL"
    cluster = Cluster(programs)
    composition = Composition(folder, cluster)
    (stat,) = (
        panel for panel in panels(DASHBOARDS["overview"]) if panel["title"] == "Active drift alarms"
    )
    begun = time.monotonic()

    def shown() -> bool:
        return [series["value"][1] for series in composition.query(stat["targets"][0]["expr"])] == [
            "1"
        ]

    def alerted() -> bool:
        found = httpx.get(f"{composition.url('alertmanager')}/api/v2/alerts").json()
        return "CandorCalibrationDrift" in {alert["labels"]["alertname"] for alert in found}

    try:
        composition.start_all()
        composition.start("demo")
        wait_until(shown, "the dashboard to show the alarm")
        dashboard_s = time.monotonic() - begun
        wait_until(alerted, "Alertmanager to have the alert")
        alert_s = time.monotonic() - begun
        print(composition.log("demo"), flush=True)
    finally:
        composition.close()
        cluster.close()
    return {"dashboard_s": round(dashboard_s), "alertmanager_s": round(alert_s)}
