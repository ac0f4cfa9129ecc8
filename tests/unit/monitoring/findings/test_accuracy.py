"""Is the model as accurate as it was: the answers, their words, and how often whoever looks every
day is misled.
"""

import numpy as np
import pytest

from calibration.bins import BinSums
from monitoring.findings.accuracy import (
    PROMISE,
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


def test_a_fall_from_82_to_63_percent_is_a_clear_warning() -> None:
    found = judge_accuracy(days((400, 0.63)), reference())
    assert found.answer is AccuracyAnswer.LOWER
    assert found.headline == (
        "Among the labeled answers accuracy is lower, by at least 7.2 points; not known of "
        "all answers"
    )
    assert found.sentence == (
        "The model was right in 63.0 % of 400 labeled answers, and in 82.0 % of the 1,000 answers "
        "of its card's "
        "reference. The difference is between -31.0 and -7.2 points. Nothing shows that these "
        "labels were drawn "
        "at random: if wrong or unsure answers are labeled more often than others, accuracy seems "
        "lower than it is."
    )
    assert found.promise == PROMISE


def test_the_same_accuracy_is_as_it_was_to_within_what_the_labels_show() -> None:
    found = judge_accuracy(days((2_000, 0.82)), reference())
    assert found.answer is AccuracyAnswer.AS_IT_WAS
    assert found.headline.startswith("Yes, as it was among the labeled answers, to within ")
    within = float(found.headline.split()[-2]) / 100
    assert within >= max(-found.difference_lower, found.difference_upper) > within - 0.001


def test_few_labels_or_a_small_reference_leave_it_open() -> None:
    few = judge_accuracy(days((40, 0.7)), reference())
    assert (few.answer, few.headline) == (AccuracyAnswer.UNKNOWN, "Not known yet")
    assert labels_for_accuracy(few) == 500
    small = judge_accuracy(days((10_000, 0.82)), reference(50))
    assert small.answer is AccuracyAnswer.UNKNOWN
    assert labels_for_accuracy(small) is None


def test_a_rise_is_told_too() -> None:
    found = judge_accuracy(days((600, 0.95)), reference())
    assert found.answer is AccuracyAnswer.HIGHER
    assert found.headline.startswith("Among the labeled answers accuracy is higher, by at least ")


def test_a_drop_after_a_long_good_time_is_found_and_dated() -> None:
    """30 good days of 300 labels, then three of 200: over all labels the mean has hardly moved."""
    found = judge_accuracy(days(*[(300, 0.82)] * 30, *[(200, 0.63)] * 3), reference())
    assert found.answer is AccuracyAnswer.LOWER
    assert found.since == "2024-11-03"
    assert found.n == 600
    assert "of 600 labeled answers served since 2024-11-03" in found.sentence


def test_audited_labels_need_no_caveat() -> None:
    found = judge_accuracy(days((400, 0.63), labeled=1), reference(), audit=True)
    assert found.headline == "No: accuracy is lower, by at least 7.2 points"
    assert "of 400 audited answers" in found.sentence
    assert found.sentence.endswith("between -31.0 and -7.2 points.")
    half = judge_accuracy(days((400, 0.63), labeled=0.5), reference(), audit=True)
    assert half.chosen
    assert half.sentence.endswith(
        "Some audited answers have no label; if those differ from the others, accuracy does too."
    )


def test_labels_of_all_answers_were_not_chosen() -> None:
    assert (
        "drawn at random" not in judge_accuracy(days((400, 0.63), labeled=1), reference()).sentence
    )


def test_without_labels_or_reference_nothing_is_claimed() -> None:
    nothing = judge_accuracy([], reference())
    assert (nothing.answer, nothing.n, nothing.headline) == (
        AccuracyAnswer.UNKNOWN,
        0,
        "Not known yet",
    )
    assert nothing.sentence == "No answer has a label yet, so accuracy cannot be measured."
    unknown = judge_accuracy(days((500, 0.5)), BinSums.zeros())
    assert unknown.headline == "Not known: the card has no reference accuracy"
    assert unknown.sentence.endswith("There is nothing to compare this with.")


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


def test_a_reference_that_cannot_tell_is_not_told_to_wait_for() -> None:
    """More labels never settle it: "not known yet" would promise that they do."""
    small = judge_accuracy(days((400, 0.82)), reference(60))
    assert small.answer is AccuracyAnswer.UNKNOWN
    assert "however many labels there are" in small.sentence
    assert small.headline == "Not known: the card's reference is too small to tell"
    large = judge_accuracy(days((40, 0.82)), reference(5_000))
    assert (large.headline, "however many" in large.sentence) == ("Not known yet", False)
