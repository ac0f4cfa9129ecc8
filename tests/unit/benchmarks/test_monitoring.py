"""The tables of docs/benchmarks.md in small: our watch keeps its promise."""

import numpy as np
import pytest

from benchmarks.monitoring import remedies
from benchmarks.monitoring.__main__ import delay, false_alarms
from benchmarks.monitoring.detectors import candor, cusum, sliding_ece, windowed_ece
from benchmarks.monitoring.streams import NARROW, SHAPES, SURE, TWO_CLASSES, labels
from calibration.bins import BinSums
from calibration.measures.metrics import ece


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_no_false_alarm_in_calibrated_streams(shape: str) -> None:
    assert false_alarms(candor(classes=2), shape=shape, streams=8, run=5000) == 0


def test_a_threshold_on_a_windowed_ece_cries_wolf() -> None:
    assert false_alarms(windowed_ece(), shape=NARROW, streams=8, run=5000) >= 4


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "published"), [(TWO_CLASSES, 284), (SURE, 139)])
def test_a_gap_of_a_tenth_is_found_as_fast_as_the_table_says(shape: str, published: int) -> None:
    found = delay(candor(), shape=shape, gap=0.1, streams=9, before=1000)
    assert found is not None
    assert found < 1.6 * published


def test_a_shift_in_one_class_is_found_sooner_by_the_classes() -> None:
    alone, split = (
        delay(candor(classes=classes), shape=SURE, gap=0.1, only_class=1, streams=21, before=500)
        or np.inf
        for classes in (0, 2)
    )
    assert split < 0.9 * alone


def test_the_sliding_ece_is_the_ece_of_each_window() -> None:
    seen = labels(0, 60, shape=NARROW)
    expected = [
        ece(BinSums.from_predictions(seen.confidence[i : i + 50], seen.correct[i : i + 50]))
        for i in range(11)
    ]
    assert sliding_ece(seen, 50) == pytest.approx(expected)


def test_cusum_finds_a_large_gap() -> None:
    assert cusum()(labels(0, 3000, shape=SURE, gap=0.1, after=500)) is not None
    assert cusum()(labels(0, 500, shape=SURE)) is None


@pytest.mark.slow
def test_simulated_recalibrations_help_harm_and_refuse_as_the_page_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = ("opposite classes", "nothing; wrong answers labeled 5 times as often")
    monkeypatch.setattr(remedies, "SCENES", {kind: remedies.SCENES[kind] for kind in kinds})
    monkeypatch.setattr(remedies, "LABELS", (300,))
    rows = {(row["kind"], row["method"]): row for row in remedies.simulate(shifts=3)}
    temperature = "temperature on all labels"
    changes = rows[kinds[0], "recalibrate --allow-label-changes"]
    assert (changes["helps"], changes["harms"], changes["shifts"]) == (3, 0, 3)
    assert changes["class_gap_after"] < rows[kinds[0], temperature]["class_gap_after"] / 2
    assert rows[kinds[1], temperature]["harms"] == 3  # nothing but an audit shows it
