"""`python -m docs.generators.pictures`: draw the pictures of pages in docs/, with headless
Chromium.

The data are made up and always the same (`made_up_months.py`). The pages are those of a real
`candor monitor` with that ledger and store; Grafana draws the same figures in its own way.

`--views FOLDER` draws every view of the console into FOLDER instead, light, dark and on a phone, to
be looked at. `--pdf FILE` also writes the report as a PDF.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image
from playwright.sync_api import Browser
from prometheus_client import CollectorRegistry

from candor.predictions.labeled import Examining
from candor.predictions.reading import read_predictions
from console.report_document import report_page
from docs.generators.made_up_months import MODEL, Clock, fill_store, live
from model_store.store.store import Store
from monitoring.drift.tag_settings import TagSettings
from monitoring.ledger import Ledger
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.recorder import Recorder
from monitoring.reports.page_data import read_page_data
from tests.builders.browser import open_browser, open_page
from tests.builders.processes import Process
from tests.screenshots import MODES, take

IMAGES: Final = Path(__file__).parents[1] / "images"
WIDTH: Final = 1080
RECALIBRATION: Final = (
    f"/recalibrate/{MODEL}?version=1&preview=yes&subgroup=device%3DB&since=2026-10-12T08:00:59"
)


class Shot(NamedTuple):
    """A picture: its address at the monitor, or a document's name; its height if it is cut."""

    address: str
    height: int | None = None


SHOTS: Final = {
    "monitoring-report": Shot("report.html", 1130),
    "calibration-report": Shot("tutorial.html", 1110),
    "console-watch": Shot(f"/models/{MODEL}/report/page?version=1", 900),
    "console-versions": Shot(f"/versions/{MODEL}", 1162),
    "console-recalibrate": Shot(RECALIBRATION, 1080),
    "console-label": Shot(f"/label/{MODEL}", 540),
}
VIEWS: Final = {
    "models": "/",
    "model": f"/models/{MODEL}/report/page?version=1",
    "slices": f"/slices/{MODEL}?version=1",
    "report": f"/report/{MODEL}?version=1",
    "label": f"/label/{MODEL}",
    "versions": f"/versions/{MODEL}",
    "compare": f"/versions/{MODEL}?first=1&second=2",
    "recalibrate": f"/recalibrate/{MODEL}",
    "preview": RECALIBRATION,
    "not-found": f"/versions/{MODEL}?compare=9",
    "api": "/docs",
}


def main() -> int:
    """Draw what the command line asks for."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--views", type=Path)
    arguments.add_argument("--pdf", type=Path)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name, open_browser() as browser:
        folder = Path(name)
        with monitored(folder) as url:
            if chosen.views is not None:
                draw_views(browser, url, chosen.views)
                with monitor(folder, tokens="a-token-of-nobody admin nobody") as guarded:
                    draw_modes(browser, f"{guarded}/", chosen.views, "sign-in")
                return 0
            write_documents(folder)
            for picture, shot in SHOTS.items():
                draw(browser, url, folder, IMAGES / f"{picture}.png", shot)
        if chosen.pdf is not None:
            with open_page(browser) as page:
                page.goto((folder / SHOTS["monitoring-report"].address).as_uri())
                page.pdf(path=str(chosen.pdf), format="A4", print_background=True)
    return 0


@contextmanager
def monitored(folder: Path) -> Iterator[str]:
    """The address of a `candor monitor` with made-up data; the folder also gets the report."""
    clock, store = Clock(), Store(folder / "store")
    fill_store(store)
    with Ledger(f"sqlite:///{folder / 'ledger.db'}", clock=clock) as opened:
        with Recorder(
            opened, MonitorMetrics(CollectorRegistry()), tags=TagSettings(("device",))
        ) as recorder:
            live(recorder, clock, store)
        filed = read_page_data(opened, MODEL, version=1)
        (folder / "report.html").write_text(report_page(filed), encoding="utf-8")
    with monitor(folder) as url:
        yield url


@contextmanager
def monitor(folder: Path, **settings: str) -> Iterator[str]:
    """The address of a `candor monitor` on what is in the folder."""
    ledger, store = f"sqlite:///{folder / 'ledger.db'}", str(folder / "store")
    process = Process(
        "monitor", folder, ledger=ledger, store=store, drift_tags="device", **settings
    )
    try:
        yield process.url
    finally:
        process.stop()


def write_documents(folder: Path) -> None:
    """Write the page of the tutorial on calibrating predictions, from those that it makes."""
    tutorial = (IMAGES.parent / "tutorials" / "calibrate-predictions.md").read_text(
        encoding="utf-8"
    )
    making = tutorial.split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", making], check=True, cwd=folder)
    read = read_predictions(folder / "predictions.csv")
    found = read.examined(Examining(title="Calibration of predictions.csv"))
    (folder / "tutorial.html").write_text(found.page(), encoding="utf-8")


def draw(browser: Browser, url: str, folder: Path, picture: Path, shot: Shot) -> None:
    """Draw one picture."""
    address = (
        url + shot.address if shot.address.startswith("/") else (folder / shot.address).as_uri()
    )
    take(browser, address, picture, width=WIDTH, height=shot.height)
    keep(picture, picture)


def keep(drawn: Path, picture: Path) -> None:
    """Write a picture in a palette, which halves its size."""
    Image.open(drawn).convert("RGB").quantize(256).save(picture, optimize=True)


def draw_views(browser: Browser, url: str, folder: Path) -> None:
    """Draw every view in every mode."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in VIEWS.items():
        draw_modes(browser, url + path, folder, name)


def draw_modes(browser: Browser, address: str, folder: Path, name: str) -> None:
    """Draw one view: light, dark and on a phone."""
    for mode, (width, dark) in MODES.items():
        take(browser, address, folder / f"{name}-{mode}.png", width=width, dark=dark)


if __name__ == "__main__":
    sys.exit(main())
