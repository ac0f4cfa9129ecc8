"""The verdict on predictions, in scenes in which it could mislead."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from calibration.calibrators.remedies import REMEDIES
from calibration.calibrators.temperature import softmax
from calibration.examination import examine, examine_confidence
from calibration.measured import Standing
from tests.builders.answers import simulated

NAMES = ("a", "b", "c")


def standing(seed: int, **options: object) -> Standing:
    p, y = simulated(seed, **options)
    return examine(p, y, classes=NAMES[: p.shape[1]]).standing


@pytest.mark.slow
def test_calibrated_predictions_are_rarely_called_anything_else() -> None:
    # without a fit, which is tested by itself
    found = Counter(standing(seed, rows=99) for seed in range(100))
    assert found[Standing.NOT_SHOWN] >= 93


@pytest.mark.parametrize("wrong", [0.0005, 0.001, 0.003])
def test_one_wrong_answer_of_a_very_sure_model_proves_nothing(wrong: float) -> None:
    """The normal deviation of so few expected errors is far too often large."""
    rng, found = np.random.default_rng(9), Counter[Standing]()
    for _ in range(200):
        p = 1 - rng.uniform(0, 2 * wrong, 99)
        found[examine_confidence(p, rng.random(99) < p).standing] += 1
    assert found[Standing.NOT_SHOWN] >= 190


def test_errors_at_a_confidence_of_one_are_overconfidence() -> None:
    assert (
        examine_confidence([1.0] * 90, [True] * 60 + [False] * 30).standing
        is Standing.OVERCONFIDENT
    )
    assert examine_confidence([1.0] * 90, [True] * 90).standing is Standing.NOT_SHOWN


@pytest.mark.slow
def test_opposite_errors_of_two_classes_are_seen() -> None:
    p, y = simulated(0, rows=1_000, bias=(0.8, -0.8))
    found = examine(p, y, classes=NAMES[:2], allow_label_changes=True)
    assert abs(found.given.measures.signed_gap) < 0.08
    assert found.standing is not Standing.NOT_SHOWN
    assert max(abs(each.gap) for each in found.effect.classes_after) < min(
        abs(each.gap) for each in found.effect.classes_before
    )


@pytest.mark.parametrize("rows", [1, 20, 49])
def test_few_rows_say_nothing(rows: int) -> None:
    p, y = simulated(0, rows=rows, temperature=5.0)
    found = examine(p, y, classes=NAMES[:2])
    assert found.standing is Standing.TOO_FEW
    assert (found.fit, found.effect, found.calibrator.method) == (None, None, "none")
    assert f"{rows} row" in (found.refused or "")


def test_a_thousand_images_of_ten_patients_say_nothing() -> None:
    p, y = simulated(0, rows=1_000, temperature=3.0)
    found = examine(p, y, classes=NAMES[:2], groups=np.arange(1_000) // 100)
    assert found.standing is Standing.TOO_FEW
    assert found.groups == 10
    assert found.refused == "a calibrator needs 20 groups; there are 10 groups"


@pytest.mark.slow
def test_a_confidence_alone_is_calibrated_and_keeps_its_order() -> None:
    p, y = simulated(0, rows=600, classes=3, temperature=2.0)
    found = examine_confidence(p.max(axis=1), p.argmax(axis=1) == y)
    assert found.standing is Standing.OVERCONFIDENT
    assert found.effect.after.measures.ece < found.effect.before.measures.ece / 2
    assert found.effect.after.measures.accuracy == found.effect.before.measures.accuracy
    shown = found.calibrator(np.linspace(0, 1, 50))
    assert (np.diff(shown) > 0).all()
    assert found.classes == ()


def test_a_class_that_is_never_answered_has_no_figures() -> None:
    p, y = simulated(0, rows=300)
    wide = np.concatenate([p, np.zeros((300, 1))], axis=1)
    rare = examine(wide, y, classes=NAMES).classes[2]
    assert (rare.labels, rare.answers, np.isnan(rare.gap), np.isnan(rare.sensitivity)) == (
        0,
        0,
        True,
        True,
    )


def test_answers_that_are_all_right_are_not_called_labels_of_one_class() -> None:
    found = examine_confidence(np.linspace(0.9, 0.99, 150), [True] * 150)
    assert (
        found.refused
        == "all answers are right, or all are wrong, so nothing tells those apart that are not"
    )


@pytest.mark.parametrize("wrong", [1.0, 0.6])
def test_no_calibrator_has_a_temperature_at_a_bound(wrong: float) -> None:
    """Labels that contradict the answers send the temperature to 20."""
    p, y = simulated(3, rows=600, temperature=2.0)
    y = np.where(np.random.default_rng(0).random(600) < wrong, 1 - y, y)
    found = examine(p, y, classes=NAMES[:2])
    assert found.calibrator.method == "none"
    trial = found.fit.choice.trials[0]
    assert "leaves the range of temperatures" in (trial.excluded or "")


@pytest.mark.parametrize(
    ("classes", "given"),
    [
        (2, lambda p: p.astype(np.float32).round(2)),
        (3, lambda p: p.round(2) / p.round(2).sum(axis=1, keepdims=True)),
        (6, lambda p: p.round(2) / p.round(2).sum(axis=1, keepdims=True)),
        (3, lambda p: p.astype(np.float32).round(3)),
    ],
)
def test_zeros_of_rounded_probabilities_are_no_certainty(classes: int, given: Any) -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(0, 3, (2_000, classes))
    truth = softmax(z / 2)
    y = np.array([rng.choice(classes, p=row) for row in truth])
    p = given(softmax(z))
    assert (p == 0).any()
    found = examine(p, y, classes=[f"c{k}" for k in range(classes)])
    assert 1 / found.calibrator.affine.weight[0] == pytest.approx(2.0, rel=0.12)


def test_rows_that_judge_are_not_fitted_on() -> None:
    """The first half is of a model that is right by heart, the second is too sure."""
    seen, truth = simulated(0, rows=400, temperature=2.2)
    new, y = simulated(1, rows=400, temperature=2.2)
    p, labels = np.concatenate([seen, new]), np.concatenate([truth, y])
    judging = np.arange(800) >= 400
    groups = np.arange(800) // 2
    found = examine(p, labels, classes=NAMES[:2], groups=groups, judging=judging)
    alone = examine(new, y, classes=NAMES[:2], groups=groups[judging])
    assert found.given.measures == alone.given.measures
    assert found.groups == 200
    assert found.fit.judged == "held-out"
    assert found.fit.rows.tolist() == np.flatnonzero(judging).tolist()
    expected = REMEDIES["temperature"].fit(np.log(seen), truth)
    assert found.calibrator.affine.weight == pytest.approx(expected.weight)
