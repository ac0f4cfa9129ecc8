"""The image of TorchServe: read-only and without root it answers as Candor's own server does, until
SIGTERM.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import Card
from model_store.store.store import Store
from tests.builders.bundles import build_card, build_onnx, encode, picture
from tests.builders.containers import PODMAN, needs, started
from tests.builders.processes import wait_until
from tests.builders.servers import Server

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, needs("torchserve")]

START = (
    "torchserve",
    "start",
    "--foreground",
    "--port",
    "0",
)  # the image's own command names ports


@dataclass
class Container:
    """A running container, and the store that it reads."""

    name: str
    store: Store

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PODMAN, "exec", self.name, *command], capture_output=True, text=True, check=False
        )

    def healthy(self) -> bool:
        words = [*PODMAN, "healthcheck", "run", self.name]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("candor", "torchserve", "status", "--json").stdout))

    def predict(self, image: bytes) -> dict[str, Any]:
        keys = json.loads(self.run("cat", "candor-torchserve/key_file.json").stdout)
        url = f"{self.status()['addresses']['inference']}/predictions/tiny"
        answer = httpx.post(
            url, content=image, headers={"Authorization": f"Bearer {keys['inference']['key']}"}
        )
        return dict(answer.raise_for_status().json())


def build(folder: Path, version: int) -> Card:
    return write_bundle(
        folder, card=build_card(version=version, seed=version), onnx=build_onnx(seed=version)
    )


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("store")
    folder.chmod(0o755)  # for the container's user
    store = Store(folder)
    for _ in (1, 2):
        store.publish("tiny", build)
    store.promote("tiny", 1)
    with started("torchserve", *START, environment={}, volumes={folder: "/models:ro"}) as name:
        found = Container(name, store)
        wait_until(found.healthy, "the health check to succeed")
        yield found


def test_it_answers_as_candors_own_server_does(
    container: Container, start: Callable[..., Server]
) -> None:
    server = start(container.store)
    for image in (encode(picture(1), "PNG"), encode(picture(2, (300, 200)), "JPEG")):
        ours, theirs = server.predict(image).json(), container.predict(image)
        assert theirs.pop("probabilities") == pytest.approx(ours.pop("probabilities"), abs=1e-6)
        assert (
            (theirs["predicted"], theirs["version"])
            == (ours["predicted"], ours["version"])
            == (ours["predicted"], 1)
        )


def test_a_new_version_takes_over(container: Container) -> None:
    container.store.promote("tiny", 2)
    updated = container.run("candor", "torchserve", "update")
    assert updated.returncode == 0, updated.stderr
    assert container.predict(encode(picture(1), "PNG"))["version"] == 2


def test_sigterm_ends_it_with_its_workers(container: Container) -> None:
    subprocess.run(
        [*PODMAN, "stop", "--time", "30", container.name], check=True, capture_output=True
    )
    shown = subprocess.run(
        [*PODMAN, "inspect", "--format", "{{.State.ExitCode}}", container.name], capture_output=True
    )
    assert shown.stdout.strip() == b"0"
