"""The card of an imported model: its measures on labeled images, and where it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import onnx

from calibration.bins import BinSums, bin_index
from calibration.calibrators.temperature import apply_temperature
from calibration.conformal import conformal
from calibration.drift.answer_drift import count_answers
from calibration.measures.confusion import confusion_matrix
from calibration.measures.metrics import top_label
from calibration.measures.summary import Measures
from calibration.threshold import referral_threshold
from model_store.bundle.calibration_card import CalibrationCard, ConformalCard, Referral
from model_store.bundle.card import Card, InputCard, InputReference
from model_store.bundle.provenance import Origin, Provenance, Verification
from model_store.errors import LabeledFolderRefused
from model_store.foreign.image_input import ImageInput
from model_store.foreign.labeled_folder import LabeledImages
from model_store.foreign.preprocessing import Preprocessing
from model_store.foreign.source import ForeignSource
from model_store.foreign.verification import Difference
from model_store.runtime import ort

PROMISED_ACCURACY = 0.95  # of the answers that are not referred
MISSED_CLASS = 0.1  # share of prediction sets without the true class
FEW_IMAGES = 100  # held out; with fewer the card says little


@dataclass(frozen=True)
class CardFigures:
    """The parts of a card that come from labeled images, and notes for people."""

    calibration: CalibrationCard
    referral: Referral | None = None
    conformal: ConformalCard | None = None
    input_reference: InputReference | None = None
    notes: tuple[str, ...] = ()


def uncalibrated() -> CardFigures:
    """Return what is known without labeled images: nothing, which the card says."""
    nothing = BinSums.zeros()
    card = CalibrationCard.from_reference(
        method="none",
        temperature=1.0,
        split="none",
        sums=nothing,
        measures=Measures.from_sums(nothing),
    )
    return CardFigures(
        card,
        notes=(
            "This model is not calibrated: no labeled images were given, so nothing is known "
            "about its confidence. Import it again with --data FOLDER, or serve it, send labels, "
            "and run `candor recalibrate`.",
        ),
    )


def measure(
    logits: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    data: LabeledImages,
    classes: Sequence[str],
    *,
    temperature: float,
    calibrated: bool,
    reference: InputReference,
    anyway: bool,
) -> CardFigures:
    """Measure the calibrated answers on the held-out half.

    Args:
        logits: (N, K) of all labeled images.
        labels: (N,) in 0..K-1.
        data: the images, with their halves.
        classes: names, (K,).
        temperature: fitted on the other half; 1 if none was fitted, and then not `calibrated`.
        reference: brightness of the images.
        anyway: whether a model that is no better than a constant answer is accepted.

    Raises:
        LabeledFolderRefused: it is not, and the model is no better.
    """
    stored = float(np.float32(temperature))  # as the graph holds it
    probabilities, truth = apply_temperature(logits[data.held_out], stored), labels[data.held_out]
    confidence, predicted = top_label(probabilities)
    correct = predicted == truth
    _check_useful(correct, truth, classes, anyway=anyway)
    threshold = referral_threshold(confidence, correct, promised_accuracy=PROMISED_ACCURACY)
    card = CalibrationCard.from_reference(
        method="temperature" if calibrated else "none",
        temperature=stored,
        split="held-out half of the labeled images",
        sums=BinSums.from_predictions(confidence, correct),
        measures=Measures.from_probabilities(probabilities, truth),
        confusion=confusion_matrix(probabilities, truth),
        answers=count_answers(predicted, bin_index(confidence), len(classes)),
    )
    referral = None
    if threshold is not None:
        referral = Referral(
            threshold=threshold.confidence,
            promised_accuracy=threshold.promised_accuracy,
            delta=threshold.delta,
            coverage=threshold.coverage,
        )
    sets = ConformalCard.from_sets(conformal(probabilities, truth, alpha=MISSED_CLASS))
    return CardFigures(card, referral, sets, reference, tuple(_notes(truth, classes, data)))


def _notes(truth: npt.NDArray[np.int64], classes: Sequence[str], data: LabeledImages) -> list[str]:
    notes = []
    if len(truth) < FEW_IMAGES:
        notes.append(
            f"The card rests on {len(truth)} held-out images, which is few: look at its intervals."
        )
    absent = [name for at, name in enumerate(classes) if not (truth == at).any()]
    if absent:
        shown = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        notes.append(
            f"No held-out image is of class {shown}: nothing is known about those answers."
        )
    return notes


def _check_useful(
    correct: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.int64],
    classes: Sequence[str],
    *,
    anyway: bool,
) -> None:
    counts = np.bincount(truth, minlength=len(classes))
    constant, accuracy = int(counts.argmax()), float(correct.mean())
    share = float(counts[constant] / len(truth))
    if accuracy > share or anyway:
        return
    raise LabeledFolderRefused(
        f"with its best preprocessing the model is right on {100 * accuracy:.1f} % of {len(truth)} "
        f"held-out images, and always answering {classes[constant]!r} would be right on "
        f"{100 * share:.1f} %. Most likely the classes are not in the order of the model's scores "
        "(--classes), or it was trained with another preprocessing (--normalize, --size). To "
        "publish it all the same, add --anyway"
    )


UNKNOWN = "unknown"  # what only the maker knows


def build_card(
    source: ForeignSource,
    image: ImageInput,
    preprocessing: Preprocessing,
    classes: tuple[str, ...],
    measured: CardFigures,
    data: LabeledImages | None,
    findings: Mapping[str, str],
    difference: Difference,
    *,
    name: str,
    version: int,
    trusted: bool,
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
            imported=Origin(
                file=source.file,
                sha256=source.sha256,
                producer=source.producer,
                opset=source.opset,
                findings=dict(findings),
                trusted=trusted,
            ),
        ),
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
