"""The change-point estimate, against a brute-force posterior and simulated alarms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.drift.detector import DriftDetector
from calibration.drift.onset import SHIFTS, onset
from calibration.drift.state import DriftSettings

streams = st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=1, max_size=25)


@given(streams, st.sampled_from(["over", "under"]))
def test_it_is_the_posterior_of_every_start(
    labels: list[tuple[float, bool]], direction: str
) -> None:
    """By Bayes' rule, a start and a shift at a time."""
    weights = []
    for start in range(len(labels)):
        weight = 0.0
        for d in -SHIFTS if direction == "over" else SHIFTS:
            likelihood = 1.0
            for i, (p, correct) in enumerate(labels):
                q = 1 / (1 + (1 - p) / p * np.exp(-d)) if i >= start else p
                likelihood *= q if correct else 1 - q
            weight += likelihood
        weights.append(weight)
    share = np.array(weights) / sum(weights)
    found = onset(*zip(*labels, strict=True), direction=direction)
    assert share[found.label] == pytest.approx(share.max())
    assert share[: found.lower].sum() < 0.025 + 1e-9
    assert share[: found.lower + 1].sum() > 0.025 - 1e-9
    assert share[found.upper + 1 :].sum() < 0.025 + 1e-9


def test_the_interval_covers_the_true_start_of_alarms() -> None:
    """A gap of .1 from label 600 on, as the alarm sees it; coverage is .95 or so."""
    covered, errors = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        p = rng.beta(6, 1.3, 2600)
        right = rng.random(2600) < p - np.where(np.arange(2600) < 600, 0, 0.1)
        alarm = DriftDetector(DriftSettings()).update_many(p, right)
        assert alarm is not None
        found = onset(p[: alarm + 1], right[: alarm + 1], direction="over")
        covered.append(found.lower <= 600 <= found.upper)
        errors.append(abs(found.label - 600))
    assert np.mean(covered) >= 0.85
    assert np.median(errors) < 60


def test_without_labels_there_is_no_onset_and_shapes_must_match() -> None:
    assert onset([], [], direction="over") is None
    with pytest.raises(ValueError, match=r"\(N,\)"):
        onset([0.5], [True, False], direction="over")
