"""The history of a version: what people read, in sentences, whatever happens to the ledger."""

from monitoring.drift import events
from monitoring.drift.events import record
from monitoring.maintenance.retention import prune
from monitoring.reports.report import calibration_report
from monitoring.reports.timeline import read_timeline
from tests.builders.answers import DAY_NS
from tests.builders.monitored import Clock, MonitoredModel

NIGHTS = 25
KINDS = {value for name, value in vars(events).items() if name.isupper() and type(value) is str} - {
    ""
}
DETAIL = {
    **{"actor": "tom", "note": "seen", "labels": 3, "was_active": True, "keys": ["site"]},
    **{"average_run_length": 1_000, "tolerance": 0.01, "policies": {"pacs": "proxy"}},
    **{
        "answers": 3,
        "direction": "over",
        "outcome": "refused",
        "reason": "too few labels.",
        "model": "pneumonia",
    },
}


def test_alarms_are_read_after_many_nights_of_pruning(
    monitored: MonitoredModel, clock: Clock
) -> None:
    monitored.answer(range(1_000), wrong=2, confidence=0.95)
    for night in range(NIGHTS):
        clock.now_ns += DAY_NS
        monitored.answer(range(1_000 * night + 2_000, 1_000 * night + 2_010), confidence=0.95)
        prune(monitored.ledger, older_than_s=DAY_NS / 1e9)
    report = calibration_report(monitored.ledger, "pneumonia")
    assert "alarm" in [each["kind"] for each in report.history]
    assert "checkpoint" not in str(report.history)
    with monitored.ledger.read() as connection:
        assert "checkpoint" not in str(read_timeline(connection, "pneumonia"))


def test_every_kind_of_event_has_a_sentence_or_is_left_out(monitored: MonitoredModel) -> None:
    assert {"shadowed", "checkpoint", "alarm"} <= KINDS
    with monitored.ledger.write() as connection:
        for kind in KINDS:
            key = monitored.watched_version_id
            record(connection, key, kind, DETAIL, feedback_id=0, now_ns=monitored.ledger.clock())
    with monitored.ledger.read() as connection:
        found = read_timeline(connection, "pneumonia")
    assert {each["kind"] for each in found} == KINDS - {"checkpoint"}
    assert all(each["sentence"].endswith((".", "seen")) for each in found), found
