"""Is the model as accurate as it was: the answers, and how often daily looks mislead."""

import math

import numpy as np
import pytest

from calibration.bins import BinSums
from monitoring.findings.accuracy import (
    AccuracyAnswer,
    LabeledDay,
    judge_accuracy,
    labels_for_accuracy,
)

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
    ],
)
def test_the_answer_and_its_bound(n: int, accuracy: float, answer: AccuracyAnswer) -> None:
    verdict = judge_accuracy(days((n, accuracy)), reference())
    assert verdict.answer is answer
    assert verdict.chosen
    lower, upper = verdict.difference_lower, verdict.difference_upper
    assert lower < accuracy - 0.82 < upper
    within = {"lower": -upper, "higher": lower, "as-it-was": max(-lower, upper)}[answer.value]
    assert 0 < within <= verdict.bound < within + 0.001


def test_few_labels_or_a_small_reference_leave_it_open() -> None:
    few = judge_accuracy(days((40, 0.7)), reference())
    assert (few.answer, labels_for_accuracy(few)) == (AccuracyAnswer.UNKNOWN, 500)
    small = judge_accuracy(days((10_000, 0.82)), reference(50))
    assert (small.answer, labels_for_accuracy(small)) == (AccuracyAnswer.UNKNOWN, None)
    assert small.headline != few.headline  # more labels never settle it


def test_a_drop_after_a_long_good_time_is_found_and_dated() -> None:
    """30 good days of 300 labels, then three of 200: over all labels the mean has hardly moved."""
    verdict = judge_accuracy(days(*[(300, 0.82)] * 30, *[(200, 0.63)] * 3), reference())
    assert verdict.answer is AccuracyAnswer.LOWER
    assert (verdict.since, verdict.n) == ("2024-11-03", 600)


def test_labels_of_all_answers_or_of_a_whole_audit_were_not_chosen() -> None:
    assert not judge_accuracy(days((400, 0.63), labeled=1), reference()).chosen
    assert not judge_accuracy(days((400, 0.63), labeled=1), reference(), audit=True).chosen
    assert judge_accuracy(days((400, 0.63), labeled=0.5), reference(), audit=True).chosen


def test_without_labels_or_reference_nothing_is_claimed() -> None:
    nothing = judge_accuracy([], reference())
    assert (nothing.answer, nothing.n) == (AccuracyAnswer.UNKNOWN, 0)
    assert math.isnan(nothing.live)
    unknown = judge_accuracy(days((500, 0.5)), BinSums.zeros())
    assert (unknown.answer, unknown.reference_n) == (AccuracyAnswer.UNKNOWN, 0)


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.82, 0.957])
def test_whoever_looks_every_day_is_misled_in_at_most_one_of_twenty_models(accuracy: float) -> None:
    """100 models as accurate as they were, 100 days of 20 labels, a reference of 500 answers drawn
    for each.
    """
    rng, misled, models = np.random.default_rng(1), 0, 100
    for _ in range(models):
        card = BinSums.from_predictions(np.full(500, accuracy), rng.random(500) < accuracy)
        right = rng.binomial(20, accuracy, 100)
        seen = [LabeledDay(FIRST_DAY + day, 20, int(n), 20) for day, n in enumerate(right)]
        answers = {judge_accuracy(seen[:day], card).answer for day in range(5, 101, 5)}
        misled += bool(answers & {AccuracyAnswer.LOWER, AccuracyAnswer.HIGHER})
    assert misled <= 0.05 * models
