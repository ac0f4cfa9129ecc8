"""Windows, comparison, slices, selective labels and signs: by hand, and their promises by simulation."""

import json
import math
from statistics import NormalDist

import numpy as np
import pytest

from calibration.bins import BinSums
from monitoring.errors import QueryInvalid
from monitoring.findings.comparison import compare
from monitoring.findings.early_warnings import find_early_warnings, psi, psi_limit
from monitoring.findings.selection import find_audit, post_stratified_ece
from monitoring.findings.slices import find_slices
from monitoring.findings.windows import Window, read_window
from monitoring.ledger.sums import LedgerSums
from monitoring.reports.report import calibration_report
from tests.unit.monitoring.builders import CLASSES, DAY_NS, NOW_NS, label, make_row
from tests.unit.monitoring.desk import BOTH_DATABASES, Clock, Desk

DATABASES = BOTH_DATABASES


def ledger_sums(confidence: object, correct: object, *, served: int = 0) -> LedgerSums:
    labeled = BinSums.from_predictions(confidence, correct)  # type: ignore[arg-type]
    return LedgerSums(labeled, labeled.n + served, labeled.confidence)


def sample(seed: int, n: int, gap: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.5, 0.99, n)
    return p, rng.random(n) < p - gap


# Windows


def test_windows_by_day_count_answers_by_the_day_they_were_served(desk: Desk, clock: Clock) -> None:
    for day, right in enumerate((False, True, True)):
        at_ns = NOW_NS - (2 - day) * DAY_NS
        desk.serve(*(make_row(10 * day + i, served_at_ns=at_ns) for i in range(4)))
        desk.label(*(label(10 * day + i, CLASSES[right], at_ns=at_ns) for i in range(3)))

    def seen(window: str) -> tuple[int, float, int]:
        found = calibration_report(desk.ledger, "pneumonia", window=window)
        return found.measures.n, found.measures.accuracy, found.coverage.served

    assert seen("days:1") == (3, 1.0, 4)
    assert seen("days:2") == (6, 1.0, 8)
    assert seen("days:3") == (9, pytest.approx(2 / 3), 12)
    assert seen("last:3") == (3, 1.0, 12)
    assert seen("promotion") == (9, pytest.approx(2 / 3), 12)  # nobody noted a promotion
    clock.now_ns = NOW_NS - DAY_NS
    desk.recorder.promote(desk.calibration_id).result(timeout=30)
    clock.now_ns = NOW_NS
    assert seen("promotion") == seen("days:2")


@pytest.mark.parametrize("window", ["days:0", "days:10001", "days", "promotions", "last:0", "1 day"])
def test_windows_that_cannot_be_are_refused(window: str) -> None:
    with pytest.raises(QueryInvalid, match=r"'days:N'"):
        read_window(window)
    assert read_window("days:30") == Window("days", 30)


# Comparison


def test_a_difference_is_live_minus_reference() -> None:
    live = BinSums.from_predictions([0.8] * 400, [True] * 240 + [False] * 160)
    reference = BinSums.from_predictions([0.8] * 400, [True] * 320 + [False] * 80)
    found = compare(live, reference)
    assert found.accuracy.difference == pytest.approx(-0.2)
    assert found.signed_gap.difference == pytest.approx(0.2)
    # by hand: variances .6 .4 / 400 and .8 .2 / 400
    assert found.signed_gap.upper - 0.2 == pytest.approx(1.96 * math.sqrt((0.24 + 0.16) / 400), rel=1e-3)
    assert found.accuracy.significant
    assert found.signed_gap.significant
    assert found.excess_ece.difference == pytest.approx(0.2, abs=1e-9)  # the floors are the same: same confidences
    empty = compare(BinSums.zeros(), reference).accuracy
    assert math.isnan(empty.difference)
    assert not empty.significant


def test_few_false_differences_among_models_that_did_not_change() -> None:
    wrong = np.zeros(3)
    for seed in range(200):
        live, reference = (BinSums.from_predictions(*sample(2 * seed + i, 600)) for i in (0, 1))
        found = compare(live, reference)
        wrong += [found.accuracy.significant, found.signed_gap.significant, found.excess_ece.significant]
    assert (wrong <= 0.09 * 200).all()  # 5 % and two standard deviations, at most


# Slices


