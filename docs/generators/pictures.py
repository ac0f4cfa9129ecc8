"""`python -m docs.generators.pictures`: draw the pictures of the monitoring pages in docs/, with headless Chromium.

The data are made up and always the same. Forty days of a model: three weeks calibrated, then overconfident on
the images of a new device; the alarm, a recalibration, and ten days of the next version. The pages are Candor's own;
Grafana draws the same figures in its own way.
"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from PIL import Image
from prometheus_client import CollectorRegistry

from calibration.bins import BinSums
from calibration.measures import Measures
from candor.predictions.calibration import examine_predictions
from candor.predictions.reading import read_predictions
from model_store.card import CalibrationCard, Card, InputCard, Provenance, Referral
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger, PredictionRow
from monitoring.metrics.counters import MonitorMetrics
from monitoring.pages.assets import asset
from monitoring.pages.index_page import index_page
from monitoring.pages.model_page import model_page
from monitoring.pages.report_page import report_page
from monitoring.recording.recorder import Recorder
from monitoring.reports.page_data import read_page_data, window_since

MODEL, CLASSES = "chest", ("normal", "pneumonia")
START_NS, DAY_NS = 1_790_000_000 * 10**9 // (86_400 * 10**9) * 86_400 * 10**9, 86_400 * 10**9
DAYS, DRIFT_DAY, PROMOTED_DAY, ANSWERS = 40, 22, 30, 60
IMAGES = Path(__file__).parents[1] / "images"
VIEWS = {
    "monitoring-index": (1080, 640),
    "monitoring-model": (1080, 4560),
    "monitoring-report": (1080, 1130),
    "calibration-report": (1080, 1110),
}


class Clock:
    """A clock that is set by hand."""

    now_ns = START_NS

    def __call__(self) -> int:
        return self.now_ns


def main() -> int:
    """Draw all pictures, and the report as a PDF if `--pdf FILE` is given."""
    with tempfile.TemporaryDirectory() as folder:
        pages = write_pages(Path(folder))
        for name, (width, height) in VIEWS.items():
            picture = IMAGES / f"{name}.png"
            chromium(f"--window-size={width},{height}", f"--screenshot={picture}", str(pages[name]))
            Image.open(picture).convert("RGB").quantize(256).save(picture, optimize=True)  # half the size
        if sys.argv[1:2] == ["--pdf"]:
            chromium(
                "--no-pdf-header-footer",
                f"--print-to-pdf={Path(sys.argv[2]).resolve()}",
                str(pages["monitoring-report"]),
            )
    return 0


def chromium(*arguments: str) -> None:
    """Run Chromium without a window."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb"]
    subprocess.run(["chromium", *options, *arguments], check=True, capture_output=True, timeout=120)


def write_pages(folder: Path) -> dict[str, Path]:
    """Simulate the forty days and write the pages."""
    clock = Clock()
    with Ledger(f"sqlite:///{folder / 'ledger.db'}", clock=clock) as ledger:
        with Recorder(ledger, MonitorMetrics(CollectorRegistry()), tags=TagSettings(("device",))) as recorder:
            live(recorder, clock)
        found = read_page_data(ledger, MODEL, version=1)
        filed = read_page_data(ledger, MODEL, version=1, window=window_since("40d", now_ns=clock()))
        reports = [each for number in (2, 1) for each in (read_page_data(ledger, MODEL, version=number).report,)]
    other = replace(reports[0], model="retina")
    pages = {
        "monitoring-index": index_page([reports[1], other]),
        "monitoring-model": model_page(found),
        "monitoring-report": report_page(filed),
        "calibration-report": tutorial_report(folder),
    }
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(_in_one_file(page), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in pages}


def _in_one_file(page: str) -> str:
    """A page of the server with its style sheet inside, and without its script."""
    style, script = asset("style.css"), asset("console.js")
    plain = page.encode().decode()  # Markup would escape what is put into it
    plain = plain.replace(f'<link rel="stylesheet" href="{style.address}">', f"<style>{style.content}</style>")
    return plain.replace(f'<script src="{script.address}" defer></script>', "")


def tutorial_report(folder: Path) -> str:
    """The page of the tutorial on calibrating predictions, from the predictions that it makes."""
    tutorial = (IMAGES.parent / "tutorials" / "calibrate-predictions.md").read_text(encoding="utf-8")
    making = tutorial.split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", making], check=True, cwd=folder)
    return examine_predictions(
        read_predictions(folder / "predictions.csv"), title="Calibration of predictions.csv"
    ).page()


def live(recorder: Recorder, clock: Clock) -> None:
    """Answers and labels, day by day."""
    random = np.random.default_rng(4)
    serving = recorder.register(card(1, 1.0))
    recorder.promote(serving).result()
    for day in range(DAYS):
        clock.now_ns = START_NS + day * DAY_NS + 8 * 3_600 * 10**9
        if day == PROMOTED_DAY:
            serving = recorder.register(card(2, 1.9))
            recorder.promote(serving).result()
        drifted = DRIFT_DAY <= day < PROMOTED_DAY
        rows, labels = answers(random, serving, clock.now_ns, drifted=drifted)
        heard: SimpleQueue[BaseException | None] = SimpleQueue()
        recorder.record(rows, heard.put)
        heard.get()
        clock.now_ns += 5 * 3_600 * 10**9
        recorder.feedback(labels).result()


def answers(
    random: np.random.Generator, calibration_id: int, now_ns: int, *, drifted: bool
) -> tuple[list[PredictionRow], list[FeedbackItem]]:
    """A day's answers and the labels of three in four; on device B, drifted, the model is overconfident."""
    rows, labels = [], []
    for number in range(ANSWERS):
        device, confidence = "AB"[number % 2], float(0.5 + 0.5 * random.beta(3, 1))
        right = random.random() < (0.5 + 0.35 * (confidence - 0.5) if drifted and device == "B" else confidence)
        predicted = int(random.random() < 0.6)
        at_ns = now_ns + number * 10**9
        identity = (at_ns // 10**6).to_bytes(6, "big") + b"\x70\x00\x80\x00" + number.to_bytes(6, "big")
        probabilities = np.full(2, 1 - confidence, dtype="<f4")
        probabilities[predicted] = confidence
        rows.append(
            PredictionRow(
                identity,
                calibration_id,
                None,
                predicted,
                confidence,
                probabilities.tobytes(),
                at_ns,
                tags=f'{{"device":"{device}"}}',
            )
        )
        if number % 4:
            labels.append(FeedbackItem(CLASSES[predicted if right else 1 - predicted], identity, source="radiologist"))
    return rows, labels


def card(version: int, temperature: float) -> Card:
    """A card whose reference is calibrated."""
    random = np.random.default_rng(version)
    confidence = 0.5 + 0.5 * random.beta(3, 1, 500)
    correct = random.random(500) < confidence
    sums = BinSums.from_predictions(confidence, correct)
    return Card(
        name=MODEL,
        version=version,
        classes=CLASSES,
        input=InputCard(channels=1, height=8, width=8),
        provenance=Provenance(
            dataset="made up",
            fingerprint="0" * 64,
            backbone="none",
            loss="ce",
            seed=version,
            epochs=0,
            libraries={},
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        ),
        calibration=CalibrationCard.from_reference(
            temperature=temperature, split="validation", sums=sums, measures=Measures.from_sums(sums)
        ),
        referral=Referral(threshold=0.7, promised_accuracy=0.8, delta=0.05, coverage=0.5),
    )


if __name__ == "__main__":
    sys.exit(main())
