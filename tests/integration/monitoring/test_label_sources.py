"""Labels of several sources and readers, and what they say of each other."""

import json
import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from sqlalchemy import event

from calibration.drift.state import DriftSettings
from monitoring.diagnosis.diagnosis import diagnose, read_grounds
from monitoring.diagnosis.facts import State, StateReason
from monitoring.drift import events, source_change
from monitoring.drift.events import ALARM, SOURCES
from monitoring.drift.source_change import change_sources
from monitoring.drift.tag_settings import TagSettings
from monitoring.errors import ModelNotInLedger, SourcesInvalid
from monitoring.feedback import FeedbackItem
from monitoring.feedback.discordance import OtherLabels, read_other_labels
from monitoring.ledger.schema import bin_total, prediction
from monitoring.ledger.versions import load
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.recount import check
from monitoring.reports.report import calibration_report
from monitoring.sources import LabelPolicy, read_pairs
from tests.builders.answers import CLASSES, label, make_row, prediction_id
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, client_of

DATABASES = BOTH_DATABASES


PROXY = {"report": LabelPolicy.PROXY}


QUICK = DriftSettings(average_run_length=1_000)


SITES = TagSettings(("site",))


ASIDE = "SELECT source, reader, label, counts_as FROM feedback WHERE counts_as > 0 ORDER BY 1, 2"


def read_by(number: int, name: str, reader: str | None) -> FeedbackItem:
    return label(number, name)._replace(reader=reader)


def change(monitored: MonitoredModel, policies: dict[str, LabelPolicy]) -> Any:
    return change_sources(monitored.ledger, monitored.card.name, policies)


def serve(monitored: MonitoredModel, numbers: range) -> None:
    monitored.serve(
        *(make_row(n, watched_version_id=monitored.watched_version_id) for n in numbers)
    )


def state_of(monitored: MonitoredModel) -> dict[str, Any]:
    """All that is counted: current labels, sums that are not zero, detectors."""
    with monitored.ledger.read() as connection:
        rows = [tuple(row) for row in connection.execute(prediction.select())]
        sums = {
            (table.name, *row[:4]): tuple(row[4:])
            for table in (bin_total,)
            for row in connection.execute(table.select())
            if any(row[-4:])
        }
    states = monitored.rows("SELECT slice, state FROM monitor_state")
    bets = monitored.rows("SELECT patient, feedback_id, bet FROM patient_bet ORDER BY 1, 2")
    return {"labels": sorted(rows), "sums": sums, "states": sorted(states), "bets": bets}


@pytest.mark.world(settings=QUICK, sources=PROXY)
def test_only_truths_are_counted(monitored: MonitoredModel) -> None:
    serve(monitored, range(300))
    wrong = [label(n, "normal", source="report") for n in range(300)]
    assert set(monitored.label(*wrong)) == {"proxy"}
    assert set(monitored.label(*wrong)) == {"unchanged"}
    assert monitored.label(label(0, "pneumonia", source="report")) == ["proxy"]
    assert monitored.sums().labeled.total == 0
    assert monitored.detectors()[0].labels == 0
    truths = [label(n, source="biopsy") for n in range(20)]
    assert set(monitored.label(*truths)) == {"accepted"}
    assert monitored.label(label(5, "normal", source="report")) == ["unchanged"]
    assert monitored.sums().labeled.correct.sum() == 20
    assert not monitored.detectors()[0].active
    assert monitored.metric("feedback_aside_total", counts_as="proxy") == 301
    assert check(monitored.ledger).agrees


@pytest.mark.world(sources=PROXY)
def test_a_label_that_waits_does_not_replace_one_of_another_source(
    monitored: MonitoredModel, clock: Clock
) -> None:
    waits = FeedbackItem("pneumonia", None, "pneumonia", "scan")
    proxy = waits._replace(label="normal", source="report")
    assert monitored.label(waits, proxy, proxy) == ["pending"] * 3
    row = make_row(1, watched_version_id=monitored.watched_version_id, request_id="scan")
    monitored.serve(row)
    assert monitored.rows("SELECT label FROM prediction WHERE label IS NOT NULL") == [(1,)]
    assert monitored.rows(ASIDE) == [("report", None, 0, 2)]
    for source, name in (("biopsy", "normal"), ("archive", "pneumonia")):  # the later one stands
        clock.now_ns += 1
        monitored.label(waits._replace(label=name, source=source, request_id="again"))
    monitored.serve(row._replace(prediction_id=prediction_id(2), request_id="again"))
    assert monitored.rows("SELECT label, revision FROM prediction ORDER BY revision") == [
        (1, 0),
        (1, 1),
    ]
    assert not monitored.rows("SELECT * FROM feedback_pending")


