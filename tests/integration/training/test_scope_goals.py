"""What the scope check promises and finds, on real images."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from calibration.calibrators.temperature import apply_temperature, fit_temperature
from calibration.measures.summary import Measures
from calibration.scope.p_values import p_values
from calibration.scope.scores import Mahalanobis
from tests.builders.scope_subjects import NEAR, PARTS, SUBJECTS, Features, Measured, measured

DATA = os.environ.get("CANDOR_DATA")
ALPHA, SPLITS = 0.05, 20
FAR = ("noise", "photographs", "digits", "blank")


@pytest.mark.nightly
@pytest.mark.skipif(not DATA, reason="needs the folder CANDOR_DATA")
@pytest.mark.parametrize("name", SUBJECTS)
def test_the_promise_is_kept_and_other_images_are_flagged(name: str) -> None:
    found = measured(SUBJECTS[name], Path(DATA or ""))
    is_flagged = check(found)
    near = [*NEAR, *(kind for kind in found.features if kind.startswith("of "))]
    assert np.mean([is_flagged[kind].mean() for kind in FAR]) >= 0.95
    assert np.mean([is_flagged[kind].mean() for kind in near]) >= 0.6
    assert sum(is_as_promised(found, seed) for seed in range(SPLITS)) >= 17
    everything, rest = measures_of_the_rest(found, is_flagged["test"])
    assert rest.accuracy > everything.accuracy - 0.02
    assert rest.ece < everything.ece + 0.02


def check(found: Measured) -> dict[str, NDArray[np.bool_]]:
    """Which images of each kind are flagged."""
    score = Mahalanobis.fit_parts(found.features["fit"].seen, found.maps)
    known = score(found.features["calibrate"].seen)
    return {
        kind: p_values(known, score(rows.seen)) <= ALPHA for kind, rows in found.features.items()
    }


def is_as_promised(found: Measured, seed: int) -> bool:
    """Whether a random split of the own images has a share flagged that 95 of 100 have, as the card
    says.
    """
    own = np.concatenate([found.features[part].seen for part in PARTS])
    order = np.random.default_rng(seed).permutation(len(own))
    fit, calibrate, test = np.split(order, [len(own) // 2, len(own) * 4 // 5])
    score = Mahalanobis.fit_parts(own[fit], found.maps)
    share = (p_values(score(own[calibrate]), score(own[test])) <= ALPHA).mean()
    a = int(ALPHA * (len(calibrate) + 1))
    drawn = np.random.default_rng(0).beta(a, len(calibrate) + 1 - a, 20_000)
    shares = np.random.default_rng(1).binomial(len(test), drawn) / len(test)
    low, high = np.quantile(shares, (0.025, 0.975))
    return bool(low <= share <= high)


def measures_of_the_rest(
    found: Measured, is_flagged: NDArray[np.bool_]
) -> tuple[Measures, Measures]:
    """Measures of a calibrated linear probe on test images: all, and those not flagged."""
    labels = found.labels["test"]
    logits = probe(found.features["fit"], found.labels["fit"])
    temperature = fit_temperature(logits(found.features["calibrate"]), found.labels["calibrate"])
    answers = apply_temperature(logits(found.features["test"]), temperature)
    return (
        Measures.from_probabilities(answers, labels),
        Measures.from_probabilities(answers[~is_flagged], labels[~is_flagged]),
    )


def probe(fitted: Features, labels: NDArray[Any]) -> Any:
    """The logits of a linear probe on a bootstrap sample that has every class."""
    drawn = np.random.default_rng(0).integers(0, len(labels), len(labels))
    drawn = np.concatenate([drawn, np.unique(labels, return_index=True)[1]])
    regression = LogisticRegression(C=0.01, max_iter=300)
    regression.fit(fitted.pooled[drawn], labels[drawn])

    def logits(rows: Features) -> NDArray[Any]:
        found = regression.decision_function(rows.pooled)
        return np.stack([0 * found, found], axis=1) if found.ndim == 1 else np.asarray(found)

    return logits
