"""The dashboards as their JSON has them, everything that they ask Prometheus, and one that runs."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import httpx

import monitoring
from docs.generators.server import families
from tests.builders.processes import PATIENCE_S, free_port

FOLDER = Path(monitoring.__file__).parent / "dashboards"
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*.json"))
}


class Asked(NamedTuple):
    """One expression, and where it stands."""

    board: str
    title: str
    expr: str


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """All panels, those in rows too."""
    return [inner for panel in board["panels"] for inner in (panel, *panel.get("panels", []))]


def asked() -> list[Asked]:
    """The expressions of panels and annotations."""
    found = []
    for name, board in DASHBOARDS.items():
        for panel in panels(board):
            found += [
                Asked(name, panel["title"], target["expr"]) for target in panel.get("targets", [])
            ]
        annotations = board.get("annotations", {}).get("list", [])
        found += [
            Asked(name, entry["name"], entry["expr"]) for entry in annotations if "expr" in entry
        ]
    return found


def sample_names() -> set[str]:
    """The names under which Prometheus stores what a server exports."""
    return {
        family.name + suffix for family in families() for suffix in SUFFIXES.get(family.type, [""])
    }


class Program:
    """A Prometheus or an Alertmanager of this machine, with a configuration of its own."""

    def __init__(self, name: str, folder: Path, configuration: str, *options: str) -> None:
        """`name` is that of Debian's package and of its program."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        own = folder / name
        own.mkdir()
        (own / "config.yml").write_text(configuration)
        # Debian's default is one folder of the machine, which two tests would share.
        kept = "--storage.tsdb.path=data" if name == "prometheus" else "--storage.path=data"
        command = [name, "--config.file=config.yml", kept]
        command += [f"--web.listen-address=127.0.0.1:{self.port}"]
        with (own / "log").open("wb") as log:
            self._process = subprocess.Popen([*command, *options], cwd=own, stdout=log, stderr=log)

    def query(self, expr: str, at_s: float | None = None) -> list[dict[str, Any]]:
        """What Prometheus answers, by default now."""
        return query(self.url, expr, at_s)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)


def query(url: str, expr: str, at_s: float | None = None) -> list[dict[str, Any]]:
    """What the Prometheus there answers; nothing before it is ready."""
    when = {} if at_s is None else {"time": f"{at_s:.3f}"}
    try:
        answer = httpx.get(f"{url}/api/v1/query", params={"query": expr} | when, timeout=PATIENCE_S)
    except httpx.TransportError:
        return []
    if answer.status_code == 503:
        return []
    assert answer.json()["status"] == "success", f"{expr}: {answer.text}"
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


_SUBSTITUTIONS = (
    (r"\b(scrape_interval|evaluation_interval|interval): \d+[smh]", r"\1: 1s"),
    (r"\bfor: \d+[smh]", "for: 1s"),
    (r"\bgroup_wait: \d+s", "group_wait: 0s"),
    (r"\bgroup_interval: \d+m", "group_interval: 1s"),
)


def hurried(text: str) -> str:
    """The text with every interval and delay at a second."""
    for pattern, replacement in _SUBSTITUTIONS:
        text = re.sub(pattern, replacement, text)
    return text
