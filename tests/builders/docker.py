"""Commands of the documentation that name docker, run by podman where no Docker engine is.

They get a network and a store of containers of their own, so ports and names are those of the page,
and nothing else on the machine is touched. Images are read from the machine's store.
"""

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.builders.containers import PODMAN

TOOLS: Final = ("podman", "runc", "netavark", "unshare")
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
        """Run a script in a folder. Its containers must be gone when it ends: they lose their
        network.
        """
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


def missing() -> list[str]:
    """What this machine lacks for it."""
    places = os.pathsep.join([os.environ["PATH"], "/usr/lib/podman", "/usr/sbin"])
    lacking = [tool for tool in TOOLS if shutil.which(tool, path=places) is None]
    return lacking if os.geteuid() == 0 else ["root", *lacking]


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
