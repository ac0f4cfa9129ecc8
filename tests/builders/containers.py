"""Containers of images that were built before: read-only, without capabilities, on this machine's
network.

TEST_IMAGES names the targets of the Dockerfile that were built, between spaces; each is
localhost/candor-TARGET (.ci/run and `make images DOCKER=podman` tag them so).
"""

import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

# Without systemd, and where cgroups of both versions are mixed.
PODMAN: Final = (
    "podman",
    "--runtime",
    "runc",
    "--cgroup-manager",
    "cgroupfs",
    "--events-backend",
    "file",
)
CONFINED: Final = (
    "--read-only",
    "--tmpfs",
    "/tmp",
    "--cap-drop",
    "all",
    "--security-opt",
    "no-new-privileges",
)
BUILT: Final = tuple(os.environ.get("TEST_IMAGES", "").split())


def needs(*targets: str) -> pytest.MarkDecorator:
    """Skip tests unless the images of these targets were built."""
    missing = [target for target in targets if target not in BUILT]
    return pytest.mark.skipif(
        bool(missing), reason=f"TEST_IMAGES does not name {' and '.join(missing)}"
    )


def image_of(target: str) -> str:
    """The name of the image of a target."""
    return f"localhost/candor-{target}"


def configuration(target: str) -> dict[str, Any]:
    """What `podman image inspect` says of the image of a target."""
    words = [*PODMAN, "image", "inspect", image_of(target)]
    (found,) = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return dict(found)


def run(
    target: str,
    *command: str,
    entrypoint: str = "candor",
    volumes: Mapping[Path, str] | None = None,
    environment: Mapping[str, str] | None = None,
    check: bool = True,
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a new container, and return what it said."""
    words = [
        *_start(volumes or {}, environment or {}),
        "--rm",
        "--entrypoint",
        entrypoint,
        image_of(target),
        *command,
    ]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=check)


@contextmanager
def started(
    target: str,
    *command: str,
    environment: Mapping[str, str],
    volumes: Mapping[Path, str] | None = None,
) -> Iterator[str]:
    """A container that runs the image's own command, or another; the name of it."""
    name = f"candor-test-{target}-{os.getpid()}"
    subprocess.run(
        [
            *_start(volumes or {}, environment),
            "--detach",
            "--name",
            name,
            image_of(target),
            *command,
        ],
        check=True,
        capture_output=True,
    )
    try:
        yield name
    finally:
        subprocess.run(
            [*PODMAN, "rm", "--force", "--volumes", "--time", "10", name],
            check=True,
            capture_output=True,
        )


def _start(volumes: Mapping[Path, str], environment: Mapping[str, str]) -> list[str]:
    limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    # podman would raise them
    hard = {name: resource.getrlimit(number)[1] for name, number in limits.items()}
    return [
        *PODMAN,
        *("run", "--network", "host", "--pull", "never", *CONFINED),
        *(f"--ulimit={name}={limit}:{limit}" for name, limit in hard.items()),
        *(f"--volume={path}:{place}" for path, place in volumes.items()),
        *(f"--env={name}={value}" for name, value in environment.items()),
    ]


TOOLS: Final = ("podman", "runc", "netavark", "unshare", "ip")
BEGIN: Final = (
    "ip link set lo up; mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns; exec bash -euo "
    'pipefail "$1"'
)
BUILT_BEFORE: Final = '#!/bin/sh\n[ "$1" = build ] || exec podman "$@"\n'


@dataclass(frozen=True)
class Docker:
    """A place where scripts run; containers and volumes stay from one to the next."""

    folder: Path

    def bash(self, script: str, *, where: Path) -> "subprocess.CompletedProcess[str]":
        """Run a script in a folder. Its containers must be gone at its end."""
        path = self.folder / "script"
        path.write_text(script)
        own = {
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
            "PATH": f"{self.folder}:{os.environ['PATH']}",
        }
        words = ["unshare", "--net", "--mount", "bash", "-ec", BEGIN, "begin", path]
        return subprocess.run(
            words,
            cwd=where,
            env=os.environ | own,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )


@contextmanager
def docker(images: dict[str, str]) -> Iterator[Docker]:
    """Docker with `images` under other names, {name: image of this machine}."""
    for name, image in images.items():
        subprocess.run(
            [*PODMAN, "tag", image, f"localhost/{name}"], check=True, capture_output=True
        )
    shown = subprocess.run(
        [*PODMAN, "info", "--format", "{{.Store.GraphRoot}}"], capture_output=True, text=True
    )
    with tempfile.TemporaryDirectory(prefix="docker-", ignore_cleanup_errors=True) as name:
        found = Docker(Path(name))  # a short path: sockets are made in it
        (found.folder / "docker").write_text(BUILT_BEFORE)
        (found.folder / "docker").chmod(0o755)
        (found.folder / "containers.conf").write_text(_configuration())
        (found.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{name}/graph"\nrunroot = "{name}/run"\n'
            f'[storage.options]\nadditionalimagestores = ["{shown.stdout.strip()}"]\n'
        )
        try:
            yield found
        finally:
            found.bash(
                "podman rm --all --force --time 10; podman volume prune --force", where=found.folder
            )


def _configuration() -> str:
    hard = {
        name: resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        for name in ("nofile", "nproc")
    }
    limits = ", ".join(f'"{name}={limit}:{limit}"' for name, limit in hard.items())
    engine = 'runtime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    return f"[containers]\ndefault_ulimits = [{limits}]\n[engine]\n{engine}"
