"""Containers of an image that was built before: read-only, without capabilities, on this machine's network."""

import os
import resource
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# Without systemd, and where cgroups of both versions are mixed.
PODMAN = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
CONFINED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges")


def run(
    image: str, *command: str, entrypoint: str = "candor", volumes: Mapping[Path, str] | None = None, check: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a new container, and return what it said."""
    words = [*_start(volumes or {}, {}), "--rm", "--entrypoint", entrypoint, image, *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=check)


@contextmanager
def started(image: str, *, environment: Mapping[str, str], volumes: Mapping[Path, str] | None = None) -> Iterator[str]:
    """A container that runs the image's own command; the name of it."""
    name = f"candor-test-{os.getpid()}"
    subprocess.run(
        [*_start(volumes or {}, environment), "--detach", "--name", name, image], check=True, capture_output=True
    )
    try:
        yield name
    finally:
        subprocess.run([*PODMAN, "rm", "--force", "--volumes", "--time", "10", name], check=True, capture_output=True)


def _start(volumes: Mapping[Path, str], environment: Mapping[str, str]) -> list[str]:
    limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    hard = {name: resource.getrlimit(number)[1] for name, number in limits.items()}  # podman would raise them
    return [
        *PODMAN,
        *("run", "--network", "host", "--pull", "never", *CONFINED),
        *(f"--ulimit={name}={limit}:{limit}" for name, limit in hard.items()),
        *(f"--volume={path}:{place}" for path, place in volumes.items()),
        *(f"--env={name}={value}" for name, value in environment.items()),
    ]
