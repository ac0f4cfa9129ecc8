"""A ledger of hospitals: 12 classes, 8 sites, 12 devices; two sites break on day 40."""

import time
from pathlib import Path
from typing import Final

import numpy as np

from calibration.drift.state import DriftSettings
from model_store.bundle.bundle import write_bundle
from model_store.bundle.card import Card
from model_store.store.store import Store
from model_store.tags import tags_of
from monitoring.drift.tag_settings import TagSettings
from monitoring.ledger import PredictionRow
from tests.builders.answers import label, make_card, make_row
from tests.builders.bundles import build_onnx
from tests.builders.monitored import Clock, MonitoredModel

MODEL: Final = "skin-lesions"
CLASSES: Final = tuple(f"class-{number:02d}" for number in range(12))
SITES: Final = (
    "UKE",
    "St. Georg",
    "Altona",
    "Harburg",
    "Bergedorf",
    "Wandsbek",
    "Eppendorf",
    "Lohe",
)
BROKEN: Final = SITES[:2]
ANSWERS, DAYS, BREAKS, DAY_NS = 5_000, 60, 40, 86_400 * 10**9


def stock_hospitals(folder: Path) -> Card:
    """Make a store with the model in production; return its card."""

    def write(part: Path, _: int) -> None:
        onnx = build_onnx(classes=len(CLASSES), channels=1, temperature=1.0)
        write_bundle(part, card=make_card(MODEL, classes=CLASSES), onnx=onnx)

    store = Store(folder)
    store.publish(MODEL, write)
    store.promote(MODEL, 1)
    return store.read(MODEL, 1).card


def fill_hospitals(path: Path, *, card: Card, others: int = 0) -> None:
    """Write the ledger; its newest answer is some minutes old. `card`: of the model;
    `others`: more models.
    """
    clock, random = Clock(), np.random.default_rng(5)
    now_ns = time.time_ns()
    clock.now_ns = now_ns - DAYS * DAY_NS
    settings, tags = DriftSettings(average_run_length=10_000), TagSettings(("site",))
    with MonitoredModel(path, clock, settings=settings, card=card, tags=tags) as monitored:
        monitored.recorder.promote(monitored.watched_version_id).result()
        for day in range(DAYS):
            clock.now_ns = now_ns - (DAYS - day) * DAY_NS + DAY_NS - 300 * 10**9
            _serve_day(monitored, random, day, clock.now_ns)
        for number in range(others):
            _serve_quietly(monitored, random, f"model-{number:02d}", clock.now_ns)


def _serve_day(
    monitored: MonitoredModel, random: np.random.Generator, day: int, at_ns: int
) -> None:
    """A day's answers with their labels."""
    rows, labels = [], []
    for number in range(day * ANSWERS // DAYS, (day + 1) * ANSWERS // DAYS):
        site, device = SITES[random.integers(8)], f"device-{random.integers(12):02d}"
        confidence, said = random.uniform(0.6, 0.95), int(random.integers(12))
        lacks = 0.42 if day >= BREAKS and site in BROKEN else 0.0
        true = said if random.random() < confidence - lacks else (said + 1) % 12
        row = make_row(number, served_at_ns=at_ns, request_id=f"case-{number:05d}")
        tags = tags_of({"device": device, "site": site})
        rows.append(_with(row, monitored.watched_version_id, confidence, said, tags))
        labels.append(label(number, CLASSES[true], at_ns=at_ns))
    monitored.serve(*rows)
    monitored.label(*labels)


def _serve_quietly(
    monitored: MonitoredModel, random: np.random.Generator, name: str, at_ns: int
) -> None:
    """Calibrated answers of another model."""
    (key,) = monitored.recorder.register(make_card(name, classes=CLASSES))
    rows, labels = [], []
    for place in range(150):
        number = int.from_bytes(name.encode(), "big") % 10**9 * 1_000 + place
        confidence, said = random.uniform(0.6, 0.95), int(random.integers(12))
        true = said if random.random() < confidence else (said + 1) % 12
        served_at_ns = at_ns - (150 - place) * 3_600 * 10**9
        row = make_row(number, served_at_ns=served_at_ns)
        rows.append(_with(row, key, confidence, said, None))
        labels.append(label(number, CLASSES[true], at_ns=served_at_ns))
    monitored.serve(*rows)
    monitored.label(*labels)


def _with(
    row: PredictionRow, key: int, confidence: float, said: int, tags: str | None
) -> PredictionRow:
    """The answer of a model with twelve classes."""
    probabilities = np.full(12, (1 - confidence) / 11, dtype="<f4")
    probabilities[said] = confidence
    return row._replace(
        watched_version_id=key,
        predicted=said,
        confidence=float(probabilities[said]),
        probabilities=probabilities.tobytes(),
        tags=tags,
    )
