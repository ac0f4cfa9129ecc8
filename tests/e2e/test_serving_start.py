"""The start of a server beside Services of its own name."""

import json
import platform
from pathlib import Path

from model_store.installation import release
from model_store.store.store import Store
from tests.builders.processes import CANDOR, Process

LINKS = {  # of the Services `candor` and `candor-monitor`
    "port": "tcp://10.0.0.1:8080",
    "service_host": "10.0.0.1",
    "service_port": "8080",
    "service_port_http": "8080",
    "port_8080_tcp": "tcp://10.0.0.1:8080",
    "port_8080_tcp_proto": "tcp",
    "port_8080_tcp_port": "8080",
    "port_8080_tcp_addr": "10.0.0.1",
    "monitor_port": "tcp://10.0.0.3:8081",
    "monitor_service_host": "10.0.0.3",
    "monitor_port_8081_udp_addr": "10.0.0.3",
}


def test_a_pod_beside_services_of_its_own_name_starts_and_names_its_release(
    tiny_store: Store, tmp_path: Path
) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    links = {f"CANDOR_{name.upper()}": value for name, value in LINKS.items()}
    command = [*CANDOR, "serve", "--port", "0", "--store", tiny_store.root, "--ledger", ledger]
    pod = Process("serve", tmp_path, command=command, variables=links)
    try:
        assert pod.url
        (told,) = [line for line in pod.log().splitlines() if "Kubernetes" in line]
        assert json.loads(told)["names"] == sorted(links)
        own = f'candor_build_info{{python="{platform.python_version()}",version="{release()}"}} 1.0'
        assert own in pod.client.get("/metrics").text.splitlines()
    finally:
        pod.stop()
