"""Drift watches of tags: exact, rebuilt by a recount, bounded, with one budget of alarms."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings
from model_store.errors import TagsInvalid
from monitoring.drift import events, watch
from monitoring.drift.tag_settings import TagSettings
from monitoring.errors import TagNotWatched
from monitoring.ledger.sum_tables import VALUE_LIMIT
from monitoring.maintenance.erasure import forget
from monitoring.maintenance.recount import check, repair
from monitoring.maintenance.retention import prune
from tests.builders.answers import DAY_NS, label, make_card, make_row, prediction_id
from tests.builders.monitored import BOTH_DATABASES, Clock, MonitoredModel, assert_same_state
from tests.builders.processes import PATIENCE_S

DATABASES = BOTH_DATABASES
QUICK = DriftSettings(average_run_length=1_000)
SITES = TagSettings(("site",))


def answer(
    monitored: MonitoredModel, numbers: Sequence[int], *, site: str | None, wrong: int = 0
) -> None:
    tags = None if site is None else json.dumps({"site": site})
    monitored.answer(numbers, wrong=wrong, tags=tags)


def stored(monitored: MonitoredModel) -> dict[str, DriftDetector]:
    with monitored.ledger.read() as connection:
        return {
            each.name: each.detector
            for each in watch.load_all(connection, monitored.watched_version_id)
        }


def told(monitored: MonitoredModel) -> list[tuple[str, str]]:
    with monitored.ledger.read() as connection:
        return [
            (event.name, event.kind)
            for event in events.read_all(connection, monitored.watched_version_id)
        ]


def test_each_value_has_a_detector_that_sees_its_labels_and_half_of_the_false_alarms(
    ledger_url: str, clock: Clock
) -> None:
    with MonitoredModel(
        ledger_url, clock, settings=QUICK, tags=TagSettings(("site", "device"))
    ) as tagged:
        answer(tagged, range(30), site="A", wrong=10)
        answer(tagged, range(30, 50), site="B", wrong=2)
        answer(tagged, range(50, 60), site=None)
        found = stored(tagged)
        assert {name: each.labels for name, each in found.items()} == {
            "": 60,
            "tag:site=A": 30,
            "tag:site=B": 20,
        }
        assert found[""].log_threshold == pytest.approx(math.log(1_000 / 0.5))
        # two keys share the half
        assert found["tag:site=A"].log_threshold == pytest.approx(math.log(1_000 / 0.25))
        expected = DriftDetector(replace(QUICK, class_count=2, part=0.25))
        expected.update_many([0.9] * 20, [n % 2 != 0 for n in range(30, 50)], [1] * 20)
        assert_same_state(found["tag:site=B"], expected)
        for name in found:
            assert_same_state(*tagged.detectors(name=name))
        assert check(tagged.ledger).agrees


def test_one_site_in_alarm_is_acknowledged_by_itself(ledger_url: str, clock: Clock) -> None:
    with MonitoredModel(ledger_url, clock, settings=QUICK, tags=SITES) as monitored:
        answer(monitored, range(200), site="A", wrong=10)
        answer(monitored, range(200, 230), site="B", wrong=1)
        assert [name for name, each in stored(monitored).items() if each.active] == [
            "",
            "tag:site=B",
        ]
        assert monitored.metric("calibration_drift_alarms_total") == 2
        assert monitored.metric("calibration_drift_tag_active", tag="site=B") == 1
        assert monitored.metric("calibration_drift_tag_active", tag="site=A") == 0
        lamp = monitored.recorder.acknowledge("pneumonia", named=[(None, "site=B")], note="lamp")
        [(acknowledged, _)] = lamp.result(PATIENCE_S)[1]
        assert (acknowledged.detector.active, acknowledged.detector.labels) == (False, 0)
        assert [name for name, each in stored(monitored).items() if each.active] == [""]
        answer(monitored, range(230, 235), site="B", wrong=1)
        assert_same_state(*monitored.detectors(name="tag:site=B"))
        assert monitored.detectors(name="tag:site=B")[0].labels == 5
        with pytest.raises(TagNotWatched, match="site=C"):
            monitored.recorder.acknowledge("pneumonia", named=[(None, "site=C")]).result(PATIENCE_S)
        assert ("tag:site=B", "acknowledged") in told(monitored)


def test_settings_belong_to_the_ledger_and_change_for_the_labels_to_come(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "ledger.db"
    with MonitoredModel(path, clock, tags=TagSettings(("site",), {"site=B": 0.05})) as monitored:
        answer(monitored, range(4), site="A")
        answer(monitored, range(4, 8), site="B")
        assert {each.settings.tolerance for each in stored(monitored).values()} == {0.025, 0.05}
    with MonitoredModel(path, clock) as joined:  # without the setting: the watches go on
        answer(joined, range(8, 10), site="B")
        assert stored(joined)["tag:site=B"].labels == 6
        assert told(joined).count(("", "settings")) == 0
    with MonitoredModel(path, clock, tags=TagSettings(("site", "ward"), {"site": 0.03})) as changed:
        answer(changed, range(10, 14), site="A")
        assert stored(changed)["tag:site=A"].settings.tolerance == 0.03
        assert stored(changed)["tag:site=A"].labels == 8
        for name in stored(changed):
            assert_same_state(*changed.detectors(name=name))
    with MonitoredModel(path, clock, tags=TagSettings()) as ended:
        assert list(stored(ended)) == [""]
        assert ended.detectors()[0].settings.part == 1
        answer(ended, range(14, 16), site="A")
        assert list(stored(ended)) == [""]
    with MonitoredModel(path, clock, tags=SITES) as again:
        answer(again, range(16, 18), site="A")
        assert stored(again)["tag:site=A"].labels == 2
        for name in stored(again):
            assert_same_state(*again.detectors(name=name))
        assert check(again.ledger).agrees


def test_values_are_bounded_and_the_rest_share_one(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, tags=SITES) as monitored:
        for n in range(VALUE_LIMIT + 5):
            answer(monitored, [n], site=f"S{n:03}")
        found = stored(monitored)
        assert len(found) == VALUE_LIMIT + 2
        assert found["tag:site=(other)"].labels == 5
        assert_same_state(*monitored.detectors(name="tag:site=(other)"))


def test_an_early_label_counts_for_its_tag(tmp_path: Path, clock: Clock) -> None:
    """It arrives before its answer, which is the first with this tag."""
    with MonitoredModel(tmp_path / "ledger.db", clock, tags=SITES) as monitored:
        early = label(0)._replace(prediction_id=None, request_id="r", model="pneumonia")
        assert monitored.label(early) == ["pending"]
        monitored.serve(make_row(0, request_id="r")._replace(tags='{"site": "A"}'))
        assert stored(monitored)["tag:site=A"].labels == 1
        assert check(monitored.ledger).agrees


def test_audited_answers_alone_count_for_tags_too(tmp_path: Path, clock: Clock) -> None:
    path, drawing = tmp_path / "ledger.db", DriftSettings(audit=True)
    with MonitoredModel(path, clock, settings=drawing, tags=SITES) as monitored:
        rows = [
            make_row(n)._replace(tags='{"site": "A"}', audit=0.5 if n % 2 else None)
            for n in range(10)
        ]
        monitored.serve(*rows)
        monitored.label(*(label(n) for n in range(10)))
        assert {name: each.labels for name, each in stored(monitored).items()} == {
            "": 5,
            "tag:site=A": 5,
        }
        monitored.recorder.acknowledge("pneumonia", kind="reset", audit=False).result(PATIENCE_S)
        assert not any(each.settings.audit for each in stored(monitored).values())
        answer(monitored, range(10, 13), site="A")
        # the label count goes on, the evidence started again
        assert stored(monitored)["tag:site=A"].labels == 8
        for name in stored(monitored):
            assert_same_state(*monitored.detectors(name=name))


def test_a_recount_repairs_them_and_pruning_and_erasure_leave_them(
    tmp_path: Path, clock: Clock
) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, tags=SITES) as monitored:
        answer(monitored, range(10), site="A", wrong=3)
        answer(monitored, range(10, 12), site="B")
        before = stored(monitored)
        with monitored.ledger.write() as connection:
            watched = watch.load(connection, monitored.watched_version_id, "tag:site=A")
            watched.detector.update(0.9, False, 1)
            watched.save(connection)
        assert check(monitored.ledger).differing == {"monitor_state": 1}
        repair(monitored.ledger)
        for name, detector in before.items():
            assert_same_state(stored(monitored)[name], detector)
        forget(monitored.ledger, prediction_id=prediction_id(10))
        forget(monitored.ledger, prediction_id=prediction_id(11))
        assert not monitored.rows("SELECT 1 FROM monitor_state WHERE slice LIKE '%B%'")
        assert not monitored.rows("SELECT 1 FROM monitor_event WHERE slice LIKE '%B%'")
        assert check(monitored.ledger).agrees
        clock.now_ns += 40 * DAY_NS
        prune(monitored.ledger, older_than_s=86_400)
        assert check(monitored.ledger).agrees
        assert_same_state(stored(monitored)["tag:site=A"], before["tag:site=A"])


def test_another_version_starts_without_watches_of_tags(tmp_path: Path, clock: Clock) -> None:
    with MonitoredModel(tmp_path / "ledger.db", clock, tags=SITES) as monitored:
        answer(monitored, range(3), site="A")
        (second,) = monitored.recorder.register(make_card(version=2))
        with monitored.ledger.read() as connection:
            assert [each.name for each in watch.load_all(connection, second)] == [""]


def test_settings_that_cannot_be() -> None:
    for keys, tolerances, message in [
        (("a", "b", "c", "d"), {}, "at most 3 different keys"),
        (("site", "site"), {}, "at most 3 different keys"),
        (("si te",), {}, "at most 3 different keys"),
        (("site",), {"ward=1": 0.1}, "'ward=1' has a tolerance, but its key is not among"),
        (("site",), {"site": 1.5}, "the tolerance of 'site' is 1.5"),
    ]:
        with pytest.raises(TagsInvalid, match=message):
            TagSettings(keys, tolerances)
