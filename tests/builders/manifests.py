"""The manifests of `deploy/kubernetes` rendered, and their pods as processes."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.builders.processes import PATIENCE_S, environment

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATIONS = ("example", "kserve", "publish")
Manifest = dict[str, Any]


def kubectl() -> str:
    """The program; the extra `dev` installs it."""
    return (
        shutil.which(
            "kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        )
        or "kubectl"
    )


@functools.cache
def rendered(name: str) -> list[Manifest]:
    """What `kubectl apply -k` would send."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(FOLDER / name)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def find(kind: str, name: str = "candor", *, of: str = "example") -> Manifest:
    """The resource of this kind and name."""
    (found,) = (
        each for each in rendered(of) if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )
    return found


def of_kind(kind: str, *, of: str = "example") -> list[Manifest]:
    """Every resource of a kind."""
    return [each for each in rendered(of) if each["kind"] == kind]


def pods() -> dict[str, Manifest]:
    """The specification of each pod's contents, by kind and name of what makes it."""
    made = [each for name in KUSTOMIZATIONS for each in rendered(name)]
    found = {
        f"{each['kind']}/{each['metadata']['name']}": each["spec"]["template"]["spec"]
        for each in made
        if "template" in each.get("spec", {})
    }
    return found | {
        f"ServingRuntime/{each['metadata']['name']}": each["spec"]
        for each in of_kind("ServingRuntime", of="kserve")
    }


def image_environment() -> dict[str, str]:
    """Candor's variables that the image for serving sets."""
    return {
        f"CANDOR_{name}": value
        for name, value in re.findall(r"CANDOR_(\w+)=(\S+)", _stage("image") + _stage("serving"))
    }


def image_entry() -> list[str]:
    """The command of the image for serving, without its arguments."""
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", _stage("serving"), re.MULTILINE)
    command: list[str] = json.loads(entry)
    return command


def _stage(name: str) -> str:
    """The part of the Dockerfile that makes a target."""
    (text,) = re.findall(
        rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", (ROOT / "Dockerfile").read_text(), re.M | re.S
    )
    return str(text)


def container_environment(spec: Manifest) -> dict[str, str]:
    """Candor's variables in the container of a pod: the image's, then those of the manifest."""
    (container,) = spec["containers"]
    return image_environment() | {each["name"]: each["value"] for each in container["env"]}


def placed(value: str, places: dict[str, str]) -> str:
    """A path of the container, or another text, as it is on this machine."""
    inside = next((each for each in places if Path(value).is_relative_to(each)), None)
    return value if inside is None else places[inside] + value.removeprefix(inside)


class PodProcess:
    """The container of a pod as a process of this machine, on a port of its own."""

    def __init__(self, spec: Manifest, folder: Path, *, port: int, places: dict[str, str]) -> None:
        self._spec, (self._container,) = spec, spec["containers"]
        own = folder / f"pod-{port}"
        for volume in ("data", "tmp"):
            (own / volume).mkdir(parents=True, exist_ok=True)
        here = places | {"/data": str(own / "data"), "/tmp": str(own / "tmp")}
        self.url = f"http://127.0.0.1:{port}"
        self._environment = environment() | {
            name: placed(value, here) for name, value in container_environment(spec).items()
        }
        self._environment |= {
            "CANDOR_HOST": "127.0.0.1",
            "CANDOR_PORT": str(port),
            "TMPDIR": here["/tmp"],
        }
        self._environment["PYTHONPATH"] = str(ROOT)
        self._command = [sys.executable, "-m", *image_entry(), *self._container["args"]]
        self._folder, self.log = own, own / "log"
        self.start()

    def start(self) -> None:
        """Start it, or start it again, as the kubelet does."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=log
            )

    def probe(self, kind: str = "readiness") -> bool:
        """Ask what the kubelet asks; its answer to anything but 200 to 399 is no."""
        asked = self._container[f"{kind}Probe"]["httpGet"]
        try:
            return (
                200 <= httpx.get(f"{self.url}{asked['path']}", timeout=PATIENCE_S).status_code < 400
            )
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as the kubelet does; the exit code. Raises TimeoutExpired."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(self._spec["terminationGracePeriodSeconds"])
