"""Measures by hand and against torchmetrics, scikit-learn, SciPy and relplot; their table."""

import math
import re
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from calibration.bins import BinSums, equal_mass_sums
from calibration.measures import metrics
from calibration.measures.ranking import auroc, class_auroc
from calibration.measures.reliability import reliability, wilson_interval
from calibration.measures.smooth import smooth_ece
from calibration.measures.summary import MEASURES, Measures
from docs.generators.tables import GENERATORS
from tests.builders.answers import simulated

with warnings.catch_warnings():  # what the oracles' own dependencies warn of is not ours
    warnings.simplefilter("ignore")
    import relplot
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def random_answers(seed: int, *, n: int = 700, classes: int = 4) -> Answers:
    """Probabilities on no bin edge, where the oracles differ from us, and unrelated labels."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(classes, 0.4), n), rng.integers(0, classes, n)


def sums_of(answers: Answers, bin_count: int = 15) -> BinSums:
    confidence, predicted = metrics.top_label(answers[0])
    return BinSums.from_predictions(confidence, predicted == answers[1], bin_count)


def test_ece_and_mce_equal_torchmetrics() -> None:
    for seed in range(5):
        for bin_count in [5, 15, 20]:
            for norm, ours in [("l1", metrics.ece), ("max", metrics.mce)]:
                probabilities, labels = random_answers(seed)
                theirs = multiclass_calibration_error(
                    torch.tensor(probabilities),
                    torch.tensor(labels),
                    num_classes=4,
                    n_bins=bin_count,
                    norm=norm,
                )
                assert ours(sums_of((probabilities, labels), bin_count)) == pytest.approx(
                    float(theirs), abs=1e-6
                )


def test_nll_and_brier_equal_scikit_learn() -> None:
    for seed in range(5):
        probabilities, labels = random_answers(seed)
        found = Measures.from_probabilities(probabilities, labels)
        theirs = brier_score_loss(labels, probabilities, labels=range(4), scale_by_half=False)
        assert found.nll == pytest.approx(log_loss(labels, probabilities))
        assert found.brier == pytest.approx(theirs)


def test_hand_numbers() -> None:
    # Of two bins, (.5, 1] has n = 4, S = 3.4, C = 3, V = 3 * .16 and [0, .5] has n = 1, S = .5, C =
    # 1, V = .25.
    sums = BinSums.from_predictions(
        [0.8, 0.8, 0.8, 1.0, 0.5], [True, True, False, True, True], bin_count=2
    )
    found, q = Measures.from_sums(sums), 2 * 0.2**2 + 0.8**2
    assert found.ece == pytest.approx((0.4 + 0.5) / 5)
    assert found.mce == pytest.approx(0.5)
    assert found.noise_floor == pytest.approx(math.sqrt(2 / math.pi) * (math.sqrt(0.48) + 0.5) / 5)
    floor = math.sqrt(2 / math.pi) * (math.sqrt(0.48) + 0.5)
    assert found.ece_z == pytest.approx((0.9 - floor) / math.sqrt((1 - 2 / math.pi) * 0.73))
    assert found.signed_gap == pytest.approx(-0.02)
    # with 3.84 more answers of .78, half of them right
    center = (-0.1 + 3.841459 * (0.78 - 0.5)) / 8.841459
    square = (q + 0.25 + 3.841459 / 2 * (0.78**2 + 0.22**2)) / 8.841459
    half = 1.959964 * math.sqrt((square - center**2) / 8.841459)
    assert (found.signed_gap_lower, found.signed_gap_upper) == pytest.approx(
        (center - half, center + half), abs=1e-6
    )
    assert metrics.signed_gap_variance(sums) == pytest.approx((square - center**2) / 5, abs=1e-6)
    sd = math.sqrt(q - 0.4**2 / 4 + 0.25)  # per bin the larger of V and Q - D^2/n
    assert (found.ece_lower, found.ece_upper) == pytest.approx(
        (0, (0.9 + 1.959964 * sd) / 5), abs=1e-6
    )
    assert found.accuracy == pytest.approx(0.8)
    assert found.mean_confidence == pytest.approx(0.78)
    assert found.debiased_rms == 0  # (.4^2 - q) / 4 + 0 < 0


def test_answers_of_one_confidence_have_the_interval_of_agresti_and_coull() -> None:
    for n, right in [(1, 0), (1, 1), (3, 0), (20, 20), (400, 399)]:
        interval = metrics.signed_gap_interval(
            BinSums.from_predictions([0.97] * n, [True] * right + [False] * (n - right))
        )
        answers = n + 1.959964**2
        accuracy = (right + 1.959964**2 / 2) / answers
        half = 1.959964 * math.sqrt(accuracy * (1 - accuracy) / answers)
        assert interval == pytest.approx(
            (0.97 - accuracy - half, min(0.97 - accuracy + half, 1)), abs=1e-6
        )


def test_no_data_is_not_a_number_and_none_in_json() -> None:
    empty = Measures.from_sums(BinSums.zeros())
    assert empty.as_dict() == {"n": 0, **dict.fromkeys(list(empty.as_dict())[1:])}
    assert math.isnan(metrics.nll(np.empty((0, 3)), np.empty(0, dtype=int)))
    assert math.isnan(metrics.brier(np.empty((0, 3)), np.empty(0, dtype=int)))


def test_labels_that_do_not_fit_are_refused() -> None:
    for measure in [metrics.nll, metrics.brier]:
        for probabilities, labels in [
            ([[0.5, 0.5]], [2]),
            ([[0.5, 0.5]], [-1]),
            ([[0.5, 0.5]], [0, 1]),
            ([0.5, 0.5], [0, 1]),
        ]:
            with pytest.raises(ValueError, match="labels"):
                measure(probabilities, labels)


def test_a_zero_costs_what_scikit_learn_says_or_a_quarter_of_the_last_decimal() -> None:
    sure, rounded = [[1.0, 0.0]], [[1.0, 0.0], [0.98, 0.02]]
    assert metrics.nll(sure, [1]) == pytest.approx(log_loss([1], sure, labels=[0, 1]))
    assert metrics.nll(rounded, [1, 0]) == pytest.approx(-np.log([0.0025, 0.98]).mean())
    assert Measures.from_probabilities(rounded, [1, 0]).nll_zeros == 1


def test_rounded_probabilities_have_a_larger_smallest_one() -> None:
    p, _ = simulated(2)
    assert metrics.smallest_probability(p.round(2)) == 0.0025
    assert metrics.smallest_probability(p.round(4)) == 0.000025
    for exact in (p, p.astype(np.float32), [[0.0, 1.0]]):
        assert metrics.smallest_probability(exact) == metrics.SMALLEST


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


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_is_scipys(n: int, share: float) -> None:
    k = round(share * n)
    theirs = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(k / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_bars_by_hand() -> None:
    first, last = reliability(
        BinSums.from_predictions([0.6, 0.8, 1.0], [True, False, True], bin_count=2)
    )
    assert (last.lower, last.upper, last.n) == (0.5, 1.0, 3)
    assert (last.confidence, last.accuracy) == pytest.approx((0.8, 2 / 3))
    assert (last.accuracy_lower, last.accuracy_upper) == wilson_interval(last.accuracy, 3)
    assert (first.lower, first.upper, first.n) == (0.0, 0.5, 0)
    assert all(
        map(
            math.isnan,
            (first.confidence, first.accuracy, first.accuracy_lower, first.accuracy_upper),
        )
    )


NAMES = [measure.name for measure in MEASURES]


def test_every_measure_is_documented_once_with_its_meaning_and_formula() -> None:
    tables = "\n".join(make() for name, make in GENERATORS.items() if name.startswith("measures-"))
    rows = re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \| \S[^|]* \| \S[^|]* \| \S.* \| \S.* \|", tables, re.MULTILINE
    )
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(documented) == sorted(name for name in NAMES if name != "n")


def test_entries_name_entries() -> None:
    for measure in MEASURES:
        assert {measure.upper, measure.documented_with} - {None} <= set(NAMES)
