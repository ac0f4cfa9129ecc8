"""The card of an imported model: its measures on labeled images, and where it came from."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from model_store.bundle.card import Card, InputCard, Origin, Provenance, Verification
from model_store.foreign.card_figures import CardFigures
from model_store.foreign.labeled_images import LabeledImages
from model_store.foreign.verification import libraries
from model_store.image import InputSpec

UNKNOWN: Final = "unknown"  # what only the maker knows


def build_card(
    name: str,
    classes: tuple[str, ...],
    spec: InputSpec,
    measured: CardFigures,
    data: LabeledImages | None,
    *,
    origin: Origin,
    verification: Verification,
) -> Card:
    """Return the card of version 1, without file hashes, which are added on writing."""
    return Card(
        name=name,
        version=1,
        classes=classes,
        input=InputCard.model_validate(asdict(spec)),
        provenance=Provenance(
            dataset="none" if data is None else data.root.resolve().name,
            fingerprint="none" if data is None else data.fingerprint,
            backbone="imported",
            loss=UNKNOWN,
            seed=0,
            epochs=0,
            libraries=libraries(),
            created_at=datetime.now(UTC),
            imported=origin,
        ),
        findings=measured.findings,
        calibration=measured.calibration,
        referral=measured.referral,
        conformal=measured.conformal,
        input_reference=measured.input_reference,
        verification=verification,
    )
