"""Which TorchServe a folder belongs to: its process, its ports and its models, in one file.

A process id is used again sooner or later. So the record names the moment at which the process
began as well, and nothing else is ever signaled. It reads /proc, hence Linux.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from serving.errors import TorchServeError
from serving.torchserve.configuration import HOST, Ports

FILE: Final = "torchserve.json"
KEYS: Final = "key_file.json"  # TorchServe writes it


@dataclass(frozen=True)
class TorchServeRecord:
    """A TorchServe that was started.

    `began` identifies the process together with its id. `scratch` is its temporary folder, which
    its workers' command lines name. `models`: those that it serves; empty: all that are in
    production. `host`: where predictions and metrics are; management is always at the loopback.
    `starting`: not every model was registered yet.
    """

    ports: Ports
    store: Path
    models: tuple[str, ...]
    workers: int
    batch_delay_ms: int
    tokens: bool
    monitor_url: str | None = None
    pid: int = 0
    began: str = ""
    scratch: Path = Path()
    store_address: str | None = None
    host: str = HOST
    starting: bool = False

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return began(self.pid) == self.began

    def url(self, service: str = "inference") -> str:
        """Return the address of a service on this machine: inference, management or metrics."""
        host = HOST if service == "management" or self.host == "0.0.0.0" else self.host
        return f"http://{host}:{getattr(self.ports, service)}"

    def worker_pids(self) -> list[int]:
        """Return the worker processes that run, also after the end of their server."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if (
                    any(word.startswith(f"{self.scratch}/".encode()) for word in words)
                    and int(path.parent.name) != self.pid
                ):
                    found.append(int(path.parent.name))
        return found


def began(pid: int) -> str | None:
    """Return what identifies the process of this id, None if there is none, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else f"{boot} {fields[19]}"


def read_record(folder: Path) -> TorchServeRecord | None:
    """Return the record of a folder, None if it has none. Raises TorchServeError."""
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        paths = {name: Path(data[name]) for name in ("scratch", "store")}
        parts = {"ports": Ports(**data["ports"]), "models": tuple(data["models"])}
        return TorchServeRecord(**(data | paths | parts))
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise TorchServeError(f"{folder} is no folder; name another one with --folder") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TorchServeError(
            f"{path} cannot be read ({error}): look for the process by hand, end it, and remove "
            "the file"
        ) from error


def write_record(folder: Path, record: TorchServeRecord) -> None:
    """Write the record of a folder, atomically."""
    data: dict[str, Any] = asdict(record) | {
        "scratch": str(record.scratch),
        "store": str(record.store),
    }
    draft = folder / f"{FILE}.part"
    draft.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / FILE)


def read_keys(folder: Path, record: TorchServeRecord) -> dict[str, str]:
    """Return the tokens by service; none if authorization is off, or TorchServe has not written
    them yet.
    """
    if not record.tokens:
        return {}
    try:
        keys = json.loads((folder / KEYS).read_text(encoding="utf-8"))
        return {service: keys[service]["key"] for service in ("inference", "management")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one command at a time change what runs in a folder. Raises TorchServeError if another one
    does.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TorchServeError(
            f"{folder} cannot be used ({error.strerror}): name another one with --folder"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TorchServeError(
                f"another `candor torchserve` is at work in {folder}; wait until it is done"
            ) from error
        yield
    finally:
        os.close(descriptor)
