"""False alarms where images of a patient err together, with and without patients, and delays."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings

LABELS, AT_ONCE, GAP = 3_000, 64, 0.10
IMAGES = (1, 2, 4, 10, 40)


def patients(*, streams: int) -> Iterator[dict[str, Any]]:
    """For so many alike images of a patient, labeled in runs or mixed, 64 in a transaction."""
    for images in IMAGES:
        for mixed in (False, True):
            drawn = [_draw(seed, images, mixed=mixed) for seed in range(streams)]
            shifted = [_draw(seed, images, mixed=mixed, gap=GAP) for seed in range(streams)]
            yield {
                "images": images,
                "mixed": mixed,
                "streams": streams,
                "false alarms": sum(_alarm(*each) <= LABELS for each in drawn),
                "without patients": sum(
                    _alarm(p, right, np.arange(LABELS)) <= LABELS for p, right, _ in drawn
                ),
                f"median delay, gap {GAP}": float(np.median([_alarm(*each) for each in shifted])),
            }


def _draw(
    seed: int, images: int, *, mixed: bool, gap: float = 0.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Confidences, correctness and patients. With a gap, images are independent of each other."""
    rng = np.random.default_rng((seed, images))
    people = LABELS // images
    patient = np.repeat(np.arange(people), images)
    p = (0.5 + 0.5 * rng.beta(2, 0.7, people))[patient]
    right = (rng.random(people)[patient] if not gap else rng.random(LABELS)) < p - gap
    order = rng.permutation(LABELS) if mixed else np.arange(LABELS)
    return p[order], right[order], patient[order]


def _alarm(
    p: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], patient: npt.NDArray[np.int64]
) -> float:
    """How many labels had arrived when the alarm came; infinity if it did not."""
    detector, known = DriftDetector(DriftSettings(class_count=2)), np.empty(0, dtype=np.int64)
    for start in range(0, LABELS, AT_ONCE):
        part = np.arange(start, min(start + AT_ONCE, LABELS))
        new = part[~np.isin(patient[part], known)]
        new = new[np.argsort(patient[new], kind="stable")]
        known = np.union1d(known, patient[new])
        detector.update_many(p[new], right[new], new % 2, patient[new])
        if detector.active:
            return float(part[-1] + 1)
    return np.inf
