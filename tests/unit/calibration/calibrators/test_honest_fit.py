"""What a calibrator promises, against new rows, and where nothing can improve."""

import numpy as np
import pytest

from calibration.calibrators.honest_fit import TooFewRows, fit_honestly
from calibration.measures.metrics import nll
from tests.builders.answers import simulated


@pytest.mark.slow
def test_the_improvement_promised_is_the_one_on_new_rows() -> None:
    """Temperature 2 on 400 rows: cross-fitted figures against 5,000 new rows."""
    promised, found = [], []
    for seed in range(6):
        p, y = simulated(seed, rows=400, temperature=2.0)
        new_p, new_y = simulated(1_000 + seed, rows=5_000, temperature=2.0)
        fit = fit_honestly(p, y)
        assert (fit.remedy, fit.judged) == ("temperature", "cross-fitted")
        assert fit.affine is not None
        promised.append(fit.improvement)
        found.append(nll(new_p, new_y) - nll(fit.affine(np.log(new_p)), new_y))
    error = np.std(promised) / np.sqrt(len(promised))
    assert np.mean(promised) == pytest.approx(np.mean(found), abs=3 * error)


@pytest.mark.slow
def test_many_rows_are_judged_by_those_that_were_not_used() -> None:
    p, y = simulated(0, rows=2_800, classes=3, temperature=1.6)
    fit = fit_honestly(p, y)
    assert (fit.judged, fit.fitted_on, len(fit.rows)) == ("held-out", 1_400, 1_400)
    assert fit.affine is not None
    assert np.allclose(fit.probabilities, fit.affine(np.log(p[fit.rows])))
    changed = y.copy()
    changed[fit.rows] = p[fit.rows].argmax(axis=1)  # their labels do not reach the fit
    again = fit_honestly(p, changed)
    assert again.choice == fit.choice
    assert again.remedy is None, "it does not improve the rows that judge it"


def test_a_group_is_on_one_side() -> None:
    p, y = simulated(1, rows=2_800, temperature=2.0)
    groups = np.arange(2_800) // 7
    fit = fit_honestly(p, y, groups=groups)
    judged = set(groups[fit.rows])
    assert len(judged) * 7 <= len(fit.rows) + 7
    assert not judged & set(np.delete(groups, fit.rows))


def test_labels_of_one_class_are_refused() -> None:
    p, _ = simulated(0)
    with pytest.raises(TooFewRows, match="one class"):
        fit_honestly(p, np.zeros(len(p), dtype=int))


@pytest.mark.slow
def test_many_classes_have_a_temperature_only() -> None:
    p, y = simulated(3, rows=400, classes=31, temperature=2.0)
    fit = fit_honestly(p, y, allow_label_changes=True)
    assert fit.remedy == "temperature"
    assert {trial.name for trial in fit.choice.trials if trial.excluded} == {
        "case_mix",
        "temperature_bias",
        "vector",
    }
