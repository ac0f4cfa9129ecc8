"""Two replicas, a real Prometheus, a real Alertmanager: from wrong labels to a page, from a
promotion to its end.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import monitoring
from model_store.bundle.card import FlaggedShare, ScopeCard
from model_store.store.store import Store
from tests.builders.answers import CLASSES, label, make_card, make_row
from tests.builders.bundles import png, publish_tiny
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import PATIENCE_S, Process, candor_here, free_port, wait_until
from tests.builders.prometheus import Program, asked, hurried, sample_names

ROOM = Path(monitoring.__file__).parent
SCOPE = ScopeCard(
    method="mahalanobis",
    features="means of maps",
    reference_split="val",
    fitted_on=600,
    alpha=0.05,
    flagged=FlaggedShare(n=300, lower=0.028, upper=0.077),
)
pytestmark = pytest.mark.programs("prometheus", "prometheus-alertmanager")


class Webhook:
    """What Alertmanager tells: (path, alert name, status) in order; whole in `alerts`."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, dict[str, Any]]] = []
        heard = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                heard.extend((self.path, alert) for alert in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def told(self, path: str, name: str, status: str) -> list[dict[str, Any]]:
        return [
            alert
            for where, alert in self.alerts
            if where == path and alert["labels"]["alertname"] == name and alert["status"] == status
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Scene:
    """Two replicas on one store and ledger, a Prometheus, its Alertmanager, and us."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.store, self.ledger = store, f"sqlite:///{folder / 'ledger.db'}"
        self.webhook, self._folder = Webhook(), folder
        self._settings: dict[str, object] = {
            "store": store.root,
            "ledger": self.ledger,
            "deadline_s": PATIENCE_S,  # each waits for the other's commits
            "drift_tags": '["site"]',
            "recalibrate_on_alarm": "propose",  # its panel has data where a process does it
        }
        self._replicas = [self._replica(free_port()) for _ in range(2)]
        self.replicas = [replica.url for replica in self._replicas]
        example = (ROOM / "alertmanager.yml").read_text()
        told = hurried(example.replace("http://127.0.0.1:9000", self.webhook.url))
        self._alertmanager = Program(
            "prometheus-alertmanager", folder, told, "--cluster.listen-address="
        )
        rules = list((ROOM / "rules").glob("*.rules.yml"))
        for path in rules:
            (folder / path.name).write_text(hurried(path.read_text()))
        alertmanager = f"127.0.0.1:{self._alertmanager.port}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / path.name) for path in rules],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
            "scrape_configs": [
                {
                    "job_name": "candor",
                    "static_configs": [{"targets": [url[7:] for url in self.replicas]}],
                }
            ],
        }
        option = "--enable-feature=exemplar-storage"
        self.prometheus = Program("prometheus", folder, json.dumps(config), option)  # JSON is YAML
        self.query = self.prometheus.query

    def _replica(self, port: int) -> Process:
        return Process("serve", self._folder, port=port, **self._settings).await_ready()

    def close(self) -> None:
        self.prometheus.stop()
        self._alertmanager.stop()
        for replica in self._replicas:
            replica.stop()
        self.webhook.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    opened = Scene(tmp_path, publish_tiny(tmp_path / "store", temperature=0.2))  # far too sure
    yield opened
    opened.close()


def serve_and_label(scene: Scene, *, images: int) -> None:
    """Images and labels to both replicas in turn; every second label is wrong."""
    with httpx.Client() as client:
        items: list[dict[str, str]] = []
        for number in range(images):
            image = png(number % 40)
            answer = client.post(
                f"{scene.replicas[number % 2]}/predictions/tiny",
                content=image,
                headers={"X-Candor-Tags": "site=A"},
            ).json()
            wrong = next(name for name in ("benign", "malignant") if name != answer["predicted"])
            label = answer["predicted"] if number % 2 else wrong
            items.append({"prediction_id": answer["prediction_id"], "label": label})
        for number, replica in enumerate(scene.replicas):
            half = len(items) // 2
            some = items[number * half : (number + 1) * half]
            assert client.post(f"{replica}/feedback", json=some).status_code == 200
        client.post(f"{scene.replicas[0]}/predictions/tiny", content=b"no image")


def watch_another_model(ledger: str) -> None:
    """Answers and labels of a model that promises what "tiny" does not: rates, and a scope."""
    card, clock = make_card(), Clock()
    counted = card.calibration.model_copy(update={"confusion": ((900, 100), (100, 900))})
    card = card.model_copy(update={"calibration": counted, "scope": SCOPE})
    clock.now_ns = time.time_ns()
    with MonitoredModel(ledger, clock, card=card) as other:
        made = {"watched_version_id": other.watched_version_id, "served_at_ns": clock.now_ns}
        rows = [make_row(number, predicted=number % 2, **made) for number in range(200)]
        other.serve(*(row._replace(scope_p=0.5) for row in rows))
        said = [CLASSES[(n + (n % 10 < 1)) % 2] for n in range(200)]
        other.label(*(label(n, name, at_ns=clock.now_ns) for n, name in enumerate(said)))


def test_a_miscalibrated_model_pages_and_recalibration_ends_it(scene: Scene) -> None:
    # Every series was scraped at zero before anything happens.
    labels = "sum(candor_feedback_total)"
    wait_until(
        lambda: [each["value"][1] for each in scene.query(labels)] == ["0"], "the first scrapes"
    )
    wait_until(lambda: len(scene.query("up == 1")) == 2, "both replicas scraped")
    serve_and_label(scene, images=240)
    (page, *_) = wait_until(
        lambda: scene.webhook.told("/page", "CandorCalibrationDrift", "firing"), "the page"
    )
    assert (page["labels"]["model"], page["labels"]["version"]) == ("tiny", "1")
    assert page["annotations"]["runbook_url"] == "docs/runbooks/CandorCalibrationDrift.md"
    assert {
        alert["labels"]["alertname"] for path, alert in scene.webhook.alerts if path == "/page"
    } <= {"CandorCalibrationDrift", "CandorTagDrift"}
    (of_site, *_) = wait_until(
        lambda: scene.webhook.told("/page", "CandorTagDrift", "firing"), "the page about a site"
    )
    assert of_site["labels"]["tag"] == "site=A"

    # Replicas counted for themselves; together they counted everything once, and agree on what is
    # the ledger's.
    wait_until(lambda: scene.query("sum(candor_feedback_total) == 240"), "all labels counted")
    assert len(scene.query("sum by (instance) (candor_predictions_total) == 120")) == 2
    assert len(scene.query("sum by (instance) (candor_feedback_total) == 120")) == 2
    every = 'candor_calibration_labels{window="all"} == 240'
    wait_until(lambda: len(scene.query(every)) == 2, "both replicas to have read the ledger since")
    assert len(scene.query("candor_calibration_drift_active == 1")) == 2
    for verb in (("backup", scene.store.root.parent / "copy.db"), ("prune", "--older-than", "90d")):
        assert candor_here("ledger", *verb, "--ledger", scene.ledger).exit_code == 0
    watch_another_model(scene.ledger)
    with suppress(AssertionError):  # the next line says which panels have none
        wait_until(lambda: not unanswered(scene), "data for every panel")
    assert unanswered(scene) == []

    # A new temperature, fitted on the labels; both replicas switch, and the page is taken back.
    at = ("--store", scene.store.root)
    ledger = ("--ledger", scene.ledger)
    done = candor_here("recalibrate", "tiny", "--allow-label-changes", *at, *ledger)
    assert done.exit_code == 0, done.output
    scene.store.promote("tiny", 2)
    wait_until(
        lambda: scene.webhook.told("/page", "CandorCalibrationDrift", "resolved"),
        "the end of the page",
    )
    wait_until(
        lambda: scene.webhook.told("/page", "CandorTagDrift", "resolved"),
        "the end of the page about a site",
    )
    assert scene.query('candor_model_loaded{version="2"} == 1')
    acknowledged = httpx.post(
        f"{scene.replicas[0]}/models/tiny/report/acknowledge?version=1", json={"note": "2 serves"}
    )
    assert acknowledged.json()["drift"]["active"] is False


def unanswered(scene: Scene) -> list[str]:
    """The panels whose expressions return nothing, of the model that has what they show."""
    of_another = ("doubtful_images", "operating_point_promise", "net_benefit")
    chosen = {"$version": "1", "$finding": "", "$window": "all", "$__rate_interval": "1m"}
    missing = []
    for entry in asked():
        is_of_another = any(f"candor_{name}" in entry.expr for name in of_another)
        expr = entry.expr.replace("$model", "pneumonia" if is_of_another else "tiny")
        for variable, value in chosen.items():
            expr = expr.replace(variable, value)
        if not scene.query(expr):
            missing.append(f"{entry.board}: {entry.title}: {expr}")
    return missing


def test_requests_that_fail_without_a_ledger_make_one_page(tmp_path: Path) -> None:
    told = hurried((ROOM / "alertmanager.yml").read_text())
    manager = Program("prometheus-alertmanager", tmp_path, told, "--cluster.listen-address=")
    try:
        names = ("CandorUnavailable", "CandorLedgerAway", "CandorVersionStopped")
        alerts = [{"labels": {"alertname": name, "severity": "page"}} for name in names]
        alerts += [{"labels": {"alertname": "CandorUnavailable", "severity": "ticket"}}]
        address = f"{manager.url}/api/v2/alerts"

        def told() -> bool:
            with suppress(httpx.TransportError):  # it is starting
                return httpx.post(address, json=alerts).is_success
            return False

        def paging() -> list[str]:
            found = httpx.get(address, params={"inhibited": "false"}).json()
            return sorted(each["labels"]["alertname"] for each in found)

        wait_until(told)
        wait_until(lambda: paging() == ["CandorUnavailable", "CandorVersionStopped"], "one page")
    finally:
        manager.stop()


class Exporter:
    """A process that Prometheus scrapes: it shows `text`, and fails where that is None."""

    def __init__(self) -> None:
        self.text: str | None = ""
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(500 if exporter.text is None else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write((exporter.text or "").encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def show(self, samples: dict[str, float]) -> None:
        self.text = "".join(f"candor_{name} {value}\n" for name, value in samples.items())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


_OF = '{model="tiny",version="1",finding="Edema"'
_SCANNED = "store_scan_timestamp_seconds"
# By alert: what a process shows while all is well, and when the alert should fire.
FIRES: dict[str, dict[str, tuple[float, float]]] = {
    "CandorCalibrationDrift": {f"calibration_drift_active{_OF}}}": (0, 1)},
    "CandorTagDrift": {f'calibration_drift_tag_active{_OF},tag="site=A"}}': (0, 1)},
    "CandorCalibrationErrorHigh": {
        f'calibration_ece_ratio{_OF},window="7d"}}': (0.02, 0.2),
        f'calibration_noise_floor_ratio{_OF},window="7d"}}': (0.02, 0.02),
        f'calibration_labels{_OF},window="7d"}}': (500, 500),
    },
    "CandorAccuracyLower": {f"accuracy_lower{_OF}}}": (0, 1)},
    "CandorOperatingPointLower": {f'operating_points_lower{_OF},tag=""}}': (0, 2)},
    "CandorDiagnosisOpen": {f'diagnosis_state{_OF},state="look"}}': (0, 1)},
    "CandorDoubtfulImages": {f"doubtful_images{_OF}}}": (0, 1)},
    "CandorFeedbackStalled": {
        f"predictions_total{_OF}}}": (0, 200),
        f"feedback_total{_OF}}}": (0, 0),
    },
    "CandorFeedbackUnknownPrediction": {
        'feedback_rejected_total{reason="unknown_prediction"}': (0, 50)
    },
    "CandorFeedbackRejected": {'feedback_rejected_total{reason="unknown_label"}': (0, 50)},
    "CandorNothingServes": {
        'model_loaded{model="tiny",version="1"}': (1, 0),
        "decode_seconds_count": (1, 1),
    },
    "CandorUnavailable": {
        'request_duration_seconds_count{model="tiny",version="1"}': (0, 700),
        'requests_failed_total{model="tiny",version="1"}': (0, 300),
    },
    "CandorSlow": {'requests_late_total{model="tiny",version="1"}': (0, 300)},
    "CandorVersionNotServed": {
        'model_wanted_version{model="tiny"}': (1, 2),
        'model_served_version{model="tiny"}': (1, 1),
    },
    "CandorVersionStopped": {'version_stopped{model="tiny",version="1"}': (0, 1)},
    "CandorProbesDiffer": {'probe_difference{model="tiny",version="1"}': (0, 0.1)},
    "CandorTrainingImages": {'training_images_total{model="tiny",version="1"}': (0, 50)},
    "CandorStoreUnread": {_SCANNED: (time.time() + 3600, time.time() - 3600)},
    "CandorLedgerAway": {"ledger_away": (0, 1)},
    "CandorClockDoubtful": {"clock_doubtful": (0, 1)},
    "CandorSpoolFilling": {"spool_bytes": (0, 800), "spool_limit_bytes": (1000, 1000)},
    "CandorAnswersSpooled": {"spool_rows": (0, 5)},
}
OF_PROCESSES = {"CandorReplicaDown", "CandorLedgerUnreadable"}  # of what a process does not show


def test_every_alert_fires_in_a_running_prometheus_and_none_while_all_is_well(
    tmp_path: Path,
) -> None:
    rules = [yaml.safe_load(path.read_text()) for path in (ROOM / "rules").glob("*.rules.yml")]
    alerts = {
        (rule["alert"], rule["labels"]["severity"])
        for file in rules
        for each in file["groups"]
        for rule in each["rules"]
        if "alert" in rule
    }
    assert {name for name, _ in alerts} == set(FIRES) | OF_PROCESSES
    shown = {name: pair for pairs in FIRES.values() for name, pair in pairs.items()}
    assert {f"candor_{name.partition('{')[0]}" for name in shown} <= sample_names()
    for path in (ROOM / "rules").glob("*.rules.yml"):
        (tmp_path / path.name).write_text(hurried(path.read_text()))
    exporters = server, reader, another = [Exporter() for _ in range(3)]
    recorded = {f"predictions_total{_OF}}}": 0.0, "monitor_leader": 1.0}
    server.show({name: calm for name, (calm, _) in shown.items()})
    reader.show(recorded | {f'calibration_labels{_OF},window="all"}}': 1.0})
    targets = [each.address for each in exporters]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(tmp_path / "*.rules.yml")],
        "scrape_configs": [{"job_name": "candor", "static_configs": [{"targets": targets}]}],
    }
    prometheus = Program("prometheus", tmp_path, json.dumps(config))  # JSON is YAML

    def firing() -> set[tuple[str, str]]:
        found = (each["metric"] for each in prometheus.query('ALERTS{alertstate="firing"}'))
        return {(each["alertname"], each["severity"]) for each in found}

    try:
        twice = 'count_over_time(up{job="candor"}[1m]) >= 3'
        wait_until(lambda: len(prometheus.query(twice)) == 3, "three scrapes of each process")
        assert prometheus.query("ALERTS") == []
        server.show({name: bad for name, (_, bad) in shown.items()})
        reader.show(recorded)
        another.text = None
        with suppress(AssertionError):  # the next line says which are missing
            wait_until(lambda: firing() == alerts, "every alert")
        assert firing() == alerts
        told = httpx.get(f"{prometheus.url}/api/v1/alerts").json()["data"]["alerts"]
        assert all("<error" not in text for each in told for text in each["annotations"].values())
    finally:
        prometheus.stop()
        for each in exporters:
            each.close()
