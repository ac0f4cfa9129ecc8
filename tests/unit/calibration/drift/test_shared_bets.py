"""Labels of one patient share a bet: their mean, which no dependence among them can inflate."""

import numpy as np
import numpy.typing as npt
import pytest

from calibration.drift.bets import bets_of
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings


def test_labels_that_share_a_bet_are_a_mean_in_any_parts() -> None:
    p, right, predicted = [0.9, 0.6, 0.9, 0.8], [False, True, False, False], [0, 1, 0, 0]
    settings = DriftSettings(class_count=2)
    shared, parts, alike, once = (DriftDetector(settings) for _ in range(4))
    shared.update_many(p, right, predicted, bets=[5, 5, 5, -7])
    parts.update_many(p[:3], right[:3], predicted[:3], bets=[1, 1, 1])
    parts.update(p[3], right[3], predicted[3])
    assert shared.state.as_dict() == parts.state.as_dict()
    assert shared.labels == 2
    alike.update_many([0.9] * 3, [False] * 3, [0] * 3, bets=[1, 1, 1])
    once.update(0.9, False, 0)
    assert alike.log_evalue == pytest.approx(once.log_evalue)
    of_parts = bets_of(np.array(p[:3]), np.array(right[:3]), settings.tolerance)
    np.testing.assert_allclose(alike_m(p, right, predicted, settings), of_parts.mean(axis=0))
    with pytest.raises(ValueError, match="follow each other"):
        shared.update_many(p, right, predicted, bets=[1, 2, 1, 3])


def alike_m(
    p: list[float], right: list[bool], predicted: list[int], settings: DriftSettings
) -> npt.NDArray[np.float64]:
    """M of all labels after the first three, which share a bet."""
    detector = DriftDetector(settings)
    detector.update_many(p[:3], right[:3], predicted[:3], bets=[0, 0, 0])
    return np.asarray(detector.state.m[0].ravel())


def one_by_one(seed: int, alike: int) -> bool:
    """Whether 3,000 labels raise an alarm: of a calibrated model, with alike images of patients."""
    rng = np.random.default_rng(seed)
    p = np.repeat(0.5 + 0.5 * rng.beta(2, 0.7, 3000 // alike), alike)
    right = np.repeat(rng.random(3000 // alike), alike) < p
    patients = np.repeat(np.arange(3000 // alike), alike)
    detector, start = DriftDetector(DriftSettings(class_count=2)), 0
    mixed = rng.permutation(3000)  # into transactions of 64 labels
    seen: set[int] = set()
    while start < len(mixed) and not detector.active:
        new = [each for each in mixed[start : start + 64] if int(patients[each]) not in seen]
        new.sort(key=lambda each: int(patients[each]))
        seen |= set(patients[new].tolist())
        detector.update_many(p[new], right[new], np.zeros(len(new)), patients[new])
        start += 64
    return detector.active


@pytest.mark.nightly
@pytest.mark.parametrize("alike", [2, 4, 10, 40])
def test_alike_images_raise_no_false_alarm(alike: int) -> None:
    """3,000 labels may raise 3 % of false alarms. Without patients it was 9 to 100 %."""
    assert sum(one_by_one(seed, alike) for seed in range(60)) <= 1
