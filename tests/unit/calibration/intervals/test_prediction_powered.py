"""Prediction-powered means by hand and by simulation; the error rate of a reading."""

import math

import numpy as np
import pytest

from calibration.intervals.prediction_powered import error_of, powered_accuracy, reading_error


def test_without_truths_or_proxies() -> None:
    assert math.isnan(powered_accuracy([], [], [1, 0]).estimate)
    alone = powered_accuracy([1, 0] * 10, [1, 0] * 10, [])
    assert (alone.estimate, alone.weight) == (0.5, 0.0)
    few = powered_accuracy([1] * 20 + [0] * 9, [1] * 20 + [0] * 9, [1] * 100)
    assert few.weight == 0.0


@pytest.mark.parametrize(
    ("accuracy", "n"), [(0.9, 50), (0.9, 150), (0.8, 100), (0.95, 400), (0.7, 50)]
)
@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.98, 0.9), (0.9, 0.9), (0.8, 0.5)])
def test_the_interval_covers_and_is_narrower_than_that_of_truths_alone(
    accuracy: float, n: int, sensitivity: float, specificity: float
) -> None:
    rng = np.random.default_rng(n)
    covered, width, alone = 0, 0.0, 0.0
    for _ in range(1_000):
        truth = rng.random(n + 2_000) < accuracy
        proxy = rng.random(n + 2_000) < np.where(truth, sensitivity, 1 - specificity)
        found = powered_accuracy(truth[:n], proxy[:n], proxy[n:])
        covered += found.lower <= accuracy <= found.upper
        width += found.upper - found.lower
        without = powered_accuracy(truth[:n], proxy[:n], [])
        alone += without.upper - without.lower
    assert covered / 1_000 >= 0.93  # 0.94, within the error of 1,000 draws
    weighs = n * (1 - accuracy) > 14  # and not only in some draws
    assert width < alone * (0.9 if sensitivity > 0.9 and weighs else 1.005)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_error_of_a_reading_from_two(classes: int) -> None:
    rng, e, pairs = np.random.default_rng(classes), 0.07, 20_000
    truth = rng.integers(classes, size=pairs)
    read = [
        np.where(
            rng.random(pairs) < e, (truth + rng.integers(1, classes, size=pairs)) % classes, truth
        )
        for _ in range(2)
    ]
    different = int((read[0] != read[1]).sum())
    assert error_of(different / pairs, classes=classes) == pytest.approx(e, abs=0.005)
    lower, upper = reading_error(pairs, different, classes=classes)
    assert lower < e < upper
    assert reading_error(0, 0, classes=classes)[1] == pytest.approx((classes - 1) / classes)
