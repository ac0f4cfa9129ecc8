"""What must hold of every measure for any answers: merging, order and bounds."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from calibration.bins import BinSums
from calibration.conformal import conformal
from calibration.measures import metrics
from calibration.measures.inputs import class_sums, classwise_ece, equal_mass_sums
from calibration.measures.ranking import class_auroc
from calibration.measures.smooth import SmoothSums, smooth_ece
from calibration.measures.summary import Measures
from calibration.threshold import referral_threshold

Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]
Labeled = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
SUMS = (BinSums.from_predictions, SmoothSums.from_predictions)
FIELDS = {
    BinSums: ("n", "confidence", "correct", "variance", "squared_error"),
    SmoothSums: ("n", "residual", "variance"),
}

# Edges, their float32 neighbors, the ends, and anything between.
confidences = st.one_of(
    st.sampled_from(
        [
            0.0,
            1.0,
            *(k / 15 for k in range(1, 15)),
            *(float(np.float32(k / 15)) for k in range(1, 15)),
        ]
    ),
    st.floats(0, 1),
    st.floats(0, 1, width=32),
)


@st.composite
def answers(draw: st.DrawFn, *, least: int = 0) -> Answers:
    pairs = draw(st.lists(st.tuples(confidences, st.booleans()), min_size=least, max_size=40))
    return np.array([p for p, _ in pairs], dtype=float), np.array([c for _, c in pairs], dtype=bool)


@st.composite
def labeled(draw: st.DrawFn) -> Labeled:
    n, classes = draw(st.integers(1, 25)), draw(st.integers(2, 4))
    scores = (
        draw(nps.arrays(float, (n, classes), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0])))
        + 1e-3
    )
    y = draw(nps.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    return scores / scores.sum(axis=1, keepdims=True), y


def assert_same(first: object, second: object) -> None:
    for name in FIELDS[type(first)]:
        np.testing.assert_allclose(
            getattr(first, name), getattr(second, name), rtol=1e-9, atol=1e-9
        )


@pytest.mark.slow
@pytest.mark.parametrize("summed", SUMS)
@given(parts=st.tuples(answers(), answers(), answers()))
def test_sums_merge_in_any_grouping_and_order(
    summed: object, parts: tuple[Answers, Answers, Answers]
) -> None:
    assert callable(summed)
    a, b, c = (summed(*part) for part in parts)
    whole = summed(np.concatenate([p for p, _ in parts]), np.concatenate([c for _, c in parts]))
    for merged in ((a + b) + c, a + (b + c), c + (b + a)):
        assert_same(merged, whole)


@pytest.mark.slow
@settings(max_examples=25)
@given(labeled(), st.integers(0, 1000))
def test_no_measure_depends_on_the_order_of_the_answers(case: Labeled, seed: int) -> None:
    p, y = case
    order = np.random.default_rng(seed).permutation(len(y))
    first, second = (
        Measures.from_probabilities(p, y).as_dict(),
        Measures.from_probabilities(p[order], y[order]).as_dict(),
    )
    for name, value in first.items():
        expected = value if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)
        assert second[name] == expected, name


@given(labeled())
def test_no_measure_but_the_argmax_of_equals_depends_on_the_names_of_the_classes(
    case: Labeled,
) -> None:
    p, y = case
    turned = (p[:, ::-1], p.shape[1] - 1 - y)
    assert metrics.brier(*turned) == pytest.approx(metrics.brier(p, y))
    assert metrics.nll(*turned) == pytest.approx(metrics.nll(p, y))
    assert classwise_ece(class_sums(*turned)) == pytest.approx(classwise_ece(class_sums(p, y)))
    assert class_auroc(*turned) == pytest.approx(class_auroc(p, y), nan_ok=True)


@settings(max_examples=50)
@given(answers(least=1))
def test_inequalities_between_the_errors(case: Answers) -> None:
    sums = BinSums.from_predictions(*case)
    gap, ece, mce = abs(metrics.signed_gap(sums)), metrics.ece(sums), metrics.mce(sums)
    assert gap <= ece + 1e-12  # DCA, the loss, is this gap over a batch
    assert ece <= mce + 1e-12
    assert mce <= 1 + 1e-12
    assert gap - 1e-3 <= smooth_ece(SmoothSums.from_predictions(*case)) <= 1 + 1e-9
    assert gap <= metrics.ece(equal_mass_sums(*case)) + 1e-12
    assert (
        metrics.debiased_rms(sums) ** 2
        <= (sums.difference[sums.n > 0] ** 2 / sums.n[sums.n > 0]).sum() / sums.total
    )
    lower, upper = metrics.ece_interval(sums)
    assert 0 <= lower <= ece <= upper + 1e-12


@given(answers(), st.integers(1, 50))
def test_finer_bins_never_lower_the_ece(case: Answers, factor: int) -> None:
    """The edges of five bins are among those of 5 f: splitting a bin cannot cancel more."""
    if len(case[0]):
        coarse, fine = (metrics.ece(BinSums.from_predictions(*case, m)) for m in (5, 5 * factor))
        assert coarse <= fine + 1e-9


@given(answers(least=1), st.sampled_from([0.5, 0.8, 0.95]), st.sampled_from([0.01, 0.1, 0.3]))
def test_a_promise_is_kept_on_the_answers_it_was_made_from(
    case: Answers, promised: float, delta: float
) -> None:
    p, c = np.tile(case[0], 5), np.tile(case[1], 5)
    threshold = referral_threshold(p, c, promised_accuracy=promised, delta=delta)
    if threshold:
        kept = p >= threshold.confidence
        assert c[kept].mean() >= promised
        assert threshold.coverage == pytest.approx(kept.mean())


@given(labeled(), st.sampled_from([0.05, 0.1, 0.3, 0.5]))
def test_prediction_sets_shrink_as_alpha_grows(case: Labeled, alpha: float) -> None:
    strict, loose = conformal(*case, alpha=alpha), conformal(*case, alpha=alpha + 0.2)
    assert strict.mean_set_size >= loose.mean_set_size
    assert strict.coverage_reference >= loose.coverage_reference
    assert strict.coverage_reference >= 1 - alpha - 1e-9
