"""A model is of no use if a constant answer is as good, or if it never gives one of its answers."""

import numpy as np
import pytest

from calibration.measures.confusion import recalls
from training.evaluation.evaluation import Evaluation, evaluate
from training.evaluation.predictions import Predictions
from training.evaluation.usefulness import constant_answer, shortcomings

CLASSES = ("healthy", "ill [mild]", "ill: severe")


def answered(*pairs: tuple[int, int, int]) -> Predictions:
    """Predictions of (true class, answered class, count)."""
    labels = np.concatenate([np.full(count, true) for true, _, count in pairs])
    answers = np.concatenate([np.full(count, answer) for _, answer, count in pairs])
    return Predictions(
        (2.0 * np.eye(len(CLASSES)))[answers].astype(np.float32), labels.astype(np.int64)
    )


def on_both(*pairs: tuple[int, int, int]) -> Evaluation:
    return evaluate({"val": answered(*pairs), "test": answered(*pairs)})


COLLAPSED = on_both((0, 0, 60), (1, 0, 30), (2, 0, 10))
USEFUL = on_both((0, 0, 55), (0, 1, 5), (1, 1, 25), (1, 0, 5), (2, 2, 6), (2, 1, 4))
# Finds most of the ill at the price of accuracy, as a model with balanced class weights should.
SENSITIVE = on_both((0, 0, 30), (0, 1, 30), (1, 1, 22), (1, 2, 8), (2, 2, 7), (2, 1, 3))


def test_a_useful_model_has_no_shortcomings() -> None:
    for balanced in (False, True):
        assert shortcomings(USEFUL, CLASSES, method="temperature", balanced=balanced) == []


@pytest.mark.parametrize("balanced", [False, True])
def test_the_model_that_always_says_the_largest_class(balanced: bool) -> None:
    found = shortcomings(COLLAPSED, CLASSES, method="temperature", balanced=balanced)
    assert ("33.3 %" if balanced else "60.0 %") in found[0]
    # of the third, 20 of 200 images tell too little
    named = zip(found, ("'healthy'", "'ill [mild]'"), strict=True)
    assert all(name in sentence for sentence, name in named)


def test_accuracy_below_the_largest_class_is_no_shortcoming_of_a_model_trained_for_recall() -> None:
    (said,) = shortcomings(SENSITIVE, CLASSES, method="temperature", balanced=False)
    assert "right on 59.0 % of the 100 test images" in said
    assert shortcomings(SENSITIVE, CLASSES, method="temperature", balanced=True) == []


def test_an_answer_on_validation_alone_counts() -> None:
    """One image of a class in test may be missed by a model that knows the class."""
    val = answered((0, 0, 20), (1, 1, 9), (2, 2, 2))
    test = answered((0, 0, 20), (1, 1, 9), (2, 0, 1))
    known = evaluate({"val": val, "test": test})
    assert shortcomings(known, CLASSES, method="temperature", balanced=False) == []


def test_a_class_without_evidence_is_unknown_and_refuses_nothing() -> None:
    val = answered((0, 0, 40), (1, 1, 30), (2, 0, 3))
    test = answered((0, 0, 40), (1, 1, 30), (2, 0, 2))
    known = evaluate({"val": val, "test": test})
    for balanced in (False, True):
        assert shortcomings(known, CLASSES, method="temperature", balanced=balanced) == []
    assert recalls(known.confusion("test", "temperature")) == (1.0, 1.0, None)


def test_the_interval_of_the_lead_is_that_of_paired_differences() -> None:
    """100 images: 31 right where the constant is wrong, 5 the other way round."""
    found = constant_answer(USEFUL, "test", "temperature")
    assert (found.label, found.images, found.accuracy) == (0, 100, 0.6)
    assert found.lead == pytest.approx(0.26)
    center = 26 / 102  # with half an image more in each cell
    half = 1.96 * ((37 / 102 - center**2) / 102) ** 0.5
    assert (found.lead_lower, found.lead_upper) == pytest.approx((center - half, center + half))


def test_a_model_that_answers_like_the_constant_on_few_images_is_not_certain_to_be_like_it() -> (
    None
):
    found = constant_answer(on_both((0, 0, 8), (1, 0, 2)), "test", "temperature")
    assert (found.lead, found.lead_lower, found.lead_upper) == pytest.approx(
        (0, -0.163, 0.163), abs=1e-3
    )
