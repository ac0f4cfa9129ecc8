"""The image of TorchServe, read-only and without root, answers as Candor does."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from model_store.store.store import Store
from tests.builders.bundles import encode, picture, publish_tiny
from tests.builders.containers import PODMAN, needs, started
from tests.builders.processes import wait_until
from tests.builders.servers import Start

pytestmark = [pytest.mark.nightly, needs("torchserve")]

INFERENCE = "http://127.0.0.1:8090"


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

    def predict(self, image: bytes) -> dict[str, Any]:
        keys = json.loads(self.run("cat", "key_file.json").stdout)
        token = {"Authorization": f"Bearer {keys['inference']['key']}"}
        url = f"{INFERENCE}/predictions/tiny"
        answer = httpx.post(url, content=image, headers=token)
        return dict(answer.raise_for_status().json())


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("store")
    folder.chmod(0o755)  # for the container's user
    store = publish_tiny(folder)
    archives = tmp_path_factory.mktemp("archives")
    archives.chmod(0o755)
    shutil.copy(store.folder("tiny", 1) / "tiny.mar", archives)
    models = ("--models", "tiny.mar")
    with started("torchserve", *models, environment={}, volumes={archives: "/models:ro"}) as name:
        found = Container(name, store)
        wait_until(found.healthy, "the health check to succeed")
        yield found


def test_it_answers_as_candors_own_server_does(container: Container, start: Start) -> None:
    server = start(container.store)
    for image in (encode(picture(1), "PNG"), encode(picture(2, (300, 200)), "JPEG")):
        ours, theirs = server.predict(image).json(), container.predict(image)
        assert theirs.pop("probabilities") == pytest.approx(ours.pop("probabilities"), abs=1e-6)
        assert (
            (theirs["predicted"], theirs["version"])
            == (ours["predicted"], ours["version"])
            == (ours["predicted"], 1)
        )


def test_sigterm_ends_it_with_its_workers(container: Container) -> None:
    subprocess.run(
        [*PODMAN, "stop", "--time", "30", container.name], check=True, capture_output=True
    )
    shown = subprocess.run(
        [*PODMAN, "inspect", "--format", "{{.State.ExitCode}}", container.name], capture_output=True
    )
    assert shown.stdout.strip() == b"0"