def test_the_worst_slice_comes_first_and_chance_is_not_a_finding() -> None:
    sums = {f"tag:site={i}": ledger_sums(*sample(i, 300)) for i in range(20)}
    sums |= {
        "tag:site=bad": ledger_sums(*sample(99, 300, gap=0.15)),
        "": ledger_sums(*sample(0, 10)),
        "audit": sums["tag:site=0"],
    }
    found = find_slices(sums)
    assert found.tested == len(found.known) == 21
    assert [each.name for each in found.significant] == ["tag:site=bad"]
    assert found.known[0].name == "tag:site=bad"
    worst = found.known[0]
    assert 0 < worst.at_least == worst.gap_lower < worst.signed_gap < worst.gap_upper
    labeled = sums["tag:site=bad"].labeled
    spread = math.sqrt((labeled.squared_error.sum() / 300 - worst.signed_gap**2) / 300)
    wide = NormalDist().inv_cdf(1 - 0.05 / (2 * 21))  # Bonferroni: 3.04 standard deviations in place of 1.96
    assert worst.gap_upper - worst.signed_gap == pytest.approx(wide * spread, rel=1e-6)


def test_looking_at_twenty_slices_finds_something_false_in_five_looks_of_a_hundred() -> None:
    false = [
        bool(find_slices({f"tag:a={i}": ledger_sums(*sample(100 * look + i, 200)) for i in range(20)}).significant)
        for look in range(100)
    ]
    assert sum(false) <= 12


def test_too_few_labels_and_true_classes_are_not_tested() -> None:
    p, right = sample(1, 4000)
    predicted = np.random.default_rng(2).integers(0, 2, 4000)
    true = np.where(right, predicted, 1 - predicted)
    rare = (p > 0.9) & (predicted == 0)
    found = find_slices(
        {
            "predicted:ill": ledger_sums(p[predicted == 1], right[predicted == 1]),
            "tag:few=labels": ledger_sums(p[rare][:20], right[rare][:20]),
            "true:ill": ledger_sums(p[true == 1], right[true == 1]),
            "true:healthy": ledger_sums([], []),
        }
    )
    assert found.tested == 1
    few = next(each for each in found.known if each.name == "tag:few=labels")
    assert math.isnan(few.p_value)
    assert [each.name for each in found.by_true_class] == ["true:ill"]
    assert not found.by_true_class[0].significant


def test_conditioning_on_the_true_class_makes_a_perfect_model_look_wrong() -> None:
    """Why those rows are not tested: a model that says 'ill' with its true probability misses half of the ill."""
    rng = np.random.default_rng(0)
    ill_probability = rng.choice([0.1, 0.9], 20_000, p=[0.9, 0.1])
    ill = rng.random(20_000) < ill_probability
    confidence, said_ill = np.maximum(ill_probability, 1 - ill_probability), ill_probability > 0.5
    right = said_ill == ill
    found = find_slices(
        {
            "true:ill": ledger_sums(confidence[ill], right[ill]),
            "predicted:ill": ledger_sums(confidence[said_ill], right[said_ill]),
        }
    )
    assert found.by_true_class[0].signed_gap > 0.3
    assert not found.known[0].significant


def test_slices_of_a_ledger(desk: Desk) -> None:
    tags = json.dumps({"site": "A"})
    desk.serve(
        *(make_row(i, confidence=0.75, predicted=i % 2)._replace(tags=tags if i < 60 else None) for i in range(200))
    )
    desk.label(*(label(i, CLASSES[i % 2 if i >= 60 or i % 4 == 0 else 1 - i % 2]) for i in range(200)))
    slices = calibration_report(desk.ledger, "pneumonia").slices
    assert slices is not None
    assert slices.known[0].name == "tag:site=A"
    assert slices.known[0].signed_gap == pytest.approx(0.5)
    assert {each.name for each in slices.known} == {"tag:site=A", "predicted:normal", "predicted:pneumonia"}
    assert calibration_report(desk.ledger, "pneumonia", slices=False).slices is None


# Selective labels


