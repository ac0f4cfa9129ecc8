"""The image that trains and exports, read-only and without root; a server of that."""

import os
from pathlib import Path

import pytest

from candor.demo.sample import SampleImages
from serving.client import Client
from tests.builders.containers import configuration, needs, run, started
from tests.builders.processes import free_port, wait_until

pytestmark = [pytest.mark.nightly, needs("training")]

USER = 10001


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    """The folders of its working folder and of the store, which its user may write."""
    folder = tmp_path_factory.mktemp("volumes")
    found = {folder / "work": "/work", folder / "models": "/models"}
    for each in found:
        each.mkdir()
        os.chown(each, USER, USER)
    return found


@pytest.fixture(scope="module")
def models(volumes: dict[Path, str]) -> Path:
    """A store with the model that the container has trained on the digits, and exported."""
    run("training", "train", "digits", "--epochs", "20", volumes=volumes)
    words = ["export", "runs/digits-dca-seed-0", "--name", "digits", "--anyway", "--promote"]
    exported = run("training", *words, volumes=volumes)
    assert "digits" in exported.stdout
    return next(path for path, place in volumes.items() if place == "/models")


def test_a_run_belongs_to_its_user(models: Path, volumes: dict[Path, str]) -> None:
    work = next(path for path, place in volumes.items() if place == "/work")
    assert {path.name for path in work.iterdir()} == {"runs"}
    assert {path.stat().st_uid for path in [*work.rglob("*"), *models.rglob("*")]} == {USER}


def test_it_serves_nothing_and_has_no_health_check() -> None:
    found = configuration("training")
    assert found["Config"].get("ExposedPorts") is None
    assert found.get("HealthCheck", found.get("Healthcheck", {})).get("Test", ["NONE"]) == ["NONE"]


@needs("serving")
def test_a_server_answers_with_what_it_exported(models: Path) -> None:
    port = free_port()
    with (
        started("serving", environment={"CANDOR_PORT": str(port)}, volumes={models: "/models:ro"}),
        Client(f"http://127.0.0.1:{port}") as client,
    ):
        wait_until(client.ready)
        images = SampleImages(seed=0)
        drawn = [images.draw(shifted=False) for _ in range(40)]
        right = sum(
            client.predict(image, model="digits")["predicted"] == label for image, label in drawn
        )
    assert right >= 20
