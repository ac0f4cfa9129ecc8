"""Early warnings: PSI by hand, and how rarely chance raises one."""

import math

import numpy as np
import pytest

from calibration.bins import BinSums
from monitoring.findings.early_warnings import find_early_warnings, psi, psi_limit
from monitoring.ledger.sums import LedgerSums


def ledger_sums(confidence: object, correct: object, *, served: int = 0) -> LedgerSums:
    labeled = BinSums.from_predictions(confidence, correct)  # type: ignore[arg-type]
    return LedgerSums(labeled, labeled.n + served, labeled.confidence)


def sample(seed: int, n: int, gap: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.5, 0.99, n)
    return p, rng.random(n) < p - gap


def test_signs_are_silent_until_there_are_answers_enough() -> None:
    served = ledger_sums(*sample(0, 999))
    warnings = find_early_warnings(served, BinSums.from_predictions(*sample(1, 500)), {}, {})
    assert [(warning.raised, math.isnan(warning.value)) for warning in warnings] == [
        (False, True)
    ] * 3


def test_signs_are_raised_by_a_change_and_hardly_ever_by_chance() -> None:
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(100):
        reference = BinSums.from_predictions(rng.beta(6, 1.3, 500), np.ones(500, dtype=bool))
        warnings = find_early_warnings(
            ledger_sums(rng.beta(6, 1.3, 1000), np.ones(1000, dtype=bool)), reference, {}, {}
        )
        false += any(warning.raised for warning in warnings)
    assert false <= 2
    sure = ledger_sums(rng.beta(22, 1, 1000), np.ones(1000, dtype=bool))
    histogram, expected, mix = find_early_warnings(
        sure,
        reference,
        {"predicted:a": 700, "predicted:b": 300},
        {"predicted:a": 500, "predicted:b": 500},
    )
    assert histogram.raised
    assert expected.raised
    assert expected.value > 0.1
    assert mix.raised
    assert '"b"' in mix.sentence  # the class whose share changed most
    assert not find_early_warnings(
        sure,
        reference,
        {"predicted:a": 600, "predicted:b": 400},
        {"predicted:a": 5, "predicted:b": 5},
    )[2].raised  # too few before


def test_psi_by_hand() -> None:
    a, b = np.array([60.5, 40.5]) / 101, np.array([40.5, 60.5]) / 101
    assert psi([60, 40], [40, 60]) == pytest.approx(((a - b) * np.log(a / b)).sum())
    assert psi([3, 4, 0], [3, 4, 0]) == 0.0
    assert psi_limit(15, 1000, 500) == pytest.approx(0.108, abs=0.002)  # chi2(14) at .999 is 36.1
    assert psi_limit(15, 1e6, 1e6) == 0.1
