"""Candor under test: a store with one subject's bundle, and the server in its own process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.serving.subjects import CLASSES, TEMPERATURE, Subject
from calibration.bins import BinSums
from calibration.measures import Measures
from model_store.bundle import write_bundle
from model_store.card import CalibrationCard, Card, InputCard, Provenance
from model_store.store import Store

SERVE = (
    "from serving.server import serve; from serving.settings import load_settings; "
    "raise SystemExit(serve(load_settings()))"
)


def publish(store: Store, subject: Subject, onnx: bytes) -> None:
    """Make `subject` the production version of the model of its name."""
    version = store.publish(
        subject.name, lambda folder, number: write_bundle(folder, card=_card(subject, number), onnx=onnx)
    )
    store.promote(subject.name, version)


def _card(subject: Subject, version: int) -> Card:
    """A card that keeps the schema and claims nothing."""
    sums = BinSums.zeros()
    return Card(
        name=subject.name,
        version=version,
        classes=CLASSES,
        input=InputCard(channels=subject.channels, height=subject.side, width=subject.side),
        provenance=Provenance(
            dataset="none",
            fingerprint="none",
            backbone=subject.name,
            loss="none",
            seed=0,
            epochs=0,
            libraries={},
            created_at=datetime.now(UTC),
        ),
        calibration=CalibrationCard.from_reference(
            temperature=TEMPERATURE, split="none", sums=sums, measures=Measures.from_sums(sums)
        ),
    )


@contextmanager
def serving(store: Path, *, ledger: Path | None) -> Iterator[int]:
    """The port of a server on `store`, for as long as the block lasts."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")} | {
        "CANDOR_PORT": "0",
        "CANDOR_STORE": str(store),
        "CANDOR_LEDGER": "off" if ledger is None else f"sqlite:///{ledger}",
        "CANDOR_LOG_LEVEL": "warning",
        # Throughput is measured here, not admission: nothing is to be refused, however slow the machine.
        "CANDOR_DEADLINE_S": "600",
    }
    process = subprocess.Popen([sys.executable, "-c", SERVE], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("the server's output is not piped")
        yield int(process.stdout.readline().rsplit(":", 1)[1])
    finally:
        process.terminate()
        process.wait(timeout=60)
