"""The services of compose.yaml as processes of this machine: commands, environments and mounted
files as they stand.

Docker would give each service a machine of its own. Here each gets a port of its own, and names of
services and paths of containers are replaced by what they are here, in commands, environments and
mounted configurations alike. No package ships Grafana, so it is not started.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.builders.manifests import ROOT, image_entry, image_environment
from tests.builders.postgres import Cluster
from tests.builders.processes import PATIENCE_S, environment, free_port, wait_until
from tests.builders.programs import need
from tests.builders.prometheus import query

PROGRAMS: Final = {"prom/prometheus": "prometheus", "prom/alertmanager": "prometheus-alertmanager"}
# of containers
PORTS: Final = {"candor": 8080, "monitor": 8080, "prometheus": 9090, "alertmanager": 9093}
PASSWORD: Final = "of-our-own-0123456789"
Service = dict[str, Any]


def read_composition(**variables: str) -> dict[str, Any]:
    """compose.yaml with the shell's variables. Raises KeyError for a required one."""

    def value(found: re.Match[str]) -> str:
        name, kind, word = found.groups()
        if name in variables:
            return variables[name]
        if kind != "-":
            raise KeyError(name)
        return word or ""

    text = re.sub(r"\$\{(\w+)(?::([-?])([^}]*))?\}", value, (ROOT / "compose.yaml").read_text())
    composition: dict[str, Any] = yaml.safe_load(text)
    return composition


class Composition:
    """Every service of a profile but Grafana, by name; PostgreSQL is `cluster`."""

    def __init__(
        self, folder: Path, cluster: Cluster, *, edited: Callable[[str], str] = lambda text: text
    ) -> None:
        """`edited` changes the text of mounted configurations, to hurry them."""
        self._folder, self._edited = folder, edited
        self.services: dict[str, Service] = read_composition(POSTGRES_PASSWORD=PASSWORD)["services"]
        self._ports = {name: free_port() for name in PORTS}
        ledger = cluster.make_database(self.services["postgres"]["environment"]["POSTGRES_DB"])
        self._names = {
            f"{name}:{port}": f"127.0.0.1:{self._ports[name]}" for name, port in PORTS.items()
        }
        self._names[f":{PASSWORD}@postgres/"] = f"@127.0.0.1:{cluster.port}/"
        assert ledger.endswith(f"@127.0.0.1:{cluster.port}/{ledger.rsplit('/', 1)[1]}")
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def url(self, name: str) -> str:
        """Where a service is on this machine."""
        return f"http://127.0.0.1:{self._ports[name]}"

    def start(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        """Start a service, with `more` arguments; its output is in FOLDER/NAME.log."""
        service, places = self.services[name], self._mounted(name)
        here = lambda text: self._here(str(text), places)  # noqa: E731
        own = {key: here(value) for key, value in self._environment(name, service).items()}
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*self._program(name, service), *map(here, service.get("command", [])), *more],
                cwd=self._folder,
                env=environment() | own | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        return self._running[name]

    def start_all(self) -> None:
        """What `docker compose up` starts; returns when it answers."""
        for name, port in PORTS.items():
            self.start(name)
            wait_until(
                partial(_answers, f"{self.url(name)}{'/healthz' if port == 8080 else '/-/ready'}"),
                name,
            )

    def query(self, expr: str) -> list[dict[str, Any]]:
        """What Prometheus answers now."""
        return query(self.url("prometheus"), expr)

    def log(self, name: str) -> str:
        """What a service printed."""
        return (self._folder / f"{name}.log").read_text()

    def close(self) -> None:
        """End all of it."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            process.wait(PATIENCE_S)

    def _program(self, name: str, service: Service) -> list[str]:
        """What the image runs."""
        image = service["image"].partition(":")[0]
        if image == "candor":
            return [
                sys.executable,
                "-m",
                *image_entry(),
                *([] if "command" in service else ["serve"]),
            ]
        listen = [f"--web.listen-address=127.0.0.1:{self._ports[name]}"]
        alone = ["--cluster.listen-address="] if name == "alertmanager" else []
        return [str(need(PROGRAMS[image])), *listen, *alone]

    def _environment(self, name: str, service: Service) -> dict[str, str]:
        given = {key: str(value) for key, value in service.get("environment", {}).items()}
        if not service["image"].startswith("candor"):
            return given
        port = {"CANDOR_PORT": str(self._ports[name])} if name in self._ports else {}
        return image_environment() | given | {"CANDOR_HOST": "127.0.0.1"} | port

    def _mounted(self, name: str) -> dict[str, str]:
        """What is at paths of the container: a copied configuration, or a folder that stays."""
        volumes = [volume.split(":")[:2] for volume in self.services[name].get("volumes", [])]
        own = {
            inside: self._folder / name / Path(inside).name
            for source, inside in volumes
            if source.startswith("./")
        }
        kept = {
            inside: self._folder / "volumes" / source
            for source, inside in volumes
            if inside not in own
        }
        places = {inside: str(outside) for inside, outside in (own | kept).items()}
        for outside in kept.values():
            outside.mkdir(parents=True, exist_ok=True)
        for source, inside in volumes:
            if inside in own:
                self._copy(ROOT / source, own[inside], places)
        return places

    def _copy(self, source: Path, target: Path, places: dict[str, str]) -> None:
        """Copy a file or a folder's files, with names, paths and intervals of here."""
        if source.is_dir():
            for each in (each for each in source.iterdir() if each.is_file()):
                self._copy(each, target / each.name, places)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self._edited(self._here(source.read_text(), places)))

    def _here(self, text: str, places: dict[str, str]) -> str:
        for inside, outside in sorted(places.items(), key=lambda pair: -len(pair[0])):
            text = re.sub(rf"(?<![\w/.]){re.escape(inside)}(?![\w-])", outside, text)
        for name, address in self._names.items():
            text = (
                re.sub(rf"(?<![\w.-]){re.escape(name)}", address, text)
                if name[0] != ":"
                else text.replace(name, address)
            )
        return text


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
