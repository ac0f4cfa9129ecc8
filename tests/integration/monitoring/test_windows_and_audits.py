"""Windows, slices and audits as a real ledger has them."""

import json

import pytest

from calibration.measures import metrics
from monitoring.diagnosis.audit import find_audit
from monitoring.ledger.day_sums import read_day_sums
from monitoring.ledger.schema import EVERYTHING
from monitoring.ledger.sum_tables import AUDIT
from monitoring.reports.report import calibration_report
from tests.builders.answers import CLASSES, DAY_NS, NOW_NS, label, make_row
from tests.builders.monitored import BOTH_DATABASES, MonitoredModel

DATABASES = BOTH_DATABASES


# Windows


def test_windows_by_day_count_answers_by_the_day_they_were_served(
    monitored: MonitoredModel,
) -> None:
    for day, right in enumerate((False, True, True)):
        at_ns = NOW_NS - (2 - day) * DAY_NS
        monitored.serve(*(make_row(10 * day + i, served_at_ns=at_ns) for i in range(4)))
        monitored.label(*(label(10 * day + i, CLASSES[right], at_ns=at_ns) for i in range(3)))

    def seen(window: str) -> tuple[int, float, int]:
        found = calibration_report(monitored.ledger, "pneumonia", window=window)
        return found.measures.n, found.measures.accuracy, found.coverage.served

    assert seen("days:1") == (3, 1.0, 4)
    assert seen("days:2") == (6, 1.0, 8)
    assert seen("days:3") == (9, pytest.approx(2 / 3), 12)


def test_slices_of_a_ledger(monitored: MonitoredModel) -> None:
    tags = json.dumps({"site": "A"})
    monitored.serve(
        *(
            make_row(i, confidence=0.75, predicted=i % 2)._replace(tags=tags if i < 60 else None)
            for i in range(200)
        )
    )
    monitored.label(
        *(label(i, CLASSES[i % 2 if i >= 60 or i % 4 == 0 else 1 - i % 2]) for i in range(200))
    )
    slices = calibration_report(monitored.ledger, "pneumonia", window="all").slices
    assert slices.known[0].name == "tag:site=A"
    assert slices.known[0].signed_gap == pytest.approx(0.5)
    assert {each.name for each in slices.known} == {
        "tag:site=A",
        "predicted:normal",
        "predicted:pneumonia",
    }
    assert calibration_report(monitored.ledger, "pneumonia", slices=False).slices is None


def test_an_audit_weighs_days_by_the_inverse_of_their_share(monitored: MonitoredModel) -> None:
    """Day one: 2 of 4 drawn, right; day two: 2 of 40, wrong; so 4 right against 40 wrong."""
    confidence = 0.75
    for day, (served, right) in enumerate(((4, True), (40, False))):
        at_ns = NOW_NS + day * DAY_NS
        rows = [
            make_row(100 * day + i, confidence=confidence, served_at_ns=at_ns)
            for i in range(served)
        ]
        monitored.serve(*(row._replace(audit=0.05) if i < 2 else row for i, row in enumerate(rows)))
        monitored.label(*(label(100 * day + i, CLASSES[right], at_ns=at_ns) for i in range(2)))
    with monitored.ledger.read() as connection:
        days = read_day_sums(connection, monitored.watched_version_id, EVERYTHING, AUDIT)
    sums, later_sums = find_audit(days), find_audit(days, NOW_NS // DAY_NS + 1)
    assert (sums.labeled, later_sums.labeled) == (4, 2)
    assert metrics.signed_gap(sums.as_bins()) == pytest.approx(0.75 - 4 / 44, abs=0.2)
    assert metrics.signed_gap(later_sums.as_bins()) == pytest.approx(0.75)
