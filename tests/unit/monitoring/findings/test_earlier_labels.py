"""Labels from before an acknowledgment, in windows that hold them and in windows that do not."""

from dataclasses import replace
from typing import Any

import pytest

from monitoring.drift import events
from monitoring.findings.drift import Drift
from monitoring.findings.earlier_labels import earlier_labels
from monitoring.findings.windows import Window

DRIFT = Drift(
    log_evalue=0.0,
    log_threshold=11.5,
    active=False,
    direction=None,
    labels=300,
    alarm_label=None,
    average_run_length=100_000.0,
    tolerance=0.01,
)
AT_NS = 1_790_000_000 * 10**9  # 2026-09-21
RAISED = events.Event(events.ALARM, 1, AT_NS - 10**9, {})
ACKNOWLEDGED = events.Event(events.ACKNOWLEDGED, 2, AT_NS, {"was_active": True, "labels": 2_500})
RESET = events.Event(events.RESET, 3, AT_NS, {"was_active": False})


def said(
    *history: events.Event, labels: int = 2_800, drift: Drift | None = DRIFT, **options: Any
) -> str:
    chosen = {"window": Window(), "audited": False} | options
    return earlier_labels(history, drift, labels=labels, **chosen)


def test_labels_from_before_are_counted_and_the_window_without_them_is_named() -> None:
    acknowledged = said(RAISED, ACKNOWLEDGED)
    for figure in ("2,500", "2026-09-21", "last:300"):
        assert figure in acknowledged
    assert "reset" in said(RAISED, ACKNOWLEDGED, RESET)
    assert "last:" not in said(ACKNOWLEDGED, labels=2_500, drift=replace(DRIFT, labels=0))


def test_a_window_of_the_latest_labels_may_still_reach_back() -> None:
    assert said(ACKNOWLEDGED, labels=500, window=Window("last", 500)).startswith("200 ")
    assert said(ACKNOWLEDGED, labels=300, window=Window("last", 300)) == ""


@pytest.mark.parametrize(
    ("history", "options"),
    [
        ((), {}),
        ((RAISED,), {}),
        ((ACKNOWLEDGED,), {"drift": None}),
        ((ACKNOWLEDGED,), {"window": Window("days", 30)}),
        ((ACKNOWLEDGED,), {"audited": True}),
        ((ACKNOWLEDGED,), {"labels": 300}),
    ],
)
def test_nothing_is_said_where_nothing_is_known(
    history: tuple[events.Event, ...], options: dict[str, Any]
) -> None:
    assert said(*history, **options) == ""
