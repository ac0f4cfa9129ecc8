"""The image of a server: signed models from S3, and models from elsewhere."""

import json
import subprocess
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

from model_store.store.store import Store, open_store
from serving.client import Client
from tests.builders.bundles import build_bundle, png
from tests.builders.containers import PODMAN, needs, run, started
from tests.builders.dicoms import dicom
from tests.builders.object_store import object_store
from tests.builders.processes import candor_here, free_port, wait_until

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.nightly, needs("serving"), pytest.mark.programs("openssl")]


def test_it_serves_signed_versions_of_a_store_on_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with object_store() as s3:
        for name, value in s3.variables.items():
            monkeypatch.setenv(name, value)
        store = open_store(f"s3://{s3.bucket}/models", cache=tmp_path / "cache")
        for seed in range(2):
            store.publish("tiny", partial(build_bundle, seed=seed))
        sign(store, tmp_path, "tiny", 1)
        for version in (2, 1):
            store.promote("tiny", version)
        port = free_port()
        settings = {
            "PORT": port,
            "STORE": store.address,
            "REQUIRE_SIGNATURE": "/signing.pub",
            "POLL_S": "0.2",
        }
        environment = s3.variables | {
            f"CANDOR_{name}": str(value) for name, value in settings.items()
        }
        with (
            started(
                "serving",
                environment=environment,
                volumes={tmp_path / "signing.pub": "/signing.pub"},
            ) as name,
            Client(f"http://127.0.0.1:{port}") as client,
        ):
            wait_until(client.ready)
            answer = client.predict(png(), model="tiny")
            assert answer["version"] == 1
            (labeled,) = client.feedback(
                [{"prediction_id": answer["prediction_id"], "label": answer["predicted"]}]
            )
            assert labeled["status"] == "accepted"
            pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
            assert client.predict(dicom(pixels), model="tiny")["version"] == 1
            assert (
                subprocess.run([*PODMAN, "healthcheck", "run", name], check=False).returncode == 0
            )
            store.promote("tiny", 2)  # which nobody signed
            wait_until(
                lambda: "it has no signature" in httpx.get(f"http://127.0.0.1:{port}/readyz").text
            )
            assert client.predict(png(), model="tiny")["version"] == 1


def test_it_takes_in_and_examines_a_model_from_elsewhere() -> None:
    """Which needs onnx whole: shapes, checks, conversion of versions, edits."""
    foreign = ROOT / "tests/data/foreign"
    for name in sorted(path.stem for path in foreign.glob("*.onnx"))[:3]:
        said = json.loads((foreign / "expected" / f"{name}.json").read_text())
        command = [
            "import",
            f"/foreign/{name}.onnx",
            "--store",
            "/data/models",
            "--promote",
            "--json",
        ]
        done = run(
            "serving",
            *command,
            "--classes",
            ",".join(said["classes"]),
            *said["options"],
            volumes={foreign: "/foreign"},
        )
        assert json.loads(done.stdout)["version"] == 1


def sign(store: Store, folder: Path, model: str, version: int) -> None:
    """Sign a version as docs/how-to/store.md says; the keys are signing.pem and signing.pub."""
    key = folder / "signing.pem"
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True
    )
    subprocess.run(
        ["openssl", "ec", "-in", key, "-pubout", "-out", folder / "signing.pub"], check=True
    )
    at = ("--key", key, "--store", store.address)
    done = candor_here("models", "sign", model, version, *at)
    assert done.exit_code == 0, done.output
