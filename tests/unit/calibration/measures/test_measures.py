"""Equal-mass and smooth ECE, risk and coverage, AUROC, against oracles."""

import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from calibration.bins import BinSums, equal_mass_sums
from calibration.measures import metrics
from calibration.measures.ranking import auroc, class_auroc, steps_down
from calibration.measures.smooth import smooth_ece
from calibration.measures.summary import Measures

with warnings.catch_warnings():  # what the oracles' own dependencies warn of is not ours
    warnings.simplefilter("ignore")
    import relplot

pairs = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.9, 1.0]), st.booleans()),
    min_size=1,
    max_size=7,
)


def test_equal_mass_bins_are_equal_groups_of_the_sorted_answers() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(6, 1, 300)
    c = rng.random(300) < p
    groups = np.array_split(np.argsort(p), 15)
    expected = sum(abs(c[g].sum() - p[g].sum()) for g in groups) / 300
    sums = equal_mass_sums(p, c)
    assert (sums.n == 20).all()
    assert metrics.ece(sums) == pytest.approx(expected)


def test_equal_mass_bins_keep_equal_confidences_together() -> None:
    sums = equal_mass_sums([0.5] * 10 + [0.9] * 2, [True] * 12)
    assert sums.n.tolist() == [10, 2]
    assert equal_mass_sums([0.7] * 5, [True] * 5).n.tolist() == [5]
    assert equal_mass_sums([], []).total == 0


def test_figures_of_uncertainty_calibration() -> None:
    """Recorded from uncertainty-calibration 0.1.4, whose package is called `calibration` too and so
    cannot be here.

    Ten bins of 40 answers with one confidence each, `get_equal_bins`, `plugin_ce` and
    `unbiased_square_ce`.
    """
    p, i = np.repeat(np.linspace(0.52, 0.97, 10), 40), np.arange(400)
    c = ((i * 7919) % 101) / 101 < p - 0.2
    sums = equal_mass_sums(p, c, bin_count=10)
    assert metrics.ece(sums) == pytest.approx(0.1975)
    # Kumar et al. weigh a bin by n, Lee et al. by the n - 1 that is left of it.
    assert metrics.debiased_rms(sums) ** 2 == pytest.approx(0.03348076923076923 * 39 / 40)


def test_smooth_ece_is_relplots() -> None:
    for n in [40, 600, 20_000]:
        for gap in [0.0, 0.03, 0.2]:
            rng = np.random.default_rng(n)
            p = rng.beta(4, 1, n)
            c = rng.random(n) < np.clip(p - gap, 0, 1)
            # Theirs bisects ten times and integrates over 200 points: good to about 1/1000.
            assert smooth_ece(p, c) == pytest.approx(relplot.smECE(p, c.astype(float)), abs=1.2e-3)


def test_smooth_ece_of_one_confidence_by_hand() -> None:
    """The kernel loses no mass, so the integral is |gap| at any width, hence at the width |gap|."""
    assert smooth_ece([0.8] * 100, [True] * 50 + [False] * 50) == pytest.approx(0.3, abs=1e-4)
    assert smooth_ece([1.0] * 10, [False] * 10) == pytest.approx(1)
    assert smooth_ece([0.0, 1.0], [False, True]) == 0
    assert math.isnan(smooth_ece([], []))


@given(pairs)
def test_auroc_is_scikit_learns_ties_included(answers: list[tuple[float, bool]]) -> None:
    score, truth = zip(*answers, strict=True)
    if len(set(truth)) == 1:
        assert math.isnan(auroc(score, truth))
    else:
        assert auroc(score, truth) == pytest.approx(roc_auc_score(truth, score))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_class_auroc_is_scikit_learns_macro_average(classes: int) -> None:
    p, y = random_answers(4, classes=classes)
    theirs = (
        roc_auc_score(y, p[:, 1])
        if classes == 2
        else roc_auc_score(y, p, multi_class="ovr", average="macro")
    )
    assert Measures.from_probabilities(p, y).auroc == pytest.approx(theirs)


def test_a_class_without_answers_is_left_out_of_the_mean() -> None:
    p, y = random_answers(5, classes=3)
    p, y = p[y < 2], y[y < 2]
    assert class_auroc(p, y) == pytest.approx(
        (roc_auc_score(y == 0, p[:, 0]) + roc_auc_score(y == 1, p[:, 1])) / 2
    )
    assert math.isnan(class_auroc([[0.2, 0.3, 0.5]], [0]))


def test_float32_probabilities_give_what_their_doubles_give() -> None:
    p, y = random_answers(7)
    p = p.astype(np.float32)
    single, double = (
        Measures.from_probabilities(p, y).as_dict(),
        Measures.from_probabilities(p.astype(float), y).as_dict(),
    )
    assert single == pytest.approx(double, rel=1e-12)
    assert None not in double.values()
    confidence, predicted = metrics.top_label(p)
    assert double["smooth_ece"] == smooth_ece(confidence, predicted == y)
    sums = BinSums.from_predictions(confidence, predicted == y)
    assert Measures.from_sums(sums).smooth_ece is None


@pytest.mark.parametrize(
    ("probabilities", "told"),
    [
        (
            [[0.2, 0.8], [3.0, -1.0]],
            r"row 1 begins with \[3\.0, -1\.0\] and adds up to 2\.000\. Pass logits through",
        ),
        ([[0.9, 0.8]], r"adds up to 1\.700"),
        ([[float("nan"), 0.5]], "adds up to nan"),
        ([[1.2, -0.2]], "must be in"),
    ],
)
def test_what_is_no_distribution_is_refused(probabilities: list[list[float]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Measures.from_probabilities(probabilities, [0] * len(probabilities))
