"""The hidden folder beside the run folder, in which the run is made. It survives a kill, and
training resumes from it.

.RUN.part/request.json        the choices; a different request is refused
.RUN.part/*.safetensors       a snapshot per fit, replaced after each epoch
.RUN.part/lock                held by the training process
.RUN.part/run/                the run folder, renamed to RUN when it is complete
.RUN.part/run/finished.json   when the run was finished; all else is the same if it is repeated
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from safetensors import SafetensorError

from calibration.wording import parameter
from model_store.image.training_digests import DigestsInvalid
from training.errors import BadRun, RunBusy, RunDiffers, RunExists, TrainingDiverged

FINISH = "finished.json"


@dataclass(frozen=True)
class RunFolder:
    """The hidden folder `part`, in which the run `out` is made."""

    part: Path
    out: Path

    def fresh_run(self) -> Path:
        """An empty folder for the files of the run."""
        run = self.part / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        return run

    @property
    def begun(self) -> bool:
        """Whether there is a snapshot to resume from."""
        return any(self.part.glob("*.safetensors"))

    def snapshot(self, name: str) -> Path:
        """The snapshot file of the fit `name`."""
        return self.part / f"{name}.safetensors"

    def finish(self) -> None:
        """Rename the complete run to its final name."""
        (self.part / "run").rename(self.out)


def run_folder_of(out: Path) -> RunFolder:
    """The hidden folder of the run `out`, whether or not it exists."""
    return RunFolder(out.parent / f".{out.name}.part", out)


def require_new(out: Path) -> None:
    """Raise RunExists if the folder of a run exists."""
    if out.exists():
        raise RunExists(
            f"{out} already exists; name another folder with {parameter('out')}, or remove it"
        )


@contextmanager
def open_run_folder(
    out: Path, request: Mapping[str, Any], *, restart: bool = False
) -> Iterator[RunFolder]:
    """Open the hidden folder of the run `out`; an interrupted run of an equal `request` resumes,
    unless `restart`.

    The folder stays if the run is interrupted after a snapshot. It is removed if the run finishes,
    diverges, or stops before its first snapshot. Raises RunExists, RunBusy (another process trains
    it) or RunDiffers (another request).
    """
    require_new(out)
    run_folder = run_folder_of(out)
    run_folder.part.mkdir(parents=True, exist_ok=True)
    with (run_folder.part / "lock").open("w") as lock:
        _claim(lock.fileno(), run_folder)
        if restart:
            _clear(run_folder.part)
        _agree(run_folder, request)
        try:
            yield run_folder
        except TrainingDiverged:  # it would diverge again
            shutil.rmtree(run_folder.part)
            raise
        finally:
            if out.exists() or not run_folder.begun:
                shutil.rmtree(run_folder.part, ignore_errors=True)


def _claim(lock: int, run_folder: RunFolder) -> None:
    """Take the lock; the system releases it when the process ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunBusy(
            f"another process is training {run_folder.out}; wait for it, or choose another folder"
        ) from error


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _agree(run_folder: RunFolder, request: Mapping[str, Any]) -> None:
    path, text = run_folder.part / "request.json", json.dumps(request, indent=2, default=str)
    if run_folder.begun:
        before, now = json.loads(path.read_text()), json.loads(text)
        differences = {name: (before.get(name), now.get(name)) for name in before | now}
        differences = {name: pair for name, pair in differences.items() if pair[0] != pair[1]}
        if differences:
            raise RunDiffers(run_folder.out, differences)
    else:
        path.write_text(text)


def write_finish(folder: Path) -> None:
    """Write the present time."""
    text = json.dumps({"finished_at": datetime.now(UTC).isoformat(timespec="seconds")})
    (folder / FINISH).write_text(text + "\n")


def read_finish(folder: Path) -> datetime:
    """When the run was finished. Raises BadRun."""
    with read_of_run(folder / FINISH) as path:
        return datetime.fromisoformat(json.loads(path.read_text())["finished_at"])


@contextmanager
def read_of_run(path: Path) -> Iterator[Path]:
    """Raise BadRun where the block cannot read a file of a run."""
    try:
        yield path
    except (*_UNREADABLE, DigestsInvalid, SafetensorError, BadZipFile) as error:
        raise BadRun(
            f"{path.parent} is not a finished run: {path.name} cannot be read ({error!r})"
        ) from error


# RuntimeError: tensors that do not fit the network
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError)
