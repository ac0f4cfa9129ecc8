"""The bundle against the file as it came, on real images or, without any, made-up ones."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from model_store.bundle.card import Initializers, Verification
from model_store.bundle.graph import INPUT, OUTPUT
from model_store.errors import ForeignModelRefused
from model_store.foreign.inspection import Inspection, own_scores
from model_store.foreign.labeled_images import LabeledImages, decoded
from model_store.foreign.preprocessing import Preprocessing
from model_store.foreign.preprocessing_choice import spec_of
from model_store.foreign.sandbox import Sandbox
from model_store.foreign.wrapping import wrap
from model_store.runtime import ort

MAX_DIFFERENCE: Final = 1e-3  # of a probability
VERIFIED_IMAGES: Final = 32
ALONE: Final = 4


def verify(
    graph: bytes,
    inspection: Inspection,
    preprocessing: Preprocessing,
    data: LabeledImages | None,
    calibrator: Initializers,
    names: Sequence[str],
    sandbox: Sandbox,
) -> Verification:
    """Compare the bundle with the file as it came.

    Before calibration, its probabilities are compared with the file's own. Those say nothing about
    the logits behind an exact 0, which a temperature brings to light. So the calibrated answers are
    compared with those computed from the bundle's logits. The bundle runs all images in one batch,
    and some alone, as servers do. Raises ForeignModelRefused if they differ by more than 1e-3.
    """
    image, scores = inspection.image, inspection.scores
    pixels = _pixels(inspection, preprocessing, data)
    prepared = preprocessing.apply(pixels, image)
    given = own_scores(inspection.running, image, image.arrange(prepared), scores.source)
    own = scores.own_probabilities(given)
    logits = inspection.run(prepared)[0] / np.array(calibrator.temperature)
    expected = scores.probabilities(logits + (calibrator.class_bias or 0.0))
    plain = wrap(inspection.core, preprocessing, names)
    difference = max(
        _difference(plain, pixels, own, sandbox), _difference(graph, pixels, expected, sandbox)
    )
    return Verification(
        images=len(pixels),
        alone=min(ALONE, len(pixels)),
        max_difference=difference,
        libraries=libraries(),
    )


def libraries() -> dict[str, str]:
    """The versions of what computes here."""
    return {"numpy": np.__version__, "onnx": onnx.__version__, "onnxruntime": ort.__version__}


def _difference(
    graph: bytes, pixels: npt.NDArray[np.uint8], expected: npt.NDArray[np.float64], sandbox: Sandbox
) -> float:
    """Return the largest difference. Raises ForeignModelRefused if it is over 1e-3."""
    bundle, columns = sandbox.load(graph), expected.shape[1]
    batches = [pixels, *(pixels[at : at + 1] for at in range(min(ALONE, len(pixels))))]
    given = [bundle.rows({INPUT: batch}, OUTPUT, columns=columns)[0] for batch in batches]
    bundle.unload()
    errors = np.concatenate(given) - np.concatenate([expected, expected[:ALONE]])
    difference = float(np.abs(errors).max())
    if not difference <= MAX_DIFFERENCE:  # also refuses NaN
        raise ForeignModelRefused(
            f"inside Candor's graph the model answers differently by {difference:.2g} in "
            "probability; nothing was published"
        )
    return difference


def _pixels(
    inspection: Inspection, preprocessing: Preprocessing, data: LabeledImages | None
) -> npt.NDArray[np.uint8]:
    """Images of the labeled folder, evenly chosen; without one, blocks of random colors."""
    image = inspection.image
    if data is not None:
        step = max(1, len(data.paths) // VERIFIED_IMAGES)
        chosen = range(0, len(data.paths), step)[:VERIFIED_IMAGES]
        batches = decoded(data.paths, chosen, spec_of(preprocessing, image))
        return np.concatenate([batch for _, batch in batches])
    height, width = preprocessing.decoded_size(image)
    coarse = np.random.default_rng(0).integers(
        0, 256, (8, image.channels, -(-height // 4), -(-width // 4)), np.uint8
    )
    return np.ascontiguousarray(coarse.repeat(4, axis=2).repeat(4, axis=3)[:, :, :height, :width])
