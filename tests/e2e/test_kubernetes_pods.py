"""The pods of deploy/kubernetes as processes, on PostgreSQL, killed under load."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select

from model_store.store.store import Store
from monitoring.ledger import Ledger
from monitoring.ledger.schema import prediction
from monitoring.maintenance import recount
from tests.builders.bundles import png
from tests.builders.manifests import PodProcess, find
from tests.builders.postgres import Cluster
from tests.builders.processes import PATIENCE_S, free_port, wait_until

TOKENS = {"predict,feedback": "c" * 32, "read": "p" * 32}


class Replicas:
    """The pods of a Deployment, and the Service, which knows those that were ready."""

    def __init__(self, name: str, folder: Path, places: dict[str, str]) -> None:
        deployment = find("Deployment", name)
        count = (
            deployment["spec"].get("replicas")
            or find("HorizontalPodAutoscaler")["spec"]["minReplicas"]
        )
        (folder / name).mkdir()
        spec = deployment["spec"]["template"]["spec"]
        self.pods = [
            PodProcess(spec, folder / name, port=free_port(), places=places) for _ in range(count)
        ]
        self._turn = itertools.count()

    def all_ready(self) -> bool:
        return all(
            pod.probe("startup") and pod.probe("liveness") and pod.probe("readiness")
            for pod in self.pods
        )

    def address(self) -> str:
        return self.pods[next(self._turn) % len(self.pods)].url


@dataclass
class Fleet:
    """The installation, and what it acknowledged to its clients."""

    servers: Replicas
    monitors: Replicas
    ledger: str
    acknowledged: dict[str, str] = field(default_factory=dict)  # prediction id -> class
    labeled: set[str] = field(default_factory=set)

    def leader(self) -> PodProcess | None:
        leading = [
            pod
            for pod in self.monitors.pods
            if pod.probe() and httpx.get(f"{pod.url}/readyz").json()["leader"]
        ]
        return leading[0] if len(leading) == 1 else None


@pytest.fixture
def fleet(tiny_store: Store, postgres: Cluster, tmp_path: Path) -> Iterator[Fleet]:
    secrets, url = tmp_path / "secrets", postgres.make_database()
    secrets.mkdir()
    (secrets / "url").write_text(f"{url}\n")
    (secrets / "tokens").write_text(
        "".join(f"{token} {scopes} {scopes[0]}\n" for scopes, token in TOKENS.items())
    )
    places = {
        "/models": str(tiny_store.root),
        "/etc/candor/ledger": str(secrets),
        "/etc/candor/tokens": str(secrets),
    }
    servers, monitors = (Replicas(name, tmp_path, places) for name in ("candor", "candor-monitor"))
    try:
        wait_until(lambda: servers.all_ready() and monitors.all_ready(), "every probe of every pod")
        yield Fleet(servers, monitors, url)
    finally:
        for pod in (*servers.pods, *monitors.pods):
            pod.kill()


def send(fleet: Fleet, images: list[bytes], stop: threading.Event) -> None:
    """A client: an image, then its label; what is not acknowledged is sent again."""
    headers = {"Authorization": f"Bearer {TOKENS['predict,feedback']}"}
    with httpx.Client(headers=headers) as client:

        def post(service: Replicas, path: str, **body: Any) -> Any:
            while True:
                try:
                    answer = client.post(f"{service.address()}{path}", **body)
                except httpx.TransportError:
                    continue
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    return answer.json()

        for image in itertools.cycle(images):
            if stop.is_set():
                return
            answer = post(fleet.servers, "/predictions/tiny", content=image)
            fleet.acknowledged[answer["prediction_id"]] = answer["predicted"]
            post(
                fleet.monitors,
                "/feedback",
                json={"prediction_id": answer["prediction_id"], "label": answer["predicted"]},
            )
            fleet.labeled.add(answer["prediction_id"])


@pytest.mark.nightly
def test_a_server_and_the_leading_monitor_are_killed_under_load(fleet: Fleet) -> None:
    leader = wait_until(fleet.leader, "one leader")
    stop = threading.Event()
    clients = [
        threading.Thread(target=send, args=(fleet, [png(n) for n in range(4)], stop))
        for _ in range(3)
    ]
    for client in clients:
        client.start()
    wait_until(lambda: len(fleet.labeled) > 15, "answers and labels")
    victim = fleet.servers.pods[0]
    victim.kill()
    leader.kill()
    assert not victim.probe("liveness")
    standby = next(pod for pod in fleet.monitors.pods if pod is not leader)
    wait_until(
        lambda: httpx.get(f"{standby.url}/readyz").json()["leader"], "the other monitor to lead"
    )
    before = len(fleet.labeled)
    wait_until(
        lambda: len(fleet.labeled) > before + 15, "answers and labels from those that are left"
    )
    victim.start()
    leader.start()
    wait_until(
        lambda: fleet.servers.all_ready() and fleet.monitors.all_ready(), "every probe of every pod"
    )
    before = len(fleet.labeled)
    wait_until(lambda: len(fleet.labeled) > before + 15, "answers and labels from everybody")
    rolled = fleet.servers.pods[1]
    # a rolling update: admitted requests are answered, then it ends by itself
    assert rolled.stop() == 0
    stop.set()
    for client in clients:
        client.join(PATIENCE_S)
    rolled.start()
    wait_until(fleet.servers.all_ready, "the new pod")
    check_metrics(fleet)
    check_ledger(fleet)


def check_metrics(fleet: Fleet) -> None:
    """Every pod is read with the token of the ServiceMonitor's scope."""
    (endpoint,) = find("ServiceMonitor")["spec"]["endpoints"]
    for service, name in (
        (fleet.servers, "candor_queue_wait_seconds"),
        (fleet.monitors, "candor_monitor_leader"),
    ):
        for pod in service.pods:
            assert httpx.get(f"{pod.url}{endpoint['path']}").status_code == 401
            read = httpx.get(
                f"{pod.url}{endpoint['path']}",
                headers={"Authorization": f"Bearer {TOKENS['read']}"},
            )
            assert f"\n{name}" in read.text
    assert fleet.leader() is not None


def check_ledger(fleet: Fleet) -> None:
    """Everything that was acknowledged is there, and once; every sum is what a recount gives."""
    with Ledger(fleet.ledger) as ledger:
        with ledger.read() as connection:
            held = set(connection.scalars(select(prediction.c.prediction_id)))
            labels = connection.scalar(select(func.count(prediction.c.label)))
        assert {UUID(key).bytes for key in fleet.acknowledged} <= held
        assert fleet.labeled <= fleet.acknowledged.keys()
        assert labels is not None
        assert len(fleet.labeled) <= labels <= len(held)
        assert recount.check(ledger).agrees
