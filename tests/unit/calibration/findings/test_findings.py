"""Labels, measures, thresholds and calibrators of findings, by scikit-learn and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from calibration.bins import equal_mass_sums
from calibration.findings.calibrator import (
    FEWEST_POSITIVES,
    UNFITTED,
    fit_finding,
)
from calibration.findings.examination import examine_findings
from calibration.findings.labels import from_columns, from_lists
from calibration.findings.measures import macro, measure_finding, measure_findings
from calibration.findings.thresholds import choose_threshold, operating_point, rate_estimate
from calibration.measures.metrics import ece_z
from calibration.measures.ranking import average_precision

ANSWERS = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=2, max_size=60)


@given(ANSWERS)
def test_ranking_is_scikit_learns_with_ties(answers: list[tuple[int, bool]]) -> None:
    p, y = np.array([each[0] / 10 for each in answers]), np.array([each[1] for each in answers])
    if not y.any():
        assert math.isnan(average_precision(p, y))
        return
    assert average_precision(p, y) == pytest.approx(average_precision_score(y, p))
    if not y.all():
        assert measure_finding(p, y).auroc == pytest.approx(roc_auc_score(y, p))


def test_missing_labels_change_nothing_but_the_number() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(1, 5, 3000)
    y = (rng.random(3000) < p).astype(float)
    blank = rng.random(3000) < 0.7
    known = measure_finding(p[~blank], y[~blank])
    assert measure_finding(p, np.where(blank, np.nan, y)) == known
    assert known.labeled == (~blank).sum()
    assert ece_z(equal_mass_sums(p[~blank], y[~blank])) < 3
    assert known.observed_expected == pytest.approx(y[~blank].sum() / p[~blank].sum())


def test_macro_leaves_out_what_is_undefined() -> None:
    p = np.array([[0.2, 0.5], [0.9, 0.5]])
    each = measure_findings(p, [[0, np.nan], [1, np.nan]])
    assert macro(each) == macro(each[:1])
    assert macro(each)["findings"] == 1
    assert each[1].as_dict()["auroc"] is None


@pytest.mark.parametrize(
    ("labels", "match"), [([0, 1, -1], "1, 0, or NaN"), ([0, 1], "must both be")]
)
def test_other_labels_are_refused(labels: list[float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        measure_finding([0.1, 0.2, 0.3], labels)


@given(ANSWERS, st.sampled_from(["sensitivity", "specificity"]), st.floats(0.05, 1))
def test_a_threshold_reaches_its_rate_and_the_next_does_not(
    answers: list[tuple[int, bool]], kind: str, value: float
) -> None:
    p, y = (np.array(each) for each in zip(*answers * FEWEST_POSITIVES, strict=True))
    p = p / 10
    threshold = choose_threshold(p, y, kind=kind, value=value)
    among = y if kind == "sensitivity" else ~y
    if threshold is None:
        assert not among.any()
        return

    def rate(at: float) -> float:
        return float(np.mean((p >= at)[among] == (kind == "sensitivity")))

    if kind == "specificity" and threshold == 1:  # an absent finding has probability 1
        return
    assert rate(threshold) >= value - 1e-9
    levels = np.unique(p)
    others = levels[levels > threshold] if kind == "sensitivity" else levels[levels < threshold]
    if others.size:
        beyond = others[0] + 0.05 if kind == "sensitivity" else others[-1]
        assert rate(float(beyond)) < value


@pytest.mark.parametrize(
    ("kind", "value", "positives", "negatives"),
    [("youden", None, 20, 20), ("sensitivity", 0.9, 20, 0), ("specificity", 0.9, 0, 20)],
)
def test_few_labels_choose_no_threshold(
    kind: str, value: float | None, positives: int, negatives: int
) -> None:
    """Youden's threshold of three positives is one of them."""
    y = np.repeat([1, 0], [positives, negatives])
    p = np.linspace(0.9, 0.1, len(y))
    assert choose_threshold(p, y, kind=kind, value=value) is not None
    fewer = slice(1, None) if positives else slice(None, -1)
    assert choose_threshold(p[fewer], y[fewer], kind=kind, value=value) is None


def test_youden_and_cost() -> None:
    rng = np.random.default_rng(3)
    y = rng.random(5000) < 0.2
    p = expit(rng.normal(np.where(y, 1.0, -1.0), 1.0) + np.log(0.25))
    best = choose_threshold(p, y, kind="youden")
    rates = [np.mean(p[y] >= t) - np.mean(p[~y] >= t) for t in np.linspace(0.01, 0.99, 99)]
    assert np.mean(p[y] >= best) - np.mean(p[~y] >= best) >= max(rates)
    assert choose_threshold(p, y, kind="cost", value=9) == pytest.approx(0.1)


def test_rules_that_say_nothing_are_refused() -> None:
    for kind, value in [
        ("best", None),
        ("half", 0.5),
        ("sensitivity", None),
        ("sensitivity", 90),
        ("cost", 0),
    ]:
        with pytest.raises(ValueError, match=kind):
            choose_threshold([0.1], [1], kind=kind, value=value)


