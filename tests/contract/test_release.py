"""The definitions of CI for a public forge are valid, run what they should, and may do no more than
they must; the version is written in one place.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from candor.import_conflicts import ROOMS

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["jobs"]
    return found


# What each job may write; `id-token` proves to the package index or the signer which workflow asks.
WRITES = {
    "image": {"packages", "id-token", "attestations"},
    "publish": {"id-token"},
    "join": {"packages", "id-token", "attestations"},
    "draft": {"contents"},
}


def commands(name: str) -> list[str]:
    found = jobs(ROOT / ".github" / "workflows" / f"{name}.yml").values()
    return [step["run"] for job in found for step in job["steps"] if "run" in step]


@pytest.mark.parametrize(
    "check",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
        ["zizmor", "--offline", "--no-progress"],
    ],
    ids=lambda check: check[0],
)
def test_the_forge_would_take_it(check: list[str]) -> None:
    program = Path(sys.executable).parent / check[0]
    command = [program, *check[1:], *WORKFLOWS]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_actions_write_what_they_must() -> None:
    """zizmor asks that each is pinned by its commit."""
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text())["permissions"] == {}
        for name, job in jobs(path).items():
            asked = {scope for scope, may in job["permissions"].items() if may == "write"}
            allowed = WRITES.get(name, set()) if path.stem == "release" else set()
            assert asked == allowed, f"{path.name}: {name}"


def pulled_images(root: Path) -> list[str]:
    """What builds, releases, CI and Compose pull. Kubernetes pulls Candor's own images alone."""
    dockerfile, compose = (root / "Dockerfile").read_text(), (root / "compose.yaml").read_text()
    pulled = re.findall(r"^ARG (?:PYTHON|TORCH_PYTHON|CUDA)=(.*)$", dockerfile, re.MULTILINE)
    services = yaml.safe_load(compose)["services"].values()
    pulled += [service["image"] for service in services if "build" not in service]
    for path in WORKFLOWS:
        text = (root / path.relative_to(ROOT)).read_text()
        pulled += re.findall(r"^ +(?:BUILDKIT|SCANNER|container): (.*)$", text, re.MULTILINE)
    return pulled


def test_every_image_that_is_pulled_has_a_digest_and_make_renews_it(tmp_path: Path) -> None:
    pulled = pulled_images(ROOT)
    assert len(pulled) == 3 + 4 + 2 + 2
    for image in pulled:
        assert re.fullmatch(r"[a-z/-]+:[\w.-]+@sha256:[0-9a-f]{64}", image), image
    for path in (ROOT / "Makefile", ROOT / "Dockerfile", ROOT / "compose.yaml", *WORKFLOWS):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    docker, newest = tmp_path / "docker", f"sha256:{'0' * 64}"
    docker.write_text(f'#!/bin/sh\necho \'{{"digest": "{newest}"}}\'\n')
    docker.chmod(0o755)
    subprocess.run(["make", "-C", tmp_path, "pin-images", f"DOCKER={docker}"], check=True)
    assert pulled_images(tmp_path) == [f"{image.partition('@')[0]}@{newest}" for image in pulled]


def test_they_run_the_gate_the_nightly_tests_and_targets_that_exist() -> None:
    assert ".ci/run" in commands("ci")
    assert ".ci/run nightly" in commands("nightly")
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in WORKFLOWS:
        named = re.findall(r"\bmake ([a-z-]+)\b", "\n".join(commands(path.stem)))
        assert set(named) <= targets, path.name
    # The lowest Python is tried by the gate and by `make nightly`.
    matrix = jobs(ROOT / ".github/workflows/nightly.yml")["releases"]["strategy"]["matrix"]
    lowest, *others = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert lowest == "3.11"
    assert matrix["python"] == others


def test_the_version_is_written_in_one_place() -> None:
    """Other files may repeat it only where a format asks for it, and then it is the same."""
    for room in ("candor", *ROOMS):
        for path in (ROOT / room).rglob("*.py"):
            assert not re.search(r"^__version__ = ", path.read_text(), re.MULTILINE), path
    tagged = [
        (path, str(image["newTag"]))
        for path in (ROOT / "deploy").rglob("kustomization.yaml")
        for image in yaml.safe_load(path.read_text()).get("images", [])
    ]
    assert tagged
    assert [path for path, tag in tagged if tag != VERSION] == []
