"""Early signs: PSI by hand."""

import numpy as np
import pytest

from monitoring.diagnosis.early_signs import psi, psi_limit


def test_psi_by_hand() -> None:
    a, b = np.array([60.5, 40.5]) / 101, np.array([40.5, 60.5]) / 101
    assert psi([60, 40], [40, 60]) == pytest.approx(((a - b) * np.log(a / b)).sum())
    assert psi([3, 4, 0], [3, 4, 0]) == 0.0
    assert psi_limit(15, 1000, 500) == pytest.approx(0.108, abs=0.002)  # chi2(14) at .999 is 36.1
    assert psi_limit(15, 1e6, 1e6) == 0.1
