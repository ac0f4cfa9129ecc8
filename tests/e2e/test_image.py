"""The image that was built just before, as `docker run` would start it: what is in it, and what is not.

TEST_IMAGE names it (.ci/run builds it; by hand: podman build -t candor . && TEST_IMAGE=localhost/candor pytest ...).
"""

import json
import os
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from candor.command_line import TRAINING_PACKAGES, app
from model_store.bundle import Bundle
from model_store.store import Store, open_store
from serving.client.client import Client
from tests.builders.containers import PODMAN, run, started
from tests.builders.dicoms import header, saved
from tests.builders.object_store import free_port, object_store
from tests.builders.waiting import wait_until

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("TEST_IMAGE", "")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(not IMAGE, reason="TEST_IMAGE names no image of the target `serving` to look into"),
]

IMPORT_ALL = """
import importlib.util, json, os, pkgutil, sys
missing = {}
for room in ("calibration", "model_store", "monitoring", "serving", "candor"):
    for found in pkgutil.walk_packages(importlib.import_module(room).__path__, room + "."):
        if found.name.endswith(("__main__", "torchserve_handler")) or ".versions" in found.name:
            continue
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            missing[found.name] = error.name
files = [getattr(each, "__file__", None) or "" for each in sys.modules.values()]
compiled = [os.path.exists(importlib.util.cache_from_source(file)) for file in files if file.endswith(".py")]
print(json.dumps({"missing": missing, "compiled": sum(compiled), "of": len(compiled)}))
"""


@pytest.fixture(scope="module")
def configuration() -> dict[str, Any]:
    shown = subprocess.run([*PODMAN, "image", "inspect", IMAGE], capture_output=True, text=True, check=True)
    (found,) = json.loads(shown.stdout)
    return dict(found)


def python(code: str) -> Any:
    return json.loads(run(IMAGE, "-c", code, entrypoint="python").stdout)


def test_it_is_as_small_as_the_page_says(configuration: dict[str, Any]) -> None:
    (limit,) = re.findall(r"At most (\d+) MB", (ROOT / "docs/how-to/container.md").read_text())
    assert configuration["Size"] <= int(limit) * 1e6


def test_nothing_in_it_installs_compiles_or_grants_privileges() -> None:
    tools = "pip pip3 uv cc gcc c++ g++ clang ld as strip make tcc rustc go"
    script = f"""
        for tool in {tools}; do command -v $tool; done
        find / -xdev -type f -perm /6000
        find / -xdev \\( -type f -o -type d \\) -writable | grep -vE '^/(tmp|var/tmp|data|dev|proc)(/|$)'
        find /usr /opt -name pip -o -name 'pip-*' -o -name ensurepip -o -name '*.whl'
        true"""
    assert run(IMAGE, "-c", script, entrypoint="sh").stdout == ""
    assert run(IMAGE, "-u", entrypoint="id").stdout.strip() == "10001"


def test_all_of_candor_is_there_and_compiled() -> None:
    found = python(IMPORT_ALL)
    assert set(found["missing"].values()) <= {*TRAINING_PACKAGES, "grpc", "open_inference", "opentelemetry"}
    assert found["compiled"] >= 0.99 * found["of"] > 500


def test_its_bill_of_materials_lists_every_package() -> None:
    bill = json.loads(run(IMAGE, "/opt/sbom/sbom.cdx.json", entrypoint="cat").stdout)
    assert bill["bomFormat"] == "CycloneDX"
    listed = {(canonicalize_name(each["name"]), each["version"]) for each in bill["components"]}
    code = "import importlib.metadata as m, json; print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    installed = {(canonicalize_name(name), version) for name, version in python(code)}
    assert len(installed) > 40
    assert installed <= listed
    system = {each["name"] for each in bill["components"] if each.get("purl", "").startswith("pkg:deb/")}
    assert {"libc6", "libssl3t64"} <= system


def test_it_serves_signed_versions_of_a_store_on_s3(
    tmp_path: Path, make_bundle: Callable[..., Bundle], png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with object_store() as s3:
        for name, value in s3.variables.items():
            monkeypatch.setenv(name, value)
        store = open_store(f"s3://{s3.bucket}/models", cache=tmp_path / "cache")
        for seed in range(2):
            store.publish("tiny", partial(make_bundle, seed=seed))
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
        environment = s3.variables | {f"CANDOR_{name}": str(value) for name, value in settings.items()}
        with (
            started(IMAGE, environment=environment, volumes={tmp_path / "signing.pub": "/signing.pub"}) as name,
            Client(f"http://127.0.0.1:{port}") as client,
        ):
            wait_until(client.ready)
            answer = client.predict(png(), model="tiny")
            assert answer["version"] == 1
            (labeled,) = client.feedback([{"prediction_id": answer["prediction_id"], "label": answer["label"]}])
            assert labeled["status"] == "accepted"
            pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
            assert client.predict(saved_dicom(pixels), model="tiny")["version"] == 1
            assert subprocess.run([*PODMAN, "healthcheck", "run", name], check=False).returncode == 0
            store.promote("tiny", 2)  # which nobody signed
            wait_until(lambda: "it has no signature" in httpx.get(f"http://127.0.0.1:{port}/readyz").text)
            assert client.predict(png(), model="tiny")["version"] == 1


def test_it_takes_in_and_examines_a_model_from_elsewhere() -> None:
    """Which needs onnx whole: inference of shapes, checks, conversion of versions, edits of the graph."""
    foreign = ROOT / "tests/data/foreign"
    for name in sorted(path.stem for path in foreign.glob("*.onnx"))[:3]:
        said = json.loads((foreign / "expected" / f"{name}.json").read_text())
        command = ["import", f"/foreign/{name}.onnx", "--store", "/data/models", "--promote", "--json"]
        done = run(
            IMAGE, *command, "--classes", ",".join(said["classes"]), *said["options"], volumes={foreign: "/foreign"}
        )
        assert json.loads(done.stdout)["version"] == 1


def sign(store: Store, folder: Path, model: str, version: int) -> None:
    """Sign a version as docs/how-to/store.md says; the keys are signing.pem and signing.pub."""
    key = folder / "signing.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
    subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-out", folder / "signing.pub"], check=True)
    command = ["models", "sign", model, str(version), "--key", str(key), "--store", str(store.address)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output


def saved_dicom(pixels: Any) -> bytes:
    dataset = header(pixels.shape, pixels.dtype)
    dataset.PixelData = pixels.tobytes()
    return saved(dataset)
