"""What users' type checkers are told of `candor.measure` and `candor.calibrate`: `make lint` checks
this file, so an error that is ignored here has to be one.
"""

from typing import Any, assert_type

import numpy as np
import pytest

import candor
from calibration.findings.measures import FindingsMeasures
from calibration.measures.summary import Measures
from candor.predictions.calibration import Calibration
from candor.predictions.findings_calibration import FindingsCalibration

P = np.tile([[0.25, 0.75], [0.75, 0.25]], (100, 1))
EXCLUSIVE = [1, 0] * 100
PRESENT = np.tile([[0.7, 0.9], [0.1, 0.4]], (100, 1))
FINDINGS = np.tile([[1, 1], [0, 0]], (100, 1))


def test_findings_that_are_named_are_findings() -> None:
    measured = candor.measure(PRESENT, FINDINGS, findings="*", bins=10)
    done = candor.calibrate(PRESENT, FINDINGS, findings="*", seed=1)
    assert (type(measured), type(done)) == (FindingsMeasures, FindingsCalibration)


def test_without_them_labels_decide_which_no_type_knows() -> None:
    measured = assert_type(candor.measure(P, EXCLUSIVE), Measures | Any)
    done = assert_type(candor.calibrate(P, EXCLUSIVE, allow_label_changes=True), Calibration | Any)
    assert (type(measured), type(done)) == (Measures, Calibration)
    found = candor.measure(PRESENT, FINDINGS)
    assert isinstance(found, FindingsMeasures)  # which the checker does not take for unreachable
    assert found.macro


def test_what_they_do_not_take_is_an_error() -> None:
    with pytest.raises(TypeError):
        candor.measure(P, EXCLUSIVE, bin=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        candor.train("digits", epoch=3)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        print(candor.measure(P, EXCLUSIVE).eec)  # type: ignore[union-attr]
