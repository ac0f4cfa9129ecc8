"""How far proxies and second readings agree with truths; corrected labels; all over HTTP."""

import math
from pathlib import Path

import pytest
from sqlalchemy import event

from calibration.drift.state import DriftSettings
from monitoring.diagnosis.diagnosis import diagnose, read_grounds
from monitoring.diagnosis.facts import State, StateReason
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback.discordance import OtherLabels, read_other_labels
from monitoring.ledger.versions import load
from monitoring.reports.report import calibration_report
from monitoring.sources import LabelPolicy
from tests.builders.answers import label, make_row
from tests.builders.monitored import Clock, MonitoredModel, client_of

PROXY = {"report": LabelPolicy.PROXY, "test": LabelPolicy.IGNORE}


def serve(monitored: MonitoredModel, numbers: range) -> None:
    """Answers of .9 that say pneumonia."""
    number = monitored.watched_version_id
    monitored.serve(*(make_row(n, watched_version_id=number) for n in numbers))


def others(monitored: MonitoredModel) -> OtherLabels:
    with monitored.ledger.read() as connection:
        return read_other_labels(connection, monitored.watched_version_id, class_count=2)


@pytest.fixture
def proxied(tmp_path: Path, clock: Clock) -> MonitoredModel:
    return MonitoredModel(tmp_path / "ledger.db", clock, sources=PROXY)


def test_proxies_beside_truths(proxied: MonitoredModel) -> None:
    with proxied as monitored:
        serve(monitored, range(100))
        monitored.label(*(label(n, "normal", source="report") for n in range(40)))
        monitored.label(*(label(n, source="report") for n in range(40, 100)))
        monitored.label(label(0, source="test"))
        (before,) = others(monitored).proxies
        assert (before.answers, before.alone, before.discordance.n) == (100, 100, 0)
        # the model is right in 18 of 20; the report calls 8 right answers wrong, 1 wrong one right
        monitored.label(*(label(n) for n in (*range(31, 39), *range(41, 51))))
        monitored.label(label(39, "normal"), label(40, "normal"))
        found = others(monitored)
        (source,) = found.proxies
        assert (source.alone, source.discordance.n, source.discordance.same) == (80, 20, 11)
        assert (source.discordance.says_wrong, source.discordance.says_right) == (8, 1)
        assert (found.ignored, found.looked_at_all) == (1, True)


def test_second_readings_show_the_noise_of_labels(proxied: MonitoredModel) -> None:
    with proxied as monitored:
        serve(monitored, range(100))
        assert math.isnan(others(monitored).second_readings.error_rate.estimate)
        monitored.label(*(label(n)._replace(reader="A") for n in range(100)))
        names = ["normal" if n < 18 else "pneumonia" for n in range(100)]
        monitored.label(*(label(n, names[n])._replace(reader="B") for n in range(100)))
        monitored.label(label(0, "normal")._replace(reader="C"))  # a third reading
        monitored.label(label(1, "normal"))  # adjudicated: B was right
        found = others(monitored).second_readings
        assert (found.discordance.n, found.discordance.same, found.different) == (100, 83, 18)
        assert found.error_rate.estimate == pytest.approx(0.1)  # 2 * 0.1 * 0.9 = 0.18
        assert found.error_rate.lower < 0.1 < found.error_rate.upper


def test_an_alarm_that_corrected_labels_do_not_bear_out_has_healed(
    tmp_path: Path, clock: Clock
) -> None:
    settings = DriftSettings(average_run_length=1_000)
    with MonitoredModel(tmp_path / "ledger.db", clock, settings=settings) as monitored:
        monitored.answer(range(100), wrong=2)
        monitored.label(*(label(n) for n in range(0, 100, 2) if n % 10))
        monitored.label(label(1, "normal"))
        assert monitored.detectors()[0].active  # the promise is on first labels
        found = calibration_report(monitored.ledger, "pneumonia", version=1).diagnosis
        assert found.state is State.HEALED
        assert found.reasons[0] is StateReason.CORRECTED


def statements(where: Path, clock: Clock, *, devices: int) -> int:
    """How many a diagnosis takes with alarms of all answers and of a tag, and corrected labels."""
    settings, said = DriftSettings(average_run_length=1_000), []
    with MonitoredModel(where, clock, settings=settings, tags=TagSettings(("site",))) as monitored:
        for device in range(devices):
            text = f'{{"device": "{device}", "site": "A"}}'
            monitored.answer(range(device, 200, devices), wrong=2, tags=text)
        monitored.label(*(label(n) for n in range(0, 50, 2)))
        with monitored.ledger.read() as connection:
            (row,) = load(connection, [monitored.watched_version_id])
            event.listen(connection, "before_cursor_execute", lambda *on: said.append(on))
            grounds = read_grounds(monitored.ledger, connection, row)
            found = diagnose(connection, row, grounds, now_ns=clock())
    assert len(found.alarms) == 2
    return len(said)


def test_labels_are_read_once(tmp_path: Path, clock: Clock) -> None:
    few, many = (
        statements(tmp_path / f"{devices}.db", clock, devices=devices) for devices in (1, 8)
    )
    assert few == many


@pytest.mark.anyio
async def test_the_facts_over_http(proxied: MonitoredModel) -> None:
    with proxied as monitored:
        serve(monitored, range(30))
        monitored.label(*(label(n, source="report") for n in range(30)), label(3))
        async with client_of(monitored) as client:
            body = (await client.get("/models/pneumonia/report/sources?version=1")).json()
        assert body["policies"] == {"report": "proxy", "test": "ignore"}
        (source,) = body["labels"]["proxies"]
        assert (source["answers"], source["discordance"]["n"]) == (30, 1)
        assert body["labels"]["second_readings"]["error_rate"]["estimate"] is None
