"""Forty days of a made-up model, always the same: three weeks calibrated, then overconfident on
images of a new device.

The alarm follows, then a recalibration, and ten days of the next version. The pages that show it
are Candor's own.
"""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import numpy as np

from calibration.bins import BinSums
from calibration.measures.summary import Measures
from model_store.bundle.bundle import write_bundle
from model_store.bundle.calibration_card import CalibrationCard, Referral
from model_store.bundle.card import Card, InputCard, Provenance
from model_store.store.canary import start_canary
from model_store.store.store import Store
from monitoring.feedback import FeedbackItem
from monitoring.ledger import PredictionRow
from monitoring.recording.recorder import Recorder
from tests.builders.answers import CLASSES, label, make_row
from tests.builders.bundles import build_onnx
from tests.builders.monitored import Clock

MODEL: Final = "chest"
START_NS, DAY_NS = 1_790_000_000 * 10**9 // (86_400 * 10**9) * 86_400 * 10**9, 86_400 * 10**9
DAYS, DRIFT_DAY, PROMOTED_DAY, OTHER_DRIFT_DAY, ANSWERS = 40, 22, 30, 33, 60
TEMPERATURES: Final = (1.0, 1.9, 1.8)  # of versions 1 to 3
OTHER: Final = "retina"
WHYS: Final = {
    MODEL: ("the first version", "overconfident on device B", "trained with images of device B"),
    OTHER: ("the first version",),
}


def fill_store(store: Store) -> None:
    """Three versions of the first model, the second in production and the third a canary; one
    version of the other.

    Their graphs are tiny; what the pages show is in their cards and in the ledger.
    """
    for model, whys in WHYS.items():
        for version, why in enumerate(whys, start=1):
            made = card(model, version, TEMPERATURES[version - 1])
            onnx = build_onnx(classes=2, channels=1, temperature=TEMPERATURES[version - 1])
            store.publish(model, partial(_write, card=made, onnx=onnx), by="mia", why=why)
        store.promote(model, 1, by="mia", why=whys[0])
    store.promote(MODEL, 2, by="tom", why="recalibrated after the alarm of device B")
    start_canary(
        store, MODEL, 3, mode="share", share=0.1, by="mia", why="does it also hold on device A?"
    )


def _write(folder: Path, _: int, *, card: Card, onnx: bytes) -> None:
    write_bundle(folder, card=card, onnx=onnx)


def live(recorder: Recorder, clock: Clock, store: Store) -> None:
    """Answers and labels of both models, day by day."""
    random, another = np.random.default_rng(4), np.random.default_rng(5)
    first, other = _serve(recorder, store, MODEL, 1), _serve(recorder, store, OTHER, 1)
    for day in range(DAYS):
        clock.now_ns = START_NS + day * DAY_NS + 8 * 3_600 * 10**9
        if day == PROMOTED_DAY:
            first = _serve(recorder, store, MODEL, 2)
        drifted = DRIFT_DAY <= day < PROMOTED_DAY
        both = [
            answers(random, first, clock.now_ns, drifted=drifted),
            answers(another, other, clock.now_ns, drifted=day >= OTHER_DRIFT_DAY),
        ]
        heard: SimpleQueue[BaseException | None] = SimpleQueue()
        for rows, _ in both:
            recorder.record(rows, heard.put)
            heard.get()
        clock.now_ns += 5 * 3_600 * 10**9
        for _, labels in both:
            recorder.feedback(labels).result()


def _serve(recorder: Recorder, store: Store, model: str, version: int) -> int:
    """Put a version into production; return its calibration id."""
    bundle = store.read(model, version)
    (serving,) = recorder.register(bundle.card, digest=bundle.digest)
    recorder.promote(serving).result()
    return serving


def answers(
    random: np.random.Generator, watched_version_id: int, now_ns: int, *, drifted: bool
) -> tuple[list[PredictionRow], list[FeedbackItem]]:
    """A day's answers and labels of three in four; on device B the model is overconfident."""
    rows, labels = [], []
    for number in range(ANSWERS):
        device, confidence = "AB"[number % 2], float(0.5 + 0.5 * random.beta(3, 1))
        right = random.random() < (
            0.5 + 0.35 * (confidence - 0.5) if drifted and device == "B" else confidence
        )
        predicted = int(random.random() < 0.6)
        serial, at_ns = 1_000 * watched_version_id + number, now_ns + number * 10**9
        row = make_row(
            serial,
            watched_version_id=watched_version_id,
            confidence=confidence,
            predicted=predicted,
            served_at_ns=at_ns,
        )
        rows.append(row._replace(tags=f'{{"device":"{device}"}}'))
        if number % 4:
            name = CLASSES[predicted if right else 1 - predicted]
            labels.append(label(serial, name, at_ns=at_ns, source="radiologist"))
    return rows, labels


def card(model: str, version: int, temperature: float) -> Card:
    """A card whose reference is calibrated."""
    random = np.random.default_rng(version)
    confidence = 0.5 + 0.5 * random.beta(3, 1, 500)
    correct = random.random(500) < confidence
    sums = BinSums.from_predictions(confidence, correct)
    return Card(
        name=model,
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
            created_at=datetime(2026, 8 + version, 10, 9, 30, tzinfo=UTC),
        ),
        calibration=CalibrationCard.from_reference(
            temperature=temperature,
            split="validation",
            sums=sums,
            measures=Measures.from_sums(sums),
        ),
        referral=Referral(threshold=0.7, promised_accuracy=0.8, delta=0.05, coverage=0.5),
    )