def test_another_reader_is_a_second_reading_and_no_reader_corrects(
    monitored: MonitoredModel,
) -> None:
    serve(monitored, range(2))
    first, second = read_by(0, "pneumonia", "A"), read_by(0, "normal", "B")
    assert monitored.label(first, second) == ["accepted", "second_reading"]
    assert monitored.label(second, first) == ["unchanged", "unchanged"]
    assert monitored.rows("SELECT label FROM prediction WHERE label IS NOT NULL") == [(1,)]
    assert monitored.label(read_by(0, "pneumonia", "B")) == ["second_reading"]
    assert monitored.label(read_by(0, "normal", "A")) == ["corrected"]
    assert monitored.label(read_by(0, "pneumonia", None)) == ["corrected"]
    assert monitored.rows("SELECT label, revision FROM prediction WHERE revision > 0") == [(1, 2)]
    assert monitored.detectors()[0].labels == 1
    assert check(monitored.ledger).agrees


def said(seed: int) -> list[FeedbackItem]:
    """Labels of 60 answers in any order, with corrections; nobody repeats their last word."""
    rng = np.random.default_rng(seed)
    sources, readers = (None, "report", "biopsy"), (None, None, "A", "B")
    items, last = [], {}
    for _ in range(250):
        name, source = CLASSES[rng.integers(2)], sources[rng.integers(3)]
        item = label(int(rng.integers(60)), name, source=source)
        item = item._replace(reader=readers[rng.integers(4)])
        voice = (item.prediction_id, item.source, item.reader)
        if last.get(voice) != name:
            items.append(item)
            last[voice] = name
    return items


def filled(monitored: MonitoredModel, clock: Clock, seed: int) -> None:
    for n in range(60):
        site = json.dumps({"site": "AB"[n % 2]})
        row = make_row(n, watched_version_id=monitored.watched_version_id, predicted=n % 2)
        confidence = 0.55 + 0.4 * (n % 7) / 7
        audit, patient = 0.5 if n % 3 == 0 else None, n // 3 if n % 4 else None
        monitored.serve(
            row._replace(tags=site, confidence=confidence, audit=audit, patient=patient)
        )
    items = said(seed)
    for start in range(0, len(items), 4):  # of some patients, several in one transaction
        clock.now_ns += 1
        monitored.label(*items[start : start + 4])


@pytest.mark.parametrize("seed", range(2))
def test_after_a_change_all_is_as_if_the_policy_had_always_held(
    tmp_path: Path, clock: Clock, seed: int
) -> None:
    with MonitoredModel(tmp_path / "1.db", clock, settings=QUICK, tags=SITES) as changed:
        filled(changed, clock, seed)
        before = state_of(changed)
        for policy in (LabelPolicy.PROXY, LabelPolicy.IGNORE):
            path = tmp_path / f"{policy}.db"
            sources = {"report": policy}
            with MonitoredModel(path, clock, settings=QUICK, tags=SITES, sources=sources) as always:
                filled(always, clock, seed)
                done = change(changed, sources)
                assert done.labels > 0
                assert state_of(changed) == state_of(always)
                assert check(changed.ledger).agrees
        change(changed, {"report": LabelPolicy.TRUTH})
        assert state_of(changed)["labels"] == before["labels"]
        assert state_of(changed)["states"] == before["states"]
        assert change(changed, {"report": LabelPolicy.TRUTH}).labels == 0


@pytest.mark.parametrize("seed", range(2))
def test_watches_of_tags_agree_with_their_replay_after_an_erasure_and_a_change(
    tmp_path: Path, clock: Clock, seed: int
) -> None:
    with MonitoredModel(tmp_path / "1.db", clock, settings=QUICK, tags=SITES) as monitored:
        filled(monitored, clock, seed)
        forget(monitored.ledger, prediction_id=prediction_id(seed))
        for policy in (LabelPolicy.PROXY, LabelPolicy.TRUTH, LabelPolicy.IGNORE):
            assert change(monitored, {"report": policy}).answers > 0
            assert check(monitored.ledger).agrees


