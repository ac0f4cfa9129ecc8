"""Slices: the worst first, and false findings as rare as promised, by simulation."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from calibration.bins import BinSums
from monitoring.findings.comparison import compare
from monitoring.findings.slices import find_slices
from monitoring.ledger.sums import LedgerSums


def ledger_sums(confidence: object, correct: object, *, served: int = 0) -> LedgerSums:
    labeled = BinSums.from_predictions(confidence, correct)  # type: ignore[arg-type]
    return LedgerSums(labeled, labeled.n + served, labeled.confidence)


def sample(seed: int, n: int, gap: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.5, 0.99, n)
    return p, rng.random(n) < p - gap


def test_few_false_differences_among_models_that_did_not_change() -> None:
    wrong = np.zeros(3)
    for seed in range(200):
        live, reference = (BinSums.from_predictions(*sample(2 * seed + i, 600)) for i in (0, 1))
        found = compare(live, reference)
        wrong += [
            found.accuracy.significant,
            found.signed_gap.significant,
            found.signed_gap_as_served.significant,
        ]
    assert (wrong <= 0.09 * 200).all()  # 5 % and two standard deviations, at most


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
    wide = NormalDist().inv_cdf(
        1 - 0.05 / (2 * 21)
    )  # Bonferroni: 3.04 standard deviations in place of 1.96
    mean, added = worst.mean_confidence, wide**2  # so many answers are added, half of them right
    center = (300 * worst.signed_gap + added * (mean - 0.5)) / (300 + added)
    square = (labeled.squared_error.sum() + added / 2 * (mean**2 + (1 - mean) ** 2)) / (300 + added)
    half = wide * math.sqrt((square - center**2) / (300 + added))
    assert (worst.gap_lower, worst.gap_upper) == pytest.approx(
        (center - half, center + half), rel=1e-6
    )


def test_looking_at_twenty_slices_finds_something_false_in_five_looks_of_a_hundred() -> None:
    false = [
        bool(
            find_slices(
                {f"tag:a={i}": ledger_sums(*sample(100 * look + i, 200)) for i in range(20)}
            ).significant
        )
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
    """Why those rows are not tested: a model that says 'ill' with its true probability misses half
    of the ill.
    """
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
