"""Labels of one source accuse a model: those of others deny it, confirm it, or lack."""

import numpy as np
import pytest

from calibration.diagnosis.answers import Answers, Tag
from calibration.diagnosis.evidence import sigmoid
from calibration.diagnosis.facts import AnswerGroup, Cause, Rival, RivalStatus
from calibration.diagnosis.inference import infer

N = 3_000
REPORTS = AnswerGroup("source", ("reports",))


def about(
    seed: int,
    by: str = "chance",
    *,
    is_true: bool = False,
    key: str = "source",
    read_again: int = 0,
    agree: bool = False,
) -> Rival | None:
    """The rival `proxy` where a third of the reports wrongly say that nothing is there.

    Labels of readers are a fifth by `chance`, all of four of five sites (`site`), or all of the
    first half (`time`). If `is_true`, readers find nothing either. They are told apart by `key`. Of
    those that reports call wrong, the first `read_again` have a second reading, of the truth, or
    one that agrees.
    """
    rng = np.random.default_rng(seed)
    confidence = sigmoid(np.abs(rng.normal(0, 2, N)))
    predicted, right = rng.integers(0, 2, N), rng.random(N) < confidence
    site = rng.integers(0, 5, N)
    reader = {"chance": rng.random(N) < 0.2, "site": site > 0, "time": np.arange(N) < N / 2}[by]
    missed = (rng.random(N) < 0.33) & (predicted == 1) & (is_true | ~reader)
    correct = (right & ~missed).astype(np.int64)
    again = np.flatnonzero((correct == 0) & ~reader & (predicted == 1))[:read_again]
    second = np.full(N, -1)
    second[again] = agree | ~right[again]
    found = infer(
        Answers(
            served_s=np.arange(N, dtype=np.float64),
            confidence=confidence,
            predicted=predicted,
            correct=correct,
            classes=("normal", "ill"),
            tags={"site": Tag(site, tuple("ABCDE"))},
            second=second,
            **{key: Tag(reader.astype(np.int64), ("reports", "readers"))},
        )
    )
    assert found.deviations
    return next((each for each in found.rivals if each.cause is Cause.PROXY), None)


@pytest.mark.parametrize("seed", range(3))
def test_readers_deny_what_reports_say(seed: int) -> None:
    rival = about(seed)
    assert (rival.status, rival.group) == (RivalStatus.EXPLAINS_ALL, REPORTS)
    assert 5 <= rival.needs <= 10  # a third of the answers that reports call wrong is right


def test_a_reader_whose_labels_alone_disagree_is_told_like_a_source() -> None:
    rival = about(0, key="reader")
    assert (rival.status, rival.group) == (
        RivalStatus.EXPLAINS_ALL,
        AnswerGroup("reader", ("reports",)),
    )


@pytest.mark.parametrize("seed", range(3))
def test_second_readings_decide_and_are_not_asked_for_again(seed: int) -> None:
    asked = about(seed).needs
    half = about(seed, read_again=asked // 2, agree=True)
    assert (half.status, half.needs) == (RivalStatus.EXPLAINS_ALL, asked - asked // 2)
    confirmed = about(seed, read_again=asked, agree=True)
    assert (confirmed.status, confirmed.needs) == (RivalStatus.RULED_OUT, 0)
    contradicted = about(seed, read_again=60)
    assert (contradicted.status, contradicted.needs) == (RivalStatus.EXPLAINS_ALL, 0)


@pytest.mark.parametrize("seed", range(3))
def test_readers_confirm_it(seed: int) -> None:
    rival = about(seed, is_true=True)
    assert (rival.status, rival.group) == (RivalStatus.RULED_OUT, None)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["site", "time"])
def test_a_source_of_one_site_or_time_alone_may_be_the_cause(seed: int, by: str) -> None:
    rival = about(seed, by)
    assert (rival.status, rival.group) == (RivalStatus.POSSIBLE, REPORTS)
