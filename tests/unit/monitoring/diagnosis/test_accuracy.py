"""Accuracy beside that of the card, evidence of calm streams, slices that hold together."""

import numpy as np
import pytest

from calibration.bins import BinSums
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from monitoring.diagnosis.accuracy import LabeledDay, judge
from monitoring.diagnosis.detectors import Drift, calm_evidence
from monitoring.diagnosis.facts import AccuracyAnswer
from monitoring.ledger.sums import LedgerSums
from monitoring.reports.slices import Slice, measure_slices

FIRST_DAY = 20_000


def reference(n: int = 1_000, accuracy: float = 0.82) -> BinSums:
    return BinSums.from_predictions(np.full(n, accuracy), np.arange(n) < round(n * accuracy))


def days(*right: tuple[int, float], labeled: float = 0.1) -> list[LabeledDay]:
    return [
        LabeledDay(FIRST_DAY + day, n, round(n * share), round(n / labeled))
        for day, (n, share) in enumerate(right)
    ]


@pytest.mark.parametrize(
    ("n", "accuracy", "answer"),
    [
        (400, 0.63, AccuracyAnswer.LOWER),
        (600, 0.95, AccuracyAnswer.HIGHER),
        (2_000, 0.82, AccuracyAnswer.AS_IT_WAS),
        (40, 0.7, AccuracyAnswer.UNKNOWN),
    ],
)
def test_the_answer(n: int, accuracy: float, answer: AccuracyAnswer) -> None:
    assert judge(days((n, accuracy)), reference())[0] is answer


def test_errors_times_four_are_not_as_it_was() -> None:
    """99.5 % on the card, 98 % now: close in points, not in odds."""
    card = reference(2_000, 0.995)
    assert judge(days((300, 0.98)), card)[0] is AccuracyAnswer.UNKNOWN
    assert judge(days((5_000, 0.98)), card)[0] is AccuracyAnswer.LOWER


def test_a_small_reference_leaves_it_open() -> None:
    assert judge(days((10_000, 0.82)), reference(50))[0] is AccuracyAnswer.UNKNOWN


def test_a_drop_after_a_long_good_time_is_found_and_dated() -> None:
    """30 good days of 300 labels, then three of 200: over all labels the mean has hardly moved."""
    answer, stretch = judge(days(*[(300, 0.82)] * 30, *[(200, 0.63)] * 3), reference())
    assert answer is AccuracyAnswer.LOWER
    assert (stretch.day, stretch.n) == (FIRST_DAY + 30, 600)


def test_without_labels_or_reference_nothing_is_claimed() -> None:
    assert judge([], reference())[0] is AccuracyAnswer.UNKNOWN
    assert judge(days((500, 0.5)), BinSums.zeros())[0] is AccuracyAnswer.UNKNOWN


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.82, 0.957])
def test_whoever_looks_every_day_is_misled_in_at_most_one_of_twenty_models(accuracy: float) -> None:
    """100 models as accurate as before, 100 days of 20 labels, a reference of 500 each."""
    rng, misled, models = np.random.default_rng(1), 0, 100
    for _ in range(models):
        card = BinSums.from_predictions(np.full(500, accuracy), rng.random(500) < accuracy)
        right = rng.binomial(20, accuracy, 100)
        seen = [LabeledDay(FIRST_DAY + day, 20, int(n), 20) for day, n in enumerate(right)]
        answers = {judge(seen[:day], card)[0] for day in range(5, 101, 5)}
        misled += bool(answers & {AccuracyAnswer.LOWER, AccuracyAnswer.HIGHER})
    assert misled <= 0.05 * models


def drift(labels: int, log_threshold: float = 11.5) -> Drift:
    return Drift(
        log_evalue=5.0,
        log_threshold=log_threshold,
        active=False,
        direction=None,
        labels=labels,
        alarm_label=None,
        average_run_length=100_000,
        tolerance=0.01,
    )


def test_calm_evidence_is_about_half_an_alarm() -> None:
    assert calm_evidence(drift(50)) is None
    few, many = calm_evidence(drift(300)), calm_evidence(drift(20_000))
    assert (round(few.lower, 2), round(few.upper, 2)) == (0.43, 0.48)
    assert (round(many.lower, 2), round(many.upper, 2)) == (0.55, 0.66)
    assert calm_evidence(drift(10**7)) == many
    halved = calm_evidence(drift(300, log_threshold=23))
    assert (halved.lower, halved.upper) == pytest.approx((few.lower / 2, few.upper / 2))


def test_a_simulated_calm_stream_stands_there() -> None:
    rng, inside = np.random.default_rng(5), 0
    for _ in range(20):
        detector = DriftDetector(DriftSettings(class_count=2))
        confidence = 0.5 + rng.beta(1, 0.56, 1_000) / 2
        detector.update_many(confidence, rng.random(1_000) < confidence, rng.integers(0, 2, 1_000))
        usual = calm_evidence(drift(1_000, detector.log_threshold))
        inside += usual.lower <= detector.log_evalue / detector.log_threshold <= usual.upper
    assert inside >= 14


LABELED = BinSums.from_predictions([0.8] * 100, [True] * 70 + [False] * 30)


SUMS = LedgerSums(LABELED, LABELED.n, LABELED.confidence)


def width(known: tuple[Slice, ...]) -> float:
    return known[0].gap_upper - known[0].gap_lower


def test_intervals_of_slices_hold_together_and_count_what_labels_are_worth() -> None:
    alone, many = (
        measure_slices({f"tag:site={site}": SUMS for site in range(n)}, worth=1).known
        for n in (1, 50)
    )
    alike = measure_slices({"tag:site=0": SUMS}, worth=0.25).known
    assert alone[0].gap_lower > 0 > many[0].gap_lower
    assert width(alike) == pytest.approx(2 * width(alone), rel=0.1)
