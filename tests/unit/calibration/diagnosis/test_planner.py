"""As many labels as the planner asks for show the error, in about nine of ten streams."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.diagnosis.answers import Answers, Tag
from calibration.diagnosis.inference import infer
from calibration.diagnosis.planner import (
    APART,
    PER_PATIENT,
    find_questions,
    labels_needed,
    open_questions,
)
from tests.builders.diagnosis.scenes import SCENES


def answers(confidence: np.ndarray, correct: np.ndarray, site: np.ndarray) -> Answers:
    n = len(confidence)
    return Answers(
        np.arange(n, dtype=float),
        confidence,
        np.zeros(n, np.int64),
        correct.astype(np.int64),
        ("a",),
        {"site": Tag(site.astype(np.int64), ("A", "B"))},
    )


def test_labels_needed_show_the_gap() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.75, 0.95, 4000)
    n = labels_needed(confidence, 0.1)
    shown = []
    for _ in range(20):
        p = rng.choice(confidence, n)
        said = infer(answers(p, rng.random(n) < p - 0.1, rng.integers(0, 2, n)))
        shown.append(bool(said.deviations))
    assert 100 < n < 600
    assert np.mean(shown) > 0.8


def test_a_site_without_labels_is_an_open_question() -> None:
    rng = np.random.default_rng(0)
    p, site = rng.uniform(0.75, 0.95, 3000), rng.integers(0, 2, 3000)
    correct = np.where(site == 1, -1, rng.random(3000) < p)
    open_groups = {
        each.group.values: each.labels
        for each in open_questions(find_questions(answers(p, correct, site), correlation=0))
    }
    assert open_groups[("B",)] > 100
    assert ("A",) not in open_groups


def test_a_gap_that_is_asked_for_holds_for_all_groups() -> None:
    p, site = np.full(400, 0.9), np.arange(400) % 2
    found = open_questions(
        find_questions(answers(p, np.full(400, -1), site), correlation=0), gap=0.03
    )
    assert {(each.group.values, each.gap) for each in found} >= {(("B",), 0.03), ((), 0.03)}
    by_group = {each.group.values: each.labels for each in found}
    assert by_group[()] == labels_needed(p, 0.03) < by_group[("B",)]


def test_labels_that_tell_a_site_from_its_device() -> None:
    said = infer(SCENES["twins"].build(np.random.default_rng(1)).answers())
    named = {said.deviations[0].group.key, *(each.key for each in said.deviations[0].others)}
    apart = [each for each in said.open if each.kind == APART]
    assert named == {"tag:site", "tag:device"}
    assert 10 < apart[0].labels < 500


@pytest.mark.parametrize("correlation", [0.0, 1.0])
def test_labels_of_one_patient_count_for_what_they_are_worth(correlation: float) -> None:
    p, right = np.full(2_000, 0.9), np.where(np.arange(2_000) < 400, 1, -1)
    given = replace(answers(p, right, np.zeros(2_000)), patient=np.arange(2_000) // 4)
    whole = open_questions(find_questions(given, correlation=correlation), gap=0.03)[0]
    worth = 100 if correlation else 400
    assert (whole.labels, whole.kind) == (labels_needed(p, 0.03) - worth, PER_PATIENT)


def test_the_gap_that_is_named_is_the_one_that_labels_would_show() -> None:
    p = np.full(400, 0.06)  # of a finding
    whole = open_questions(
        find_questions(answers(p, np.full(400, -1), np.zeros(400)), correlation=0), gap=0.1
    )[0]
    assert whole.gap == pytest.approx(0.03)
    assert whole.labels == labels_needed(p, whole.gap)
