"""The card of an imported model: its measures on labeled images, and where it came from."""

from datetime import UTC, datetime
from typing import Final

import numpy as np
import onnx

from model_store.bundle.card import Card, InputCard, Origin, Provenance, Verification
from model_store.foreign.card_figures import CardFigures
from model_store.foreign.image_input import ImageInput
from model_store.foreign.preprocessing import Preprocessing
from model_store.foreign.truth import LabeledData
from model_store.foreign.verification import Difference
from model_store.runtime import ort

UNKNOWN: Final = "unknown"  # what only the maker knows


def build_card(
    image: ImageInput,
    preprocessing: Preprocessing,
    classes: tuple[str, ...],
    measured: CardFigures,
    data: LabeledData | None,
    origin: Origin,
    difference: Difference,
    *,
    name: str,
    version: int,
) -> Card:
    """Return the card without file hashes, which are added on writing."""
    libraries = {"numpy": np.__version__, "onnx": onnx.__version__, "onnxruntime": ort.__version__}
    height, width = preprocessing.decoded_size(image)
    return Card(
        name=name,
        version=version,
        classes=classes,
        input=InputCard(
            channels=1 if image.channels == 1 else 3,
            height=height,
            width=width,
            resize=preprocessing.resize,
            window=preprocessing.window,
            bits=preprocessing.bits,
        ),
        provenance=Provenance(
            dataset="none" if data is None else data.root.resolve().name,
            fingerprint="none" if data is None else data.fingerprint,
            backbone="imported",
            loss=UNKNOWN,
            seed=0,
            epochs=0,
            libraries=libraries,
            created_at=datetime.now(UTC),
            imported=origin,
        ),
        findings=measured.findings,
        calibration=measured.calibration,
        referral=measured.referral,
        conformal=measured.conformal,
        input_reference=measured.input_reference,
        verification=Verification(
            images=difference.images,
            alone=difference.alone,
            max_difference=difference.largest,
            libraries=libraries,
        ),
    )