def test_post_stratification_repairs_labels_that_favor_unsure_answers_only() -> None:
    """Bins at .55 (gap .3) and .95 (gap 0), served 1 : 9, labeled 1 : 1."""
    labeled = BinSums.from_predictions(
        [0.55] * 100 + [0.95] * 100, [True] * 25 + [False] * 75 + [True] * 95 + [False] * 5
    )
    served = np.zeros(15, dtype=np.int64)
    served[[8, 14]] = 1000, 9000
    assert post_stratified_ece(labeled, served) == pytest.approx(0.1 * 0.3)
    assert math.isnan(post_stratified_ece(BinSums.zeros(), served))


def test_an_audit_weighs_days_by_the_inverse_of_their_share(desk: Desk) -> None:
    """Day one: 2 of 4 drawn, both right; day two: 2 of 40 drawn, both wrong; so 4 right stand against 40 wrong."""
    confidence = 0.75
    for day, (served, right) in enumerate(((4, True), (40, False))):
        at_ns = NOW_NS + day * DAY_NS
        rows = [make_row(100 * day + i, confidence=confidence, served_at_ns=at_ns) for i in range(served)]
        desk.serve(*(row._replace(audit=0.05) if i < 2 else row for i, row in enumerate(rows)))
        desk.label(*(label(100 * day + i, CLASSES[right], at_ns=at_ns) for i in range(2)))
    with desk.ledger.read() as connection:
        found = find_audit(connection, desk.calibration_id)
        later = find_audit(connection, desk.calibration_id, since_day=NOW_NS // DAY_NS + 1)
    assert found is not None
    assert later is not None
    assert (found.drawn, found.labeled, found.share) == (4, 4, 4 / 44)
    assert found.signed_gap == pytest.approx(0.75 - 4 / 44)
    assert found.ece == pytest.approx(0.75 - 4 / 44)
    assert (later.drawn, later.signed_gap) == (2, pytest.approx(0.75))
    assert found.signed_gap_lower < found.signed_gap < found.signed_gap_upper


def test_without_draws_there_is_no_audit_and_sources_are_counted(desk: Desk) -> None:
    desk.serve(*(make_row(i) for i in range(4)))
    desk.label(label(0, source="biopsy"), label(1, source="biopsy"), label(2))
    selection = calibration_report(desk.ledger, "pneumonia").selection
    assert selection.audit is None
    assert selection.sources == {"biopsy": 2, "": 1}
    assert (selection.coverage, selection.uncovered) == (0.75, 0)


# Signs


def test_signs_are_silent_until_there_are_answers_enough() -> None:
    served = ledger_sums(*sample(0, 999))
    signs = find_early_warnings(served, BinSums.from_predictions(*sample(1, 500)), {}, {})
    assert [(sign.raised, math.isnan(sign.value)) for sign in signs] == [(False, True)] * 3


def test_signs_are_raised_by_a_change_and_hardly_ever_by_chance() -> None:
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(100):
        reference = BinSums.from_predictions(rng.beta(6, 1.3, 500), np.ones(500, dtype=bool))
        signs = find_early_warnings(ledger_sums(rng.beta(6, 1.3, 1000), np.ones(1000, dtype=bool)), reference, {}, {})
        false += any(sign.raised for sign in signs)
    assert false <= 2
    sure = ledger_sums(rng.beta(22, 1, 1000), np.ones(1000, dtype=bool))
    histogram, expected, mix = find_early_warnings(
        sure, reference, {"predicted:a": 700, "predicted:b": 300}, {"predicted:a": 500, "predicted:b": 500}
    )
    assert histogram.raised
    assert expected.raised
    assert expected.value > 0.1
    assert "is another than the card's" in histogram.sentence
    assert mix.raised
    assert "'b' was 30.0 % of the answers" in mix.sentence
    assert not find_early_warnings(
        sure, reference, {"predicted:a": 600, "predicted:b": 400}, {"predicted:a": 5, "predicted:b": 5}
    )[2].raised  # too few before


def test_psi_by_hand() -> None:
    a, b = np.array([60.5, 40.5]) / 101, np.array([40.5, 60.5]) / 101
    assert psi([60, 40], [40, 60]) == pytest.approx(((a - b) * np.log(a / b)).sum())
    assert psi([3, 4, 0], [3, 4, 0]) == 0.0
    assert psi_limit(15, 1000, 500) == pytest.approx(0.108, abs=0.002)  # chi2(14) at .999 is 36.1
    assert psi_limit(15, 1e6, 1e6) == 0.1