def test_the_promise_of_a_chosen_sensitivity_is_kept() -> None:
    """In 97.5 % of references the true sensitivity is above the lower end, though it was chosen."""
    rng, kept, trials = np.random.default_rng(4), 0, 400
    for _ in range(trials):
        y = np.arange(600) < 60
        p = expit(rng.normal(np.where(y, 1.0, -1.0), 1.0))
        threshold = choose_threshold(p, y, kind="sensitivity", value=0.9)
        assert threshold is not None
        promised = operating_point(p, y, threshold).sensitivity
        true = stats.norm.sf(np.log(threshold / (1 - threshold)), 1.0, 1.0)
        kept += true >= promised.lower
    assert kept / trials >= 0.96


def test_images_of_one_patient_count_as_one() -> None:
    right = np.repeat(np.arange(50) < 40, 4)
    patients = np.repeat(np.arange(50), 4)
    alone, of_patients = rate_estimate(right[::4]), rate_estimate(right, patients)
    assert alone
    assert of_patients
    assert of_patients.n == 200
    assert of_patients.lower == pytest.approx(alone.lower, abs=0.02)
    assert of_patients.upper == pytest.approx(alone.upper, abs=0.02)


def test_a_calibrator_is_the_likeliest_one() -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(-2, 2, 20_000)
    y = (rng.random(20_000) < expit(z / 1.8 + 0.7)).astype(float)
    fitted = fit_finding(z, y)
    theirs = LogisticRegression(C=np.inf, tol=1e-8).fit(z[:, np.newaxis], y)
    assert fitted.temperature == pytest.approx(1 / theirs.coef_[0, 0], rel=0.01)
    assert fitted.bias[0] == pytest.approx(theirs.intercept_[0], abs=0.01)
    assert fitted(z).mean() == pytest.approx(y.mean(), abs=1e-3)


@pytest.mark.parametrize("scale", [0.001, -1.0, 0.0])
def test_nothing_is_fitted_at_a_bound_of_the_temperature(scale: float) -> None:
    rng = np.random.default_rng(6)
    y = rng.random(2000) < 0.1
    z = scale * (3 * rng.normal(np.where(y, 1.0, -1.0), 1.0)) + 4
    assert fit_finding(z, y) == UNFITTED
    p = 1 / (1 + np.exp(-z))
    found = examine_findings(p[:, None], y[:, None], names=["Edema"])
    assert found.calibrator.method == "none"


def test_few_positives_are_left_alone_and_separated_ones_stay_modest() -> None:
    z = np.concatenate([np.full(200, -4.0), np.full(20, 4.0)])
    y = np.concatenate([np.zeros(200), np.ones(20)])
    assert not fit_finding(z[:-1], y[:-1]).fitted
    fitted = fit_finding(z, y)
    assert fitted.fitted
    assert fitted(z)[-1] == pytest.approx(21 / 22, abs=1e-3)
    blank = fit_finding(np.append(z, 9.0), np.append(y, np.nan))
    assert blank == fitted


def test_a_blank_is_missing_and_uncertain_is_kept_until_told() -> None:
    found = from_columns({"Edema": ["1.0", "", "-1.0", "0"], "Mass": ["0.0", "1", "nan", ""]})
    np.testing.assert_array_equal(found.labels[:, 0], [1, np.nan, -1, 0])
    np.testing.assert_array_equal(found.known_as("missing")[:, 0], [1, np.nan, np.nan, 0])
    assert found.known_as("present")[2, 0] == 1
    assert found.known_as("absent")[2, 0] == 0
    assert not found.exclusive


def test_one_hot_classes_are_recognized() -> None:
    assert from_columns({"cat": ["1", "0"], "dog": ["0", "1"]}).exclusive
    assert not from_columns({"cat": ["1", "0"], "dog": ["0", "0"]}).exclusive
    assert not from_columns({"cat": ["1", "1"]}).exclusive


def test_a_list_says_nothing_of_what_was_not_looked_for() -> None:
    found = from_lists(["Edema", "No Finding"], ["Edema|Mass", "Mass"], ["Mass", "Edema"])
    np.testing.assert_array_equal(found.labels, [[0, 1], [0, np.nan]])
    found = from_lists(["Edema", "", ""], ["Edema|Mass", "Mass", ""])  # looked for, not found
    np.testing.assert_array_equal(found.labels, [[1, 0], [np.nan, 0], [np.nan, np.nan]])
    nfc, nfd = "Ed\u00e8me", "Ede\u0300me"
    for names in ([nfc], [nfd]):
        found = from_lists([f"{nfd}|Mass", "No Finding"], "*", names)
        assert found.names == tuple(names)
        np.testing.assert_array_equal(found.labels, [[1], [0]])
    with pytest.raises(ValueError, match="Nodule"):
        from_lists(["Edema|Nodule"], "Edema|Mass")
    with pytest.raises(ValueError, match="'2'"):
        from_columns({"grade": ["1", "2"]})
