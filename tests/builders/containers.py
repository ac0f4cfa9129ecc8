"""Containers of images that were built before: read-only, without capabilities, on this machine's
network.

TEST_IMAGES names the targets of the Dockerfile that were built, between spaces; each is
localhost/candor-TARGET (.ci/run and `make images DOCKER=podman` tag them so).
"""

import json
import os
import resource
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    hard = {
        name: resource.getrlimit(number)[1] for name, number in limits.items()
    }  # podman would raise them
    return [
        *PODMAN,
        *("run", "--network", "host", "--pull", "never", *CONFINED),
        *(f"--ulimit={name}={limit}:{limit}" for name, limit in hard.items()),
        *(f"--volume={path}:{place}" for path, place in volumes.items()),
        *(f"--env={name}={value}" for name, value in environment.items()),
    ]
