"""Images out of scope as a cause: of one site that sends far images, or of one that errs itself."""

import numpy as np
import pytest

from calibration.diagnosis.answers import Answers, Tag
from calibration.diagnosis.facts import AnswerGroup, Cause, Rival, RivalStatus
from calibration.diagnosis.inference import infer

N = 8_000


def about(seed: int, *, far: float, errs: str, labeled: bool = True) -> Rival:
    """The rival `input` where one of four sites sends `far` as a share of far images since the
    half. Of its answers since then, those that are `errs` (far, all) are right at random. Where not
    `labeled`, no image of it that is in scope has a label.
    """
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.7, 1.0, N)
    right, site = rng.random(N) < confidence, rng.integers(0, 4, N)
    theirs = (site == 1) & (np.arange(N) >= N // 2)
    is_far = theirs & (rng.random(N) < far)
    doubtful = is_far | (rng.random(N) < 0.05)
    wrong = is_far if errs == "far" else theirs
    right = np.where(wrong, rng.random(N) < 0.5, right)
    correct = np.where(labeled | doubtful | ~theirs, right, -1).astype(np.int64)
    found = infer(
        Answers(
            *(np.arange(N, dtype=np.float64), confidence, rng.integers(0, 2, N), correct),
            classes=("normal", "ill"),
            tags={"site": Tag(site, tuple("ABCD"))},
            doubtful=doubtful,
        )
    )
    assert found.deviations[0].group == AnswerGroup("tag:site", ("B",))
    return next(each for each in found.rivals if each.cause is Cause.INPUT)


@pytest.mark.parametrize("seed", range(3))
def test_far_images_of_a_site_explain_its_error(seed: int) -> None:
    for far in (0.6, 1.0):
        rival = about(seed, far=far, errs="far")
        assert (rival.status, rival.needs) == (RivalStatus.EXPLAINS_ALL, 0)
        assert abs(rival.doubtful - far) < 0.1
        assert abs(rival.doubtful_elsewhere - 0.05) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_an_error_of_images_in_scope_is_not_explained(seed: int) -> None:
    assert about(seed, far=0.0, errs="all").status is RivalStatus.RULED_OUT
    possible = about(seed, far=0.5, errs="all")
    assert (possible.status, possible.needs) == (RivalStatus.POSSIBLE, 0)


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_affected_images_in_scope_would_tell(seed: int) -> None:
    rival = about(seed, far=0.6, errs="far", labeled=False)
    assert (rival.status, rival.needs_kind) == (RivalStatus.POSSIBLE, "in_scope")
    assert rival.needs > 10
