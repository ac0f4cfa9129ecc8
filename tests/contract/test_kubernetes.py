"""The manifests say what program and Kubernetes understand: settings, routes, drain."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import yaml

from console.monitor_server import DECLARED as MONITOR_ENDPOINTS
from deploy import prometheus_rule
from hosting.settings import Settings
from serving.inference.admission import LEAST_DEADLINE_S
from serving.process.server import ENDPOINTS as SERVER_ENDPOINTS
from tests.builders.manifests import (
    FOLDER,
    KUSTOMIZATIONS,
    Manifest,
    container_environment,
    find,
    kubectl,
    of_kind,
    placed,
    pods,
    rendered,
)
from tests.builders.processes import PATIENCE_S
from tests.builders.prometheus import sample_names

KUBERNETES = "1.31"
PAGE = FOLDER.parents[1] / "docs" / "how-to" / "kubernetes.md"
EVERY = [each for name in KUSTOMIZATIONS for each in rendered(name)]
OTHERS = {"ServiceMonitor", "PrometheusRule", "ServingRuntime", "InferenceService"}  # of operators
every_pod = pytest.mark.parametrize("pod", pods().values(), ids=pods().keys())
SERVES = {"serve": SERVER_ENDPOINTS, "monitor": MONITOR_ENDPOINTS}


def test_kubernetes_knows_every_field() -> None:
    for manifest in EVERY:
        if manifest["kind"] not in OTHERS:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_the_runtime_of_kserve_is_a_sound_pod() -> None:
    spec = find("ServingRuntime", of="kserve")["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "runtime"}}
    kubernetes_validate.validate(
        pod | {"spec": {key: spec[key] for key in ("containers", "volumes")}},
        KUBERNETES,
        strict=True,
    )
    # where KServe mounts the store
    assert [each["name"] for each in spec["containers"]] == ["kserve-container"]
    service = find("InferenceService", "chest", of="kserve")["spec"]["predictor"]["model"]
    assert service["runtime"] == "candor"
    assert service["modelFormat"]["name"] in {
        each["name"] for each in spec["supportedModelFormats"]
    }
    assert service["protocolVersion"] in spec["protocolVersions"]


@every_pod
def test_the_environment_is_one_that_starts(
    pod: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the image sets, and with the files of the secrets."""
    (tmp_path / "url").write_text("postgresql+psycopg://candor@db/candor\n")
    (tmp_path / "tokens").write_text(f"{'t' * 32} admin somebody\n")
    files = {"/etc/candor/ledger": str(tmp_path), "/etc/candor/tokens": str(tmp_path)}
    for name, value in container_environment(pod).items():
        monkeypatch.setenv(name, placed(value, files))
    settings = Settings()
    assert settings.ledger_url == "postgresql+psycopg://candor@db/candor"
    assert settings.spool.is_relative_to("/data")


