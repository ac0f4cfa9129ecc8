"""Cards of models that nobody trained."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from model_store.bundle.calibration_card import CalibrationCard
from model_store.bundle.card import Card, InputCard, Provenance


def made_up(
    name: str,
    classes: Sequence[str],
    calibration: CalibrationCard,
    *,
    version: int = 1,
    channels: Literal[1, 3] = 1,
    side: int = 8,
) -> Card:
    """A card whose provenance says nothing; its model takes square images of `side` pixels."""
    provenance = Provenance(
        dataset="made up",
        fingerprint="none",
        backbone="none",
        loss="none",
        seed=0,
        epochs=0,
        libraries={},
        created_at=datetime.now(UTC),
    )
    return Card(
        name=name,
        version=version,
        classes=tuple(classes),
        input=InputCard(channels=channels, height=side, width=side),
        provenance=provenance,
        calibration=calibration,
    )
