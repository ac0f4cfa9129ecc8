"""A virtual environment for each peer, kept in a cache folder between runs."""

import hashlib
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.serving.peers.peer import Peer

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "candor" / "peers"


class CannotInstall(RuntimeError):
    """pip failed; the message is its last line."""


def common() -> tuple[str, ...]:
    """The packages that every peer needs: the same ONNX Runtime; the others as the peer allows."""
    return (f"onnxruntime=={version('onnxruntime')}", "numpy>=1.26", "pillow>=11", "pydicom>=3.0.2")


def programs(name: str, peer: Peer) -> Path:
    """The peer's `bin` folder, installed if it is missing. Raises CannotInstall."""
    folder = CACHE / name
    wanted = "\n".join((*common(), *peer.requirements))
    mark = folder / f"installed-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    if not mark.exists():
        print(f"installing {peer.title} in {folder}", file=sys.stderr)
        python = str(folder / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([*pip, *common(), *peer.requirements])
        mark.write_text(wanted)
    return folder / "bin"


def installed(folder: Path, peer: Peer) -> str:
    """The version of the peer itself in the environment with the `bin` `folder`."""
    name = peer.requirements[0].partition(">")[0].partition("[")[0]
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run(
        [str(folder / "python"), "-c", code], capture_output=True, text=True
    ).stdout.strip()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotInstall((done.stderr.strip().splitlines() or [f"{command[2]} failed"])[-1])
