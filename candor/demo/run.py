"""The demo, from the data to the recalibrated model in production. Each number is measured."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calibration.document import Heading, Part
from candor.demo.days import live_thirty_days
from candor.demo.recalibration import recalibrate, verify
from candor.demo.session import PICTURES_DAYS, DemoSession, hold_out
from candor.demo.training import publish, show_training, train_both
from candor.server_process import ServerProcess
from candor.terminal.console import note_weaker_bounds, stdout
from candor.terminal.progress import bars
from candor.terminal.verb_result import VerbResult
from model_store.installation import typed_command
from training.datasets import chosen_source, load_dataset

OWN_ENTRIES = (
    "runs",
    "models",
    "pictures",
    "ledger.db",
    "ledger.db-wal",
    "ledger.db-shm",
    "ledger.db.lead",
    "server.log",
    "figures.json",
)


def run_demo(
    *,
    source: Path | None,
    data_folder: Path | None,
    cache: Path,
    out: Path,
    seed: int,
    once: bool,
) -> Generator[Part, None, DemoSession]:
    """Train, export, live thirty days, recalibrate and verify; each step says what it found.

    Args:
        source: data set or folder with one; None looks in `data_folder`, then takes digits.
        data_folder: may also hold pretrained weights.
        out: folder of everything that the demo writes; what an earlier demo wrote there is removed
            first.
        seed: of the training, and of the order in which images are sent.
        once: stop the server at the end; so does a reader of the output that has gone.
    """
    note_weaker_bounds()
    # so that the server is stopped too
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    started = time.monotonic()
    _clear(out)
    with bars(lines=True) as progress:
        chosen, said = chosen_source(source, data_folder)
        dataset = load_dataset(chosen, cache=cache, seed=seed, progress=progress)
        order = np.random.default_rng(seed)
        dataset, home = hold_out(dataset, order)
        weights_folder = source if source is not None and source.is_dir() else data_folder
        runs = train_both(
            dataset,
            weights_folder=weights_folder,
            out=out / "runs",
            cache=cache,
            seed=seed,
            progress=progress,
        )
    session = DemoSession(dataset, home, out, order)
    session.figures.update(seed=seed, dataset=dataset.name)
    counts = ", ".join(f"{len(split.labels)} {name}" for name, split in dataset.splits.items())
    counts += f", {len(home)} held out"
    yield (
        f"{said[:1].upper()}{said[1:]} ({counts}; classes "
        f"{', '.join(dataset.classes)}). {runs.note}"
    )
    yield from show_training(session, runs)
    exported = yield from publish(session, runs.dca)
    report = yield from live_thirty_days(session, exported.version)
    own = {
        "store": session.store.root,
        "ledger": session.ledger_url,
        "port": 0,
        "drift_tags": "site",
        "keep_pictures_days": PICTURES_DAYS,
    }
    environment = {key: each for key, each in os.environ.items() if not key.startswith("CANDOR_")}
    with ServerProcess(own, log=out / "server.log", environment=environment) as server:
        yield f"A server without torch was ready after {server.ready_s:.1f} s: {server.url}"
        done = yield from recalibrate(session, server.url, report)
        if done is not None:
            yield from verify(session, server.client, done)
        seconds = time.monotonic() - started
        session.figures["seconds"] = round(seconds, 1)
        figures = json.dumps(session.figures, indent=2, allow_nan=False)
        (out / "figures.json").write_text(f"{figures}\n")
        yield Heading(f"The demo took {seconds:.0f} s")
        yield f"Runs, models, ledger, pictures and figures.json are in {out}."
        if once or stdout.quiet:
            serve = typed_command(
                "serve", "--store", str(session.store.root), "--ledger", session.ledger_url
            )
            yield f"To look at it in a browser: {serve}"
        else:
            overview = f"{server.url}/models/{session.model}/report/page"
            yield f"The server is still running; Ctrl-C stops it. Open {server.url}/ or {overview}"
            server.wait()
    return session


class Demonstration(VerbResult):
    """A run of the demo, which happens while it is shown."""

    def __init__(self, steps: Generator[Part, None, DemoSession]) -> None:
        self._steps, self._figures = steps, dict[str, Any]()

    def document(self) -> Iterator[Part]:
        session = yield from self._steps
        self._figures = session.figures

    def as_dict(self) -> dict[str, Any]:
        for _ in self.document():
            pass
        return self._figures


def _clear(out: Path) -> None:
    """Remove what an earlier demo wrote, and nothing else: a wrong --out must cost nothing."""
    out.mkdir(parents=True, exist_ok=True)
    for name in OWN_ENTRIES:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
