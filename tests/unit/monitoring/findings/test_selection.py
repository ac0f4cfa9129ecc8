"""Labels that are no fair sample, by simulation."""

import math

import numpy as np
import pytest

from calibration.bins import BinSums
from monitoring.findings.post_stratification import post_stratify


def test_post_stratification_repairs_labels_that_favor_unsure_answers_only() -> None:
    """Bins at .55 (gap .3) and .95 (gap 0), served 1 : 9, labeled 1 : 1."""
    labeled = BinSums.from_predictions(
        [0.55] * 100 + [0.95] * 100, [True] * 25 + [False] * 75 + [True] * 95 + [False] * 5
    )
    served = np.zeros(15, dtype=np.int64)
    served[[8, 14]] = 1000, 9000
    assert post_stratify(labeled, served).ece == pytest.approx(0.1 * 0.3)
    assert math.isnan(post_stratify(BinSums.zeros(), served).ece)