class Killed(Exception):
    pass


@pytest.mark.world(settings=QUICK, tags=SITES)
def test_a_change_that_is_killed_has_changed_nothing(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, monitored: MonitoredModel
) -> None:
    filled(monitored, clock, seed=1)
    before = state_of(monitored)
    with monkeypatch.context() as until_killed:
        until_killed.setattr(source_change, "show_again", Mock(side_effect=Killed))
        with pytest.raises(Killed):
            change(monitored, PROXY)
    assert state_of(monitored) == before
    assert not monitored.rows("SELECT * FROM label_source")
    assert change(monitored, PROXY).answers > 0
    assert check(monitored.ledger).agrees


@pytest.mark.world(settings=QUICK, tags=SITES)
@pytest.mark.parametrize("erased", [False, True])
def test_an_alarm_ends_with_the_labels_that_raised_it(
    erased: bool, monitored: MonitoredModel
) -> None:
    serve(monitored, range(200))
    monitored.label(*(label(n, "normal", source="report") for n in range(100)))
    assert monitored.detectors()[0].active
    if erased:
        forget(monitored.ledger, prediction_id=prediction_id(0))
    done = change(monitored, PROXY)
    assert (done.answers, done.cleared, done.raised) == (100 - erased, 1, 0)
    detector, replayed = monitored.detectors()
    assert (detector.active, replayed.active, detector.labels) == (False, False, 0)
    assert check(monitored.ledger).agrees
    again = change(monitored, {"report": LabelPolicy.TRUTH})
    assert (again.cleared, again.raised) == (0, 1)
    with monitored.ledger.read() as connection:
        told = events.read(connection, monitored.watched_version_id)
    assert [event.kind for event in told].count(ALARM) == 2
    assert [event.kind for event in told].count(SOURCES) == 2
    assert check(monitored.ledger).agrees


@pytest.mark.world(sources=PROXY)
def test_a_models_own_policy_comes_before_that_of_every_model(
    ledger_url: str, clock: Clock, monitored: MonitoredModel
) -> None:
    serve(monitored, range(1))
    change(monitored, {"report": LabelPolicy.TRUTH})
    assert monitored.label(label(0, source="report")) == ["accepted"]
    with MonitoredModel(ledger_url, clock, sources={"report": LabelPolicy.IGNORE}) as other:
        assert other.label(label(0, "normal", source="report")) == ["corrected"]
    with MonitoredModel(ledger_url, clock, sources={}) as unset:
        assert unset.rows("SELECT DISTINCT policy FROM label_source") == [("truth",)]


@pytest.mark.anyio
async def test_policies_over_http(monitored: MonitoredModel) -> None:
    path = f"/models/{monitored.card.name}/report/sources"
    async with client_of(monitored) as client:
        wrong = await client.post(path, json={"policies": {"report": "maybe"}})
        unknown = await client.post("/models/none/report/sources", json={"policies": PROXY})
        assert (wrong.status_code, wrong.json()["error"]) == (422, "invalid_sources")
        assert (unknown.status_code, unknown.json()["error"]) == (404, "unknown_model")
        body = (await client.post(path, json={"policies": PROXY})).json()
        assert body["policies"] == {"report": "proxy"}
        assert body["changed"]["labels"] == 0
        assert (await client.get(path)).json()["policies"] == {"report": "proxy"}


def test_policies_that_cannot_be_read_are_refused(monitored: MonitoredModel) -> None:
    for pairs in (["report"], ["report=maybe"], ["=proxy"], ["a=proxy", "a=truth"]):
        with pytest.raises(SourcesInvalid):
            read_pairs(pairs)
    with pytest.raises(ModelNotInLedger):
        change_sources(monitored.ledger, "none", PROXY)


POLICIES = {"report": LabelPolicy.PROXY, "test": LabelPolicy.IGNORE}


def others(monitored: MonitoredModel) -> OtherLabels:
    with monitored.ledger.read() as connection:
        return read_other_labels(connection, monitored.watched_version_id, class_count=2)


@pytest.fixture
def proxied(tmp_path: Path, clock: Clock) -> MonitoredModel:
    return MonitoredModel(tmp_path / "ledger.db", clock, sources=POLICIES)


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
