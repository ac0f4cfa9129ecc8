import pytest

from calibration.measures import metrics
from monitoring.errors import ModelNotInLedger
from monitoring.ledger.days import read_days
from monitoring.ledger.schema import DAY_NS
from monitoring.reports.page_data import read_page_data
from tests.builders.answers import NOW_NS, label, make_card, make_row
from tests.builders.monitored import Clock, MonitoredModel

TODAY = NOW_NS // DAY_NS


def test_days_are_those_of_service_not_of_the_label(
    monitored: MonitoredModel, clock: Clock
) -> None:
    earlier = NOW_NS - 3 * DAY_NS
    monitored.serve(make_row(1, served_at_ns=earlier), make_row(2, confidence=0.6), make_row(3))
    monitored.label(label(1, "normal", at_ns=earlier), label(2))
    with monitored.ledger.read() as connection:
        first, second = read_days(connection, monitored.watched_version_id)
        assert (
            read_days(connection, monitored.watched_version_id, since_day=TODAY)[0].served
            == second.served
        )
    assert (first.first, first.last, first.served, first.labeled.total) == (
        TODAY - 3,
        TODAY - 3,
        1,
        1,
    )
    assert (second.first, second.served, second.labeled.total) == (TODAY, 2, 1)
    assert metrics.ece(first.labeled) == pytest.approx(0.9)
    assert str(second) == "2026-09-21"


def test_page_data_holds_what_belongs_together(monitored: MonitoredModel, clock: Clock) -> None:
    monitored.recorder.promote(monitored.watched_version_id).result()
    monitored.serve(make_row(1))
    monitored.label(label(1))
    for version in range(2, 9):
        clock.now_ns += DAY_NS
        monitored.recorder.register(make_card(version=version))
    found = read_page_data(monitored.ledger, "pneumonia", version=1)
    assert [each.report.version for each in found.versions] == [8, 7, 6, 5, 4, 1]
    assert [entry["kind"] for entry in found.of_this_version] == ["started", "promoted"]
    assert len(found.entries) == 9
    assert [each.labeled.total for each in found.days] == [1]
    assert found.since_day is None
    recent = read_page_data(monitored.ledger, "pneumonia", version=1, window="days:3")
    assert recent.since_day == clock.now_ns // DAY_NS - 2
    assert (recent.days, len(recent.entries), recent.report.measures.n) == ((), 3, 0)
    with pytest.raises(ModelNotInLedger):
        read_page_data(monitored.ledger, "pneumonia", version=99)
