"""The hidden folder beside a run's own, in which the run is made: it outlives a kill, and training goes on from it.

.RUN.part/request.json        what was asked for; another request is refused
.RUN.part/*.safetensors       a snapshot for each fit, replaced after each epoch
.RUN.part/lock                held by the process that trains
.RUN.part/run/                the run folder, renamed to RUN when it is whole
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import RunBusy, RunDiffers, RunExists, TrainingDiverged


@dataclass(frozen=True)
class Workplace:
    """The folder `folder` in which the run `out` is made."""

    folder: Path
    out: Path

    def fresh_run(self) -> Path:
        """An empty folder for the run's files, until they are whole."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        return run

    @property
    def begun(self) -> bool:
        """Whether there is anything to go on from."""
        return any(self.folder.glob("*.safetensors"))

    def snapshot(self, name: str) -> Path:
        """The file for the snapshots of the fit `name`."""
        return self.folder / f"{name}.safetensors"

    def finish(self) -> None:
        """The run is whole: it gets its name."""
        (self.folder / "run").rename(self.out)


def workplace_of(out: Path) -> Workplace:
    """The workplace of the run `out`, whether or not it exists."""
    return Workplace(out.parent / f".{out.name}.part", out)


@contextmanager
def open_workplace(out: Path, request: Mapping[str, Any], *, restart: bool = False) -> Iterator[Workplace]:
    """Work on the run `out`; go on where an equal `request` was interrupted, unless `restart` says to begin anew.

    The folder stays when something interrupts the work after a snapshot, and goes when the run is finished, diverged,
    or had not got anywhere. Raises RunExists, RunBusy (another process works on it) or RunDiffers (another request).
    """
    if out.exists():
        raise RunExists(f"{out} already exists; choose another folder or remove it")
    place = workplace_of(out)
    place.folder.mkdir(parents=True, exist_ok=True)
    with (place.folder / "lock").open("w") as lock:
        _claim(lock.fileno(), place)
        if restart:
            _clear(place.folder)
        _agree(place, request)
        try:
            yield place
        except TrainingDiverged:  # it would diverge again
            shutil.rmtree(place.folder)
            raise
        finally:
            if out.exists() or not place.begun:
                shutil.rmtree(place.folder, ignore_errors=True)


def _claim(lock: int, place: Workplace) -> None:
    """The lock goes with the process, however that ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunBusy(f"another process is training {place.out}; wait for it, or choose another folder") from error


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _agree(place: Workplace, request: Mapping[str, Any]) -> None:
    path, text = place.folder / "request.json", json.dumps(request, indent=2, default=str)
    if place.begun:
        before, now = json.loads(path.read_text()), json.loads(text)
        differences = {name: (before.get(name), now.get(name)) for name in before | now}
        differences = {name: pair for name, pair in differences.items() if pair[0] != pair[1]}
        if differences:
            raise RunDiffers(place.out, differences)
    else:
        path.write_text(text)
