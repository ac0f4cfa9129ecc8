"""Candor under test: a store with one subject's bundle, and the command that serves it."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.cards import made_up
from benchmarks.serving.subjects import CLASSES, TEMPERATURE, Subject
from calibration.bins import BinSums
from calibration.measures.summary import Measures
from model_store.bundle.bundle import write_bundle
from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card
from model_store.store.store import Store

COMMAND = (sys.executable, "-m", "candor", "serve")
ROOT = Path(__file__).parents[2]
ROOMS = tuple(
    ROOT / room
    for room in ("calibration", "candor", "model_store", "monitoring", "serving", "training")
)


def publish(store: Store, subject: Subject, onnx: bytes) -> None:
    """Make `subject` the production version of the model of its name."""
    version = store.publish(
        subject.name,
        lambda folder, number: write_bundle(folder, card=_card(subject, number), onnx=onnx),
    )
    store.promote(subject.name, version)


def environment(folder: Path, *, port: int, ledger: bool) -> dict[str, str]:
    """Settings of a server on the store in `folder`: the defaults, except for paths and ports."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "CANDOR_"))
    }
    return kept | {
        "PYTHONPATH": str(ROOT),
        "CANDOR_PORT": str(port),
        "CANDOR_STORE": str(folder / "store"),
        "CANDOR_LEDGER": f"sqlite:///{folder}/ledger.db" if ledger else "off",
    }


def compile_modules() -> None:
    """Compile Candor's modules to byte code, as pip does for every installed peer."""
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", *ROOMS],
        check=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""},
    )


def _card(subject: Subject, version: int) -> Card:
    """A valid card without any claims."""
    sums = BinSums.zeros()
    calibration = CalibrationCard.from_reference(
        temperature=TEMPERATURE, split="none", sums=sums, measures=Measures.from_sums(sums)
    )
    return made_up(
        subject.name,
        CLASSES,
        calibration,
        version=version,
        channels=subject.channels,
        side=subject.side,
    )