@every_pod
def test_what_is_written_has_a_place(pod: Manifest) -> None:
    """Every path in the environment is below a mount, and every mount has its volume."""
    (container,) = pod["containers"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
    for value in (each["value"] for each in container["env"] if each["value"].startswith("/")):
        assert value == "/mnt/models" or any(Path(value).is_relative_to(mount) for mount in mounts)
    assert pod.get("enableServiceLinks", False) is False


@every_pod
def test_probes_ask_routes_that_need_no_token(pod: Manifest) -> None:
    (container,) = pod["containers"]
    probes = {name: each["httpGet"] for name, each in container.items() if name.endswith("Probe")}
    if container["args"][0] not in SERVES:
        assert probes == {}
        return
    open_routes = {
        each.path
        for each in SERVES[container["args"][0]]
        if each.scope is None and each.method == "GET"
    }
    assert {name: asked["path"] for name, asked in probes.items() if name != "startupProbe"} == {
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    port = int(container_environment(pod)["CANDOR_PORT"])
    for asked in probes.values():
        assert asked["path"] in open_routes
        assert ports.get(asked["port"], asked["port"]) == port


@pytest.mark.parametrize("name", ["candor", "candor-monitor"])
def test_a_pod_has_time_to_drain(name: str) -> None:
    pod = find("Deployment", name)["spec"]["template"]["spec"]
    environment = container_environment(pod)
    drain_s = float(environment["CANDOR_DRAIN_DELAY_S"]) + Settings().drain_s
    assert pod["terminationGracePeriodSeconds"] >= drain_s + 10


def selectors(value: Any) -> Iterator[dict[str, str]]:
    """Every label selector of pods in a manifest."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("labelSelector", "podSelector", "selector") and inner:
                yield inner.get("matchLabels", inner)
            yield from selectors(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from selectors(inner)


def test_every_selector_finds_its_pods() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in of_kind("Deployment")]
    kinds = ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy")
    chosen = [
        selector for kind in kinds for each in of_kind(kind) for selector in selectors(each["spec"])
    ]
    assert len(chosen) >= 10
    for selector in chosen:
        assert any(selector.items() <= each.items() for each in labels), selector


def test_the_autoscaler_asks_for_a_metric_that_is_exported() -> None:
    (metric,) = find("HorizontalPodAutoscaler")["spec"]["metrics"]
    (rule,) = yaml.safe_load((FOLDER / "autoscaling" / "adapter-rule.yaml").read_text())["rules"]
    name = metric["pods"]["metric"]["name"]
    assert rule["name"]["as"] == name
    assert name in sample_names()
    assert rule["seriesQuery"].startswith(f"{name}{{")
    milliseconds = re.fullmatch(r"(\d+)m", metric["pods"]["target"]["averageValue"])
    # more replicas before requests are refused
    assert int(milliseconds[1]) / 1000 < LEAST_DEADLINE_S
    given = {
        "<<.GroupBy>>": "pod",
        "<<.Series>>": name,
        "<<.LabelMatchers>>": 'namespace="candor",pod=~"a|b"',
    }
    query = rule["metricsQuery"]
    for mark, value in given.items():
        query = query.replace(mark, value)
    promql_parser.parse(query)
    promql_parser.parse(rule["seriesQuery"])


def test_prometheus_finds_both_services_in_the_job_of_the_rules() -> None:
    spec = find("ServiceMonitor")["spec"]
    services = [
        each
        for each in of_kind("Service")
        if spec["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    ]
    assert {each["metadata"]["name"] for each in services} == {"candor", "candor-monitor"}
    for service in services:
        assert service["metadata"]["labels"][spec["jobLabel"]] == "candor"
        assert [port["name"] for port in service["spec"]["ports"]] == [
            each["port"] for each in spec["endpoints"]
        ]
    for endpoints in SERVES.values():
        assert spec["endpoints"][0]["path"] in {
            each.path for each in endpoints if each.scope == "read"
        }


def test_the_rules_have_one_source() -> None:
    assert prometheus_rule.TARGET.read_text() == prometheus_rule.text(), (
        "run python -m deploy.prometheus_rule"
    )
    applied = find("PrometheusRule")["spec"]["groups"]
    assert applied == [
        group
        for file in prometheus_rule.SOURCES
        for group in yaml.safe_load(file.read_text())["groups"]
    ]


def commands(page: str, begin: str) -> list[str]:
    """The commands in the code blocks of a page that begin so, without comments."""
    return [
        line.strip().partition("  #")[0].strip()
        for line in page.splitlines()
        if line.startswith(f"    {begin}")
    ]


def test_the_page_makes_the_secrets_that_the_manifests_name(tmp_path: Path) -> None:
    assert not [each for each in EVERY if each["kind"] == "Secret"]
    made = dict[str, set[str]]()
    for key in ("url", "tokens", "token"):
        (tmp_path / key).write_text("text")
    for command in commands(PAGE.read_text(), "kubectl create secret"):
        done = run([kubectl(), *command.split()[1:], "--dry-run=client", "-o", "yaml"], tmp_path)
        secret = yaml.safe_load(done)
        made[secret["metadata"]["name"]] = set(secret["data"])
        assert secret["metadata"]["namespace"] == find("Deployment")["metadata"]["namespace"]
    needed = dict[str, set[str]]()
    for pod in pods().values():
        (container,) = pod["containers"]
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        for volume in (each for each in pod["volumes"] if "secret" in each):
            files = [
                each["value"]
                for each in container["env"]
                if each["value"].startswith(mounts[volume["name"]])
            ]
            needed.setdefault(volume["secret"]["secretName"], set()).update(
                Path(file).name for file in files
            )
    for endpoint in find("ServiceMonitor")["spec"]["endpoints"]:
        credentials = endpoint["authorization"]["credentials"]
        needed[credentials["name"]] = {credentials["key"]}
    assert made == needed


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout
